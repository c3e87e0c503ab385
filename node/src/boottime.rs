//! CLOCK_BOOTTIME: goes on while the machine is suspended and knows no steps. What leases are measured with (R34).

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine was started, suspended or not. Comparable within one machine and one start of it only.
pub fn now_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    seconds.saturating_mul(1_000).saturating_add(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_go_back() {
        let mut last = now_ms();
        assert!(last > 0);
        for _ in 0..1_000 {
            let now = now_ms();
            assert!(now >= last);
            last = now;
        }
    }
}
