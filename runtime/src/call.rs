//! One bounded call of a guest: a fresh store and instance, one function, one checked answer.

use crate::failure::{FailureKind, RuleError, one_line};
use crate::import::Log;
use crate::limits::{Budget, MAX_CROSSING};
use crate::metrics::count;
use crate::plugin::{Inner, Slot};
use crate::question::{Answer, Question, Raw};
use crate::request::Request;
use crate::slice::{self, Clock, Lane};
use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Func, Instance, TypedFunc};

/// What a store holds: all that the host knows of one call.
pub(crate) struct State {
    pub(crate) plugin: Arc<Inner>,
    pub(crate) clock: Clock,
    pub(crate) budget: Budget,
    /// The request's time, in Unix seconds. 0 when no request is served.
    pub(crate) time: u64,
    /// Of which it is to judge so many: 1, but for a batch.
    pub(crate) requests: u32,
    pub(crate) host_calls: u32,
    /// Bytes that the guest has had digested.
    pub(crate) digested: usize,
    pub(crate) log: Log,
}

type Evaluate<'a> = TypedFunc<(&'a Request<'a>,), (Raw,)>;
type EvaluateBatch<'a> = TypedFunc<(&'a [Request<'a>],), (Vec<Raw>,)>;

/// What came of one call, before any of it is believed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) answer: Result<Answer, RuleError>,
    pub(crate) log: Log,
    /// The most linear memory that it had, in bytes.
    pub(crate) memory: usize,
}

impl Ended {
    pub(crate) fn failed(error: RuleError) -> Ended {
        Ended {
            answer: Err(error),
            log: Log::default(),
            memory: 0,
        }
    }
}

/// A call that was to end before its second tick has not.
#[derive(Debug, thiserror::Error)]
#[error("has not ended at once")]
struct Unfinished;

/// Calls the plugin once, in one of its workers, on threads apart or here. What it answers is not checked yet. The future may be
/// dropped at any point.
pub(crate) async fn call(slot: Slot, question: Question<'_>) -> Result<Answer, RuleError> {
    let plugin = &slot.plugin().clone();
    let ended = match &plugin.workers {
        Some(workers) => workers.call(plugin, question).await,
        None if plugin.pace.is_apart() => {
            count(&plugin.metrics.apart);
            plugin.shared.apart.call(slot, question).await
        }
        None => plugin.pace.measured(question.requests(), here(plugin, question)).await,
    };
    ended.log.write(plugin, question);
    let memory = u64::try_from(ended.memory).unwrap_or(u64::MAX);
    plugin.metrics.memory_peak.fetch_max(memory, Ordering::Relaxed);
    ended.answer
}

/// Calls the plugin once on the caller's thread. The future may be dropped at any point: the instance goes with it.
pub(crate) async fn here(plugin: &Arc<Inner>, question: Question<'_>) -> Ended {
    let _running = plugin.shared.ticker.running();
    // One that has effects cannot be made anew; for a batch a stack of its own costs little, and time lost much.
    if let Question::One(request) = question
        && !plugin.counts
        && let Some(ended) = at_once(plugin, request)
    {
        return ended;
    }
    let lane = Arc::new(Lane::new(plugin.shared.lanes.clone()));
    on_own_stack(plugin, question, lane).await
}

/// The outcome of a call on a stack of its own, on which it can give the core to others. `lane` outlives the store: to clear
/// what a guest has filled is a part of its last slice.
pub(crate) async fn on_own_stack(plugin: &Arc<Inner>, question: Question<'_>, lane: Arc<Lane>) -> Ended {
    let (mut store, instance) = instantiate(plugin, lane.clone(), question).await;
    let answer = match instance {
        Ok(instance) => answered(&mut store, &instance, question).await,
        Err(error) => Err(error),
    };
    ended(store, answer)
}

async fn answered(store: &mut Store<State>, instance: &Instance, question: Question<'_>) -> wasmtime::Result<Answer> {
    match question {
        Question::One(request) => {
            let (raw,) = evaluate(store, instance)?.call_async(store, (request,)).await?;
            Ok(Answer::One(raw))
        }
        Question::Many(requests) => {
            let (raw,) = evaluate_batch(store, instance)?.call_async(store, (requests,)).await?;
            Ok(Answer::Many(raw))
        }
    }
}

/// The outcome of a call that ends before its second tick, as most do in some microseconds: it runs on the caller's own
/// stack and saves what a stack of its own costs. One that does not end comes to nothing, is made anew on a stack that
/// can give the core to others, and nobody can tell: its log is written when it has ended, and a rule that may have another
/// effect, as it imports `counter`, is never tried this way.
/// A plugin that was slow is not tried this way for a while ([`crate::pace`]), so that slow ones hold a core once in a while only.
fn at_once(plugin: &Arc<Inner>, request: &Request<'_>) -> Option<Ended> {
    let mut store = store(plugin, slice::QUICK, Question::One(request), None);
    store.epoch_deadline_callback(|_| Err(Unfinished.into()));
    let answer = plugin.pre.instantiate(&mut store).and_then(|instance| {
        let (raw,) = evaluate(&mut store, &instance)?.call(&mut store, (request,))?;
        Ok(Answer::One(raw))
    });
    if answer.as_ref().is_err_and(|error| error.is::<Unfinished>()) {
        return None;
    }
    Some(ended(store, answer))
}

fn ended(mut store: Store<State>, answer: wasmtime::Result<Answer>) -> Ended {
    Ended {
        answer: answer.map_err(|error| failure(&store, &error)),
        memory: store.data().budget.used(),
        log: std::mem::take(&mut store.data_mut().log),
    }
}

/// A fresh instance, its start functions run, that gives the core to others when it runs for long.
pub(crate) async fn instantiate(
    plugin: &Arc<Inner>,
    lane: Arc<Lane>,
    question: Question<'_>,
) -> (Store<State>, wasmtime::Result<Instance>) {
    let mut store = store(plugin, slice::TICKS, question, Some(lane));
    store.epoch_deadline_callback(slice::expired);
    let instance = plugin.pre.instantiate_async(&mut store).await;
    (store, instance)
}

fn store(plugin: &Arc<Inner>, ticks: u64, question: Question<'_>, lane: Option<Arc<Lane>>) -> Store<State> {
    let (shared, requests) = (&plugin.shared, question.requests());
    let state = State {
        plugin: plugin.clone(),
        clock: Clock::start(plugin.deadline.saturating_mul(requests), lane),
        budget: Budget::new(shared.memory.clone(), plugin.memory),
        time: question.time(),
        requests,
        host_calls: 0,
        digested: 0,
        log: Log::default(),
    };
    let mut store = Store::new(&shared.engine, state);
    store.limiter(|state| &mut state.budget);
    store.set_hostcall_fuel(MAX_CROSSING.saturating_mul(requests as usize));
    store.set_epoch_deadline(ticks);
    store
}

/// The types of the instance's functions, checked against the world's: once, when the plugin is loaded.
pub(crate) fn check_types(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<()> {
    let (evaluate, batch) = (store.data().plugin.evaluate, store.data().plugin.evaluate_batch);
    let checked: wasmtime::Result<Evaluate<'_>> = instance.get_typed_func(&mut *store, evaluate);
    checked.map_err(|error| error.context("`evaluate`"))?;
    if let Some(batch) = batch {
        let checked: wasmtime::Result<EvaluateBatch<'_>> = instance.get_typed_func(store, batch);
        checked.map_err(|error| error.context("`evaluate-batch`"))?;
    }
    Ok(())
}

/// The instance's `evaluate`. To check its type compares each name in the world, which costs more than to find it.
#[allow(
    unsafe_code,
    reason = "the engine cannot know that an instance of the same component was checked before"
)]
fn evaluate<'a>(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Evaluate<'a>> {
    let function = function(store, instance, Some(store.data().plugin.evaluate))?;
    // SAFETY: its type is the component's, which `check_types` compared with this one before the plugin could be called: no
    // plugin is loaded otherwise, and its instances are all of that component.
    Ok(unsafe { Evaluate::new_unchecked(function) })
}

/// The instance's `evaluate-batch`, likewise.
#[allow(unsafe_code, reason = "as for `evaluate`")]
fn evaluate_batch<'a>(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<EvaluateBatch<'a>> {
    let function = function(store, instance, store.data().plugin.evaluate_batch)?;
    // SAFETY: as for `evaluate`.
    Ok(unsafe { EvaluateBatch::new_unchecked(function) })
}

fn function(
    store: &mut Store<State>,
    instance: &Instance,
    index: Option<ComponentExportIndex>,
) -> wasmtime::Result<Func> {
    let function = index.and_then(|index| instance.get_func(store, index));
    function.ok_or_else(|| wasmtime::Error::msg("it exports no such function"))
}

pub(crate) fn failure(store: &Store<State>, error: &wasmtime::Error) -> RuleError {
    let budget = &store.data().budget;
    let failed = RuleError::from_engine(error, budget.denied());
    let most = store.data().plugin.shared.settings.max_memory;
    match (failed, budget.advice(most)) {
        (RuleError::Failed { kind, detail }, Some(advice)) if kind == FailureKind::Memory => {
            RuleError::failed(kind, one_line(&format!("{advice}: {detail}")))
        }
        (failed, _) => failed,
    }
}

/// Polls `future`; a panic in it becomes [`FailureKind::HostPanic`], so that it ends one request and not the task that
/// serves a connection.
pub(crate) async fn guarded<T>(future: impl Future<Output = Result<T, RuleError>>) -> Result<T, RuleError> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // Sound to go on: after a panic the future is only dropped, and what it shares with others is atomics and
        // locks that are taken whether poisoned or not.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(RuleError::failed(FailureKind::HostPanic, message(&*panic)))),
        }
    })
    .await
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::give_way::has_long_slices;
    use crate::{Caller, Host, Payload, PluginSource, Pool, Protocol, Settings, TokenRequest, Verdict};
    use std::time::Duration;
    use wasmtime::component::Linker;
    use wasmtime::{StoreContextMut, component::WasmStr};

    pub(crate) fn request() -> Request<'static> {
        let caller = Caller {
            id: "a",
            kind: "oidc",
            issuer: "b",
            subject: "c",
            attributes: vec![],
        };
        let token = TokenRequest {
            subject: None,
            audience: vec![],
            lifetime: 1,
            claims: vec![],
        };
        let payload = Payload::Token(token);
        let (profile, key, format, tenant, time, request_id) = ("p", "k", "jwt", "000000000001", 0, "r");
        let (trace_id, source_address, protocol) = (None, "192.0.2.1", Protocol::Http1);
        Request {
            profile,
            key,
            format,
            tenant,
            caller,
            payload,
            time,
            request_id,
            trace_id,
            source_address,
            protocol,
        }
    }

    /// Calls `config.get` and answers with a verdict.
    const ASKS: &str = r#"(core module $rule
      (import "host" "get" (func $get (param i32 i32 i32)))
      (func (export "evaluate") (param i32) (result i32)
        (call $get (i32.const 0) (i32.const 4) (i32.const 512))
        (i32.const 1024)))"#;

    fn component(rule: &str) -> Vec<u8> {
        let world = include_str!("../tests/hostile/world.wat");
        let memory = include_str!("../tests/hostile/memory.wat");
        wat::parse_str(world.replace("{{memory}}", memory).replace("{{rule}}", rule)).unwrap()
    }

    fn panics(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        type Found = (Option<Arc<crate::Value>>,);
        let get = |_: StoreContextMut<'_, State>, (_,): (WasmStr,)| -> wasmtime::Result<Found> { panic!("canary") };
        linker.instance("signet:rule/config@1.0.0")?.func_wrap("get", get)
    }

    // R21
    #[tokio::test]
    async fn a_panic_of_the_host_denies_one_call() {
        let settings = || Settings {
            max_calls: 2,
            max_compilations: 1,
            ..Settings::default()
        };
        let imports = |linker: &mut Linker<State>| {
            let mut log = linker.instance("signet:rule/log@1.0.0")?;
            log.func_wrap(
                "log",
                |_: StoreContextMut<'_, State>, _: (crate::import::Level, WasmStr)| Ok(()),
            )?;
            panics(linker)
        };
        let host = Host::with_imports(Pool::reserve(settings()).unwrap(), imports).unwrap();
        let asks = host.load(PluginSource::new("asks", component(ASKS))).unwrap();
        let good = host
            .load(PluginSource::new(
                "good",
                component(include_str!("../tests/hostile/good.wat")),
            ))
            .unwrap();
        for _ in 0..10 {
            let expected = RuleError::failed(FailureKind::HostPanic, "canary");
            assert_eq!(asks.evaluate(&request()).await, Err(expected));
            assert_eq!(good.evaluate(&request()).await, Ok(Verdict::default()));
        }
    }

    // R22
    #[tokio::test]
    async fn a_call_is_made_apart_unless_the_plugin_has_shown_that_it_is_short() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (say, said) = std::sync::mpsc::channel();
        let imports = move |linker: &mut Linker<State>| {
            let mut log = linker.instance("signet:rule/log@1.0.0")?;
            log.func_wrap(
                "log",
                |_: StoreContextMut<'_, State>, _: (crate::import::Level, WasmStr)| Ok(()),
            )?;
            type Found = (Option<Arc<crate::Value>>,);
            let get = move |_: StoreContextMut<'_, State>, (_,): (WasmStr,)| -> wasmtime::Result<Found> {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                let _ = say.send((name, nice(), has_long_slices()));
                Ok((None,))
            };
            linker.instance("signet:rule/config@1.0.0")?.func_wrap("get", get)
        };
        let host = Host::with_imports(Pool::reserve(Settings::default()).unwrap(), imports).unwrap();
        let plugin = host.load(PluginSource::new("asks", component(ASKS))).unwrap();
        let here = std::thread::current().name().unwrap_or_default().to_owned();
        let called = async || {
            // Its answer is none of its own choosing, and is not looked at.
            let _ = plugin.evaluate(&request()).await;
            said.try_recv().unwrap()
        };
        // A kernel before Linux 6.12 knows of no slices.
        let long = has_long_slices().map(|_| true);
        let behind = nice() + 5;
        assert_eq!(called().await, ("signet-trial".to_owned(), behind, long));
        plugin.0.pace.set(Duration::from_millis(50));
        assert_eq!(called().await, ("signet-slow".to_owned(), behind, long));
        plugin.0.pace.set(Duration::ZERO);
        assert_eq!(called().await, (here, nice(), long.map(|_| false)));
    }

    // R21
    #[tokio::test]
    async fn a_panic_is_caught_at_any_poll_and_other_outcomes_pass() {
        let later = guarded(async {
            tokio::task::yield_now().await;
            if true { panic!("{}", "later") } else { Ok(()) }
        });
        assert_eq!(later.await, Err(RuleError::failed(FailureKind::HostPanic, "later")));
        let odd = guarded(async { if true { std::panic::panic_any(7) } else { Ok(()) } });
        assert_eq!(odd.await, Err(RuleError::failed(FailureKind::HostPanic, "no message")));
        assert_eq!(guarded(async { Ok(7) }).await, Ok(7));
    }
}
