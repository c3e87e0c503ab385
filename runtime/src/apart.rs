//! The threads of plugins that hold a core for long. Nothing else runs there, so that nothing waits behind one of their
//! instructions, however long it takes.

use crate::call::{self, Ended};
use crate::failure::{FailureKind, RuleError};
use crate::give_way::{giving_way, stay_behind};
use crate::plugin::Slot;
use crate::question::{Asked, Question};
use crate::slice::Lane;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// A few threads, started with the first call. Plugins take turns there, and then the calls of each, a slice at a time: a plugin
/// waits for one slice of each other, however many calls those have waiting.
///
/// There are two sets of them, so that a plugin that is new, or was long by chance, does not wait for those that are slow.
#[derive(Debug)]
pub(crate) struct Apart {
    threads: usize,
    on_trial: OnceLock<io::Result<Threads>>,
    slow: OnceLock<io::Result<Threads>>,
}

#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Drop for Threads {
    /// The last to let go of a host may be a task, which must not wait for threads to end.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Apart {
    pub(crate) fn new(threads: usize) -> Apart {
        Apart {
            threads,
            on_trial: OnceLock::new(),
            slow: OnceLock::new(),
        }
    }

    /// Makes one call there. The future may be dropped at any point: the call ends with its slice.
    pub(crate) async fn call(&self, slot: Slot, question: Question<'_>) -> Ended {
        let (threads, name) = match slot.plugin().pace.is_slow() {
            true => (&self.slow, "signet-slow"),
            false => (&self.on_trial, "signet-trial"),
        };
        let threads = match threads.get_or_init(|| self.start(name)) {
            Ok(Threads(Some(runtime))) => runtime,
            Ok(Threads(None)) => return busy("its threads have ended"),
            Err(error) => return busy(&format!("its threads cannot start: {error}")),
        };
        // It outlives the caller by as much as a slice, and borrows nothing.
        let Ok(content) = postcard::to_extend(&question, Vec::new()) else {
            return busy("the request cannot be handed over");
        };
        let mut call = JoinSet::new();
        call.spawn_on(yielding(async move { made(&slot, &content).await }), threads.handle());
        let ended = call.join_next().await.and_then(Result::ok);
        ended.unwrap_or_else(|| busy("its threads have ended"))
    }

    fn start(&self, name: &str) -> io::Result<Threads> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(self.threads)
            .thread_name(name)
            .on_thread_start(stay_behind)
            .build()?;
        Ok(Threads(Some(runtime)))
    }
}

/// Gives the core away after each slice, and in the middle of one that is long.
async fn yielding<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    poll_fn(|context| giving_way(|| call.as_mut().poll(context))).await
}

async fn made(slot: &Slot, content: &[u8]) -> Ended {
    let Ok(asked) = postcard::from_bytes::<Asked<'_>>(content) else {
        return busy("the request cannot be handed over");
    };
    let question = asked.question();
    let plugin = slot.plugin();
    let call = async {
        let lane = Arc::new(Lane::new(plugin.turns.clone()));
        lane.enter().await;
        let _running = plugin.shared.ticker.running();
        let call = call::on_own_stack(plugin, question, lane);
        Ok(plugin.pace.measured(question.requests(), call).await)
    };
    call::guarded(call).await.unwrap_or_else(Ended::failed)
}

fn busy(why: &str) -> Ended {
    Ended::failed(RuleError::failed(FailureKind::Busy, why))
}
