//! Which plugins hold a core for long, and so have to wait for a lane before they get one.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A call that holds a core for longer than this is long: what others get of it is late by as much. Most end in some
/// microseconds.
const LONG: Duration = Duration::from_micros(250);
/// So many calls are watched after one that was long by the clock on the wall, when another program may have had the core.
const WATCHED_CALLS: u32 = 64;
/// So many calls wait for a lane after one that was long by its own processor time.
const SLOW_CALLS: u32 = 1024;

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// On the caller's own stack, and anew where it does not end at once.
    AtOnce,
    /// On a stack of its own, since it has effects and cannot be made anew.
    OwnStack,
    /// On a stack of its own and in a lane from the start: it is expected to be slow.
    InLane,
}

/// What a plugin's calls were like of late. A guest need not reach a check of its time to be slow: one instruction may fill all
/// of its memory. Processor time is what counts, but to ask for it is a call of the system, so only who is under suspicion
/// has it asked.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    watched: AtomicU32,
    slow: AtomicU32,
}

impl Pace {
    /// How the next call is made. `counts`: whether it has effects.
    pub(crate) fn way(&self, counts: bool) -> Way {
        match (one_less(&self.slow), counts) {
            (true, _) => Way::InLane,
            (false, true) => Way::OwnStack,
            (false, false) => Way::AtOnce,
        }
    }

    /// Whether the next calls are expected to be slow.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > 0
    }

    /// Makes a call, and remembers whether one of its polls was long.
    pub(crate) async fn measured<T>(&self, call: impl Future<Output = T>) -> T {
        let (mut call, mut any_long) = (pin!(call), false);
        std::future::poll_fn(|context| {
            let precise = self.watched.load(Ordering::Relaxed) > 0;
            let started = if precise { processor_time() } else { None };
            let began = Instant::now();
            let poll = call.as_mut().poll(context);
            let held = match started {
                Some(started) => processor_time().map(|now| now.saturating_sub(started)),
                None => Some(began.elapsed()),
            };
            if held.is_none_or(|held| held >= LONG) {
                any_long = true;
                self.was_long(precise);
            } else if poll.is_ready() && !any_long {
                one_less(&self.watched);
            }
            poll
        })
        .await
    }

    /// Said at once, and not when the call has ended: others of the same plugin may begin before.
    fn was_long(&self, precise: bool) {
        self.watched.store(WATCHED_CALLS, Ordering::Relaxed);
        if precise {
            self.slow.store(SLOW_CALLS, Ordering::Relaxed);
        }
    }
}

/// What this thread has had of a processor.
fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).ok()
}

/// Counts down where there is something left, and says whether there was. At zero, it is only read.
fn one_less(left: &AtomicU32) -> bool {
    left.load(Ordering::Relaxed) > 0
        && left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that has a processor for `time`, as the processor counts it.
    async fn busy(time: Duration) {
        let started = processor_time().unwrap();
        while processor_time().unwrap() - started < time {
            std::hint::spin_loop();
        }
    }

    // R22
    #[tokio::test]
    async fn a_plugin_waits_for_a_lane_after_two_calls_that_held_a_core() {
        let pace = Pace::default();
        pace.measured(busy(LONG)).await;
        assert_eq!(pace.way(false), Way::AtOnce, "another program may have had the core");
        pace.measured(busy(LONG)).await;
        for _ in 0..SLOW_CALLS {
            assert_eq!(pace.way(true), Way::InLane);
        }
        assert_eq!((pace.way(false), pace.way(true)), (Way::AtOnce, Way::OwnStack));
        pace.measured(busy(LONG)).await;
        assert_eq!(pace.way(false), Way::InLane, "it is watched still");
    }

    #[tokio::test]
    async fn to_wait_for_a_core_makes_no_plugin_slow() {
        let pace = Pace::default();
        for _ in 0..3 {
            pace.measured(async { std::thread::sleep(LONG) }).await;
            assert_eq!(pace.way(false), Way::AtOnce);
        }
        // Two of the three calls have been counted down already.
        for _ in 2..WATCHED_CALLS {
            assert!(pace.watched.load(Ordering::Relaxed) > 0);
            pace.measured(async {}).await;
        }
        assert_eq!(pace.watched.load(Ordering::Relaxed), 0, "short ones end it");
    }
}
