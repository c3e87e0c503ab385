//! How far a long command is: one line on standard error that is written over, if a person is looking.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What takes no longer says nothing.
const PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(200);

/// The line of one command; gone when dropped.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    of: &'static str,
    begun: Instant,
    told: Option<Instant>,
    is_seen: bool,
}

/// Does what says nothing of how far it is, and tells for how long it has been going on.
pub fn during<T: Send>(what: &'static str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let (done, doing) = mpsc::channel::<()>();
        let working = scope.spawn(move || {
            // Dropped when the work has ended, however it does.
            let _done = done;
            work()
        });
        let mut progress = Progress::new(what, "");
        while doing.recv_timeout(BETWEEN) == Err(RecvTimeoutError::Timeout) {
            let seconds = progress.begun.elapsed().as_secs();
            progress.say(&format!("{what}: {seconds} s"));
        }
        drop(progress);
        working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Progress {
    /// `what` is being done, counted in `of`.
    pub fn new(what: &'static str, of: &'static str) -> Progress {
        Progress {
            what,
            of,
            begun: Instant::now(),
            told: None,
            is_seen: stderr().is_terminal(),
        }
    }

    /// So much of so much is done.
    pub fn tell(&mut self, done: u64, total: u64) {
        self.say(&format!("{}: {done} of {total} {}", self.what, self.of));
    }

    /// Waits for what may take long, and says for how long it has.
    pub async fn during<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut begun = tokio::time::interval(Duration::from_secs(1));
        let mut seconds = 0_u64;
        loop {
            tokio::select! {
                answer = &mut work => return answer,
                _ = begun.tick() => {
                    self.say(&format!("{what}: {seconds} s"));
                    seconds = seconds.saturating_add(1);
                }
            }
        }
    }

    /// Something else that keeps the command.
    pub fn say(&mut self, text: &str) {
        let due = match self.told {
            Some(told) => told.elapsed() >= BETWEEN,
            None => self.begun.elapsed() >= PATIENCE,
        };
        if self.is_seen && due {
            self.told = Some(Instant::now());
            let _ = write!(stderr(), "\rsignet: {text}\x1b[K");
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
            let _ = stderr().flush();
        }
    }
}
