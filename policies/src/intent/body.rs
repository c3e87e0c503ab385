//! Reading a request's object member by member, so that every refusal names the member.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::IntentError;

/// Deepest nesting of a whole request. Claims have a bound of their own.
const MAX_DEPTH: usize = 32;

/// A request's members; what is left when all known ones were taken is unknown.
pub(super) struct Body(Map<String, Value>);

impl Body {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, IntentError> {
        let error = match signing::json::parse(bytes, MAX_DEPTH) {
            Ok(Value::Object(members)) => return Ok(Self(members)),
            Ok(_) => return Err(IntentError::shape("", "the request must be a JSON object")),
            Err(error) => error,
        };
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let detail = error.to_string();
        Err(match is_json {
            true => IntentError::shape("", detail),
            false => IntentError::new(400, "malformed_json", None, format!("the body is not JSON: {detail}")),
        })
    }

    /// Every member must have been taken.
    pub(super) fn finish(&self, known: &str) -> Result<(), IntentError> {
        self.only(&[], known)
    }

    /// Whether one of these members was sent and not yet taken; its name.
    pub(super) fn has<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().find(|name| self.0.contains_key(**name)).copied()
    }

    /// Every member not yet taken must be one of these.
    pub(super) fn only(&self, names: &[&str], known: &str) -> Result<(), IntentError> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(unknown(name, known)),
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, IntentError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&pointer(name), "a text", &other)),
        }
    }

    pub(super) fn base64(&mut self, name: &str, most: usize) -> Result<Option<Vec<u8>>, IntentError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let at = pointer(name);
        let bytes = STANDARD.decode(&text).map_err(|_| {
            let detail = format!("`{name}` must be base64 with the standard alphabet and padding (RFC 4648 section 4)");
            IntentError::refused("invalid_request", &at, detail)
        })?;
        if bytes.len() > most {
            let detail = format!("`{name}` has {} bytes, at most {most} are taken", bytes.len());
            return Err(IntentError::refused("invalid_request", &at, detail));
        }
        Ok(Some(bytes))
    }
}

fn unknown(name: &str, known: &str) -> IntentError {
    let detail = format!("unknown member `{}`, a request has {known}", shorten(name));
    IntentError::shape(&pointer(name), detail)
}

pub(super) fn wrong_type(pointer: &str, expected: &str, found: &Value) -> IntentError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    IntentError::shape(pointer, format!("expected {expected}, found {found}"))
}

/// The pointer to one member (RFC 6901 section 3).
pub(super) fn pointer(name: &str) -> String {
    format!("/{}", escape(name))
}

/// A name as one step of a pointer.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A caller's text, short enough to be sent back.
pub(super) fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
