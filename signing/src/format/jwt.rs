//! JSON Web Tokens in JWS compact serialization (RFC 7515, RFC 7519): minted with a key, verified against trusted keys.

mod parts;
mod verify;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use parts::{ReceivedHeader, Unverified, inspect};
#[cfg(test)]
pub(crate) use verify::check_jws;
pub use verify::{Audience, Expectations, KeyLookup, Verified, verify, verify_with};

use crate::algorithm::Algorithm;
use crate::claims::{ClaimsError, ClaimsRef};
use crate::encoding::base64url_into;
use crate::key::{KeyError, SigningKey};

/// The longest token [`verify`] is usually asked to look at, in bytes.
pub const DEFAULT_MAX_LEN: usize = 32 * 1024;

/// What a token's header says beside the key's own id and algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `typ`, for example `JWT` or `at+jwt`. 1 to 64 visible characters.
    pub typ: String,
    /// How the algorithm is named.
    pub algorithm_name: AlgorithmName,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            typ: "JWT".into(),
            algorithm_name: AlgorithmName::default(),
        }
    }
}

/// Which of two names Ed25519 goes by; the other algorithms have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum AlgorithmName {
    /// `EdDSA` (RFC 8037): what most verifiers know.
    #[default]
    EdDsa,
    /// `Ed25519` (RFC 9864, which deprecates the other).
    Ed25519,
}

impl AlgorithmName {
    /// The header's `alg` for a key of this algorithm.
    pub fn name(self, algorithm: Algorithm) -> &'static str {
        match (self, algorithm) {
            (Self::Ed25519, Algorithm::EdDsa) => "Ed25519",
            (_, algorithm) => algorithm.as_str(),
        }
    }
}

impl FromStr for AlgorithmName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "EdDSA" => Ok(Self::EdDsa),
            "Ed25519" => Ok(Self::Ed25519),
            _ => Err("the algorithm name is EdDSA or Ed25519".into()),
        }
    }
}

impl TryFrom<String> for AlgorithmName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<AlgorithmName> for &'static str {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::EdDsa => "EdDSA",
            AlgorithmName::Ed25519 => "Ed25519",
        }
    }
}

/// Why a token was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The claims exceed a bound or hold a registered name where it must not be.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// The header's `typ` is not 1 to 64 visible characters.
    #[error("the token type must have 1 to 64 characters of A-Z a-z 0-9 + - . / _")]
    Type,
    /// The key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Makes a token: `alg` and `kid` are the key's own, the claims exactly those given.
///
/// # Errors
/// [`MintError`]; what it says about claims and type is the caller's fault.
pub fn mint<'a>(key: &SigningKey, header: &Header, claims: impl Into<ClaimsRef<'a>>) -> Result<String, MintError> {
    let mut token = signing_input(key.algorithm(), key.kid(), header, claims)?;
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    base64url_into(&signature, &mut token);
    Ok(token)
}

/// What is signed of a token (RFC 7515, section 2: the JWS signing input), for a key that signs elsewhere. `kid` must hold no
/// character that JSON escapes, as thumbprints do not.
///
/// # Errors
/// [`MintError`], as [`mint`].
pub fn signing_input<'a>(
    algorithm: Algorithm,
    kid: &str,
    header: &Header,
    claims: impl Into<ClaimsRef<'a>>,
) -> Result<String, MintError> {
    let visible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '/' | '_');
    if header.typ.is_empty() || header.typ.len() > 64 || !header.typ.chars().all(visible) {
        return Err(MintError::Type);
    }
    let algorithm = header.algorithm_name.name(algorithm);
    let payload = claims.into().encode()?;
    // Neither the type nor the key id can hold a character that JSON escapes.
    let parts = [
        r#"{"alg":""#,
        algorithm,
        r#"","kid":""#,
        kid,
        r#"","typ":""#,
        &header.typ,
        r#""}"#,
    ];
    let header = parts.concat();
    let text_len = |bytes: usize| bytes.saturating_mul(4).div_ceil(3).saturating_add(1);
    let capacity = text_len(header.len())
        .saturating_add(text_len(payload.len()))
        .saturating_add(text_len(96));
    let mut token = String::with_capacity(capacity);
    base64url_into(header.as_bytes(), &mut token);
    token.push('.');
    base64url_into(&payload, &mut token);
    Ok(token)
}

/// Why a token was refused. The texts are safe for the caller and hold nothing of the token but its `alg` and `kid`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three base64url parts with a JSON header, or too long.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// No key has exactly this id, or the header has none (R3).
    #[error("no key has the id `{0}`")]
    UnknownKey(String),
    /// The header names another algorithm than the key's (R1).
    #[error("the key is for {expected}, the token says `{actual}`")]
    Algorithm {
        /// The key's algorithm.
        expected: Algorithm,
        /// What the header says.
        actual: String,
    },
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The key speaks for another issuer or tenant, signs no tokens, or is not valid now (R5).
    #[error("the key does not count for this token: {0}")]
    Key(&'static str),
    /// A claim is malformed or one that is needed is missing (R2).
    #[error("the claims are malformed: {0}")]
    Claims(String),
    /// `iss` is not the expected one.
    #[error("the token is from another issuer")]
    Issuer,
    /// `aud` names none of the expected audiences.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf`, or `iat`, lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
}

impl TokenError {
    /// The stable code of the problem document.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_token",
            Self::UnknownKey(_) | Self::Key(_) => "unknown_key",
            Self::Algorithm { .. } => "bad_algorithm",
            Self::Signature => "bad_signature",
            Self::Claims(_) => "malformed_claims",
            Self::Issuer => "unknown_issuer",
            Self::Audience => "wrong_audience",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
        }
    }
}

impl fmt::Display for AlgorithmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str((*self).into())
    }
}

#[cfg(test)]
mod tests;
