//! What may happen with each request is logged once a second. Time is passed in.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(1);

/// When something was logged last, and how often it happened since.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// It happened at `now`: how often it had happened unlogged, if this time it is to be logged.
    pub(crate) fn turn(&self, now: Instant) -> Option<u64> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unlogged) = &mut *held;
        if last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            *unlogged = unlogged.saturating_add(1);
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_logged_once_a_second_with_what_was_not() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.turn(now), Some(0));
        assert_eq!(seldom.turn(now), None);
        assert_eq!(seldom.turn(now + PAUSE - Duration::from_nanos(1)), None);
        assert_eq!(seldom.turn(now + PAUSE), Some(2));
        assert_eq!(seldom.turn(now + PAUSE), None);
    }
}
