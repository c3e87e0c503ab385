//! The workers of one plugin: a call takes one that is free, and a thread for each keeps one running.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::MAX_WORKERS;
use super::process::{Handle, Start};
use super::protocol::{self, Reply};
use crate::artifact::Artifact;
use crate::call::Ended;
use crate::component::{LoadFailure, PluginSource};
use crate::engine::Shared as Host;
use crate::failure::{FailureKind, RuleError};
use crate::import::counter::{Counting, Problem};
use crate::limits::MAX_HOST_CALLS;
use crate::metrics::count;
use crate::plugin::Inner;
use crate::question::{MAX_BATCH, Question};

/// How much longer than its deadline a call may take before its worker is killed: the worker holds the deadline itself, and
/// may have to wait for a core.
const GRACE: Duration = Duration::from_secs(1);
/// The longest that a call waits for a free worker, where a worker may not have a batch.
const TURN: Duration = Duration::from_secs(1);
/// Bytes of the stack of a thread that keeps a worker.
const KEEPERS_STACK: usize = 512 << 10;
/// The first pause between restarts that did not help, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The workers. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    plugin: String,
    start: Start,
    /// Of a call about one request.
    deadline: Duration,
    /// One for each that was put among the idle ones. One that dies there leaves its own behind: who takes that looks again.
    turns: Semaphore,
    state: Mutex<State>,
    closing: Condvar,
    restarts: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    idle: Vec<Worker>,
    live: Vec<Arc<Handle>>,
}

/// What a worker is told, and what its parent needs of it.
struct Call {
    frame: Vec<u8>,
    requests: u32,
    time: u64,
}

/// One that makes no call, or makes this one.
#[derive(Debug)]
struct Worker {
    handle: Arc<Handle>,
    /// Until the first call, which runs where sockets are waited for.
    fresh: Option<StdStream>,
    stream: Option<UnixStream>,
}

impl Pool {
    /// Starts as many as the host's settings say, and waits until all of them are ready.
    pub(crate) fn start(host: &Host, source: &PluginSource, artifact: &Artifact) -> Result<Pool, LoadFailure> {
        let pool = Pool(Arc::new(Shared {
            plugin: source.name.clone(),
            start: Start::new(&host.settings, source, artifact)?,
            deadline: source.deadline,
            turns: Semaphore::new(0),
            state: Mutex::default(),
            closing: Condvar::new(),
            restarts: AtomicU64::new(0),
        }));
        let (sender, ready) = mpsc::channel();
        for _ in 0..host.settings.workers.each {
            let seat = host.seats.clone().try_acquire_owned();
            let seat = seat.map_err(|_| LoadFailure::TooManyWorkers(MAX_WORKERS))?;
            let (shared, sender) = (pool.0.clone(), sender.clone());
            // A worker dies with the thread that started it: this one lives as long.
            let keeper = std::thread::Builder::new()
                .name("signet-worker".into())
                .stack_size(KEEPERS_STACK);
            let kept = keeper.spawn(move || {
                shared.keep(sender);
                drop(seat);
            });
            kept.map_err(|error| LoadFailure::Worker(error.to_string()))?;
        }
        drop(sender);
        for _ in 0..host.settings.workers.each {
            let ready = ready.recv();
            ready.map_err(|_| LoadFailure::Worker("its thread ended".into()))??;
        }
        Ok(pool)
    }

    /// Workers that ended and were replaced.
    pub(crate) fn restarts(&self) -> u64 {
        self.0.restarts.load(Ordering::Relaxed)
    }

    /// Those that make no call.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.0.state().idle.len()
    }

    /// Stops all of them.
    #[cfg(test)]
    pub(super) fn stop(&self) {
        self.0.state().live.iter().for_each(|handle| handle.stop());
    }

    /// Sends a signal to all of them.
    #[cfg(test)]
    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        self.0.state().live.iter().for_each(|handle| handle.signal(signal));
    }

    /// Has a worker make one call. The future may be dropped at any point.
    pub(crate) async fn call(&self, plugin: &Arc<Inner>, question: Question<'_>) -> Ended {
        let frame = match protocol::encode(&question) {
            Ok(frame) => frame,
            Err(error) => return failed(FailureKind::HostPanic, format!("the request has no frame: {error}")),
        };
        let turn = self.0.turn(plugin);
        let Ok(worker) = timeout(turn, self.0.take()).await else {
            return failed(FailureKind::Busy, format!("no worker came free within {turn:?}"));
        };
        let call = Call {
            frame,
            requests: question.requests(),
            time: question.time(),
        };
        let (shared, most) = (self.0.clone(), plugin.memory);
        let plugin = plugin.clone();
        // In a task of its own: a caller that goes away leaves a worker with a call whose end nobody else waits for.
        let call = tokio::spawn(async move { shared.call(worker, &call, &plugin.counters).await });
        let ended = call.await;
        let mut ended = ended.unwrap_or_else(|_| failed(FailureKind::Busy, "the process is ending"));
        ended.memory = ended.memory.min(most);
        ended
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        state.idle.clear();
        state.live.iter().for_each(|handle| handle.kill());
        self.0.closing.notify_all();
    }
}

fn failed(kind: FailureKind, detail: impl Into<String>) -> Ended {
    Ended::failed(RuleError::failed(kind, detail))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest that a call waits: longer by what a batch may take.
    fn turn(&self, plugin: &Inner) -> Duration {
        let requests = plugin.evaluate_batch.map_or(0, |_| MAX_BATCH);
        let longest = u32::try_from(requests).map_or(Duration::MAX, |requests| self.deadline.saturating_mul(requests));
        TURN.saturating_add(longest)
    }

    /// A worker that makes no call, as soon as there is one.
    async fn take(&self) -> Worker {
        loop {
            // The semaphore is never closed.
            if let Ok(turn) = self.turns.acquire().await {
                turn.forget();
            }
            if let Some(worker) = self.state().idle.pop() {
                return worker;
            }
        }
    }

    async fn call(&self, mut worker: Worker, call: &Call, counters: &Counting) -> Ended {
        let patience = self.deadline.saturating_mul(call.requests).saturating_add(GRACE);
        let failure = match timeout(patience, worker.ask(call, counters)).await {
            Ok(Ok(ended)) => {
                worker.handle.answers();
                self.offer(worker);
                return ended;
            }
            Ok(Err(error)) => failed(FailureKind::Worker, format!("its worker is gone: {error}")),
            Err(_) => failed(FailureKind::Timeout, "its worker did not answer, and was killed"),
        };
        // Whatever state it is in, it answers nobody any more.
        worker.handle.kill();
        failure
    }

    /// Puts a worker among the idle ones.
    fn offer(&self, worker: Worker) {
        let mut state = self.state();
        if !state.closed {
            state.idle.push(worker);
            self.turns.add_permits(1);
        }
    }

    /// Keeps one worker running until the pool is closed. Whether the first one is ready goes to `first`; if not, that was all.
    fn keep(&self, first: Sender<Result<(), LoadFailure>>) {
        let mut first = Some(first);
        let mut failures = 0;
        while self.waits(pause(failures)) {
            failures = failures.saturating_add(1);
            match (self.start.process(), first.take()) {
                (Ok((process, socket)), first) => {
                    let (handle, begun) = (process.handle().clone(), Instant::now());
                    self.enter(&handle, socket);
                    // Nobody listens any more where another one of them failed.
                    first.map(|first| first.send(Ok(())));
                    let ended = process.wait();
                    if self.leave(&handle) {
                        return;
                    }
                    count(&self.restarts);
                    if handle.has_answered() || begun.elapsed() > LONGEST_PAUSE {
                        failures = 0;
                    }
                    let plugin = &self.plugin;
                    tracing::warn!(plugin, ended, "a plugin's worker ended; another is started");
                }
                (Err(failure), Some(first)) => return drop(first.send(Err(failure))),
                (Err(failure), None) => {
                    let plugin = &self.plugin;
                    tracing::error!(plugin, %failure, failures, "a plugin's worker does not start; it is tried again");
                }
            }
        }
    }

    /// Waits for so long; false once the pool is closed.
    fn waits(&self, pause: Duration) -> bool {
        let waited = self
            .closing
            .wait_timeout_while(self.state(), pause, |state| !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    fn enter(&self, handle: &Arc<Handle>, socket: StdStream) {
        let mut state = self.state();
        state.live.push(handle.clone());
        if state.closed {
            handle.kill();
        }
        drop(state);
        self.offer(Worker {
            handle: handle.clone(),
            fresh: Some(socket),
            stream: None,
        });
    }

    /// It has ended. Whether the pool is closed.
    fn leave(&self, handle: &Arc<Handle>) -> bool {
        let mut state = self.state();
        state.live.retain(|live| !Arc::ptr_eq(live, handle));
        state.idle.retain(|worker| !Arc::ptr_eq(&worker.handle, handle));
        state.closed
    }
}

impl Worker {
    async fn ask(&mut self, call: &Call, counters: &Counting) -> io::Result<Ended> {
        if let Some(fresh) = self.fresh.take() {
            self.stream = Some(UnixStream::from_std(fresh)?);
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&call.frame).await?;
        for _ in 0..=MAX_HOST_CALLS {
            let content = protocol::receive(stream, call.requests).await?;
            match protocol::decode(&content)? {
                Reply::Ended { answer, log, memory } => {
                    return Ok(protocol::ended(answer, log, memory, call.requests));
                }
                Reply::Count { key, window } => {
                    let counted = match counters {
                        Counting::Here(counters) => counters.increment(&key, window, call.time),
                        // A worker has no workers.
                        Counting::Parent(_) => Err(Problem::Full),
                    };
                    stream.write_all(&protocol::encode(&counted)?).await?;
                }
            }
        }
        Err(io::Error::other("it counts without end"))
    }
}

/// None before the first start, then doubling.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_pause_longer_up_to_a_bound() {
        let millis: Vec<_> = [0, 1, 2, 3, 6, 7, 33, u32::MAX]
            .into_iter()
            .map(|n| pause(n).as_millis())
            .collect();
        assert_eq!(millis, [0, 100, 200, 400, 3200, 5000, 5000, 5000]);
    }
}
