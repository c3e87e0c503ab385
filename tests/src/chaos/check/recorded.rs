//! Whether every signature is on record, as its audit mode promises.

use std::fmt;
use std::time::Duration;

use super::{Checked, End, Harm, Harmed, Seen, Violation};
use crate::chaos::load::Answer;
use crate::chaos::plan::Machine;
use crate::chaos::process::How;
use crate::chaos::shim::Condition;
use crate::chaos::site::Mode;

/// In mode `reserve` records follow within a second; the rest is a busy machine's.
const FOLLOWS_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a spool waits before it tries a failed write again.
const RETRY: Duration = Duration::from_secs(1);

/// A signature whose record was to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Which edge made it.
    pub edge: usize,
    /// Its id.
    pub signature: String,
    /// When it was asked for and received.
    pub at: (Duration, Duration),
    /// When its edge's process still ran, before it ended uncleanly the next time; none: it did not.
    pub ended: Option<Duration>,
}

impl fmt::Display for Overdue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overdue { edge, signature, .. } = self;
        let (asked, answered) = self.at;
        write!(
            out,
            "edge {edge} has no record of {signature}, asked for at {asked:?} and received at {answered:?}; "
        )?;
        match self.ended {
            Some(ended) => write!(out, "it ran until {ended:?}"),
            None => write!(out, "it did not crash after that"),
        }
    }
}

impl Seen {
    pub(super) fn recorded(&self, checked: &mut Checked) {
        for (edge, records) in self.records.iter().enumerate() {
            let of_edge = self.signatures().filter(|(answer, _)| answer.edge == edge);
            let missing: Vec<_> = of_edge.filter(|(_, id)| !records.signed.contains_key(*id)).collect();
            let (reserve, others): (Vec<_>, Vec<_>) = missing
                .into_iter()
                .partition(|(answer, _)| answer.profile.mode == Mode::Reserve);
            let no_record = others.into_iter().map(|(_, id)| Violation::NoRecord {
                edge,
                signature: id.clone(),
            });
            checked.violations.extend(no_record);
            let overdue = reserve.iter().filter_map(|(answer, id)| self.overdue(answer, id));
            checked.violations.extend(overdue.map(Violation::Overdue));
            checked.reserved += reserve.len();
            if reserve.len() as u64 > records.reserved {
                checked.violations.push(Violation::BeyondReservations {
                    edge,
                    missing: reserve.len() as u64,
                    reserved: records.reserved,
                });
            }
        }
    }

    /// A signature without a record is one that was made so shortly before its edge crashed that the record could not follow. The
    /// crash may have come before the answer was there: answers are under way for a while.
    fn overdue(&self, answer: &Answer, id: &str) -> Option<Overdue> {
        let machine = Machine::Edge(answer.edge);
        let unclean = self
            .ends
            .iter()
            .filter(|end| end.machine == machine && self.is_unclean(end) && end.found >= answer.asked);
        let next = unclean.min_by_key(|end| end.found);
        let could_follow = next.is_none_or(|end| {
            let since = end.seen.saturating_sub(answer.answered);
            since.saturating_sub(self.hindered(answer.edge, answer.answered, end.seen)) > FOLLOWS_WITHIN
        });
        could_follow.then(|| Overdue {
            edge: answer.edge,
            signature: id.to_owned(),
            at: (answer.asked, answer.answered),
            ended: next.map(|end| end.seen),
        })
    }

    /// Whether an end may have come before a record that was to follow: a spool is closed with all it has where the disk takes it.
    fn is_unclean(&self, end: &End) -> bool {
        match end.how {
            How::Killed | How::Signal(_) | How::Stuck => true,
            How::Code(_) | How::Stopped(_) => self.was_harmed(end, RETRY, |kind| match kind {
                Harm::FullDisk | Harm::ReadOnlyDisk => true,
                Harm::Disk(condition) => !matches!(condition, Condition::Good | Condition::Short),
                Harm::Frozen | Harm::Token => false,
            }),
        }
    }

    /// For how long an edge could not write between two times: frozen, starved, or on a disk that takes nothing.
    fn hindered(&self, edge: usize, from: Duration, until: Duration) -> Duration {
        let harms = self.harms.iter().filter(|harm| harm.machine == Machine::Edge(edge));
        let harms = harms.filter_map(Harmed::keeps_from_writing);
        let mut times: Vec<_> = harms.chain(self.starved.iter().copied()).collect();
        times.sort_unstable();
        let mut at = from;
        let mut sum = Duration::ZERO;
        for (begun, ended) in times {
            let ended = ended.min(until);
            let begun = begun.max(at);
            sum += ended.saturating_sub(begun);
            at = at.max(ended);
        }
        sum
    }
}

impl Harmed {
    /// From when until when.
    fn keeps_from_writing(&self) -> Option<(Duration, Duration)> {
        match self.kind {
            Harm::Frozen => Some((self.from, self.until)),
            // It is written short, and then the rest.
            Harm::Disk(Condition::Short | Condition::Good) | Harm::Token => None,
            Harm::Disk(_) | Harm::FullDisk | Harm::ReadOnlyDisk => Some((self.from, self.until + RETRY)),
        }
    }
}
