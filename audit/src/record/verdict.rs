//! What plugins did: their verdicts on one request, and when one is no longer called.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Hash;

/// What one plugin said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Wire<'a>", from = "Wire<'a>")]
pub struct Verdict<'a> {
    /// The plugin's name in the bundle.
    pub plugin: Cow<'a, str>,
    /// SHA-256 of the component that said it: while a new version is on its way, which of the two. None where none was asked,
    /// and in records of versions of Signet that did not keep it.
    pub component: Option<Hash>,
    /// Its answer.
    pub outcome: VerdictOutcome<'a>,
}

/// A plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerdictOutcome<'a> {
    /// It let the request pass, possibly narrowed.
    Allowed,
    /// It refused.
    Refused {
        /// The plugin's own code.
        code: Cow<'a, str>,
    },
    /// It failed: a trap, a timeout, bad output.
    Failed {
        /// Which failure, such as `timeout`.
        kind: Cow<'a, str>,
    },
    /// It failed, and its profile lets requests go on without it.
    Skipped {
        /// Which failure; `open` where it was not called.
        kind: Cow<'a, str>,
    },
}

/// A verdict in its encoding. What is new stands last, so that the encoding of the others stays: records of every version are
/// read, and hashed, for as long as there are logs.
#[derive(Clone, Serialize, Deserialize)]
struct Wire<'a> {
    plugin: Cow<'a, str>,
    outcome: WireOutcome<'a>,
}

#[derive(Clone, Serialize, Deserialize)]
enum WireOutcome<'a> {
    Allowed,
    Refused {
        code: Cow<'a, str>,
    },
    Failed {
        kind: Cow<'a, str>,
    },
    Skipped {
        kind: Cow<'a, str>,
    },
    Of {
        component: Hash,
        outcome: VerdictOutcome<'a>,
    },
}

impl<'a> From<Verdict<'a>> for Wire<'a> {
    fn from(verdict: Verdict<'a>) -> Wire<'a> {
        let outcome = match (verdict.component, verdict.outcome) {
            (Some(component), outcome) => WireOutcome::Of { component, outcome },
            (None, VerdictOutcome::Allowed) => WireOutcome::Allowed,
            (None, VerdictOutcome::Refused { code }) => WireOutcome::Refused { code },
            (None, VerdictOutcome::Failed { kind }) => WireOutcome::Failed { kind },
            (None, VerdictOutcome::Skipped { kind }) => WireOutcome::Skipped { kind },
        };
        Wire {
            plugin: verdict.plugin,
            outcome,
        }
    }
}

impl<'a> From<Wire<'a>> for Verdict<'a> {
    fn from(wire: Wire<'a>) -> Verdict<'a> {
        let (component, outcome) = match wire.outcome {
            WireOutcome::Of { component, outcome } => (Some(component), outcome),
            WireOutcome::Allowed => (None, VerdictOutcome::Allowed),
            WireOutcome::Refused { code } => (None, VerdictOutcome::Refused { code }),
            WireOutcome::Failed { kind } => (None, VerdictOutcome::Failed { kind }),
            WireOutcome::Skipped { kind } => (None, VerdictOutcome::Skipped { kind }),
        };
        Verdict {
            plugin: wire.plugin,
            component,
            outcome,
        }
    }
}

/// A plugin fails again and again and is not called for a while, or it answers again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Milliseconds since 1970 by the authority's time.
    pub time_ms: u64,
    /// The plugin's name in the bundle.
    pub plugin: String,
    /// SHA-256 of its component.
    pub component: Hash,
    /// What changed.
    pub change: BreakerChange,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreakerChange {
    /// It is not called, but for a trial now and then: requests are refused, or go on without it where their profile says so.
    Opened {
        /// The last failure, such as `timeout`.
        kind: String,
    },
    /// A trial was answered: it is called as ever.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(verdict: &Verdict<'_>) -> Vec<u8> {
        postcard::to_stdvec(verdict).unwrap()
    }

    fn verdict(component: Option<Hash>, outcome: VerdictOutcome<'static>) -> Verdict<'static> {
        Verdict {
            plugin: "a".into(),
            component,
            outcome,
        }
    }

    fn outcomes() -> [VerdictOutcome<'static>; 4] {
        [
            VerdictOutcome::Allowed,
            VerdictOutcome::Refused { code: "no".into() },
            VerdictOutcome::Failed { kind: "trap".into() },
            VerdictOutcome::Skipped { kind: "open".into() },
        ]
    }

    // The bytes that versions before it wrote: logs hold them for ever.
    #[test]
    fn verdicts_without_a_component_are_encoded_as_ever() {
        let bytes: [&[u8]; 4] = [
            b"\x01a\x00",
            b"\x01a\x01\x02no",
            b"\x01a\x02\x04trap",
            b"\x01a\x03\x04open",
        ];
        for (outcome, bytes) in outcomes().into_iter().zip(bytes) {
            let verdict = verdict(None, outcome);
            assert_eq!(encoded(&verdict), bytes);
            assert_eq!(postcard::from_bytes::<Verdict<'_>>(bytes).unwrap(), verdict);
        }
    }

    #[test]
    fn each_verdict_of_a_component_is_read_as_it_was_written() {
        for outcome in outcomes() {
            let verdict = verdict(Some([7; 32]), outcome);
            let bytes = encoded(&verdict);
            assert_eq!(bytes[..3], *b"\x01a\x04");
            assert_eq!(postcard::from_bytes::<Verdict<'_>>(&bytes).unwrap(), verdict);
        }
    }

    #[test]
    fn a_component_of_a_component_is_no_verdict() {
        let mut bytes = b"\x01a\x04".to_vec();
        bytes.extend([7; 32]);
        bytes.push(4);
        bytes.extend([7; 32]);
        bytes.push(0);
        assert!(postcard::from_bytes::<Verdict<'_>>(&bytes).is_err());
    }
}
