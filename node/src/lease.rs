//! Leases: how an edge's right to sign with a key ends without anybody having to reach the edge. Pure: time is passed in,
//! in milliseconds of the caller's own CLOCK_BOOTTIME ([`crate::boottime`]).
//!
//! | the edge | the authority |
//! | --- | --- |
//! | notes nonce and time, sends a renewal ([`Renewals::sent`]) | |
//! | | notes that a lease may begin now ([`Grants::begin`]), *then* reads whether the key may sign, and answers |
//! | counts the lease from when that renewal was *sent* ([`Renewals::answered`]) | |
//! | signs while [`Deadline::holds`]: asked before signing, and again before the answer is written | |
//! | applies a stop, then acknowledges its revision | [`Grants::acknowledge`] |
//! | | a stop is fenced when nobody is [`Grants::awaited`] |
//!
//! Why that is safe: a lease that the authority granted was noted before the key's state was read. If it was read before the
//! stop was committed, whoever asks after the commit sees the note; if after, there was no grant. The renewal was sent
//! before it was received, so the lease ends, on any clock within the drift, no later than the note says.

mod grants;
mod renewals;
#[cfg(test)]
mod simulation;

pub use grants::{Awaited, Grants, Holder, Scope};
pub use renewals::{Deadline, Renewals};

/// What a key has that says nothing else, and the bounds of what it may say, milliseconds.
pub const DEFAULT_MS: u64 = 60_000;
/// The shortest lease.
pub const SHORTEST_MS: u64 = 5_000;
/// The longest lease.
pub const LONGEST_MS: u64 = 3_600_000;
/// Keys in one renewal.
pub const MOST_KEYS: usize = 1_000;

/// ρ: how far a clock may run too fast or too slow, percent.
const DRIFT_PERCENT: u64 = 1;
/// δ: for what lies between a clock's reading and its use, milliseconds.
const SLACK_MS: u64 = 250;

/// The longest that a lease of `lease_ms`, sent for before now, can still run, on the caller's clock:
/// L·(1+ρ)/(1−ρ) + δ, rounded up. 5 s: 5,352 ms.
pub fn bound(lease_ms: u64) -> u64 {
    let fast = lease_ms.saturating_mul(100 + DRIFT_PERCENT);
    fast.div_ceil(100 - DRIFT_PERCENT).saturating_add(SLACK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_as_the_design_says() {
        assert_eq!(bound(5_000), 5_352);
        assert_eq!(bound(60_000), 61_463);
        assert_eq!(bound(0), 250);
        assert_eq!(bound(u64::MAX), u64::MAX.div_ceil(99) + 250);
    }
}
