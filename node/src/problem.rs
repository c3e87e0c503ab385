//! Refusals as the caller sees them: RFC 9457 problem documents with a stable `code`.
//!
//! Every failure has two messages. `detail` is safe text for the caller; what only the log may hold is given with
//! [`Problem::logged`] and never leaves the process. Both carry the request id. Which code has which status and title is
//! in one table, [`codes`].

pub mod codes;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use codes::Entry;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// One refusal, not yet tied to a request.
#[derive(Debug, Clone)]
pub struct Problem {
    entry: &'static Entry,
    detail: String,
    logged: Option<String>,
    members: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of the given code with text that is safe for the caller. A code that is not in [`codes`] is a mistake of
    /// ours: it becomes a 500 `internal`, and the log says which code was meant.
    pub fn new(code: &str, detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        match codes::find(code) {
            Some(entry) => Problem {
                entry,
                detail,
                logged: None,
                members: Vec::new(),
                headers: Vec::new(),
            },
            None => Problem::internal(format!(
                "`{code}` is not a known problem code; its detail was: {detail}"
            )),
        }
    }

    /// A failure of ours (500 `internal`): the caller learns nothing but the request id, the log gets `logged`.
    pub fn internal(logged: impl Into<String>) -> Problem {
        Problem {
            entry: &codes::INTERNAL,
            detail: "something failed on this side; the operator finds the cause in the log by the request id"
                .to_owned(),
            logged: Some(logged.into()),
            members: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Adds detail for the log only.
    #[must_use]
    pub fn logged(mut self, detail: impl Into<String>) -> Problem {
        self.logged = Some(detail.into());
        self
    }

    /// Adds an extension member (RFC 9457, section 3.2). The standard members and `code` and `request_id` cannot be replaced.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Problem {
        if !STANDARD.contains(&member) {
            self.members.retain(|(name, _)| *name != member);
            self.members.push((member, value.into()));
        }
        self
    }

    /// Adds a header field to the answer. A value that is not a valid field value is left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: impl AsRef<str>) -> Problem {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    /// The stable code, such as `policy_denied`.
    pub fn code(&self) -> &'static str {
        self.entry.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.entry.status
    }

    /// The text for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What only the log may hold.
    pub fn internal_detail(&self) -> Option<&str> {
        self.logged.as_deref()
    }

    /// The problem document of one request, for an answer or for one result of a batch.
    pub fn document<'a>(&'a self, request_id: &'a str) -> Document<'a> {
        Document {
            problem: self,
            request_id,
        }
    }

    /// The answer, `application/problem+json`, which no cache keeps. Writes the internal detail to the log.
    pub fn into_response(self, request_id: &str) -> Response<Bytes> {
        self.log(request_id);
        let body = serde_json::to_vec(&self.document(request_id)).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.entry.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.extend(self.headers);
        response
    }

    fn log(&self, request_id: &str) {
        let Some(detail) = &self.logged else { return };
        let code = self.entry.code;
        if self.entry.status.is_server_error() {
            tracing::error!(request_id, code, detail, "request failed");
        } else {
            tracing::info!(request_id, code, detail, "request refused");
        }
    }
}

/// The names that an extension member cannot take.
const STANDARD: [&str; 7] = ["type", "title", "status", "detail", "instance", "code", "request_id"];

/// A problem together with the request it answers; serializes as the JSON document.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    problem: &'a Problem,
    request_id: &'a str,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.problem.entry;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("urn:signet:problem:{}", entry.code))?;
        map.serialize_entry("title", entry.title)?;
        map.serialize_entry("status", &entry.status.as_u16())?;
        map.serialize_entry("code", entry.code)?;
        map.serialize_entry("detail", &self.problem.detail)?;
        map.serialize_entry("request_id", self.request_id)?;
        for (name, value) in &self.problem.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(response: &Response<Bytes>) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn a_problem_is_a_document_with_a_code_and_an_id() {
        let problem = Problem::new("policy_denied", "no policy permits this")
            .with("policies", json!(["deny-admins"]))
            .with("status", json!(200))
            .with_header(http::header::RETRY_AFTER, "3");
        let response = problem.into_response("7d1f");
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(
            body(&response),
            json!({
                "type": "urn:signet:problem:policy_denied", "title": "A policy denies this", "status": 403,
                "code": "policy_denied", "detail": "no policy permits this", "request_id": "7d1f",
                "policies": ["deny-admins"]
            })
        );
    }

    #[test]
    fn internal_detail_never_reaches_the_caller() {
        // R10
        let response = Problem::internal("the disk at canary-7f3 is full").into_response("id");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!String::from_utf8_lossy(response.body()).contains("canary"));
        let response = Problem::new("rule_failed", "a rule failed")
            .logged("trap: canary-7f3")
            .into_response("id");
        assert!(!String::from_utf8_lossy(response.body()).contains("canary"));
    }

    #[test]
    fn an_unknown_code_is_our_mistake_not_a_guess() {
        let problem = Problem::new("no_such_code", "detail");
        assert_eq!(problem.code(), "internal");
        assert!(problem.internal_detail().unwrap().contains("no_such_code"));
    }

    #[test]
    fn a_header_value_with_a_line_break_is_left_out() {
        let response = Problem::new("not_found", "x")
            .with_header(http::header::ALLOW, "a\r\nb: c")
            .into_response("id");
        assert!(!response.headers().contains_key("allow"));
    }
}
