//! The time: the authority's when it was last heard, and what CLOCK_BOOTTIME counted since. This machine's wall clock counts
//! only until the authority is heard for the first time (R34).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use node::boottime;

/// The wall clock and the authority's may differ by so much before we say so, milliseconds.
const TOLERANCE_MS: u64 = 5_000;
/// A time that took this much longer to come than the one before is worse than that one, grown old: by a hundredth of its age.
const DRIFT_DIVISOR: u64 = 100;

/// This edge's clock.
#[derive(Debug, Default)]
pub struct Clock {
    /// The authority's Unix time less CLOCK_BOOTTIME, milliseconds, wrapping; 0: not heard yet.
    offset: AtomicU64,
    /// How long the time in use was under way, and when it came.
    taken: Mutex<Option<(u64, u64)>>,
    warned: AtomicBool,
    #[cfg(test)]
    pub(crate) hands: Hands,
}

/// What tests move, milliseconds.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Hands {
    pub(crate) wall: std::sync::atomic::AtomicI64,
    pub(crate) boot: AtomicU64,
}

impl Clock {
    /// Unix seconds.
    pub fn now(&self) -> u64 {
        self.now_ms() / 1_000
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        match self.offset.load(Ordering::Acquire) {
            0 => self.wall_ms(),
            offset => self.boot_ms().wrapping_add(offset),
        }
    }

    /// CLOCK_BOOTTIME, milliseconds: what leases are measured with.
    pub fn boot_ms(&self) -> u64 {
        let boot = boottime::now_ms();
        #[cfg(test)]
        let boot = boot + self.hands.boot.load(Ordering::Relaxed);
        boot
    }

    /// Hears the authority say its Unix time, in milliseconds, in an answer that came now to what was sent at `sent` on
    /// [`Clock::boot_ms`]. It is late by as much as it was under way, never early.
    pub fn hear(&self, authority_ms: u64, sent: u64) {
        let now = self.boot_ms();
        let under_way = now.saturating_sub(sent);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, at)) = *taken {
            let age = now.saturating_sub(at);
            if under_way > before.saturating_add(age / DRIFT_DIVISOR) {
                return;
            }
        }
        *taken = Some((under_way, now));
        // A difference of exactly 0 would read as not heard; a millisecond more does no harm.
        let offset = authority_ms.wrapping_sub(now).max(1);
        self.offset.store(offset, Ordering::Release);
    }

    /// Says so once when this machine's wall clock and the authority's differ by more than 5 s.
    pub fn compare(&self, authority_ms: u64) {
        let difference_ms = self.wall_ms().abs_diff(authority_ms);
        let wrong = difference_ms > TOLERANCE_MS;
        if wrong && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                difference_ms,
                "this machine's clock and the authority's differ by more than 5 s; the authority's counts"
            );
        } else if !wrong {
            self.warned.store(false, Ordering::Relaxed);
        }
    }

    fn wall_ms(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        #[cfg(test)]
        let wall = wall.saturating_add_signed(self.hands.wall.load(Ordering::Relaxed));
        wall
    }

    /// Lets time pass, as a suspended machine does.
    #[cfg(test)]
    pub fn advance(&self, seconds: u64) {
        self.hands.boot.fetch_add(seconds * 1_000, Ordering::Relaxed);
        self.step_wall(i64::try_from(seconds).unwrap());
    }

    /// Steps the wall clock alone, as an operator or NTP does.
    #[cfg(test)]
    pub fn step_wall(&self, seconds: i64) {
        self.hands.wall.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: u64 = 1_900_000_000_000;

    fn near(a: u64, b: u64) -> bool {
        a.abs_diff(b) < 2_000
    }

    // R34
    #[test]
    fn steps_of_the_wall_clock_change_nothing_and_a_suspend_counts() {
        let clock = Clock::default();
        clock.step_wall(3_600);
        assert!(near(clock.now_ms(), clock.wall_ms()), "nobody else was heard");
        clock.hear(AUTHORITY, clock.boot_ms());
        for step in [3_600, -7_200, 3_600] {
            clock.step_wall(step);
            assert!(near(clock.now_ms(), AUTHORITY), "{step}");
        }
        let boot = clock.boot_ms();
        clock.advance(7_200);
        assert!(near(clock.now_ms(), AUTHORITY + 7_200_000));
        assert!(near(clock.boot_ms(), boot + 7_200_000));
    }

    #[test]
    fn a_time_that_was_long_under_way_does_not_replace_a_better_one_until_that_is_old() {
        let clock = Clock::default();
        clock.hear(AUTHORITY, clock.boot_ms());
        clock.hear(AUTHORITY - 4_000, clock.boot_ms() - 4_000);
        assert!(near(clock.now_ms(), AUTHORITY));
        // After 500 s a clock within 1 % may be wrong by 5.
        clock.advance(500);
        clock.hear(AUTHORITY + 505_000, clock.boot_ms() - 4_000);
        assert!(near(clock.now_ms(), AUTHORITY + 505_000));
    }
}
