//! The edge's side: which renewals are under way, and until when each key may sign.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Renewals that wait for an answer; the oldest are given up.
const MOST_UNDER_WAY: usize = 32;
/// Renewals begin after a third of the shortest lease; sooner and later than this they never do, milliseconds.
const SOONEST_MS: u64 = 500;
const LATEST_MS: u64 = 20_000;
/// How long an answer is waited for before it is asked again, milliseconds.
const RETRY_MS: u64 = 1_000;

/// Until when one key may sign; read with each signature, by any thread.
#[derive(Debug, Default)]
pub struct Deadline(AtomicU64);

impl Deadline {
    /// Whether the lease runs at `now`. A process that was frozen or suspended meanwhile finds it over.
    pub fn holds(&self, now: u64) -> bool {
        now < self.0.load(Ordering::Acquire)
    }

    /// How long it runs from `now` on, milliseconds.
    pub fn left(&self, now: u64) -> u64 {
        self.0.load(Ordering::Acquire).saturating_sub(now)
    }

    /// Sets it; 0 ends the lease.
    pub fn set(&self, until: u64) {
        self.0.store(until, Ordering::Release);
    }
}

/// What was asked for and not answered yet.
#[derive(Debug, Default)]
pub struct Renewals {
    under_way: VecDeque<(u64, u64)>,
    /// When the last renewal was sent, and the newest that was answered.
    last_sent: Option<u64>,
    last_answered: u64,
    /// The shortest lease of the last answer, or of those to renewals that were sent together; and when that was.
    shortest: Option<u64>,
    shortest_of: u64,
}

impl Renewals {
    /// Notes a renewal, which is sent after this.
    pub fn sent(&mut self, nonce: u64, now: u64) {
        if self.under_way.len() >= MOST_UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back((nonce, now));
        self.last_sent = Some(now);
    }

    /// From when the leases of an answer count; none where nobody asked, it came twice, or a later one was answered before:
    /// that one may have said no.
    pub fn answered(&mut self, nonce: u64) -> Option<u64> {
        let at = self.under_way.iter().position(|(known, _)| *known == nonce)?;
        let (_, sent) = self.under_way.remove(at)?;
        if sent < self.last_answered {
            return None;
        }
        self.last_answered = sent;
        // An answer to an older one would not count any more.
        self.under_way.retain(|(_, at)| *at >= sent);
        Some(sent)
    }

    /// Whether an answer to this renewal would still count.
    pub fn is_under_way(&self, nonce: u64) -> bool {
        self.under_way.iter().any(|(known, _)| *known == nonce)
    }

    /// What the next renewal's time is reckoned from: the shortest of the leases that came for the renewal sent at `sent`,
    /// none if none did.
    pub fn granted(&mut self, sent: u64, shortest: Option<u64>) {
        self.shortest = match self.shortest {
            Some(before) if self.shortest_of == sent => Some(shortest.unwrap_or(0).min(before)),
            _ => shortest,
        };
        self.shortest_of = sent;
    }

    /// The stream has ended: what was under way on it is never answered.
    pub fn forget(&mut self) {
        self.under_way.clear();
        self.last_sent = None;
    }

    /// How long until the next renewal is due, milliseconds; `jitter` is 0 to 100.
    pub fn due_in(&self, now: u64, jitter: u64) -> u64 {
        let Some(last) = self.last_sent else { return 0 };
        let third = self.shortest.unwrap_or(0) / 3;
        // Up to a fifth sooner.
        let sooner = third.saturating_mul(jitter.min(100)) / 500;
        let interval = third.saturating_sub(sooner).clamp(SOONEST_MS, LATEST_MS);
        let wait = if self.under_way.is_empty() {
            interval
        } else {
            interval.min(RETRY_MS)
        };
        last.saturating_add(wait).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R34
    #[test]
    fn a_lease_counts_from_when_its_renewal_was_sent_and_only_once() {
        let mut renewals = Renewals::default();
        renewals.sent(7, 1_000);
        renewals.sent(8, 2_000);
        assert_eq!(renewals.answered(9), None, "nobody asked");
        assert_eq!(renewals.answered(7), Some(1_000));
        assert_eq!(renewals.answered(7), None, "twice");
        assert_eq!(renewals.answered(8), Some(2_000));
        renewals.sent(10, 3_000);
        renewals.sent(11, 4_000);
        assert_eq!(renewals.answered(11), Some(4_000));
        assert_eq!(renewals.answered(10), None, "a later one was answered before it");
        assert!(!renewals.is_under_way(10) && renewals.under_way.is_empty());
        renewals.sent(12, 5_000);
        renewals.forget();
        assert_eq!(renewals.answered(12), None, "its stream is gone");
    }

    #[test]
    fn renewals_begin_well_before_the_end() {
        let mut renewals = Renewals::default();
        assert_eq!(renewals.due_in(5, 0), 0);
        renewals.sent(1, 1_000);
        assert_eq!(renewals.due_in(1_000, 0), 500, "nothing is known yet");
        renewals.answered(1);
        renewals.granted(1_000, Some(60_000));
        assert_eq!(renewals.due_in(1_000, 0), 20_000);
        assert_eq!(renewals.due_in(1_000, 100), 16_000);
        renewals.sent(2, 21_000);
        assert_eq!(
            renewals.due_in(21_000, 0),
            1_000,
            "asked again soon where nobody answers"
        );
        renewals.answered(2);
        renewals.granted(21_000, Some(60_000));
        renewals.granted(21_000, Some(5_000));
        assert_eq!(renewals.due_in(21_000, 0), 1_666);
        assert_eq!(renewals.due_in(30_000, 0), 0);
    }

    #[test]
    fn a_deadline_is_exclusive() {
        let deadline = Deadline::default();
        assert!(!deadline.holds(0));
        deadline.set(10);
        assert!(deadline.holds(9) && !deadline.holds(10));
        assert_eq!((deadline.left(4), deadline.left(11)), (6, 0));
    }

    #[test]
    fn what_waits_for_an_answer_is_bounded() {
        let mut renewals = Renewals::default();
        for nonce in 0..100 {
            renewals.sent(nonce, nonce);
        }
        assert_eq!(renewals.under_way.len(), MOST_UNDER_WAY);
        assert_eq!(renewals.answered(0), None);
        assert_eq!(renewals.answered(99), Some(99));
    }
}
