//! A request as an approver sees it, and as it is signed: the same fields.

use serde_json::Value;
use signing::approval::Statement;
use signing::digest::sha256;
use signing::encoding::hex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::Failure;

/// A request for approval, read out of the authority's answer.
pub struct Request {
    trust_domain: String,
    pub id: String,
    account: String,
    region: String,
    operation: String,
    resource: String,
    parameters: String,
    pub requester: String,
    created: u64,
    expires: u64,
}

impl Request {
    /// Everything must be there.
    pub fn read(answer: &Value) -> Result<Self, Failure> {
        let missing = |name: &str| Failure::new(format!("the authority's answer has no `{name}`"));
        let text = |name: &str| {
            let value = answer.get(name).and_then(Value::as_str);
            value.map(str::to_owned).ok_or_else(|| missing(name))
        };
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).ok_or_else(|| missing(name));
        Ok(Self {
            trust_domain: text("trust_domain")?,
            id: text("id")?,
            account: text("account")?,
            region: text("region")?,
            operation: text("operation")?,
            resource: text("resource")?,
            parameters: text("parameters")?,
            requester: text("requester")?,
            created: number("created")?,
            expires: number("expires")?,
        })
    }

    /// What is signed: of the parameters their digest, computed here over what is shown.
    pub fn statement(&self) -> Statement<'_> {
        Statement {
            trust_domain: &self.trust_domain,
            id: &self.id,
            account: &self.account,
            region: &self.region,
            operation: &self.operation,
            resource: &self.resource,
            parameters_sha256: sha256(self.parameters.as_bytes()),
            requester: &self.requester,
            created_at: self.created,
            expires_at: self.expires,
        }
    }

    /// For a person. Whatever came from a requester is escaped, so that no control character of theirs paints over a line.
    pub fn text(&self, answer: &Value) -> String {
        let member = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            text.push_str(&format!("{name:<12} {}\n", printable(value)));
        };
        line("request", &self.id);
        line("authority", &self.trust_domain);
        line("account", &self.account);
        line("operation", &self.operation);
        line("resource", &self.resource);
        if !self.region.is_empty() {
            line("region", &self.region);
        }
        line("parameters", &self.parameters);
        line("sha256", &hex(&sha256(self.parameters.as_bytes())));
        line("requester", &self.requester);
        line("asked", &utc(self.created));
        line("expires", &utc(self.expires));
        line("status", member("status"));
        let decisions = answer.get("decisions").and_then(Value::as_array).into_iter().flatten();
        for decision in decisions {
            let part = |name: &str| decision.get(name).and_then(Value::as_str).unwrap_or_default();
            line(part("decision"), &format!("{} at {}", part("approver"), part("at")));
        }
        text
    }
}

/// RFC 3339.
fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// Control characters, and those that turn the direction of writing, as escapes.
fn printable(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_paints_over_another_line() {
        let answer = serde_json::json!({
            "trust_domain": "d", "id": "i", "account": "a", "region": "", "operation": "o", "resource": "r",
            "parameters": "{\u{1b}[2K\r\u{202e}}", "requester": "q\nstatus approved", "created": 1, "expires": 2,
        });
        let text = Request::read(&answer).unwrap().text(&answer);
        assert!(
            !text.contains('\u{1b}') && !text.contains('\r') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert_eq!(
            text.lines().filter(|line| line.starts_with("status")).count(),
            1,
            "{text}"
        );
        assert!(Request::read(&serde_json::json!({"id": "i"})).is_err());
    }
}
