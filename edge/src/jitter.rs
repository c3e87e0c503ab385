//! Waits that do not bring a whole fleet back at the same instant.

use std::time::Duration;

/// A random number in `0..=limit`, from the kernel.
pub fn below(limit: u64) -> u64 {
    random()
        .and_then(|number| number.checked_rem(limit.saturating_add(1)))
        .unwrap_or(limit)
}

/// A number in `0..=100`.
pub fn percent() -> u64 {
    below(100)
}

/// A number that no other renewal has. Should the kernel give none, answers are told apart no more, and all but the first
/// are dropped: leases run out.
pub fn nonce() -> u64 {
    random().unwrap_or(0)
}

fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// `wait` ± 10 %.
pub fn around(wait: Duration) -> Duration {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let tenth = millis.checked_div(10).unwrap_or(0);
    Duration::from_millis(
        millis
            .saturating_sub(tenth)
            .saturating_add(below(tenth.saturating_mul(2))),
    )
}

/// Exponential backoff with full jitter: each wait is between half of and the whole of a bound that doubles.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    bound: Duration,
}

impl Backoff {
    /// Waits of at most `first`, then twice that, up to `last`.
    pub fn new(first: Duration, last: Duration) -> Backoff {
        Backoff {
            first,
            last,
            bound: first,
        }
    }

    /// The next wait.
    pub fn next(&mut self) -> Duration {
        let half = u64::try_from(self.bound.as_millis())
            .unwrap_or(u64::MAX)
            .checked_div(2)
            .unwrap_or(0);
        let wait = Duration::from_millis(half.saturating_add(below(half)));
        self.bound = self.bound.saturating_mul(2).min(self.last);
        wait
    }

    /// Whether there was a failure since the last success.
    pub fn is_running(&self) -> bool {
        self.bound != self.first
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.bound = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_stays_within_a_tenth() {
        for _ in 0..1000 {
            let wait = around(Duration::from_secs(10));
            assert!(
                (Duration::from_secs(9)..=Duration::from_secs(11)).contains(&wait),
                "{wait:?}"
            );
        }
    }

    // R31
    #[test]
    fn a_fleet_that_lost_its_authority_at_once_does_not_come_back_at_once() {
        let seconds = |waits: &mut dyn Iterator<Item = Duration>| {
            let mut per_tenth = [0_usize; 10];
            waits.for_each(|wait| per_tenth[(usize::try_from(wait.as_millis()).unwrap() / 100).min(9)] += 1);
            per_tenth
        };
        // The third try of a thousand edges, which lies between 0.5 and 1 s.
        let third = |_| {
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
            (backoff.next(), backoff.next(), backoff.next()).2
        };
        let tries = seconds(&mut (0..1000).map(third));
        assert!(tries[5..].iter().all(|count| (100..300).contains(count)), "{tries:?}");
        // Delegations of five minutes that were made in the same second are renewed over half a minute.
        let renewals: Vec<_> = (0..1000).map(|_| around(Duration::from_secs(150))).collect();
        let (first, last) = (renewals.iter().min().unwrap(), renewals.iter().max().unwrap());
        assert!(*last - *first > Duration::from_secs(25), "{first:?} to {last:?}");
    }

    #[test]
    fn backoff_grows_to_its_bound_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..8).map(|_| backoff.next()).collect();
        assert!(waits[0] <= Duration::from_millis(100));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)));
        assert!(waits[7] >= Duration::from_millis(500));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
