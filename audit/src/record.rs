//! One audit record: the allow-list of what is kept, its encoding and its hash.
//!
//! There is no field for a body, a token, a claim or a secret, and none may be added (R33): what was signed is present
//! only as its digest.
//!
//! Encoding: postcard of [`Record`], in the order of its fields. Hash: SHA-256 over `signet audit record v1\n` and the
//! encoding; each record carries the hash of the one before it in its chain, and zeros in the first.

mod json;
mod verdict;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub(crate) use self::json::sha256;
pub use self::verdict::{Breaker, BreakerChange, Verdict, VerdictOutcome};

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// The version of the schema that this crate writes.
pub const VERSION: u8 = 1;

/// The longest encoded record, in bytes. A longer one is refused, and with it the signature.
pub const MAX_BYTES: usize = 16 * 1024;

const DOMAIN: &[u8] = b"signet audit record v1\n";

/// What an edge, or the authority's key API, says about one decision; the spool adds the rest of the [`Record`].
///
/// Every field borrows, so that a request pays for one copy: `caller.id().into()`. Missing knowledge is `None`: a
/// refusal by policy has no `kid` and no `digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft<'a> {
    /// Signed, or refused with which code.
    pub outcome: Outcome<'a>,
    /// `oidc:ISSUER#SUBJECT`, a SPIFFE ID, or the ARN of a principal of the key API.
    pub caller: Cow<'a, str>,
    /// The caller's tenant, 12 digits.
    pub tenant: Cow<'a, str>,
    /// The profile, once it is known to exist; of the key API the operation, `kms:Sign`.
    pub profile: Option<Cow<'a, str>>,
    /// The logical key's id.
    pub key: Option<Cow<'a, str>>,
    /// The key that signed.
    pub kid: Option<Cow<'a, str>>,
    /// SHA-256 of the bytes that were signed.
    pub digest: Option<Hash>,
    /// The ids of the policies that decided.
    pub policies: Cow<'a, [String]>,
    /// What each plugin said, in the order of the calls.
    pub plugins: Vec<Verdict<'a>>,
    /// The id that the caller and the log have.
    pub request_id: Uuid,
    /// W3C trace context, where the caller sent one.
    pub trace_id: Option<TraceId>,
    /// Milliseconds since 1970 by the authority's time, as `iat` has it.
    pub time_ms: u64,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// A signature was made.
    Signed,
    /// It was refused after authentication.
    Refused {
        /// The problem's stable code, such as `policy_denied`.
        code: Cow<'a, str>,
    },
    /// An operation of the authority's key API was carried out, whether or not it made a signature. (Last, so that the
    /// encoding of the others stays.)
    Performed,
}

/// A W3C trace id: 16 bytes, not all zero, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceId([u8; 16]);

/// A record as it is stored, hashed and shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of the schema.
    pub version: u8,
    /// The edge's id; `authority` for the key API's own spool.
    pub edge: String,
    /// The process's id: one chain for each.
    pub incarnation: String,
    /// From 1, without gaps but those that [`Started`] names.
    pub sequence: u64,
    /// The hash of the record before; zeros in the first.
    pub previous: Hash,
    /// What happened.
    pub event: Event,
}

/// A record that is passed on as it is: of its bytes only the part in front of the event is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// See [`Record::incarnation`].
    pub incarnation: String,
    /// See [`Record::sequence`].
    pub sequence: u64,
    /// The whole record, encoded.
    pub bytes: Vec<u8>,
}

/// What a reader of a spool makes of a record's bytes.
pub trait Parse: Sized {
    /// None where the bytes are no such record.
    fn parse(encoded: &[u8]) -> Option<Self>;
}

impl Parse for Record {
    fn parse(encoded: &[u8]) -> Option<Record> {
        Record::decode(encoded).ok()
    }
}

impl Parse for Encoded {
    fn parse(encoded: &[u8]) -> Option<Encoded> {
        // As `encode_head` writes it.
        type Head<'a> = (u8, &'a str, &'a str, u64);
        let ((version, _, incarnation, sequence), _) = postcard::take_from_bytes::<Head<'_>>(encoded).ok()?;
        (version == VERSION).then(|| Encoded {
            incarnation: incarnation.to_owned(),
            sequence,
            bytes: encoded.to_vec(),
        })
    }
}

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A process opened the spool.
    Started(Started),
    /// A signature or a refusal. (Position 1 in the encoding.)
    Use(Draft<'static>),
    /// The oldest segment is about to be removed, by a configuration that allows it.
    Dropped(Dropped),
    /// The process closed the spool: no reserved sequence number was used beyond this record.
    Stopped {
        /// Milliseconds since 1970 by this machine's clock.
        time_ms: u64,
    },
    /// A plugin is not called for a while, or is again.
    Breaker(Breaker),
}

/// The first record of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Milliseconds since 1970 by this machine's clock.
    pub time_ms: u64,
    /// The chain that the spool held before, and how it ended.
    pub predecessor: Option<Predecessor>,
}

/// How an earlier chain ended: this links the chains of a spool to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// The edge's id.
    pub edge: String,
    /// The edge process's id.
    pub incarnation: String,
    /// Its last record that could be read; 0 where there was none.
    pub sequence: u64,
    /// That record's hash.
    pub hash: Hash,
    /// The sequence numbers, first and last, that were reserved and have no record: each may or may not have been a
    /// signature that left.
    pub unaccounted: Option<(u64, u64)>,
    /// Whether bytes that had once been durable could not be read again.
    pub damaged: bool,
}

/// A segment that was removed to make room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Milliseconds since 1970 by this machine's clock.
    pub time_ms: u64,
    /// The edge process whose records they were.
    pub incarnation: String,
    /// The first and the last sequence number in it.
    pub range: (u64, u64),
    /// The hash of the last record in it.
    pub hash: Hash,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// The fields do not fit in [`MAX_BYTES`].
    #[error("an audit record takes at most {MAX_BYTES} bytes")]
    TooLong,
    /// Not an encoded record of a known version.
    #[error("not an audit record of version {VERSION}")]
    Malformed,
}

impl Record {
    /// Decodes exactly one record.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for anything else, bytes left over included.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        match postcard::take_from_bytes::<Record>(bytes) {
            Ok((record, [])) if record.version == VERSION => Ok(record),
            _ => Err(RecordError::Malformed),
        }
    }

    /// The bytes that are hashed.
    ///
    /// # Errors
    /// [`RecordError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        bounded(postcard::to_stdvec(self))
    }

    /// The record's hash: what the next one carries as `previous`.
    ///
    /// # Errors
    /// [`RecordError::TooLong`].
    pub fn hash(&self) -> Result<Hash, RecordError> {
        Ok(hash_encoded(&self.encode()?))
    }

    /// See [`Event::time_ms`].
    pub fn time_ms(&self) -> u64 {
        self.event.time_ms()
    }

    /// One line of JSON, without the line's end: what `signet audit tail` prints.
    pub fn to_json(&self) -> String {
        serde_json::Value::Object(self.fields()).to_string()
    }

    /// The members of that object.
    pub fn fields(&self) -> serde_json::Map<String, serde_json::Value> {
        json::fields(self)
    }
}

impl Event {
    /// When it happened, milliseconds since 1970: of uses and breakers by the authority's time, else by the machine's clock.
    pub fn time_ms(&self) -> u64 {
        match self {
            Event::Use(draft) => draft.time_ms,
            Event::Started(started) => started.time_ms,
            Event::Dropped(dropped) => dropped.time_ms,
            Event::Stopped { time_ms } => *time_ms,
            Event::Breaker(breaker) => breaker.time_ms,
        }
    }
}

impl TraceId {
    /// The trace id of a W3C `traceparent` header, or `None` where it is not one.
    pub fn from_traceparent(value: &str) -> Option<TraceId> {
        let mut parts = value.split('-');
        let version = parts.next().filter(|version| version.len() == 2 && *version != "ff")?;
        let trace = parts.next()?;
        let parent = parts.next().filter(|parent| parent.len() == 16)?;
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex(version) && hex(parent) {
            trace.parse().ok()
        } else {
            None
        }
    }
}

impl FromStr for TraceId {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<TraceId, RecordError> {
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(value) if lower && text.len() == 32 && value != 0 => Ok(TraceId(value.to_be_bytes())),
            _ => Err(RecordError::Malformed),
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// SHA-256 of an encoded record under the record's domain.
pub(crate) fn hash_encoded(encoded: &[u8]) -> Hash {
    Sha256::new()
        .chain_update(DOMAIN)
        .chain_update(encoded)
        .finalize()
        .into()
}

/// The part of a record that the request pays for: `Event::Use(draft)`, encoded without cloning the draft.
pub(crate) fn encode_use(draft: &Draft<'_>) -> Result<Vec<u8>, RecordError> {
    const POSITION: u8 = 1;
    encode(&(POSITION, draft))
}

/// An event as it stands behind its head.
pub(crate) fn encode(event: &impl Serialize) -> Result<Vec<u8>, RecordError> {
    bounded(postcard::to_extend(event, Vec::with_capacity(512))).and_then(|bytes| {
        if bytes.len() > MAX_EVENT {
            Err(RecordError::TooLong)
        } else {
            Ok(bytes)
        }
    })
}

/// The part that the writer adds in front of an encoded event.
pub(crate) fn encode_head(
    out: &mut Vec<u8>,
    edge: &str,
    incarnation: &str,
    sequence: u64,
    previous: &Hash,
) -> Result<(), RecordError> {
    let head = postcard::to_extend(&(VERSION, edge, incarnation, sequence, previous), std::mem::take(out));
    *out = head.map_err(|_| RecordError::TooLong)?;
    Ok(())
}

/// Leaves room for the head: two names of at most 64 bytes, the hash and three short integers.
const MAX_EVENT: usize = MAX_BYTES - 256;

fn bounded(encoded: postcard::Result<Vec<u8>>) -> Result<Vec<u8>, RecordError> {
    encoded
        .ok()
        .filter(|bytes| bytes.len() <= MAX_BYTES)
        .ok_or(RecordError::TooLong)
}

#[cfg(test)]
pub(crate) mod tests;
