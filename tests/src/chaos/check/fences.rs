//! Whether anything was signed while a key was fenced.

use std::time::Duration;

use super::{Checked, Seen, Violation};
use crate::chaos::load::Answer;
use crate::chaos::operator::Stop;

/// How much later than the fence a record may say that it was drafted.
const LATE: Duration = Duration::from_millis(250);
/// How far a record's time may be outside its request for it to be this machine's: what clocks differ by that nobody stepped.
const CREDIBLE: Duration = Duration::from_millis(50);

impl Seen {
    /// What was asked for after a fence and made before the key was started again is a violation. A request that was under way
    /// when the fence closed may have passed its last check before: of such a one the record decides. It is drafted before the
    /// last check, so that a signature which left passed a check after the time of its record.
    pub(super) fn fences(&self, checked: &mut Checked) {
        for stop in &self.history.stops {
            let Some(fenced) = stop.fenced else { continue };
            let until = stop.started.unwrap_or(Duration::MAX);
            let before_start = self
                .signatures()
                .filter(|(answer, _)| answer.profile.key == stop.key && answer.answered < until);
            for (answer, id) in before_start.filter(|(answer, _)| answer.answered > fenced) {
                checked.violations.extend(match answer.asked > fenced {
                    true => Some(Violation::AfterFence {
                        key: stop.key,
                        signature: id.clone(),
                        at: (fenced, answer.asked, answer.answered),
                    }),
                    false => self.under_way(stop, fenced, (answer, id), &mut checked.under_way),
                });
            }
        }
    }

    fn under_way(
        &self,
        stop: &Stop,
        fenced: Duration,
        (answer, id): (&Answer, &String),
        judged: &mut usize,
    ) -> Option<Violation> {
        let made = self.made(answer, id)?;
        *judged += 1;
        (made > fenced + LATE).then(|| Violation::MadeAfterFence {
            key: stop.key,
            signature: id.clone(),
            at: (fenced, made),
        })
    }

    /// When the record of a signature was drafted, if there is one whose time is this machine's: an edge goes by the time of
    /// authorities, whose clocks are stepped.
    fn made(&self, answer: &Answer, id: &str) -> Option<Duration> {
        let time_ms = self.records.get(answer.edge)?.signed.get(id)?;
        let made = Duration::from_millis(time_ms.checked_sub(self.begun_ms)?);
        let credible = answer.asked.saturating_sub(CREDIBLE)..=answer.answered + CREDIBLE;
        credible.contains(&made).then_some(made)
    }
}
