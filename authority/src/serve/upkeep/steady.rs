//! Whether the wall clock can be believed. What time makes due cannot be undone: a key that was rotated years ahead signs no sooner.

/// How far the wall clock may go astray between two looks.
const TOLERANCE_MS: u64 = 60_000;
/// A step that has stood for so long is believed: somebody has set the clock right.
const HOLD_MS: u64 = 600_000;
/// How long an authority may have been away for its clock to be believed at once when it starts: 30 days. After two its keys for
/// tokens have no version that signs, and a laptop that was closed over the holidays is to sign again at once.
const AWAY_MS: u64 = 30 * 86_400_000;

/// The wall clock beside CLOCK_BOOTTIME, which nobody can step. Both in milliseconds, passed in.
#[derive(Debug, Default)]
pub(super) struct Steady {
    /// What was believed last: wall clock and boot time.
    believed: Option<(u64, u64)>,
    /// Since when, by boot time, and where the wall clock would have begun to be as it is now.
    stepped: Option<(u64, u64)>,
}

/// What one look at the clocks comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The wall clock went on as time does.
    Steady,
    /// It has stepped just now, by so many milliseconds at most.
    Stepped(u64),
    /// It stepped, and has not stood for long enough.
    Doubted,
}

impl Steady {
    /// For a process that starts now. A clock that shows a time before the one `seen` last by the store, or more than 30 days after it,
    /// counts as one that has stepped since: the authority was away for long, or its clock is wrong, and which it is it cannot tell.
    pub(super) fn since(seen: Option<u64>, wall: u64, boot: u64) -> Self {
        let near = |seen: u64| (seen.saturating_sub(TOLERANCE_MS)..=seen.saturating_add(AWAY_MS)).contains(&wall);
        Self {
            believed: seen.filter(|seen| !near(*seen)).map(|seen| (seen, boot)),
            stepped: None,
        }
    }

    pub(super) fn look(&mut self, wall: u64, boot: u64) -> Look {
        let (then, at) = *self.believed.get_or_insert((wall, boot));
        let astray = astray((then, at), (wall, boot));
        if astray <= TOLERANCE_MS {
            self.believe(wall, boot);
            return Look::Steady;
        }
        match self.stepped {
            Some(step) if self::astray(step, (wall, boot)) <= TOLERANCE_MS => {
                if boot.saturating_sub(step.1) < HOLD_MS {
                    return Look::Doubted;
                }
                self.believe(wall, boot);
                Look::Steady
            }
            _ => {
                self.stepped = Some((wall, boot));
                Look::Stepped(astray)
            }
        }
    }

    fn believe(&mut self, wall: u64, boot: u64) {
        self.believed = Some((wall, boot));
        self.stepped = None;
    }
}

/// How far the wall clock is from where it would be, had it gone on from `then` as boot time did.
fn astray(then: (u64, u64), now: (u64, u64)) -> u64 {
    let expected = then.0.saturating_add(now.1.saturating_sub(then.1));
    now.0.abs_diff(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 86_400_000;
    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn a_clock_that_goes_on_is_believed_and_may_drift() {
        let mut steady = Steady::default();
        for second in 0..3_600 {
            let (boot, drift) = (second * 1_000, second * 500);
            assert_eq!(steady.look(NOW + boot + drift, boot), Look::Steady);
        }
    }

    #[test]
    fn a_step_is_doubted_until_it_is_taken_back_or_has_stood() {
        for there in [NOW + YEAR, NOW - YEAR, NOW + 2 * TOLERANCE_MS] {
            let mut steady = Steady::default();
            assert_eq!(steady.look(NOW, 0), Look::Steady);
            assert!(matches!(steady.look(there + 1_000, 1_000), Look::Stepped(_)));
            assert_eq!(steady.look(there + HOLD_MS, HOLD_MS), Look::Doubted);
            assert_eq!(steady.look(NOW + HOLD_MS, HOLD_MS), Look::Steady, "taken back");
            assert!(matches!(
                steady.look(there + HOLD_MS + 1, HOLD_MS + 1),
                Look::Stepped(_)
            ));
            assert_eq!(
                steady.look(there + 2 * HOLD_MS, 2 * HOLD_MS),
                Look::Doubted,
                "counted anew"
            );
            assert_eq!(
                steady.look(there + 2 * HOLD_MS + 1, 2 * HOLD_MS + 1),
                Look::Steady,
                "it has stood"
            );
        }
    }

    // R34
    #[test]
    fn a_start_far_from_what_the_store_has_seen_is_a_step_before_it() {
        for wall in [NOW - TOLERANCE_MS, NOW, NOW + 3_600_000, NOW + AWAY_MS] {
            let mut steady = Steady::since(Some(NOW), wall, 5_000);
            assert_eq!(steady.look(wall, 5_000), Look::Steady, "{wall}");
        }
        for wall in [NOW + 9 * YEAR, NOW + AWAY_MS + 1, NOW - TOLERANCE_MS - 1, NOW - YEAR, 0] {
            let mut steady = Steady::since(Some(NOW), wall, 5_000);
            assert_eq!(
                steady.look(wall, 5_000),
                Look::Stepped(wall.abs_diff(NOW)),
                "{wall} is doubted"
            );
            assert_eq!(steady.look(wall + HOLD_MS - 1, 5_000 + HOLD_MS - 1), Look::Doubted);
            assert_eq!(
                steady.look(wall + HOLD_MS, 5_000 + HOLD_MS),
                Look::Steady,
                "it has stood"
            );
            // Set right in time, it is believed when that has stood.
            let mut steady = Steady::since(Some(NOW), wall, 0);
            assert!(matches!(steady.look(wall, 0), Look::Stepped(_)));
            assert_eq!(steady.look(NOW + 60_000, 60_000), Look::Steady, "{wall}");
        }
        let mut first = Steady::since(None, NOW, 0);
        assert_eq!(first.look(NOW, 0), Look::Steady, "a new store has seen nothing");
    }

    #[test]
    fn a_clock_that_goes_on_stepping_is_never_believed() {
        let mut steady = Steady::default();
        assert_eq!(steady.look(NOW, 0), Look::Steady);
        for look in 1..2_000 {
            let (wall, boot) = (NOW + look * YEAR / 1_000, look * 1_000);
            assert!(matches!(steady.look(wall, boot), Look::Stepped(_)));
        }
    }
}
