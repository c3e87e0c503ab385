//! The grammar of the `Authorization` field, stricter than the service's: one text for one signature.

use http::HeaderValue;
use signing::encoding::from_hex;

use super::SigV4Error;
use crate::names::shown;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const TERMINATOR: &str = "aws4_request";

/// Bytes of the field. Honest ones have 250 to 600.
const MAX_LEN: usize = 4096;
/// Header names that a signature may cover.
const MAX_SIGNED: usize = 64;
/// Characters of an access key id (the service's bound).
const MAX_ACCESS_KEY_ID: usize = 128;
/// Characters of a region or service name.
const MAX_SCOPE_NAME: usize = 64;

/// `AWS4-HMAC-SHA256 Credential=AKID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX`, taken apart.
pub(super) struct Authorization<'a> {
    pub access_key_id: &'a str,
    /// `DATE/REGION/SERVICE/aws4_request`.
    pub scope: &'a str,
    /// Eight digits.
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    /// Lowercase, strictly ascending, with `host` among them.
    pub signed: Vec<&'a str>,
    pub signature: [u8; 32],
}

impl<'a> Authorization<'a> {
    pub fn parse(field: &'a HeaderValue) -> Result<Self, SigV4Error> {
        if field.len() > MAX_LEN {
            let message = format!("the Authorization header has more than {MAX_LEN} bytes");
            return Err(SigV4Error::incomplete(message));
        }
        let text = field
            .to_str()
            .map_err(|_| SigV4Error::incomplete("the Authorization header has bytes that are not ASCII text"))?;
        let (algorithm, parts) = text.split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            let message = format!("the Authorization header is not of the scheme {ALGORITHM}, the only one taken");
            return Err(SigV4Error::incomplete(message));
        }
        let parts = Parts::split(parts)?;
        let credential = Credential::parse(parts.credential)?;
        Ok(Self {
            access_key_id: credential.access_key_id,
            scope: credential.scope,
            date: credential.date,
            region: credential.region,
            service: credential.service,
            signed: signed_headers(parts.signed_headers)?,
            signature: signature(parts.signature)?,
        })
    }
}

/// The three parts, in whatever order they came.
struct Parts<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, SigV4Error> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in text.split(',').map(|part| part.trim_matches([' ', '\t'])) {
            if part.is_empty() && text.is_empty() {
                break;
            }
            // The field is not repeated in the answer, as the service does: it may hold another scheme's secret.
            let (name, value) = part.split_once('=').ok_or_else(|| {
                SigV4Error::incomplete("not a valid key=value pair (missing equal-sign) in Authorization header")
            })?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => {
                    let message = "the Authorization header has a part other than Credential, SignedHeaders, Signature";
                    return Err(SigV4Error::incomplete(message));
                }
            };
            if place.replace(value).is_some() {
                return Err(SigV4Error::incomplete(format!(
                    "the Authorization header has two of `{name}`"
                )));
            }
        }
        match (credential, signed_headers, signature) {
            (Some(credential), Some(signed_headers), Some(signature)) => Ok(Self {
                credential,
                signed_headers,
                signature,
            }),
            _ => Err(absent([
                ("Credential", credential),
                ("Signature", signature),
                ("SignedHeaders", signed_headers),
            ])),
        }
    }
}

fn absent(parts: [(&str, Option<&str>); 3]) -> SigV4Error {
    let sentences: Vec<String> = parts
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| format!("Authorization header requires '{name}' parameter."))
        .collect();
    SigV4Error::incomplete(sentences.join(" "))
}

struct Credential<'a> {
    access_key_id: &'a str,
    scope: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

impl<'a> Credential<'a> {
    fn parse(text: &'a str) -> Result<Self, SigV4Error> {
        let mut elements = text.split('/');
        let mut next = || elements.next().unwrap_or_default();
        let (access_key_id, date, region, service, terminator) = (next(), next(), next(), next(), next());
        if text.matches('/').count() != 4 {
            // The service repeats the text here. It may be a secret: it is so when a client's two settings are swapped.
            return Err(SigV4Error::incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term",
            ));
        }
        let key_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let scope_char = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        check("access key id", access_key_id, MAX_ACCESS_KEY_ID, key_char)?;
        check("region", region, MAX_SCOPE_NAME, scope_char)?;
        check("service", service, MAX_SCOPE_NAME, scope_char)?;
        if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("the Credential's date is not YYYYMMDD: `{}`", shown(date));
            return Err(SigV4Error::incomplete(message));
        }
        if terminator != TERMINATOR {
            return Err(SigV4Error::invalid(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
                shown(terminator)
            )));
        }
        let (_, scope) = text.split_once('/').unwrap_or_default();
        Ok(Self {
            access_key_id,
            scope,
            date,
            region,
            service,
        })
    }
}

fn check(what: &str, value: &str, max: usize, fits: impl Fn(u8) -> bool) -> Result<(), SigV4Error> {
    if value.is_empty() || value.len() > max || !value.bytes().all(fits) {
        let message = format!("the Credential's {what} is empty, too long or has characters that none has");
        return Err(SigV4Error::incomplete(message));
    }
    Ok(())
}

/// Names in the form they have in the canonical request: so a name has one form, and is covered once.
fn signed_headers(text: &str) -> Result<Vec<&str>, SigV4Error> {
    let mut names: Vec<&str> = Vec::with_capacity(8);
    for name in text.split(';') {
        // RFC 9110 section 5.6.2, without the capitals.
        let token_char =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token_char) {
            return Err(SigV4Error::incomplete(
                "SignedHeaders is a list of lowercase header names with semicolons between",
            ));
        }
        if names.last().is_some_and(|last| *last >= name) {
            return Err(SigV4Error::incomplete(format!(
                "SignedHeaders is not in ascending order, or names a header twice: `{}`",
                shown(name)
            )));
        }
        if names.len() >= MAX_SIGNED {
            let message = format!("SignedHeaders names more than {MAX_SIGNED} headers");
            return Err(SigV4Error::incomplete(message));
        }
        names.push(name);
    }
    if names.binary_search(&"authorization").is_ok() {
        return Err(SigV4Error::incomplete("SignedHeaders names the header it is in"));
    }
    if names.binary_search(&"host").is_err() {
        return Err(SigV4Error::invalid(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ));
    }
    Ok(names)
}

fn signature(text: &str) -> Result<[u8; 32], SigV4Error> {
    let lower = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    from_hex(text)
        .filter(|_| lower)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| SigV4Error::incomplete("the Signature is not 64 lowercase hexadecimal digits"))
}
