use serde_json::Value;

use super::TokenError;
use crate::claims::{Claims, ClaimsError, MAX_LEN};
use crate::encoding::from_base64url;
use crate::json;

/// The longest header, in bytes of JSON.
const HEADER_MAX_LEN: usize = 4096;

/// A received header, as far as it is looked at: `jku`, `jwk`, `x5u`, `x5c` and the rest are never followed (R3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedHeader {
    /// What the token says its algorithm is; the key decides.
    pub alg: String,
    /// Which key it says it was signed with.
    pub kid: Option<String>,
    /// Its type.
    pub typ: Option<String>,
}

/// A token taken apart, nothing of it verified. Only fit for choosing which issuer's keys to verify with.
#[derive(Clone, Debug, PartialEq)]
pub struct Unverified {
    /// The header.
    pub header: ReceivedHeader,
    /// The claims it makes.
    pub claims: Claims,
}

/// Takes a token apart without verifying anything.
///
/// # Errors
/// [`TokenError::Malformed`] or [`TokenError::Claims`].
pub fn inspect(token: &str, max_len: usize) -> Result<Unverified, TokenError> {
    let parts = split(token, max_len)?;
    Ok(Unverified {
        claims: parts.claims()?,
        header: parts.header,
    })
}

/// A token's three parts, decoded as far as checking the signature needs.
pub(super) struct Parts<'a> {
    pub(super) header: ReceivedHeader,
    /// What was signed: everything before the last dot, as it came.
    pub(super) signed: &'a [u8],
    payload: &'a str,
    pub(super) signature: Vec<u8>,
}

pub(super) fn split(token: &str, max_len: usize) -> Result<Parts<'_>, TokenError> {
    if token.len() > max_len {
        return Err(TokenError::Malformed("it is too long"));
    }
    let three = TokenError::Malformed("it must be three base64url parts with dots between");
    let (signed, signature) = token.rsplit_once('.').ok_or(three.clone())?;
    let (header, payload) = signed.split_once('.').ok_or(three.clone())?;
    let signature = from_base64url(signature).ok_or(three.clone())?;
    if payload.contains('.') {
        return Err(three);
    }
    Ok(Parts {
        header: parse_header(header)?,
        signed: signed.as_bytes(),
        payload,
        signature,
    })
}

impl Parts<'_> {
    pub(super) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        if self.payload.len() > MAX_LEN.saturating_mul(2) {
            return Err(TokenError::Claims(
                ClaimsError::TooLarge(self.payload.len()).to_string(),
            ));
        }
        from_base64url(self.payload).ok_or(TokenError::Malformed("the payload is not base64url"))
    }

    pub(super) fn claims(&self) -> Result<Claims, TokenError> {
        Claims::parse(&self.payload()?).map_err(|error| TokenError::Claims(error.to_string()))
    }
}

fn parse_header(text: &str) -> Result<ReceivedHeader, TokenError> {
    let bytes = from_base64url(text)
        .filter(|bytes| bytes.len() <= HEADER_MAX_LEN)
        .ok_or(TokenError::Malformed("the header is not base64url, or too long"))?;
    let mut members =
        json::parse_object(&bytes, 4).map_err(|_| TokenError::Malformed("the header is not a JSON object"))?;
    // RFC 7515 section 4.1.11: whoever does not understand a critical extension refuses. None is understood here,
    // RFC 7797's `b64` included.
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(TokenError::Malformed("the header has critical extensions"));
    }
    let mut text = |name| match members.remove(name) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(_) => Err(TokenError::Malformed("a member of the header is not a text")),
    };
    let alg = text("alg")?.ok_or(TokenError::Malformed("the header has no `alg`"))?;
    Ok(ReceivedHeader {
        alg,
        kid: text("kid")?,
        typ: text("typ")?,
    })
}
