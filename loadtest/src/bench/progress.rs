//! How far a long measurement is: one line on standard error that is written over, if a person is looking.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

/// What takes no longer says nothing.
const PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(200);

/// The line of one step; gone when dropped.
pub(super) struct Progress {
    what: &'static str,
    begun: Instant,
    told: Option<Instant>,
    is_seen: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Progress {
        Progress {
            what,
            begun: Instant::now(),
            told: None,
            is_seen: stderr().is_terminal(),
        }
    }

    /// So many of so many are done.
    pub(super) fn tell(&mut self, done: usize, total: usize) {
        let due = match self.told {
            Some(told) => told.elapsed() >= BETWEEN,
            None => self.begun.elapsed() >= PATIENCE,
        };
        if self.is_seen && due {
            self.told = Some(Instant::now());
            let _ = write!(stderr(), "\rsignet-bench: {}: {done} of {total}\x1b[K", self.what);
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
