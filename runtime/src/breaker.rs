//! The circuit breaker of one plugin: one that fails again and again is not called for a while.
//!
//! Closed, every call is made. It opens at the [`FAILURES`]th failure within [`WINDOW`], if by then at least as many calls
//! failed as were answered: a caller whose requests make the rule fail does not shut the others out. Open, no call is
//! made until a pause is over; then one is, on trial. Its answer closes the breaker, its failure doubles the pause.
//!
//! What counts as a failure says [`FailureKind::is_plugins_own`]. Time is passed in.

use crate::failure::{FailureKind, RuleError};
use crate::verdict::Verdict;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many failures open it.
pub(crate) const FAILURES: u64 = 5;
/// The time they are counted over, from the first of them.
const WINDOW: Duration = Duration::from_secs(10);
/// From the opening to the first trial.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two trials.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One breaker. A call that it lets through while closed costs one load; the lock is for what happens seldom.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    open: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The failures since then, and how many calls had been answered by then.
    Closed {
        since: Option<Instant>,
        failures: u64,
        answered: u64,
    },
    /// No call until then, which is `pause` after the last failure. `trying`: one is on trial.
    Open {
        until: Instant,
        pause: Duration,
        trying: bool,
    },
}

impl Default for State {
    fn default() -> State {
        State::Closed {
            since: None,
            failures: 0,
            answered: 0,
        }
    }
}

/// A breaker opened or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    /// The plugin is not called for a while; it failed so last.
    Opened(FailureKind),
    /// A trial was answered: it is called as ever.
    Closed,
}

/// What the end of a call made of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It opened, for this long at first.
    Opened(Duration),
    /// The trial failed: it stays open, for this long.
    StaysOpen(Duration),
    /// The trial was answered.
    Closed,
}

/// Leave to make one call. A trial that comes to no end gives its turn back.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    trial: bool,
}

impl Breaker {
    /// Whether calls are refused, but for a trial now and then.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Leave to call; none while it is open. `now` is asked for then only.
    pub(crate) fn enter(&self, now: impl FnOnce() -> Instant) -> Option<Pass<'_>> {
        let trial = self.is_open() && self.lock().enter(now())?;
        Some(Pass { breaker: self, trial })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The call ended so, `now` if it matters; `answered` counts the plugin's answers (verdicts and refusals) so far.
    pub(crate) fn ended(
        mut self,
        outcome: &Result<Verdict, RuleError>,
        now: impl FnOnce() -> Instant,
        answered: u64,
    ) -> Option<Change> {
        let failed = match outcome {
            Ok(_) | Err(RuleError::Refused { .. }) => false,
            Err(RuleError::Failed { kind, .. }) if kind.is_plugins_own() => true,
            Err(RuleError::Failed { .. }) => return None,
        };
        if !failed && !self.trial {
            return None;
        }
        let trial = std::mem::take(&mut self.trial);
        let mut state = self.breaker.lock();
        let change = if failed {
            state.failed(now(), trial, answered)
        } else {
            *state = State::default();
            Some(Change::Closed)
        };
        let open = matches!(*state, State::Open { .. });
        self.breaker.open.store(open, Ordering::Relaxed);
        change
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let (true, State::Open { trying, .. }) = (self.trial, &mut *self.breaker.lock()) {
            *trying = false;
        }
    }
}

impl State {
    /// Whether the call that may be made is a trial; none: no call may be made.
    fn enter(&mut self, now: Instant) -> Option<bool> {
        match self {
            State::Closed { .. } => Some(false),
            State::Open { until, trying, .. } if !*trying && *until <= now => {
                *trying = true;
                Some(true)
            }
            State::Open { .. } => None,
        }
    }

    fn failed(&mut self, now: Instant, trial: bool, total: u64) -> Option<Change> {
        match self {
            State::Open { pause, .. } if trial => {
                let pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                *self = State::open(now, pause);
                Some(Change::StaysOpen(pause))
            }
            // Of a call that began before it opened.
            State::Open { .. } => None,
            State::Closed {
                since,
                failures,
                answered,
            } => {
                let began = since.filter(|began| now.saturating_duration_since(*began) < WINDOW);
                if began.is_none() {
                    (*since, *failures, *answered) = (Some(now), 0, total);
                }
                *failures = failures.saturating_add(1);
                if *failures < FAILURES || *failures < total.saturating_sub(*answered) {
                    return None;
                }
                *self = State::open(now, FIRST_PAUSE);
                Some(Change::Opened(FIRST_PAUSE))
            }
        }
    }

    fn open(now: Instant, pause: Duration) -> State {
        State::Open {
            until: now.checked_add(pause).unwrap_or(now),
            pause,
            trying: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker, its clock, and the plugin's answers so far.
    struct Rig {
        breaker: Breaker,
        now: Instant,
        answered: u64,
    }

    fn failure(kind: FailureKind) -> Result<Verdict, RuleError> {
        Err(RuleError::failed(kind, "x"))
    }

    fn refusal() -> Result<Verdict, RuleError> {
        Err(RuleError::Refused {
            code: "no".into(),
            message: "no".into(),
        })
    }

    impl Rig {
        fn new() -> Rig {
            Rig {
                breaker: Breaker::default(),
                now: Instant::now(),
                answered: 0,
            }
        }

        fn call(&mut self, outcome: &Result<Verdict, RuleError>) -> Option<Change> {
            let pass = self.breaker.enter(|| self.now).expect("a call that may be made");
            self.answered += u64::from(!matches!(outcome, Err(RuleError::Failed { .. })));
            pass.ended(outcome, || self.now, self.answered)
        }

        fn calls(&mut self, n: u64, outcome: &Result<Verdict, RuleError>) {
            for _ in 0..n {
                assert_eq!(self.call(outcome), None);
            }
        }

        fn opened() -> Rig {
            let mut rig = Rig::new();
            rig.calls(FAILURES - 1, &failure(FailureKind::Trap));
            assert_eq!(rig.call(&failure(FailureKind::Trap)), Some(Change::Opened(FIRST_PAUSE)));
            rig
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }
    }

    #[test]
    fn repeated_failures_of_the_plugins_own_open_it() {
        for kind in [
            FailureKind::Trap,
            FailureKind::Timeout,
            FailureKind::Memory,
            FailureKind::BadOutput,
        ] {
            let mut rig = Rig::new();
            rig.calls(FAILURES - 1, &failure(kind));
            assert!(!rig.breaker.is_open());
            assert_eq!(rig.call(&failure(kind)), Some(Change::Opened(FIRST_PAUSE)), "{kind:?}");
            assert!(rig.breaker.is_open() && rig.breaker.enter(|| rig.now).is_none());
        }
    }

    #[test]
    fn refusals_and_failures_that_are_not_its_own_never_do() {
        let mut rig = Rig::new();
        rig.calls(100, &failure(FailureKind::Busy));
        rig.calls(100, &failure(FailureKind::HostPanic));
        rig.calls(100, &refusal());
        assert!(!rig.breaker.is_open());
    }

    #[test]
    fn failures_beside_as_many_answers_or_far_apart_do_not() {
        let mut rig = Rig::new();
        rig.calls(1, &failure(FailureKind::Trap));
        for _ in 0..100 {
            rig.calls(2, &Ok(Verdict::default()));
            rig.calls(1, &failure(FailureKind::Trap));
        }
        assert!(!rig.breaker.is_open());
        let mut rig = Rig::new();
        for _ in 0..100 {
            rig.calls(FAILURES - 1, &failure(FailureKind::Trap));
            rig.wait(WINDOW);
        }
        // What was answered before the window began is no excuse.
        rig.calls(100, &Ok(Verdict::default()));
        rig.calls(FAILURES - 1, &failure(FailureKind::Trap));
        assert!(rig.call(&failure(FailureKind::Trap)).is_some());
    }

    #[test]
    fn one_trial_after_a_pause_closes_it() {
        let mut rig = Rig::opened();
        rig.wait(FIRST_PAUSE - Duration::from_nanos(1));
        assert!(rig.breaker.enter(|| rig.now).is_none());
        rig.wait(Duration::from_nanos(1));
        let trial = rig.breaker.enter(|| rig.now).unwrap();
        assert!(rig.breaker.enter(|| rig.now).is_none(), "one at a time");
        assert_eq!(trial.ended(&refusal(), || rig.now, 1), Some(Change::Closed));
        rig.calls(FAILURES - 1, &failure(FailureKind::Trap));
        assert!(!rig.breaker.is_open(), "the count begins anew");
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_begins_anew() {
        let mut rig = Rig::opened();
        let mut pauses = Vec::new();
        let mut pause = FIRST_PAUSE;
        for _ in 0..7 {
            rig.wait(pause);
            let Some(Change::StaysOpen(next)) = rig.call(&failure(FailureKind::Timeout)) else {
                panic!("a trial that failed")
            };
            pauses.push(next.as_secs());
            pause = next;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
        rig.wait(pause);
        assert_eq!(rig.call(&Ok(Verdict::default())), Some(Change::Closed));
        rig.calls(1, &Ok(Verdict::default()));
        rig.calls(FAILURES - 1, &failure(FailureKind::Trap));
        assert_eq!(rig.call(&failure(FailureKind::Trap)), Some(Change::Opened(FIRST_PAUSE)));
    }

    #[test]
    fn a_trial_without_an_end_gives_its_turn_to_the_next() {
        let mut rig = Rig::opened();
        rig.wait(FIRST_PAUSE);
        drop(rig.breaker.enter(|| rig.now).unwrap());
        assert_eq!(rig.call(&failure(FailureKind::Busy)), None);
        assert!(rig.breaker.is_open());
        assert_eq!(rig.call(&Ok(Verdict::default())), Some(Change::Closed));
    }

    #[test]
    fn calls_that_began_before_it_opened_change_nothing() {
        let mut rig = Rig::new();
        let (late, later) = (
            rig.breaker.enter(|| rig.now).unwrap(),
            rig.breaker.enter(|| rig.now).unwrap(),
        );
        let now = rig.now;
        for n in 1..=FAILURES {
            let pass = rig.breaker.enter(|| now).unwrap();
            assert_eq!(
                pass.ended(&failure(FailureKind::Trap), || now, 0).is_some(),
                n == FAILURES
            );
        }
        rig.now += FIRST_PAUSE;
        let trial = rig.breaker.enter(|| rig.now).unwrap();
        assert_eq!(late.ended(&failure(FailureKind::Trap), || rig.now, 0), None);
        assert_eq!(later.ended(&Ok(Verdict::default()), || rig.now, 1), None);
        assert!(
            rig.breaker.is_open() && rig.breaker.enter(|| rig.now).is_none(),
            "the trial goes on"
        );
        assert_eq!(
            trial.ended(&Ok(Verdict::default()), || rig.now, 2),
            Some(Change::Closed)
        );
    }
}
