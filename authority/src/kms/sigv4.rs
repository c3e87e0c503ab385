//! AWS Signature Version 4: who sent a request, proven by an access key's secret that never travels (R9).
//!
//! In two steps, so that the secret is looked up between them: [`Claim::read`] says who the request claims to come from
//! and refuses every form of a request that could be executed other than signed; [`Claim::verify`] makes the claim a
//! fact. Pure: the time is passed in, and nothing is kept from one request to the next. A request that is sent again
//! within the window verifies again, since clients resend and the operations are the same ones.
//!
//! Follows "AWS Signature Version 4 for API requests" of the IAM User Guide, as it is for all services but S3. Payloads
//! that are not signed, or signed in chunks, are refused before anything else looks at them (CVE-2025-31489,
//! CVE-2026-40344), and so are credentials in the query, with or without an `Authorization` header beside them
//! (CVE-2026-41145): there is one form of a signed request, and one path through this code.

mod canonical;
mod error;
mod header;
mod rules;
pub(crate) mod sign;
#[cfg(test)]
mod tests;
mod time;

use aws_lc_rs::hmac;
use http::HeaderValue;
use http::header::{AUTHORIZATION, DATE};
use http::request::Parts;
use signing::digest::sha256;
use signing::encoding::hex;
use signing::key::Secret;
use zeroize::Zeroizing;

use canonical::{Query, RequestHash};
pub use error::{SigV4Error, SigV4ErrorKind};
use header::{ALGORITHM, Authorization, TERMINATOR};
pub use sign::Signer;
use time::Stamp;

const AMZ_DATE: &str = "x-amz-date";
const SECURITY_TOKEN: &str = "x-amz-security-token";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// Bytes of a session token.
const MAX_TOKEN: usize = 8192;

/// What a signed request says of itself. Proves nothing until [`verify`](Self::verify).
///
/// It borrows the request's head, so that what is verified is what was read.
pub struct Claim<'a> {
    parts: &'a Parts,
    authorization: Authorization<'a>,
    stamp: Stamp<'a>,
    query: Query,
    session_token: Option<&'a str>,
    content_sha256: Option<&'a HeaderValue>,
}

/// The holder of an access key signed this request, head and body, for this region and service. Made by
/// [`Claim::verify`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    access_key_id: String,
    region: String,
    service: String,
    timestamp: u64,
}

impl<'a> Claim<'a> {
    /// Reads the one `Authorization` field of a request at `now` (Unix seconds).
    ///
    /// Execution may depend on the method, path, query and body, and on headers that are signed and there once: the host,
    /// the date, and every `x-amz-` one but `x-amz-user-agent`. It may depend on `Content-Type` too: an unsigned one is
    /// taken only where it says what signed data say, JSON with an `X-Amz-Target` and a form without. The signature
    /// covers the path in its normal form (`//x/../` is `/`), so serve a path only if it is the one expected, byte for
    /// byte.
    ///
    /// # Errors
    /// `MissingAuthenticationToken` when there is no signature, `IncompleteSignature` when it is not in the one form
    /// that is taken or leaves the request ambiguous, `InvalidSignature` when it does not cover what it must or is not
    /// of this time.
    pub fn read(parts: &'a Parts, now: u64) -> Result<Self, SigV4Error> {
        canonical::check_path(parts)?;
        let query = canonical::query(parts)?;
        rules::check_query(&query)?;
        let authorization = Authorization::parse(one_authorization(parts)?)?;
        rules::check_headers(parts, &authorization.signed)?;
        let stamp = stamp(parts, &authorization)?;
        stamp.check(now)?;
        Ok(Self {
            parts,
            stamp,
            query,
            session_token: session_token(parts)?,
            content_sha256: content_sha256(parts)?,
            authorization,
        })
    }

    /// The access key that the request says it is signed with: 1 to 128 letters, digits and underscores.
    pub fn access_key_id(&self) -> &str {
        self.authorization.access_key_id
    }

    /// The session token, which the signature covers. Whether it belongs to the access key is the caller's to check; a
    /// token with a key that has none is to be refused, as one that lacks with a key of a session.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token
    }

    /// The region in the credential's scope. Not yet compared with ours: see [`check_scope`](Self::check_scope).
    pub fn region(&self) -> &str {
        self.authorization.region
    }

    /// The service in the credential's scope: `kms`, `sts` or whatever else was written there.
    pub fn service(&self) -> &str {
        self.authorization.service
    }

    /// When the request was signed, Unix seconds.
    pub fn timestamp(&self) -> u64 {
        self.stamp.unix
    }

    /// Refuses a signature for another region or service than the one that is to execute the request.
    ///
    /// # Errors
    /// `InvalidSignature`, in the service's words.
    pub fn check_scope(&self, region: &str, service: &str) -> Result<(), SigV4Error> {
        if self.service() != service {
            return Err(SigV4Error::invalid(format!(
                "Credential should be scoped to correct service: '{service}'. "
            )));
        }
        if self.region() != region {
            return Err(SigV4Error::invalid(format!(
                "Credential should be scoped to a valid region, not '{}'. ",
                self.region()
            )));
        }
        Ok(())
    }

    /// Verifies the claim with the secret of the access key that it names, and the body as it came, before any content
    /// coding is undone. The signature does not cover the access key's id: it is the secret, looked up by it, that ties
    /// the two. The comparison takes the same time for every wrong signature.
    ///
    /// # Errors
    /// `InvalidSignature`: the signature is not the one that this secret makes of this request.
    pub fn verify(self, secret: &Secret, body: &[u8]) -> Result<Verified, SigV4Error> {
        if secret.is_empty() {
            return Err(SigV4Error::mismatch("the secret stored for this access key is empty"));
        }
        let payload = hex(&sha256(body));
        if self
            .content_sha256
            .is_some_and(|sent| sent.as_bytes() != payload.as_bytes())
        {
            return Err(SigV4Error::invalid(
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        let claimed = &self.authorization;
        let request = RequestHash::new(self.parts, &self.query, &claimed.signed, &payload);
        let message = string_to_sign(&self.stamp.text, claimed.scope, &request);
        let key = signing_key(secret.expose(), claimed.date, claimed.region, claimed.service);
        hmac::verify(&key, message.as_bytes(), &claimed.signature).map_err(|_| {
            SigV4Error::mismatch(format!("the canonical request as received has the SHA-256 {request}"))
        })?;
        Ok(Verified {
            access_key_id: claimed.access_key_id.to_owned(),
            region: claimed.region.to_owned(),
            service: claimed.service.to_owned(),
            timestamp: self.stamp.unix,
        })
    }
}

impl Verified {
    /// The access key whose holder signed the request.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The region that the request was signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The service that the request was signed for.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// When the request was signed, Unix seconds.
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }
}

fn one_authorization(parts: &Parts) -> Result<&HeaderValue, SigV4Error> {
    let mut fields = parts.headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or_else(SigV4Error::missing)?;
    if fields.next().is_some() {
        return Err(SigV4Error::incomplete("more than one Authorization header; send one"));
    }
    Ok(field)
}

/// `X-Amz-Date`, and without one `Date`; signed, and of the day that the credential is scoped to.
fn stamp<'a>(parts: &'a Parts, authorization: &Authorization<'_>) -> Result<Stamp<'a>, SigV4Error> {
    let text = |field: &'a HeaderValue| field.to_str().ok();
    let (name, stamp) = match (parts.headers.get(AMZ_DATE), parts.headers.get(DATE)) {
        (Some(field), _) => (AMZ_DATE, text(field).and_then(Stamp::iso)),
        (None, Some(field)) => (DATE.as_str(), text(field).and_then(Stamp::http)),
        (None, None) => {
            return Err(SigV4Error::incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ));
        }
    };
    let stamp = stamp.ok_or_else(|| {
        SigV4Error::incomplete(
            "the date is not in ISO 8601 basic format (X-Amz-Date: 20150830T123600Z), nor an HTTP date (Date)",
        )
    })?;
    if authorization.signed.binary_search(&name).is_err() {
        return Err(rules::unsigned(name));
    }
    if authorization.date != stamp.day() {
        return Err(SigV4Error::invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', \
             from '{}'.",
            authorization.date,
            stamp.day(),
            stamp.text
        )));
    }
    Ok(stamp)
}

fn session_token(parts: &Parts) -> Result<Option<&str>, SigV4Error> {
    let Some(field) = parts.headers.get(SECURITY_TOKEN) else {
        return Ok(None);
    };
    match field.to_str() {
        Ok(token) if !token.is_empty() && token.len() <= MAX_TOKEN => Ok(Some(token)),
        _ => Err(SigV4Error::unrecognized_client(
            "the session token is empty, too long or not ASCII text",
        )),
    }
}

/// A hash, or the request is refused: `UNSIGNED-PAYLOAD` and `STREAMING-…` leave the body to whoever comes between.
fn content_sha256(parts: &Parts) -> Result<Option<&HeaderValue>, SigV4Error> {
    let field = parts.headers.get(CONTENT_SHA256);
    let digit = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if field.is_some_and(|field| field.len() != 64 || !field.as_bytes().iter().all(digit)) {
        return Err(SigV4Error::incomplete(
            "'x-amz-content-sha256' is not the body's SHA-256 in lowercase hexadecimal; unsigned and streamed payloads are \
             not taken",
        ));
    }
    Ok(field)
}

fn string_to_sign(date_time: &str, scope: &str, request: &RequestHash) -> String {
    format!("{ALGORITHM}\n{date_time}\n{scope}\n{request}")
}

/// The key for one day, region and service.
fn signing_key(secret: &[u8], date: &str, region: &str, service: &str) -> hmac::Key {
    const PREFIX: &[u8] = b"AWS4";
    let mut key = Zeroizing::new(Vec::with_capacity(PREFIX.len().saturating_add(secret.len())));
    key.extend_from_slice(PREFIX);
    key.extend_from_slice(secret);
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    for step in [date, region, service, TERMINATOR] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref());
    }
    key
}
