//! One bounded call of a guest: a fresh store and instance, one function, one checked answer.

use crate::component::Inner;
use crate::failure::{FailureKind, RuleError};
use crate::limits::{Budget, MAX_CROSSING};
use crate::request::{Payload, Request};
use crate::slice::{self, Clock};
use crate::verdict::{self, RawRefusal, RawVerdict, Verdict};
use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use wasmtime::Store;
use wasmtime::component::{Instance, TypedFunc};

/// What a store holds: all that the host knows of one call.
pub(crate) struct State {
    pub(crate) plugin: Arc<Inner>,
    pub(crate) request_id: Box<str>,
    pub(crate) clock: Clock,
    pub(crate) budget: Budget,
    pub(crate) host_calls: u32,
    pub(crate) log_lines: u32,
}

type Evaluate<'a> = TypedFunc<(&'a Request<'a>,), (Result<RawVerdict, RawRefusal>,)>;

/// Calls the plugin once. The future may be dropped at any point: the instance goes with it.
pub(crate) async fn call(plugin: &Arc<Inner>, request: &Request<'_>) -> Result<Verdict, RuleError> {
    let (mut store, instance) = instantiate(plugin, request.request_id).await?;
    let answer = match function(&mut store, &instance) {
        Ok(evaluate) => evaluate.call_async(&mut store, (request,)).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok((answer,)) => verdict::check(answer, matches!(request.payload, Payload::Token(_))),
        Err(error) => Err(failure(&store, &error)),
    }
}

/// A fresh instance, its start functions run.
pub(crate) async fn instantiate(
    plugin: &Arc<Inner>,
    request_id: &str,
) -> Result<(Store<State>, Instance), RuleError> {
    let shared = &plugin.shared;
    let state = State {
        plugin: plugin.clone(),
        request_id: request_id.into(),
        clock: Clock::start(plugin.deadline),
        budget: Budget::new(shared.memory.clone(), plugin.memory),
        host_calls: 0,
        log_lines: 0,
    };
    let mut store = Store::new(&shared.engine, state);
    store.limiter(|state| &mut state.budget);
    store.set_hostcall_fuel(MAX_CROSSING);
    store.set_epoch_deadline(slice::FIRST_SLICE);
    store.epoch_deadline_callback(slice::expired);
    match plugin.pre.instantiate_async(&mut store).await {
        Ok(instance) => Ok((store, instance)),
        Err(error) => Err(failure(&store, &error)),
    }
}

/// The instance's `evaluate`, its type checked against the world's.
pub(crate) fn function<'a>(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Evaluate<'a>> {
    let evaluate = store.data().plugin.evaluate;
    instance.get_typed_func(store, evaluate)
}

fn failure(store: &Store<State>, error: &wasmtime::Error) -> RuleError {
    RuleError::from_engine(error, store.data().budget.denied())
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
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
