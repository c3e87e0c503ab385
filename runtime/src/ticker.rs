//! The thread that moves the engine's epoch on. It does nothing else, and it sleeps while no plugin runs.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::Thread;
use std::time::Duration;
use wasmtime::{Engine, EngineWeak};

/// Between two ticks while no call was running at the last one: the longest a guest has the core at first. Each tick
/// costs a core two changes of its thread, and calls of some microseconds need none.
pub(crate) const CALM: Duration = Duration::from_millis(1);
/// Between two ticks while one was: the longest a guest has the core from then on.
const BUSY: Duration = Duration::from_micros(250);

/// Ticks without a call before the thread parks: 100 ms, so that steady traffic never waits for a wake-up.
const IDLE_TICKS: u32 = 100;

/// Owns the thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    begun: AtomicU64,
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// Held while a call runs: the epoch moves on as long as one is held.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Ticker);

impl Ticker {
    /// Its thread runs when this returns: what it asks of the kernel to begin, a worker may not ask any more later.
    pub(crate) fn start(engine: &Engine) -> io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let (weak, inner) = (engine.weak(), shared.clone());
        let (begun, begins) = mpsc::channel();
        let handle = std::thread::Builder::new().name("signet-epoch".into()).spawn(move || {
            // The other end waits for it.
            let _ = begun.send(());
            tick(&weak, &inner);
        })?;
        let _ = begins.recv();
        Ok(Ticker {
            shared,
            thread: handle.thread().clone(),
        })
    }

    pub(crate) fn running(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        self.shared.begun.fetch_add(1, SeqCst);
        if self.shared.parked.load(SeqCst) {
            self.thread.unpark();
        }
        Running(self)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        self.thread.unpark();
    }
}

fn tick(engine: &EngineWeak, shared: &Shared) {
    let (mut seen, mut idle, mut pause) = (0, 0u32, CALM);
    while !shared.stopped.load(SeqCst) {
        std::thread::sleep(pause);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);
        let (begun, running) = (shared.begun.load(SeqCst), shared.running.load(SeqCst));
        pause = if running == 0 { CALM } else { BUSY };
        idle = if begun == seen && running == 0 {
            idle.saturating_add(1)
        } else {
            0
        };
        seen = begun;
        if idle >= IDLE_TICKS {
            park(shared, begun);
            idle = 0;
        }
    }
}

/// A call that begins before `parked` is set is seen here; one that begins after sees `parked` and wakes the thread,
/// and a wake-up before `park` makes it return at once.
fn park(shared: &Shared, seen: u64) {
    shared.parked.store(true, SeqCst);
    while shared.begun.load(SeqCst) == seen && !shared.stopped.load(SeqCst) {
        std::thread::park();
    }
    shared.parked.store(false, SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < end, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_parks_while_idle_and_wakes_for_a_call() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        wait_until("parks", || ticker.shared.parked.load(SeqCst));
        for _ in 0..3 {
            let running = ticker.running();
            wait_until("wakes", || !ticker.shared.parked.load(SeqCst));
            drop(running);
            wait_until("parks again", || ticker.shared.parked.load(SeqCst));
        }
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let shared = Arc::downgrade(&ticker.shared);
        wait_until("parks", || ticker.shared.parked.load(SeqCst));
        drop(ticker);
        wait_until("ends", || shared.strong_count() == 0);
    }
}
