//! What no fault may bring about, decided from what callers and the operator saw and what is on disk afterwards.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::fleet::Mode;
use super::load::Answer;
use super::operator::History;

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

    /// All three checks.
    pub fn check(&self) -> Checked {
        let mut checked = Checked::default();
        self.fences(&mut checked);
        self.recorded(&mut checked);
        self.acknowledged(&mut checked);
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
}

#[cfg(test)]
mod tests {
    use super::super::fleet::PROFILES;
    use super::super::operator::Stop;
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn answer(mode: Mode, asked: u64, answered: u64, id: &str) -> Answer {
        Answer {
            edge: 0,
            profile: PROFILES.iter().find(|profile| profile.mode == mode).unwrap(),
            asked: at(asked),
            answered: at(answered),
            signature: Some(id.into()),
        }
    }

    fn seen(answers: Vec<Answer>) -> Seen {
        let signed = answers.iter().filter_map(|answer| answer.signature.clone()).collect();
        Seen {
            answers: Arc::new(answers),
            history: History::default(),
            records: vec![Records { signed, reserved: 0 }],
            keys: HashMap::new(),
        }
    }

    // R35
    #[test]
    fn a_signature_within_a_fence_is_found_and_those_around_it_are_not() {
        let key = answer(Mode::Reserve, 0, 0, "").profile.key;
        let around = [(8, 9), (9, 11), (19, 21), (21, 22)];
        let mut seen = seen(
            around
                .map(|(asked, answered)| answer(Mode::Reserve, asked, answered, "a"))
                .into(),
        );
        seen.history.stops.push(Stop {
            key,
            fenced: Some(at(10)),
            started: Some(at(20)),
        });
        assert_eq!(seen.check().violations, []);
        Arc::make_mut(&mut seen.answers).push(answer(Mode::Reserve, 11, 12, "a"));
        assert!(matches!(seen.check().violations[..], [Violation::AfterFence { .. }]));
        seen.history.stops[0].fenced = None;
        assert_eq!(seen.check().violations, [], "what was not fenced promises nothing");
    }

    #[test]
    fn each_mode_promises_its_own() {
        let mut seen = seen(vec![answer(Mode::Reserve, 1, 2, "a"), answer(Mode::Commit, 1, 2, "b")]);
        seen.records[0].signed.clear();
        seen.records[0].reserved = 1;
        let no_record = Violation::NoRecord {
            edge: 0,
            signature: "b".into(),
        };
        assert_eq!(seen.check().violations, std::slice::from_ref(&no_record));
        seen.records[0].reserved = 0;
        let violations = seen.check().violations;
        assert_eq!(violations[0], no_record);
        assert!(matches!(
            violations[1],
            Violation::BeyondReservations { missing: 1, .. }
        ));
    }

    // R36
    #[test]
    fn what_was_acknowledged_and_is_gone_or_undone_is_found() {
        let mut seen = seen(Vec::new());
        seen.history.made.push("one".into());
        seen.history.states.insert("alias/api", "Disabled");
        seen.keys.insert("alias/api".into(), "Enabled".into());
        assert_eq!(seen.check().violations.len(), 2);
        seen.keys.insert("one".into(), "Enabled".into());
        seen.keys.insert("alias/api".into(), "Disabled".into());
        assert_eq!(seen.check().violations, []);
    }
}
