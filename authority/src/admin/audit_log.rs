//! `GET /v1/audit/log` (key and newest checkpoint), `/v1/audit/records?from=LEAF&…` (a page of records), and
//! `/v1/audit/proof?edge=E&incarnation=I&sequence=N`. Nothing here changes anything: where records go is said by the
//! configuration file alone (R33).

use std::sync::Arc;
use std::time::{Duration, Instant};

use audit::filter::Filter;
use audit::log::LogError;
use audit::log::proof::Proof;
use audit::log::read::View;
use bytes::Bytes;
use http::{Response, StatusCode};
use policies::engine::{AdminAction, AdminResource};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{self, Failure};
use super::{Admin, Decisions};
use crate::collect::Collector;
use crate::fault::Fault;
use crate::names::shown;

/// Records of one page at most.
const PAGE: usize = 1_000;
/// How long one page looks for them.
const LOOKING: Duration = Duration::from_millis(500);

/// What one page is about.
struct Question {
    from: u64,
    filter: Filter,
}

impl Admin {
    fn log(&self) -> Result<&Arc<Collector>, Fault> {
        let none = || {
            Fault::state(
                "sealed",
                "a sealed authority keeps no audit log; `signet restore replay` unseals it",
            )
        };
        self.log.as_ref().ok_or_else(none)
    }

    pub(super) fn audit_log(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ReadAudit, AdminResource::Authority)?;
        let log = self.log()?;
        let shape = json!({
            "key": log.vkey(),
            "checkpoint": log.note(),
            "cosigned": log.cosigned(),
            "directory": log.place().to_string(),
            "broken": log.broken(),
        });
        answer::json(StatusCode::OK, &shape)
    }

    /// A page: `records` (as `signet audit tail` prints them), and `next`, the leaf to go on from. It is at the log's end when
    /// `next` is `size`.
    pub(super) async fn audit_records(
        &self,
        decisions: &Decisions,
        query: Option<&str>,
    ) -> Result<Response<Bytes>, Failure> {
        let question = Question::parse(query)?;
        match &question.filter.tenant {
            Some(tenant) => decisions.allow(AdminAction::ReadAudit, AdminResource::Tenant(tenant))?,
            None => decisions.allow(AdminAction::ReadAudit, AdminResource::Authority)?,
        }
        let place = self.log()?.place().clone();
        let page = tokio::task::spawn_blocking(move || question.page(&place.view(None)?)).await;
        let page = page
            .map_err(|error| Fault::internal(error.to_string()))?
            .map_err(broken)?;
        answer::json(StatusCode::OK, &page)
    }

    pub(super) async fn audit_proof(
        &self,
        decisions: &Decisions,
        query: Option<&str>,
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ReadAudit, AdminResource::Authority)?;
        let wanted = parse(query, &["edge", "incarnation", "sequence"])?;
        let get = |name: &str| {
            let found = wanted
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone());
            found.ok_or_else(|| Fault::invalid("bad_request", format!("`{name}` is missing")))
        };
        let (edge, incarnation) = (get("edge")?, get("incarnation")?);
        let sequence = number("sequence", &get("sequence")?)?;
        let log = self.log()?;
        let place = log.place().clone();
        let proof = tokio::task::spawn_blocking(move || {
            let view = place.view(None)?;
            view.prove(&edge, &incarnation, sequence)
        });
        let proof: Option<Proof> = proof
            .await
            .map_err(|error| Fault::internal(error.to_string()))?
            .map_err(broken)?;
        let proof = proof.ok_or_else(|| Fault::not_found("the log has no such record"))?;
        answer::json(StatusCode::OK, &json!(proof.cosigned(log.cosigned().values())))
    }
}

impl Question {
    fn parse(query: Option<&str>) -> Result<Self, Fault> {
        const KNOWN: [&str; 12] = [
            "from", "edge", "tenant", "key", "kid", "caller", "outcome", "profile", "plugin", "request", "from_ms",
            "to_ms",
        ];
        let mut question = Self {
            from: 0,
            filter: Filter::default(),
        };
        let filter = &mut question.filter;
        for (name, value) in parse(query, &KNOWN)? {
            match name.as_str() {
                "from" => question.from = number(&name, &value)?,
                "from_ms" => filter.from_ms = Some(number(&name, &value)?),
                "to_ms" => filter.to_ms = Some(number(&name, &value)?),
                "edge" => filter.edge = Some(value),
                "tenant" => filter.tenant = Some(value),
                "key" => filter.key = Some(value),
                "kid" => filter.kid = Some(value),
                "caller" => filter.caller = Some(value),
                "outcome" => filter.outcome = Some(value),
                "profile" => filter.profile = Some(value),
                "plugin" => filter.plugin = Some(value),
                _ => filter.request = Some(value),
            }
        }
        Ok(question)
    }

    /// Whole batches, until the page is full or has looked for long enough.
    fn page(&self, view: &View) -> Result<Value, LogError> {
        let begun = Instant::now();
        let (mut records, mut next) = (Vec::new(), self.from);
        view.batches(self.from, |leaf, filled| {
            next = leaf.saturating_add(1);
            for record in filled.decoded().filter(|record| self.filter.wants(record)) {
                records.extend(RawValue::from_string(record.to_json()).ok());
            }
            records.len() < PAGE && begun.elapsed() < LOOKING
        })?;
        Ok(json!({"records": records, "next": next, "size": view.checkpoint().size}))
    }
}

/// The parameters of a query, each at most once, in percent-encoding.
fn parse(query: Option<&str>, known: &[&str]) -> Result<Vec<(String, String)>, Fault> {
    let mut found: Vec<(String, String)> = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&name) || found.iter().any(|(before, _)| before == name) {
            let message = format!(
                "unexpected query parameter `{}`; known are {}",
                shown(name),
                known.join(", ")
            );
            return Err(Fault::invalid("bad_request", message));
        }
        let value = decoded(value).ok_or_else(|| {
            let message = format!("`{name}` is not text in percent-encoding");
            Fault::invalid("bad_request", message)
        })?;
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

fn decoded(value: &str) -> Option<String> {
    let (mut out, mut rest) = (Vec::new(), value.as_bytes());
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'%' => {
                let (digits, behind) = rest.split_first_chunk::<2>()?;
                let text = std::str::from_utf8(digits).ok()?;
                out.push(u8::from_str_radix(text, 16).ok()?);
                rest = behind;
            }
            b'+' => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    String::from_utf8(out).ok()
}

fn number(name: &str, value: &str) -> Result<u64, Fault> {
    let bad = || {
        Fault::invalid(
            "bad_request",
            format!("`{name}` is a whole number, not `{}`", shown(value)),
        )
    };
    value.parse().map_err(|_| bad())
}

fn broken(error: LogError) -> Fault {
    Fault::Unavailable {
        part: "audit log",
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::admin::Route;

    // R33
    #[test]
    fn nothing_in_the_api_says_where_records_go() {
        let places = [
            "/v1/audit",
            "/v1/audit/log",
            "/v1/audit/records",
            "/v1/audit/proof",
            "/v1/audit/sinks",
            "/v1/sinks",
            "/v1/audit/export",
            "/v1/config",
            "/v1/audit/witness",
        ];
        for place in places {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(Route::find(&method, place).is_err(), "{method} {place}");
            }
        }
        assert!(Question::parse(Some("sink=https://evil.example")).is_err());
        assert!(Question::parse(Some("from=1&directory=/tmp")).is_err());
    }

    #[test]
    fn a_question_is_read_as_it_was_encoded() {
        let question = Question::parse(Some(
            "from=7&caller=oidc%3Ahttps%3A%2F%2Fa%23b%20c&outcome=refused&to_ms=9",
        ));
        let question = question.unwrap();
        assert_eq!(question.from, 7);
        assert_eq!(question.filter.caller.as_deref(), Some("oidc:https://a#b c"));
        assert_eq!(
            (question.filter.outcome.as_deref(), question.filter.to_ms),
            (Some("refused"), Some(9))
        );
        for bad in [
            "from=x",
            "from=-1",
            "caller=%zz",
            "caller=%e",
            "caller=%ff",
            "edge=a&edge=b",
            "nothing=1",
        ] {
            assert!(Question::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
