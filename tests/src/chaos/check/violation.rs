//! Broken promises, and how a report says them.

use std::fmt;
use std::time::Duration;

use super::crashes::Crash;
use super::recorded::Overdue;
use crate::chaos::load::Protocol;

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
    /// A signature that was under way at the fence was made after it, as its record says, and was there before the key was
    /// started again.
    MadeAfterFence {
        /// The key's alias.
        key: &'static str,
        /// The signature's id.
        signature: String,
        /// When the fence was acknowledged, and the record drafted.
        at: (Duration, Duration),
    },
    /// A signature whose mode promises a record has none.
    NoRecord {
        /// Which edge made it.
        edge: usize,
        /// The signature's id.
        signature: String,
    },
    /// A signature whose record was to follow has none, though its edge had the time to write it.
    Overdue(Overdue),
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
    /// After everything was mended a key could not be stopped.
    NotStopped {
        /// Its alias.
        key: &'static str,
    },
    /// A process crashed, and nothing that was done to it says why.
    Crashed(Crash),
    /// A signature that a caller received does not verify.
    WrongSignature {
        /// Which edge answered with it.
        edge: usize,
        /// The signature's id.
        signature: String,
        /// When it was received.
        answered: Duration,
        /// What does not hold.
        why: String,
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
                let when = format!("asked for at {asked:?} and made by {answered:?}");
                write!(out, "`{key}` was fenced at {fenced:?}; {signature} was {when}")
            }
            Violation::MadeAfterFence { key, signature, at } => {
                let (fenced, made) = at;
                write!(
                    out,
                    "`{key}` was fenced at {fenced:?}; the record of {signature} is of {made:?}"
                )
            }
            Violation::NoRecord { edge, signature } => write!(out, "edge {edge} has no record of {signature}"),
            Violation::Overdue(overdue) => overdue.fmt(out),
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
                let when = format!("asked for at {asked:?} and received at {answered:?}");
                write!(out, "edge {edge} could make nothing durable; {signature} was {when}")
            }
            Violation::WrongTime { edge, signature, ahead } => {
                write!(
                    out,
                    "edge {edge}: the time of {signature} is no authority's, {ahead} s ahead"
                )
            }
            Violation::WrongSignature {
                edge,
                signature,
                answered,
                why,
            } => {
                write!(
                    out,
                    "edge {edge}: the signature {signature}, received at {answered:?}, is wrong: {why}"
                )
            }
            Violation::NotBack {
                edge,
                profile,
                protocol,
                said,
            } => {
                write!(out, "edge {edge} does not sign for {profile} over {protocol}: {said}")
            }
            Violation::NotStarted { key } => write!(out, "`{key}` cannot be started again"),
            Violation::NotStopped { key } => write!(out, "`{key}` cannot be stopped"),
            Violation::Crashed(crash) => crash.fmt(out),
            Violation::BrokenChain { of, said } => write!(out, "the audit spool of {of}: {said}"),
        }
    }
}
