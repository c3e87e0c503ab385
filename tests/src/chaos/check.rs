//! What no fault may bring about, decided from what callers and the operator saw and what is on disk afterwards.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::load::{Answer, Protocol};
use super::operator::History;
use super::site::Mode;

/// How far a token's time may be from the one that its edge should have, seconds: what an answer of the authority's may have been
/// under way, and what an edge's answer was.
pub(super) const TOLERANCE: i64 = 10;

/// Everything that was seen.
#[derive(Debug)]
pub struct Seen {
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
    /// How far authorities' clocks were off at times, seconds; none of an edge's steps.
    pub steps: Vec<i64>,
}

/// A time in which nothing that an edge writes is durable. Times count from the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Which edge.
    pub edge: usize,
    /// From then.
    pub from: Duration,
    /// Until then at least.
    pub until: Duration,
}

/// What an edge has on record.
#[derive(Debug, Default)]
pub struct Records {
    /// Ids of signatures.
    pub signed: HashSet<String>,
    /// Sequence numbers that durable reservations cover and no record uses.
    pub reserved: u64,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A signature was asked for after the fence and was there before the key was started again.
    AfterFence {
        /// The key's alias.
        key: &'static str,
        /// The signature's id.
        signature: String,
        /// When the fence was acknowledged, and the signature asked for and received.
        at: (Duration, Duration, Duration),
    },
    /// A signature whose mode promises a record has none.
    NoRecord {
        /// Which edge made it.
        edge: usize,
        /// The signature's id.
        signature: String,
    },
    /// More signatures of an edge have no record than reservations cover.
    BeyondReservations {
        /// Which edge.
        edge: usize,
        /// Signatures without a record of their own.
        missing: u64,
        /// What its reservations cover.
        reserved: u64,
    },
    /// Something that was acknowledged is not there any more.
    Lost {
        /// A key's id or alias.
        key: String,
        /// What was acknowledged.
        expected: &'static str,
        /// What is there.
        found: Option<String>,
    },
    /// A signature whose record must be durable was asked for and received while nothing could be.
    WithoutDisk {
        /// Which edge made it.
        edge: usize,
        /// The signature's id.
        signature: String,
        /// When it was asked for and received.
        at: (Duration, Duration),
    },
    /// A token's time is no authority's.
    WrongTime {
        /// Which edge made it.
        edge: usize,
        /// The token's id.
        signature: String,
        /// Seconds ahead of when it was asked for.
        ahead: i64,
    },
    /// After everything was mended an edge did not sign.
    NotBack {
        /// Which edge.
        edge: usize,
        /// What was asked for.
        profile: &'static str,
        /// How.
        protocol: Protocol,
        /// What it answered last.
        said: String,
    },
    /// After everything was mended a key could not be started.
    NotStarted {
        /// Its alias.
        key: &'static str,
    },
    /// `signet audit verify` found a fault.
    BrokenChain {
        /// Whose spool.
        of: String,
        /// What it said.
        said: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::AfterFence { key, signature, at } => {
                let (fenced, asked, answered) = at;
                write!(
                    out,
                    "`{key}` was fenced at {fenced:?}; signature {signature} was asked for at {asked:?} and made by {answered:?}"
                )
            }
            Violation::NoRecord { edge, signature } => write!(out, "edge {edge} has no record of {signature}"),
            Violation::BeyondReservations {
                edge,
                missing,
                reserved,
            } => write!(
                out,
                "edge {edge}: {missing} signatures without a record, reservations cover {reserved}"
            ),
            Violation::Lost { key, expected, found } => {
                write!(out, "`{key}` was acknowledged as {expected} and is {found:?}")
            }
            Violation::WithoutDisk { edge, signature, at } => {
                let (asked, answered) = at;
                write!(
                    out,
                    "edge {edge} could make nothing durable; {signature} was asked for at {asked:?} and received at {answered:?}"
                )
            }
            Violation::WrongTime { edge, signature, ahead } => {
                write!(
                    out,
                    "edge {edge}: the time of {signature} is {ahead} s ahead, as no authority's was"
                )
            }
            Violation::NotBack {
                edge,
                profile,
                protocol,
                said,
            } => write!(out, "edge {edge} does not sign for {profile} over {protocol}: {said}"),
            Violation::NotStarted { key } => write!(out, "`{key}` cannot be started again"),
            Violation::BrokenChain { of, said } => write!(out, "the audit spool of {of}: {said}"),
        }
    }
}

/// The checkers' findings.
#[derive(Debug, Default)]
pub struct Checked {
    /// Signatures that only a reservation accounts for.
    pub reserved: usize,
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
        checked
    }

    /// A request that was under way when the fence closed may have passed its last check before; one that was sent
    /// later cannot.
    fn fences(&self, checked: &mut Checked) {
        for stop in &self.history.stops {
            let Some(fenced) = stop.fenced else { continue };
            let until = stop.started.unwrap_or(Duration::MAX);
            let late = self.signatures().filter(|(answer, _)| {
                answer.profile.key == stop.key && answer.asked > fenced && answer.answered < until
            });
            checked
                .violations
                .extend(late.map(|(answer, id)| Violation::AfterFence {
                    key: stop.key,
                    signature: id.clone(),
                    at: (fenced, answer.asked, answer.answered),
                }));
        }
    }

    fn recorded(&self, checked: &mut Checked) {
        for (edge, records) in self.records.iter().enumerate() {
            let of_edge = self.signatures().filter(|(answer, _)| answer.edge == edge);
            let missing: Vec<_> = of_edge.filter(|(_, id)| !records.signed.contains(*id)).collect();
            let (reserve, others): (Vec<_>, Vec<_>) = missing
                .into_iter()
                .partition(|(answer, _)| answer.profile.mode == Mode::Reserve);
            checked
                .violations
                .extend(others.into_iter().map(|(_, id)| Violation::NoRecord {
                    edge,
                    signature: id.clone(),
                }));
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
