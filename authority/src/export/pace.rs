//! How a sink is tried: how many records at once, and how long after a failure. Pure.

use std::time::Duration;

/// Records in one batch at most.
const BATCH: usize = 500;
/// Batches that are taken before the next ones are larger.
const STEADY: u32 = 32;
/// Waits between two tries.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// What a batch is that failed twice is halved, since receivers bound what they take, and after a while tried larger again.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    steady: u32,
    wait: Duration,
    /// Why the last batch failed.
    trouble: Option<String>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            most: BATCH,
            steady: 0,
            wait: SHORTEST,
            trouble: None,
        }
    }

    /// Whether the last batch failed.
    pub(super) fn is_failing(&self) -> bool {
        self.trouble.is_some()
    }

    /// How many records to look at: of those that are too old, as many as there are.
    pub(super) fn looked_at(&self) -> usize {
        if self.is_failing() { BATCH } else { self.most }
    }

    /// How many records to send at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// A batch was taken; whether the one before it had failed.
    pub(super) fn taken(&mut self) -> bool {
        self.steady = self.steady.saturating_add(1);
        if self.steady >= STEADY {
            (self.most, self.steady) = (self.most.saturating_mul(2).min(BATCH), 0);
        }
        self.wait = SHORTEST;
        self.trouble.take().is_some()
    }

    /// A batch of so many records failed; how long to wait, and whether nothing like this was said before.
    pub(super) fn failed(&mut self, records: usize, reason: &str) -> (Duration, bool) {
        let before = self.trouble.replace(reason.to_owned());
        if before.is_some() {
            self.most = (records / 2).max(1);
        }
        let wait = self.wait;
        (self.wait, self.steady) = (wait.saturating_mul(2).min(LONGEST), 0);
        (wait, before.as_deref() != Some(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_twice_is_halved_and_grows_again_while_all_is_taken() {
        let mut pace = Pace::new();
        let mut fail = |records| (pace.failed(records, "down"), pace.most());
        assert_eq!(fail(500), ((SHORTEST, true), BATCH));
        assert_eq!(fail(500), ((SHORTEST * 2, false), 250));
        assert_eq!(fail(250), ((SHORTEST * 4, false), 125));
        for _ in 0..20 {
            fail(1);
        }
        assert_eq!(fail(1), ((LONGEST, false), 1));
        assert_eq!(pace.looked_at(), BATCH);
        assert!(pace.taken() && !pace.taken(), "the first is news");
        assert_eq!((pace.most(), pace.looked_at()), (1, 1));
        assert!((2..STEADY).all(|_| !pace.taken()));
        assert_eq!(pace.most(), 2);
        assert!((0..STEADY * 9).all(|_| !pace.taken()));
        assert_eq!(pace.most(), BATCH);
    }

    #[test]
    fn another_reason_is_said_too() {
        let mut pace = Pace::new();
        let reasons = ["refused", "refused", "401", "refused"];
        let said: Vec<_> = reasons.iter().map(|reason| pace.failed(1, reason).1).collect();
        assert_eq!(said, [true, false, true, true]);
        assert!(pace.taken());
        assert!(pace.failed(1, "refused").1);
    }
}
