//! The threads of plugins that hold a core for long. Nothing else runs there, so that nothing waits behind one of their
//! instructions, however long it takes.

use crate::call::{self, Ended};
use crate::failure::{FailureKind, RuleError};
use crate::plugin::Slot;
use crate::request::Request;
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
    pub(crate) async fn call(&self, slot: Slot, request: &Request<'_>) -> Ended {
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
        let Ok(content) = postcard::to_extend(request, Vec::new()) else {
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
            .on_thread_start(behind)
            .build()?;
        Ok(Threads(Some(runtime)))
    }
}

/// Gives the core away after each slice: the kernel lets whoever waits for it have it, where it would let this thread go on for some
/// milliseconds (sched_yield(2)).
async fn yielding<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    poll_fn(|context| {
        let poll = call.as_mut().poll(context);
        std::thread::yield_now();
        poll
    })
    .await
}

/// Lets threads that serve go first, and leaves this one a quarter of a core that it shares with one of them (sched(7), nice): enough
/// for a rule that is slow by its nature, as an interpreted one.
fn behind() {
    const NICE: i32 = 5;
    // Both are no more than a courtesy: a kernel that refuses them is served all the same.
    if let Ok(nice) = rustix::process::nice(NICE) {
        ask_for_long_slices(nice);
    }
}

/// Asks for long slices, so that a thread that serves, and wants short ones, has the core at once when it wakes (Linux 6.12 and later;
/// before, nothing comes of it). An instruction that fills memory gives nothing away, and would be let go on for some milliseconds.
#[allow(unsafe_code, reason = "no library has this call of the system")]
fn ask_for_long_slices(nice: i32) {
    let attributes = libc::sched_attr {
        sched_nice: nice,
        sched_runtime: SLICE,
        ..attributes()
    };
    // SAFETY: it reads `attributes`, as long as that says it is, and 0 is the calling thread.
    let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// In nanoseconds.
const SLICE: u64 = 20_000_000;

/// Of an ordinary thread. `sched_runtime` is the slice that it asks for.
fn attributes() -> libc::sched_attr {
    libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
        sched_policy: u32::try_from(libc::SCHED_OTHER).unwrap_or(0),
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    }
}

/// Whether this thread has long slices; none where the kernel does not say.
#[cfg(test)]
#[allow(unsafe_code, reason = "as above")]
pub(crate) fn has_long_slices() -> Option<bool> {
    let mut attributes = attributes();
    let (into, size) = (&raw mut attributes, attributes.size);
    // SAFETY: it writes as much of `attributes` as `size` says at most, and 0 is the calling thread.
    let _ = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, into, size, 0) };
    (attributes.sched_runtime > 0).then_some(attributes.sched_runtime == SLICE)
}

async fn made(slot: &Slot, content: &[u8]) -> Ended {
    let Ok(request) = postcard::from_bytes(content) else {
        return busy("the request cannot be handed over");
    };
    let plugin = slot.plugin();
    let call = async {
        let lane = Arc::new(Lane::new(plugin.turns.clone()));
        lane.enter().await;
        let _running = plugin.shared.ticker.running();
        Ok(plugin.pace.measured(call::on_own_stack(plugin, &request, lane)).await)
    };
    call::guarded(call).await.unwrap_or_else(Ended::failed)
}

fn busy(why: &str) -> Ended {
    Ended::failed(RuleError::failed(FailureKind::Busy, why))
}
