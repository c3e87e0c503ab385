//! Latencies in a table of fixed size.
//!
//! Log-linear, as HdrHistogram: values below 256 µs each have their own bucket; above, every power of two is divided
//! into 128, so that a percentile is at most 0.8 % too high. The maximum is kept as it is.

use std::time::Duration;

const EXACT: u64 = 256;
const PARTS: u64 = 128;
/// 2^36 µs is 19 hours; longer ones count in the last bucket.
const POWERS: u64 = 28;
const BUCKETS: usize = 256 + 128 * 28;

/// Counts of latencies in microseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: vec![0; BUCKETS],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one latency, rounded down to a microsecond.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count = count.saturating_add(1);
        }
        self.total = self.total.saturating_add(1);
        self.max = self.max.max(micros);
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.total = self.total.saturating_add(other.total);
        self.max = self.max.max(other.max);
    }

    /// How many latencies were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest, in microseconds.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The latency in microseconds that `per_mille` of a thousand do not exceed; 0 where nothing was counted.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let rank = self.total.saturating_mul(per_mille.min(1000)).div_ceil(1000).max(1);
        let mut seen: u64 = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return highest(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(micros: u64) -> usize {
    let index = match micros.checked_ilog2() {
        Some(power) if micros >= EXACT => {
            let above = u64::from(power).saturating_sub(8);
            let part = (micros >> above.saturating_add(1)).saturating_sub(PARTS);
            if above >= POWERS {
                u64::MAX
            } else {
                EXACT.saturating_add(above.saturating_mul(PARTS)).saturating_add(part)
            }
        }
        _ => micros,
    };
    usize::try_from(index)
        .unwrap_or(usize::MAX)
        .min(BUCKETS.saturating_sub(1))
}

/// The highest value that a bucket counts.
fn highest(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let Some(above) = index.checked_sub(EXACT) else {
        return index;
    };
    let (power, part) = (above / PARTS, above % PARTS);
    let next = PARTS.saturating_add(part).saturating_add(1);
    (next << power.saturating_add(1)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_narrow() {
        let mut last = 0;
        for power in 0..36 {
            for offset in [0_u64, 1, 3, 77] {
                let value = (1_u64 << power) + (offset << power) / 128;
                let index = bucket(value);
                assert!(index >= last, "{value}");
                let top = highest(index);
                assert!(top >= value && (top - value) * 128 <= value, "{value} counts as {top}");
                assert!(index == 0 || highest(index - 1) < value, "{value}");
                last = index;
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_known_row() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(500), histogram.max(), histogram.total()), (0, 0, 0));
        for micros in (1..=1000).rev() {
            histogram.record(Duration::from_micros(micros));
        }
        let within = |per_mille, exact: u64| {
            let found = histogram.quantile(per_mille);
            assert!(
                found >= exact && found <= exact + exact / 128 + 1,
                "{per_mille}: {found}"
            );
        };
        within(500, 500);
        within(900, 900);
        within(999, 999);
        assert_eq!(histogram.quantile(1000), 1000);
        assert_eq!(histogram.quantile(1), 1);
    }

    #[test]
    fn merged_is_as_counted_together() {
        let (mut first, mut second, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for micros in 0..5000 {
            let latency = Duration::from_micros(micros * 37);
            if micros % 3 == 0 {
                first.record(latency)
            } else {
                second.record(latency)
            }
            both.record(latency);
        }
        first.merge(&second);
        assert_eq!(
            (first.counts, first.total, first.max),
            (both.counts, both.total, both.max)
        );
    }
}
