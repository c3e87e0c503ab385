//! What no fault may bring about, decided from what callers and the operator saw and what is on disk afterwards.

mod crashes;
mod fences;
mod recorded;
mod signatures;
mod violation;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use signing::key::PublicKey;

pub use self::crashes::Crash;
pub use self::recorded::Overdue;
pub use self::signatures::Verified;
pub use self::violation::Violation;
use super::load::Answer;
use super::operator::History;
use super::plan::Machine;
use super::process::How;
use super::shim::Condition;
use super::site::Mode;

/// How far a token's time may be from the one that its edge should have, seconds: what an answer of the authority's may have been
/// under way, and what an edge's answer was.
pub(super) const TOLERANCE: i64 = 10;

/// Everything that was seen. Times count from the beginning of the run.
#[derive(Debug)]
pub struct Seen {
    /// When the run began, by this machine's clock: milliseconds since 1970.
    pub begun_ms: u64,
    /// By callers.
    pub answers: Arc<Vec<Answer>>,
    /// By the operator.
    pub history: History,
    /// In the audit trail, by edge.
    pub records: Vec<Records>,
    /// After a last start: key id or alias → state.
    pub keys: HashMap<String, String>,
    /// When nothing of an edge's could be made durable.
    pub outages: Vec<Outage>,
    /// What was done to processes that keeps them from writing.
    pub harms: Vec<Harmed>,
    /// When the machine ran nothing of this.
    pub starved: Vec<(Duration, Duration)>,
    /// When processes ended.
    pub ends: Vec<End>,
    /// What processes said.
    pub logs: Vec<(Machine, String)>,
    /// Keys of tokens that edges published at any time, by their ids.
    pub published: HashMap<String, PublicKey>,
    /// What chains of artifacts' keys lead to, DER.
    pub roots: Vec<Vec<u8>>,
    /// How far authorities' clocks were off at times, seconds; none of an edge's steps.
    pub steps: Vec<i64>,
}

/// A time in which nothing that an edge writes is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Which edge.
    pub edge: usize,
    /// From then.
    pub from: Duration,
    /// Until then at least.
    pub until: Duration,
}

/// A time in which all of such a harm lies; an [`Outage`] lies in the harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Harmed {
    /// Whose.
    pub machine: Machine,
    /// Which.
    pub kind: Harm,
    /// From then at the earliest.
    pub from: Duration,
    /// Until then at the latest.
    pub until: Duration,
}

/// What keeps a process from writing, or from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It does not run.
    Frozen,
    /// Its disk is like this.
    Disk(Condition),
    /// Its disk has no room.
    FullDisk,
    /// It was started on a disk that can only be read.
    ReadOnlyDisk,
    /// Its token errs, hangs or lies.
    Token,
}

/// An end of a process, between two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Whose.
    pub machine: Machine,
    /// When it was last seen to run.
    pub seen: Duration,
    /// When it was found ended.
    pub found: Duration,
    /// How.
    pub how: How,
}

/// What an edge has on record.
#[derive(Debug, Default)]
pub struct Records {
    /// Ids of signatures, and when each record was drafted by the edge's time: milliseconds since 1970.
    pub signed: HashMap<String, u64>,
    /// Sequence numbers that durable reservations cover and no record uses.
    pub reserved: u64,
}

/// The checkers' findings.
#[derive(Debug, Default)]
pub struct Checked {
    /// Signatures that only a reservation accounts for.
    pub reserved: usize,
    /// Signatures that were under way when a fence closed and that their records judge.
    pub under_way: usize,
    /// What of the signatures verifies.
    pub verified: Verified,
    /// Broken promises.
    pub violations: Vec<Violation>,
}

impl Seen {
    /// Signatures that callers received.
    pub fn signatures(&self) -> impl Iterator<Item = (&Answer, &String)> {
        self.answers
            .iter()
            .filter_map(|answer| Some((answer, answer.signature.as_ref()?)))
    }

    /// All checks.
    pub fn check(&self) -> Checked {
        let mut checked = Checked::default();
        self.fences(&mut checked);
        self.recorded(&mut checked);
        self.acknowledged(&mut checked);
        self.durable(&mut checked);
        self.timed(&mut checked);
        self.crashes(&mut checked);
        self.verified(&mut checked);
        checked
    }

    fn acknowledged(&self, checked: &mut Checked) {
        let made = self.history.made.iter().map(|id| (id.as_str(), "Enabled"));
        let states = self.history.states.iter().map(|(key, state)| (*key, *state));
        for (key, expected) in made.chain(states) {
            let found = self.keys.get(key);
            if found.is_none_or(|found| found != expected) {
                checked.violations.push(Violation::Lost {
                    key: key.to_owned(),
                    expected,
                    found: found.cloned(),
                });
            }
        }
    }

    fn durable(&self, checked: &mut Checked) {
        for outage in &self.outages {
            let within = self.signatures().filter(|(answer, _)| {
                answer.edge == outage.edge
                    && answer.profile.mode == Mode::Commit
                    && answer.asked > outage.from
                    && answer.answered < outage.until
            });
            checked
                .violations
                .extend(within.map(|(answer, id)| Violation::WithoutDisk {
                    edge: outage.edge,
                    signature: id.clone(),
                    at: (answer.asked, answer.answered),
                }));
        }
    }

    /// An edge goes by the authority's time when it last heard it and by what passed since: by a step of an authority's as long as
    /// it hears no better time, never by one of its own.
    fn timed(&self, checked: &mut Checked) {
        for (answer, id) in self.signatures() {
            let Some((least, most)) = answer.ahead else { continue };
            let range = least.saturating_sub(TOLERANCE)..=most.saturating_add(TOLERANCE);
            if !self.steps.iter().chain([&0]).any(|step| range.contains(step)) {
                checked.violations.push(Violation::WrongTime {
                    edge: answer.edge,
                    signature: id.clone(),
                    ahead: most,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
