//! The only place that makes a 201 or a problem.

use audit::log::proof::Proof;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use node::problem::Problem;
use serde::Serialize;

use crate::keyring::Statement;
use crate::record::Released;
use crate::throttle::Limited;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// draft-ietf-httpapi-ratelimit-headers
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The body of a 201: one signature of either kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Created<'a> {
    /// `POST /v1/tokens/{profile}`
    Token {
        /// JWS compact serialization.
        token: &'a str,
        /// The key's id in the issuer's JWKS.
        kid: &'a str,
        /// RFC 3339, UTC.
        expires_at: String,
        /// The request's id, which the audit record and the log carry.
        id: &'a str,
        /// That the record is in the authority's audit log; in mode `witness` only.
        #[serde(skip_serializing_if = "Option::is_none")]
        proof: Option<&'a Proof>,
    },
    /// `POST /v1/signatures/{profile}`
    Signature {
        /// Base64 with padding: DER for ECDSA unless the profile says fixed, 64 bytes for Ed25519.
        signature: &'a str,
        /// JOSE name.
        algorithm: &'a str,
        /// RFC 7638 thumbprint of the key that signed.
        kid: &'a str,
        /// PEM, leaf first, the delegation root last; none where the authority signed.
        certificates: &'a [String],
        /// PEM (SubjectPublicKeyInfo), where the authority signed.
        #[serde(skip_serializing_if = "Option::is_none")]
        public_key: Option<&'a str>,
        /// The request's id, which the audit record and the log carry.
        id: &'a str,
        /// That the record is in the authority's audit log; in mode `witness` only.
        #[serde(skip_serializing_if = "Option::is_none")]
        proof: Option<&'a Proof>,
    },
}

impl<'a> Created<'a> {
    /// Only what is recorded, and may still leave, can be answered.
    pub fn new(released: &'a Released) -> Created<'a> {
        let signed = released.signed();
        match signed.statement() {
            Statement::Token { token, expires_at } => Created::Token {
                token,
                kid: signed.kid(),
                expires_at: rfc3339(*expires_at),
                id: released.request_id(),
                proof: released.proof(),
            },
            Statement::Artifact {
                signature,
                certificates,
                public_key,
            } => Created::Signature {
                signature,
                algorithm: signed.algorithm().as_str(),
                kid: signed.kid(),
                certificates,
                public_key: public_key.as_deref(),
                id: released.request_id(),
                proof: released.proof(),
            },
        }
    }
}

/// The 201 of a single request.
pub fn created(released: &Released) -> Response<Bytes> {
    json(StatusCode::CREATED, &Created::new(released))
}

/// A JSON answer that no cache keeps.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    // Room for a token and what comes with it.
    let mut written = Vec::with_capacity(1024);
    match serde_json::to_writer(&mut written, body) {
        Ok(()) => written_json(status, written),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// An answer that is JSON already and that no cache keeps.
pub fn written_json(status: StatusCode, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// A refusal, with the request's id in the body and in `x-request-id`.
pub fn problem(problem: Problem, request_id: &str) -> Response<Bytes> {
    let mut response = problem.into_response(request_id);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A 429 with `Retry-After` (RFC 9110, whole seconds, rounded up), `RateLimit` and `RateLimit-Policy`; a 422 where waiting
/// would not help.
pub fn limited(limited: &Limited, code: &'static str) -> Problem {
    let (policy, quota) = (limited.policy, limited.quota);
    let Some(retry_after) = limited.retry_after else {
        let detail = format!("the limit per {policy} lets {quota} signatures through at once; send smaller batches");
        return Problem::new("invalid_request", detail);
    };
    let seconds = retry_after.as_millis().div_ceil(1000).max(1);
    Problem::new(
        code,
        format!("the limit per {policy} is spent; try again in {seconds} s"),
    )
    .with_header(RETRY_AFTER, seconds.to_string())
    .with_header(RATE_LIMIT, format!("\"{policy}\";r=0;t={seconds}"))
    .with_header(
        RATE_LIMIT_POLICY,
        format!("\"{policy}\";q={quota};w={}", limited.window),
    )
}

/// Unix seconds as RFC 3339 in UTC.
pub fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_default()
}
