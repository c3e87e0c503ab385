//! The wall clock, which tests can set ahead.

#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This machine's clock.
#[derive(Debug, Default)]
pub struct Clock {
    /// Seconds.
    #[cfg(test)]
    ahead: AtomicU64,
}

impl Clock {
    /// Unix seconds.
    pub fn now(&self) -> u64 {
        self.since_epoch().as_secs()
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.since_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    fn since_epoch(&self) -> Duration {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        #[cfg(test)]
        let wall = wall + Duration::from_secs(self.ahead.load(Ordering::Relaxed));
        wall
    }

    /// Lets time pass.
    #[cfg(test)]
    pub fn advance(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}
