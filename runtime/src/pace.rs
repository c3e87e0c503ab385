//! Which plugins hold a core for long, and so are called on threads apart.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A call that holds a core for longer than this is long: what others get of it is late by as much. Most end in some
/// microseconds.
const LONG: Duration = Duration::from_micros(100);
/// So many calls are watched after one that was long by the clock on the wall, when another program may have had the core.
const WATCHED_CALLS: u32 = 256;
/// What a call that was long by its own processor time adds to how slow a plugin is. Each that is not takes an eighth off: some 30
/// of them in a row, and it is called apart no more.
const SLOWER: u32 = 256;
/// From here on a plugin is slow, and not only on trial: three long calls in a row, or nearly so.
const SLOW: u32 = 2 * SLOWER;
/// No plugin is slower.
pub(crate) const SLOWEST: u32 = 4 * SLOWER;

/// What a plugin's calls were like of late. A guest need not reach a check of its time to be slow: one instruction may fill all
/// of its memory. Processor time is what counts, but to ask for it is a call of the system, so only who is under suspicion
/// has it asked. One that is new is on trial until it has shown that it is short: many callers may begin with it at the same moment.
#[derive(Debug)]
pub(crate) struct Pace {
    watched: AtomicU32,
    slow: AtomicU32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            watched: AtomicU32::new(WATCHED_CALLS),
            slow: AtomicU32::new(SLOWER),
        }
    }
}

/// What a call has had of a core, and whether that is processor time.
#[derive(Default)]
struct Held {
    precise: bool,
    time: Duration,
    /// Whether it was said to be long.
    told: bool,
}

impl Pace {
    /// Whether the next calls may be long, and are made apart.
    pub(crate) fn is_apart(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > 0
    }

    /// Whether the next calls are expected to be long.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > SLOW
    }

    /// As after some calls.
    #[cfg(test)]
    pub(crate) fn set(&self, slow: u32) {
        self.slow.store(slow, Ordering::Relaxed);
    }

    /// Makes a call, and remembers whether it was long.
    pub(crate) async fn measured<T>(&self, call: impl Future<Output = T>) -> T {
        let (mut call, mut held, mut long) = (pin!(call), Held::default(), false);
        std::future::poll_fn(|context| {
            let precise = self.watched.load(Ordering::Relaxed) > 0;
            if precise != held.precise {
                held = Held {
                    precise,
                    ..Held::default()
                };
            }
            let started = if precise { processor_time() } else { None };
            let began = Instant::now();
            let poll = call.as_mut().poll(context);
            let more = match (started, precise) {
                (Some(started), _) => processor_time().map(|now| now.saturating_sub(started)),
                (None, true) => None,
                (None, false) => Some(began.elapsed()),
            };
            // Whose time cannot be told has had too much.
            held.time = held.time.saturating_add(more.unwrap_or(LONG));
            if held.time >= LONG {
                if !std::mem::replace(&mut held.told, true) {
                    self.was_long(precise);
                }
                long = true;
            } else if poll.is_ready() && !long {
                self.was_short();
            }
            poll
        })
        .await
    }

    /// Said at once, and not when the call has ended: others of the same plugin may begin before.
    fn was_long(&self, precise: bool) {
        self.watched.store(WATCHED_CALLS, Ordering::Relaxed);
        if precise {
            let slower = |slow: u32| slow.saturating_add(SLOWER).min(SLOWEST);
            self.slow.update(Ordering::Relaxed, Ordering::Relaxed, slower);
        }
    }

    fn was_short(&self) {
        lower(&self.watched, |left| left.saturating_sub(1));
        lower(&self.slow, |left| left.saturating_sub(left / 8).saturating_sub(1));
    }
}

/// What this thread has had of a processor.
fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).ok()
}

/// At zero, it is only read.
fn lower(left: &AtomicU32, lower: impl Fn(u32) -> u32) {
    if left.load(Ordering::Relaxed) > 0 {
        left.update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }
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

    /// Of a plugin that has made short calls for long.
    fn known() -> Pace {
        Pace {
            watched: AtomicU32::new(0),
            slow: AtomicU32::new(0),
        }
    }

    /// How many short calls it takes until it is not called apart.
    async fn short_calls(pace: &Pace) -> u32 {
        let mut made = 0;
        while pace.is_apart() {
            pace.measured(async {}).await;
            made += 1;
        }
        made
    }

    // R22
    #[tokio::test]
    async fn one_that_is_new_is_on_trial_until_it_has_shown_that_it_is_short() {
        let pace = Pace::default();
        assert!(pace.is_apart() && !pace.is_slow());
        let made = short_calls(&pace).await;
        assert!((20..40).contains(&made), "{made}");
    }

    // R22
    #[tokio::test]
    async fn a_plugin_is_called_apart_after_two_calls_that_held_a_core_and_is_slow_after_more() {
        let pace = known();
        pace.measured(busy(LONG)).await;
        assert!(!pace.is_apart(), "another program may have had the core");
        pace.measured(busy(LONG)).await;
        assert!(pace.is_apart() && !pace.is_slow());
        pace.measured(busy(LONG)).await;
        pace.measured(busy(LONG)).await;
        assert!(pace.is_slow());
        for _ in 0..10 {
            pace.measured(busy(LONG)).await;
        }
        let made = short_calls(&pace).await;
        assert!((30..60).contains(&made), "{made}");
        pace.measured(busy(LONG)).await;
        assert!(pace.is_apart(), "it is watched still");
    }

    // R22
    #[tokio::test]
    async fn a_call_that_gives_the_core_to_others_in_between_is_long_all_the_same() {
        let pace = known();
        for _ in 0..2 {
            assert!(!pace.is_apart());
            pace.measured(async {
                for _ in 0..3 {
                    busy(LONG / 2).await;
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        assert!(pace.is_apart());
    }

    #[tokio::test]
    async fn to_wait_for_a_core_makes_no_plugin_slow() {
        let pace = known();
        for _ in 0..3 {
            pace.measured(async { std::thread::sleep(LONG) }).await;
            assert!(!pace.is_apart());
        }
        // Two of the three calls have been counted down already.
        for _ in 2..WATCHED_CALLS {
            assert!(pace.watched.load(Ordering::Relaxed) > 0);
            pace.measured(async {}).await;
        }
        assert_eq!(pace.watched.load(Ordering::Relaxed), 0, "short ones end it");
    }
}
