//! Many times of the same thing.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What many measurements of one time come to, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub rounds: usize,
    /// Half took no longer (nearest rank).
    pub p50_ms: f64,
    /// 99.9 % took no longer; of fewer than a thousand this is the longest.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    /// Of these; of none everything is 0.
    pub(super) fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        let rank = |permille: usize| {
            let at = times.len().saturating_mul(permille).div_ceil(1_000).saturating_sub(1);
            times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Spread {
            rounds: times.len(),
            p50_ms: rank(500),
            p999_ms: rank(999),
            max_ms: rank(1_000),
        }
    }
}

/// `p50 … max … ms`; p99.9 where there are enough for it.
impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "p50 {:>8.1}", self.p50_ms)?;
        match self.rounds {
            ..1_000 => write!(out, "{:>16}", "")?,
            _ => write!(out, "  p99.9 {:>8.1}", self.p999_ms)?,
        }
        write!(out, "  max {:>8.1} ms  of {}", self.max_ms, self.rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_of_what_was_measured() {
        let millis = |count: u64| (1..=count).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(millis(11));
        assert_eq!((spread.p50_ms, spread.p999_ms, spread.max_ms), (6.0, 11.0, 11.0));
        let spread = Spread::of(millis(2_000));
        assert_eq!(
            (spread.p50_ms, spread.p999_ms, spread.max_ms),
            (1_000.0, 1_998.0, 2_000.0)
        );
        assert_eq!(Spread::of(Vec::new()).max_ms, 0.0);
    }

    #[test]
    fn a_percentile_is_claimed_only_where_there_are_enough() {
        assert!(
            !Spread::of(vec![Duration::from_millis(1); 999])
                .to_string()
                .contains("p99.9")
        );
        assert!(
            Spread::of(vec![Duration::from_millis(1); 1_000])
                .to_string()
                .contains("p99.9")
        );
    }
}
