//! Which of several authorities is in use. Pure but for the lock: time and chance are passed in to [`next`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::jitter;

/// How long an authority that failed is passed over while there are others.
const ILL: Duration = Duration::from_secs(30);

/// The one in use, and when each failed last.
#[derive(Debug)]
pub(super) struct Choice(Mutex<State>);

#[derive(Debug)]
struct State {
    current: usize,
    /// It has answered since it came into use.
    has_answered: bool,
    failed: Vec<Option<Instant>>,
}

impl Choice {
    /// Begins with any one of so many: a fleet that starts spreads by itself.
    pub(super) fn among(count: usize) -> Self {
        Self(Mutex::new(State {
            current: usize::try_from(jitter::below(u64::MAX))
                .unwrap_or_default()
                .checked_rem(count)
                .unwrap_or_default(),
            has_answered: false,
            failed: vec![None; count],
        }))
    }

    /// The number of the one in use.
    pub(super) fn current(&self) -> usize {
        self.lock().current
    }

    /// That this one failed: if it is in use, it is another's turn.
    pub(super) fn failed(&self, number: usize) {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(failed) = state.failed.get_mut(number) {
            *failed = Some(now);
        }
        if state.current == number {
            state.has_answered = false;
            state.current = next(&state.failed, number, now, jitter::below(u64::MAX));
        }
    }

    /// That this one answered.
    pub(super) fn answered(&self, number: usize) {
        let mut state = self.lock();
        state.has_answered |= state.current == number;
        if let Some(failed) = state.failed.get_mut(number) {
            *failed = None;
        }
    }

    /// That what the one in use had answered with has ended. One that has not answered yet is not to blame for it.
    pub(super) fn left(&self) {
        let (current, has_answered) = {
            let state = self.lock();
            (state.current, state.has_answered)
        };
        if has_answered {
            self.failed(current);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one after `current`: any of the others that have not failed lately, else the one whose failure is longest ago.
fn next(failed: &[Option<Instant>], current: usize, now: Instant, chance: u64) -> usize {
    let is_ill = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) < ILL);
    let others = || {
        failed
            .iter()
            .copied()
            .enumerate()
            .filter(|(number, _)| *number != current)
    };
    let well: Vec<usize> = others()
        .filter(|(_, at)| !is_ill(*at))
        .map(|(number, _)| number)
        .collect();
    let count = u64::try_from(well.len()).unwrap_or_default();
    let picked = chance.checked_rem(count).and_then(|pick| usize::try_from(pick).ok());
    picked
        .and_then(|pick| well.get(pick).copied())
        .or_else(|| others().min_by_key(|(_, at)| *at).map(|(number, _)| number))
        .unwrap_or(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_take_turns_by_chance_and_the_ill_by_age() {
        let now = Instant::now() + 10 * ILL;
        let ago = |seconds: u64| Some(now - Duration::from_secs(seconds));
        assert_eq!(next(&[None], 0, now, 7), 0, "alone");
        let all: std::collections::BTreeSet<_> = (0..100).map(|chance| next(&[None; 4], 2, now, chance)).collect();
        assert_eq!(all, [0, 1, 3].into());
        assert!(
            (0..100).all(|chance| next(&[ago(5), ago(0), ago(31)], 1, now, chance) == 2),
            "31 s are enough"
        );
        assert_eq!(next(&[ago(5), ago(0), ago(9)], 1, now, 3), 2, "all are ill");
        assert_eq!(next(&[ago(5), ago(29), ago(0)], 0, now, 3), 1);
    }

    #[test]
    fn a_failure_counts_once_and_only_of_the_one_in_use() {
        let choice = Choice::among(2);
        let first = choice.current();
        choice.failed(first);
        let second = choice.current();
        assert_ne!(first, second);
        choice.failed(first);
        assert_eq!(choice.current(), second, "calls that began before the change");
        choice.left();
        assert_eq!(choice.current(), second, "the stream that ended was the first's");
        choice.failed(second);
        assert_eq!(choice.current(), first);
        choice.answered(first);
        choice.left();
        assert_eq!(choice.current(), second);
    }
}
