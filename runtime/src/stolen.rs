//! What this machine's host has taken of its processors. A guest's kernel may charge that to whoever runs there, so that an honest
//! plugin looks long.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks: one costs some tens of microseconds, and the kernel counts in hundredths of a second.
const EVERY: Duration = Duration::from_millis(100);

/// When it was looked for last, and what was seen.
static SEEN: Mutex<Option<(Instant, Option<Duration>)>> = Mutex::new(None);

/// Of all processors together since this machine started, at most [`EVERY`] ago. Nothing where the kernel does not say.
pub(crate) fn total() -> Option<Duration> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    match *seen {
        Some((at, total)) if now.saturating_duration_since(at) < EVERY => total,
        _ => {
            let stat = std::fs::read_to_string("/proc/stat");
            let total = stat.ok().and_then(|stat| stolen(&stat));
            *seen = Some((now, total));
            total
        }
    }
}

/// The field `steal` of the first line (proc_stat(5)).
fn stolen(stat: &str) -> Option<Duration> {
    let all = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: u64 = all.split_ascii_whitespace().nth(7)?.parse().ok()?;
    let millis = ticks.saturating_mul(1000);
    Some(Duration::from_millis(
        millis.checked_div(rustix::param::clock_ticks_per_second())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_eighth_number_of_all_processors() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!(
            "cpu  11 12 13 14 15 16 17 {} 19 20\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 0\n",
            3 * ticks
        );
        assert_eq!(stolen(&stat), Some(Duration::from_secs(3)));
        for other in [
            "",
            "cpu",
            "cpu  1 2 3 4 5 6 7",
            "cpu0 1 2 3 4 5 6 7 8",
            "cpu  a b c d e f g h",
        ] {
            assert_eq!(stolen(other), None, "{other}");
        }
        assert!(total().is_some() && total() >= total(), "this kernel says it");
    }
}
