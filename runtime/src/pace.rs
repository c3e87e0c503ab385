//! Which plugins hold a core for long, and so are called on threads apart.

use crate::stolen;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A call that holds a core for longer than this for each of its requests is long: what others get of it is late by as much. Most end
/// in some microseconds, and requests that are judged in one call would be judged one after the other else.
const LONG: Duration = Duration::from_micros(50);
/// Over its share by the clock on the wall, so much before a plugin is watched: another program may have had the core.
const SUSPECT: Duration = Duration::from_micros(500);
/// So many calls in a row, short by their own processor time, show that a new plugin is short.
const TRIAL: u32 = 32;
/// The part of one core that a plugin's long calls may hold: a fiftieth. On a virtual machine with a hostile neighbour a call of some
/// microseconds is charged with some hundred now and then, and an honest plugin makes many.
const SHARE: u32 = 50;
/// Over that share, so much at once: an interrupt, or a virtual processor that its host has stopped, is charged to whoever is there.
const SPARE: Duration = Duration::from_millis(4);
/// From here on a plugin is slow, and not only by chance.
const SLOW: Duration = Duration::from_millis(8);
/// What is over this is forgiven: a plugin that has turned short is called with the others again after two and a half seconds.
const MOST: Duration = Duration::from_millis(50);

/// What a plugin's calls were like of late. A guest need not reach a check of its time to be slow: one instruction may fill all
/// of its memory. Processor time is what counts, but to ask for it is a call of the system, so only who is under suspicion, by what
/// its calls hold by the clock on the wall, has it asked. One that is new is on trial until it has shown that it is short: many
/// callers may begin with it at the same moment.
#[derive(Debug)]
pub(crate) struct Pace {
    born: Instant,
    /// Calls that it has yet to show.
    trial: AtomicU32,
    /// What its long calls have held by the clock on the wall, others that had the core in between included.
    suspected: Account,
    /// What they have held of a processor, as far as it was watched.
    owed: Account,
    /// What the machine's host had taken when that was last made good, in microseconds.
    stolen: AtomicU64,
    look: fn() -> Option<Duration>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            born: Instant::now(),
            trial: AtomicU32::new(TRIAL),
            suspected: Account::default(),
            owed: Account::default(),
            stolen: AtomicU64::new(0),
            look: stolen::total,
        }
    }
}

/// Until when a plugin's share makes up for what it has held, in microseconds since it was born.
#[derive(Debug, Default)]
struct Account(AtomicU64);

impl Account {
    /// Whether it is over its share by more than `more`. Most never were, and the clock is not read for them.
    fn owes(&self, more: Duration, now: impl FnOnce() -> u64) -> bool {
        let (until, more) = (self.0.load(Ordering::Relaxed), paid_after(more));
        until > more && until > now().saturating_add(more)
    }

    fn pay(&self, time: Duration) {
        let earlier = |until: u64| until.saturating_sub(paid_after(time));
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }

    fn charge(&self, held: Duration, now: u64) {
        let most = now.saturating_add(paid_after(MOST));
        let later = |until: u64| until.max(now).saturating_add(paid_after(held)).min(most);
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, later);
    }
}

/// What a call has had of a core, and whether that is processor time.
#[derive(Default)]
struct Held {
    precise: bool,
    time: Duration,
    /// What of it is on the plugin's account.
    charged: Duration,
}

impl Pace {
    /// Whether the next calls may be long, and are made apart.
    pub(crate) fn is_apart(&self) -> bool {
        self.trial.load(Ordering::Relaxed) > 0 || self.owes(SPARE)
    }

    /// Whether the next calls are expected to be long.
    pub(crate) fn is_slow(&self) -> bool {
        self.owes(SLOW)
    }

    /// Whether it is over its share by more than `more`, and by more than the machine's host has taken meanwhile, of which a part was
    /// charged to it. All of that is forgiven: a plugin harms nobody by more than the host does then.
    fn owes(&self, more: Duration) -> bool {
        if !self.owed.owes(more, || self.now()) {
            return false;
        }
        if let Some(total) = (self.look)().map(micros) {
            let before = self.stolen.fetch_max(total, Ordering::Relaxed);
            self.owed.pay(Duration::from_micros(total.saturating_sub(before)));
        }
        self.owed.owes(more, || self.now())
    }

    /// As after calls that held a core for `held` beyond its share, and all that it had to show.
    #[cfg(test)]
    pub(crate) fn set(&self, held: Duration) {
        self.trial.store(0, Ordering::Relaxed);
        self.owed.0.store(0, Ordering::Relaxed);
        self.forget_stolen();
        self.owed.charge(held, self.now());
    }

    /// Makes a call about so many requests, and remembers whether it was long.
    pub(crate) async fn measured<T>(&self, requests: u32, call: impl Future<Output = T>) -> T {
        let most = LONG.saturating_mul(requests);
        let (mut call, mut held, mut long) = (pin!(call), Held::default(), false);
        std::future::poll_fn(|context| {
            let began = Instant::now();
            let precise = self.is_watched(began);
            if precise != held.precise {
                held = Held {
                    precise,
                    ..Held::default()
                };
            }
            let started = if precise { processor_time() } else { None };
            let poll = call.as_mut().poll(context);
            let mut more = began.elapsed();
            if precise && held.time.saturating_add(more) >= most {
                // Whose time cannot be told has had all that went by.
                let had = started
                    .zip(processor_time())
                    .map(|(started, now)| now.saturating_sub(started));
                more = had.unwrap_or(more);
            }
            held.time = held.time.saturating_add(more);
            if held.time >= most {
                // At once, and not when the call has ended: others of the same plugin may begin before.
                self.was_long(&mut held);
                long = true;
            } else if poll.is_ready() && !long && precise {
                on_trial(&self.trial, |left| left.saturating_sub(1));
            }
            poll
        })
        .await
    }

    fn is_watched(&self, now: Instant) -> bool {
        self.trial.load(Ordering::Relaxed) > 0 || self.suspected.owes(SUSPECT, || self.micros(now))
    }

    /// What was taken before is none of what it will owe.
    fn forget_stolen(&self) {
        let total = (self.look)().map_or(0, micros);
        self.stolen.fetch_max(total, Ordering::Relaxed);
    }

    fn was_long(&self, held: &mut Held) {
        let (now, more) = (self.now(), held.time.saturating_sub(held.charged));
        held.charged = held.time;
        self.suspected.charge(more, now);
        if held.precise {
            on_trial(&self.trial, |_| TRIAL);
            if !self.owed.owes(Duration::ZERO, || now) {
                self.forget_stolen();
            }
            self.owed.charge(more, now);
        }
    }

    fn now(&self) -> u64 {
        self.micros(Instant::now())
    }

    fn micros(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.born))
    }
}

/// How long a plugin's share takes to make up for what it held, in microseconds.
fn paid_after(held: Duration) -> u64 {
    micros(held.saturating_mul(SHARE))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What this thread has had of a processor.
fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).ok()
}

/// Once it is over it is only read.
fn on_trial(left: &AtomicU32, change: impl Fn(u32) -> u32) {
    let change = |left: u32| (left > 0).then(|| change(left));
    if left.load(Ordering::Relaxed) > 0 {
        let _ = left.try_update(Ordering::Relaxed, Ordering::Relaxed, change);
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

    /// On a machine of its own.
    fn new() -> Pace {
        Pace {
            look: || None,
            ..Pace::default()
        }
    }

    /// Of a plugin that has made short calls for long.
    fn known() -> Pace {
        let pace = new();
        pace.set(Duration::ZERO);
        pace
    }

    /// As if `time` had passed.
    fn later(mut pace: Pace, time: Duration) -> Pace {
        pace.born -= time;
        pace
    }

    // R22
    #[tokio::test]
    async fn one_that_is_new_is_on_trial_until_it_has_shown_that_it_is_short() {
        let pace = new();
        for half in 0..2 {
            for _ in 1..TRIAL {
                pace.measured(1, async {}).await;
                assert!(pace.is_apart() && !pace.is_slow());
            }
            if half == 0 {
                pace.measured(1, busy(LONG)).await;
            }
        }
        pace.measured(1, async {}).await;
        assert!(!pace.is_apart(), "so many in a row");
    }

    // R22
    #[tokio::test]
    async fn a_plugin_is_called_apart_once_its_long_calls_have_held_more_than_its_share() {
        let pace = known();
        pace.measured(1, busy(4 * SPARE)).await;
        assert!(!pace.is_apart(), "another program may have had the core");
        pace.measured(1, busy(SPARE / 2)).await;
        assert!(!pace.is_apart(), "the machine may have had it");
        pace.measured(1, busy(SPARE)).await;
        assert!(pace.is_apart() && !pace.is_slow());
        for _ in 0..4 {
            pace.measured(1, busy(SPARE)).await;
        }
        assert!(pace.is_slow());
        for _ in 0..1000 {
            pace.measured(1, async {}).await;
        }
        assert!(pace.is_slow(), "short calls in between are no excuse");
        let pace = later(pace, SPARE * SHARE * 4);
        assert!(pace.is_apart() && !pace.is_slow());
        let pace = later(pace, SPARE * SHARE * 2);
        assert!(!pace.is_apart(), "its share has made up for it");
    }

    // R22
    #[tokio::test]
    async fn what_a_plugin_owes_ends() {
        let pace = known();
        pace.measured(1, busy(2 * SUSPECT)).await;
        pace.measured(1, busy(2 * MOST)).await;
        assert!(pace.is_slow());
        assert!(!later(pace, MOST * SHARE).is_apart());
    }

    // R22
    #[tokio::test]
    async fn a_call_that_gives_the_core_to_others_in_between_is_long_all_the_same() {
        let pace = known();
        pace.measured(1, busy(2 * SUSPECT)).await;
        assert!(!pace.is_apart());
        pace.measured(1, async {
            for _ in 0..3 {
                busy(SPARE / 2).await;
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(pace.is_apart());
    }

    #[tokio::test]
    async fn to_wait_for_a_core_makes_no_plugin_slow() {
        let pace = known();
        for _ in 0..3 {
            pace.measured(1, async { std::thread::sleep(2 * SPARE) }).await;
            assert!(!pace.is_apart() && pace.is_watched(Instant::now()));
        }
        assert!(
            !later(pace, 6 * SPARE * SHARE).is_watched(Instant::now()),
            "its share has made up for it"
        );
    }

    // R22
    #[tokio::test]
    async fn one_that_is_long_now_and_then_costs_no_watch() {
        let pace = known();
        pace.measured(1, busy(2 * LONG)).await;
        assert!(!pace.is_watched(Instant::now()));
        for _ in 0..8 {
            pace.measured(1, busy(LONG)).await;
        }
        assert!(pace.is_watched(Instant::now()), "but often is not now and then");
    }

    thread_local! {
        static STOLEN: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::from_secs(100)) };
    }

    // R22
    #[tokio::test]
    async fn what_the_machine_s_host_takes_is_not_held_against_a_plugin() {
        let pace = Pace {
            look: || Some(STOLEN.get()),
            ..known()
        };
        pace.measured(1, busy(2 * SUSPECT)).await;
        pace.measured(1, busy(3 * SPARE)).await;
        assert!(pace.is_apart(), "what was taken before is none of it");
        STOLEN.set(STOLEN.get() + SPARE);
        assert!(pace.is_apart(), "it was less than it owes");
        STOLEN.set(STOLEN.get() + 2 * SPARE);
        assert!(!pace.is_apart());
        pace.measured(1, busy(3 * SPARE)).await;
        assert!(pace.is_apart(), "and it is forgiven once");
    }
}
