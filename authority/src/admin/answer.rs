//! Answers of the admin API: JSON, never cached; failures as problem documents, those of key verbs in KMS's form.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use node::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bundle::Invalid;
use crate::fault::Fault;
use crate::keys::KmsError;

pub(super) use crate::clock::rfc3339;

/// A failed request.
pub(super) enum Failure {
    /// As a problem document.
    Problem(Problem),
    /// In KMS's form.
    Kms(KmsError),
}

impl Failure {
    /// Its stable code, for the record.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Problem(problem) => problem.code(),
            Self::Kms(error) => error.kind.as_str(),
        }
    }

    /// The answer.
    pub(super) fn into_response(self, request_id: &str) -> Response<Bytes> {
        match self {
            Self::Problem(problem) => problem.into_response(request_id),
            Self::Kms(error) => {
                let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                respond(status, "application/x-amz-json-1.1", error.body().to_string().into())
            }
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Problem(fault.problem())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        Self::Kms(error)
    }
}

impl From<Invalid> for Failure {
    /// 422 with every fault: `errors` as lines, `findings` as objects.
    fn from(invalid: Invalid) -> Self {
        let lines: Vec<String> = invalid.findings.iter().map(ToString::to_string).collect();
        let detail = format!(
            "the bundle has {} fault(s) and was not applied; the one before stays",
            lines.len()
        );
        let findings = serde_json::to_value(&invalid.findings).unwrap_or_default();
        Problem::new("invalid_bundle", detail)
            .with("errors", lines)
            .with("findings", findings)
            .into()
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Bytes>, Failure> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(respond(status, "application/json", body.into()))
}

/// An answer of any type.
pub(super) fn respond(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a JSON body strictly; what is not JSON at all and what is of another shape are told apart.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.classify() {
            serde_json::error::Category::Data if path != "." => {
                Problem::new("bad_request", format!("`{path}`: {error}"))
            }
            serde_json::error::Category::Data => Problem::new("bad_request", error.to_string()),
            _ => Problem::new("malformed_json", error.to_string()),
        }
    })?;
    reader
        .end()
        .map_err(|_| Problem::new("malformed_json", "there is something behind the JSON value"))?;
    Ok(parsed)
}
