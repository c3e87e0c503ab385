//! What a caller asks for, parsed strictly and held against the profile before any policy sees it.
//!
//! Not JSON at all is 400 `malformed_json`; JSON of the wrong shape 400 `bad_request`, with a pointer (RFC 6901) to the
//! member at fault; a well-formed request that the profile does not take 422 with a code of its own.

mod artifact;
mod body;
mod token;
mod verify;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use signing::Digest;
pub use signing::claims::REGISTERED;

pub use verify::VerifyRequest;

use crate::profile::Profile;

/// Most bytes of a message to sign or verify.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// Most bytes of a subject, and of an audience.
pub const MAX_TEXT_BYTES: usize = 512;
/// Most audiences of one token.
pub const MAX_AUDIENCES: usize = 16;
/// Most claims of one token beside the registered ones.
pub const MAX_CLAIMS: usize = 64;
/// Deepest nesting of a claim's value; a bare text has depth 0.
pub const MAX_CLAIM_DEPTH: usize = 8;
/// Most bytes of all claims together, as compact JSON.
pub const MAX_CLAIMS_BYTES: usize = 16 << 10;
/// Most bytes of a token to verify.
pub const MAX_TOKEN_BYTES: usize = 32 << 10;

/// One thing a caller asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// Mint a token.
    Token(TokenIntent),
    /// Sign a digest or a message.
    Artifact(ArtifactIntent),
    /// Verify a token or a signature.
    Verify(VerifyIntent),
}

/// A token to mint, within what its profile takes.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenIntent {
    /// `sub`; none where the caller gave none.
    pub subject: Option<String>,
    /// `aud`, never empty: the caller's, or the profile's default.
    pub audience: Vec<String>,
    /// Claims beside the registered ones. Only ones the profile lets callers set.
    pub claims: BTreeMap<String, Value>,
    /// Seconds, from 1 to the profile's maximum.
    pub lifetime: u32,
}

/// A digest or message to sign.
#[derive(Clone, Debug, PartialEq)]
pub struct ArtifactIntent {
    /// What is to be signed. A digest is of the hash that belongs to the profile's algorithm.
    pub payload: Payload,
}

/// What a signature is over.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// A digest that the caller computed.
    Digest(Digest),
    /// A whole message of at most 64 KiB.
    Message(Vec<u8>),
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "Digest({digest})"),
            Self::Message(message) => write!(f, "Message({} bytes)", message.len()),
        }
    }
}

/// A token or a signature to verify.
#[derive(Clone, PartialEq, Eq)]
pub enum VerifyIntent {
    /// A token of the profile's issuer.
    Token {
        /// The token, compact form.
        token: String,
        /// An audience it must have; none: any that the profile takes.
        audience: Option<String>,
    },
    /// A signature by the profile's key.
    Signature {
        /// The signature's bytes.
        signature: Vec<u8>,
        /// What it is over.
        payload: Payload,
    },
}

impl fmt::Debug for VerifyIntent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { audience, .. } => write!(f, "Token([redacted], audience {audience:?})"),
            Self::Signature { signature, payload } => write!(f, "Signature({} bytes, {payload:?})", signature.len()),
        }
    }
}

impl Intent {
    /// Parses the body of `POST /v1/tokens/{profile}`.
    ///
    /// # Errors
    /// [`IntentError`]; the caller is to blame.
    pub fn parse_token(profile: &Profile, body: &[u8]) -> Result<Self, IntentError> {
        token::parse(profile, body).map(Self::Token)
    }

    /// Parses the body of `POST /v1/signatures/{profile}`.
    ///
    /// # Errors
    /// [`IntentError`]; the caller is to blame.
    pub fn parse_artifact(profile: &Profile, body: &[u8]) -> Result<Self, IntentError> {
        artifact::parse(profile, body).map(Self::Artifact)
    }

    /// The Cedar action that covers this.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Token(_) => "Mint",
            Self::Artifact(_) => "SignArtifact",
            Self::Verify(_) => "Verify",
        }
    }
}

/// Why a request is not taken. The caller is to blame; every text is safe to send back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct IntentError {
    /// HTTP status: 400 or 422.
    pub status: u16,
    /// The problem's stable code.
    pub code: &'static str,
    /// What is wrong and what to do, in words.
    pub detail: String,
    /// The member at fault (RFC 6901), relative to the request's own object.
    pub pointer: Option<String>,
}

impl IntentError {
    fn new(status: u16, code: &'static str, pointer: Option<&str>, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            pointer: pointer.map(str::to_owned),
        }
    }

    /// JSON of the wrong shape.
    fn shape(pointer: &str, detail: impl Into<String>) -> Self {
        Self::new(400, "bad_request", Some(pointer), detail)
    }

    /// A request that the profile does not take.
    fn refused(code: &'static str, pointer: &str, detail: impl Into<String>) -> Self {
        Self::new(422, code, Some(pointer), detail)
    }
}

/// What is wrong with claims as a whole, or none: bounds on number, depth and size.
pub(crate) fn claims_out_of_bounds(claims: &BTreeMap<String, Value>) -> Option<String> {
    if claims.len() > MAX_CLAIMS {
        return Some(format!("at most {MAX_CLAIMS} claims are taken, not {}", claims.len()));
    }
    if claims
        .values()
        .any(|value| signing::json::depth(value) > MAX_CLAIM_DEPTH)
    {
        return Some(format!("a claim is nested deeper than {MAX_CLAIM_DEPTH} levels"));
    }
    if claims.values().any(is_rounded) {
        return Some(
            "a claim has an integer outside -2^63 to 2^64-1, which would be signed rounded; send it as text".into(),
        );
    }
    let mut size = Size(0);
    if serde_json::to_writer(&mut size, claims).is_err() {
        size = Size(usize::MAX);
    }
    let Size(size) = size;
    (size > MAX_CLAIMS_BYTES).then(|| format!("the claims have {size} bytes, at most {MAX_CLAIMS_BYTES} are taken"))
}

/// Counts what is written to it.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether a number was read as a float because no integer holds it: RFC 8259, section 6, lets readers differ there.
fn is_rounded(value: &Value) -> bool {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Number(number) => number.is_f64() && number.as_f64().is_some_and(|float| float.abs() >= BEYOND),
        Value::Array(items) => items.iter().any(is_rounded),
        Value::Object(members) => members.values().any(is_rounded),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
#[path = "intent_tests.rs"]
mod tests;
