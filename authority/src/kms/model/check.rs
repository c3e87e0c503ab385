//! A request against its operation's input: wrong types are one error, broken constraints another, both in the service's words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Kind, Member, Operation, Shape};

/// Violations that one answer tells: what a caller can do with more is nothing.
const MAX_TOLD: usize = 100;

/// A request that is not executed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kms) enum Rejected {
    /// Not JSON, or of another type than the model's: `SerializationException`.
    Type(String),
    /// Outside the model's constraints: `ValidationException`.
    Constraint(String),
}

impl Operation {
    /// The request with the members that the model knows and nothing else, as the service ignores all others.
    pub(in crate::kms) fn read(&self, body: &[u8]) -> Result<Value, Rejected> {
        // Clients send nothing at all for operations without parameters.
        let body = if body.is_empty() { b"{}" } else { body };
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| Rejected::Type("The request body is not a JSON object.".to_owned()))?;
        let mut found = Violations::default();
        let clean = structure(&self.input, value, "", &mut found).map_err(Rejected::Type)?;
        found.conclude().map_err(Rejected::Constraint)?;
        Ok(clean)
    }
}

/// Broken constraints in the order they were found.
#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    /// `value` is what the caller sent, or none where it must not be shown.
    fn add(&mut self, value: Option<&str>, path: &str, constraint: &str) {
        if self.0.len() < MAX_TOLD {
            let shown = value.map(|value| format!(" {value}")).unwrap_or_default();
            self.0.push(format!(
                "Value{shown} at '{path}' failed to satisfy constraint: {constraint}"
            ));
        }
    }

    fn conclude(self) -> Result<(), String> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(format!("1 validation error detected: {}", self.0.concat())),
            count => Err(format!("{count} validation errors detected: {}", self.0.join("; "))),
        }
    }
}

fn structure(members: &[Member], value: Value, path: &str, found: &mut Violations) -> Result<Value, String> {
    let Value::Object(mut given) = value else {
        return Err(mistyped(&value, "Structure"));
    };
    let mut clean = Map::new();
    for member in members {
        let path = match path {
            "" => member.shown.clone(),
            path => format!("{path}.{}", member.shown),
        };
        match given.remove(&member.name) {
            None | Some(Value::Null) if member.required => found.add(Some("null"), &path, "Member must not be null"),
            None | Some(Value::Null) => {}
            Some(value) => {
                clean.insert(member.name.clone(), member.shape.read(value, &path, found)?);
            }
        }
    }
    Ok(Value::Object(clean))
}

impl Shape {
    fn read(&self, value: Value, path: &str, found: &mut Violations) -> Result<Value, String> {
        match (&self.kind, value) {
            (Kind::Text { .. }, Value::String(text)) => {
                for constraint in self.broken(&text) {
                    let shown = self.shown(&text);
                    found.add(shown.as_deref(), path, &constraint);
                }
                Ok(Value::String(text))
            }
            (Kind::Blob, Value::String(text)) => {
                let bytes = STANDARD.decode(&text).map(Zeroizing::new);
                let len = bytes
                    .map_err(|_| "only base-64-encoded strings are convertible to bytes")?
                    .len();
                let shown = format!("java.nio.HeapByteBuffer[pos=0 lim={len} cap={len}]");
                for constraint in self.length(size(len)) {
                    found.add(self.shown(&shown).as_deref(), path, &constraint);
                }
                Ok(Value::String(text))
            }
            (Kind::Integer, Value::Number(number)) => {
                // A fraction is cut off, as the service's own reader does.
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "the cast saturates, and the bounds are checked below"
                )]
                let whole = number
                    .as_i64()
                    .or_else(|| number.as_f64().map(|float| float.trunc() as i64))
                    .unwrap_or(i64::MAX);
                for constraint in self.bounds(whole) {
                    found.add(self.shown(&whole.to_string()).as_deref(), path, &constraint);
                }
                Ok(Value::from(whole))
            }
            (Kind::Boolean, Value::Bool(flag)) => Ok(Value::Bool(flag)),
            (Kind::Timestamp, Value::Number(number)) => Ok(Value::Number(number)),
            (Kind::List(member), Value::Array(items)) => self.list(member, items, path, found),
            (Kind::Map(key, value), Value::Object(entries)) => map(key, value, entries, path, found),
            (Kind::Structure(members), value) => structure(members, value, path, found),
            (_, value) => Err(mistyped(&value, self.kind.name())),
        }
    }

    fn list(&self, member: &Shape, items: Vec<Value>, path: &str, found: &mut Violations) -> Result<Value, String> {
        let mut clean = Vec::with_capacity(items.len());
        let mut broken = false;
        for (at, item) in items.into_iter().enumerate() {
            let path = format!("{path}.{}.member", at.saturating_add(1));
            if item.is_null() {
                found.add(Some("null"), &path, "Member must not be null");
                continue;
            }
            if let (Kind::Text { .. }, Value::String(text)) = (&member.kind, &item) {
                broken |= !member.broken(text).is_empty();
                clean.push(item);
            } else {
                clean.push(member.read(item, &path, found)?);
            }
        }
        let mut constraints = self.length(size(clean.len()));
        if broken {
            constraints.push(format!(
                "Member must satisfy constraint: [{}]",
                member.constraints().join(", ")
            ));
        }
        for constraint in constraints {
            let texts = clean.iter().map(|item| item.as_str().unwrap_or("…"));
            let shown = format!("[{}]", texts.collect::<Vec<_>>().join(", "));
            found.add(self.shown(&shown).as_deref(), path, &constraint);
        }
        Ok(Value::Array(clean))
    }

    /// The value as errors repeat it, unless it is sensitive.
    fn shown(&self, text: &str) -> Option<String> {
        (!self.sensitive).then(|| format!("'{text}'"))
    }

    /// The constraints that a text breaks.
    fn broken(&self, text: &str) -> Vec<String> {
        let Kind::Text { pattern, one_of } = &self.kind else {
            return Vec::new();
        };
        if let Some(one_of) = one_of {
            return if one_of.iter().any(|known| known == text) {
                Vec::new()
            } else {
                vec![enumerated(one_of)]
            };
        }
        // The service counts as Java does, in UTF-16.
        let mut broken = self.length(size(text.encode_utf16().count()));
        if let Some(pattern) = pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            broken.insert(0, format!("Member must satisfy regular expression pattern: {pattern}"));
        }
        broken
    }

    fn length(&self, len: i64) -> Vec<String> {
        self.outside(len, "length")
    }

    fn bounds(&self, number: i64) -> Vec<String> {
        self.outside(number, "value")
    }

    fn outside(&self, measure: i64, what: &str) -> Vec<String> {
        let least = self.min.filter(|min| measure < *min);
        let most = self.max.filter(|max| measure > *max);
        let least = least.map(|min| format!("Member must have {what} greater than or equal to {min}"));
        let most = most.map(|max| format!("Member must have {what} less than or equal to {max}"));
        least.into_iter().chain(most).collect()
    }

    /// All that a text of this shape must satisfy, as errors about lists of it tell.
    fn constraints(&self) -> Vec<String> {
        let Kind::Text { pattern, one_of } = &self.kind else {
            return Vec::new();
        };
        if let Some(one_of) = one_of {
            return vec![enumerated(one_of)];
        }
        let most = self
            .max
            .map(|max| format!("Member must have length less than or equal to {max}"));
        let least = self
            .min
            .map(|min| format!("Member must have length greater than or equal to {min}"));
        let pattern = pattern
            .as_ref()
            .map(|pattern| format!("Member must satisfy regular expression pattern: {pattern}"));
        most.into_iter().chain(least).chain(pattern).collect()
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Text { .. } => "String",
            Self::Blob => "Blob",
            Self::Integer => "Integer",
            Self::Boolean => "Boolean",
            Self::Timestamp => "Timestamp",
            Self::List(_) => "List",
            Self::Map(..) => "Map",
            Self::Structure(_) => "Structure",
        }
    }
}

fn map(
    key: &Shape,
    value: &Shape,
    entries: Map<String, Value>,
    path: &str,
    found: &mut Violations,
) -> Result<Value, String> {
    let mut clean = Map::new();
    for (name, entry) in entries {
        let Value::String(name) = key.read(Value::String(name), path, found)? else {
            continue;
        };
        let at = format!("{path}.{name}.member");
        if entry.is_null() {
            found.add(Some("null"), &at, "Member must not be null");
            continue;
        }
        let entry = value.read(entry, &at, found)?;
        clean.insert(name, entry);
    }
    Ok(Value::Object(clean))
}

fn enumerated(one_of: &[String]) -> String {
    format!("Member must satisfy enum value set: [{}]", one_of.join(", "))
}

/// What the service's reader says to a value of another type than `wanted`.
fn mistyped(value: &Value, wanted: &str) -> String {
    let scalar = match value {
        Value::Object(_) => return "Start of structure or map found where not expected.".to_owned(),
        Value::Array(_) => return "Start of list found where not expected".to_owned(),
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(number) if number.is_f64() => "DECIMAL_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
    };
    match wanted {
        "Blob" => "only base-64-encoded strings are convertible to bytes".to_owned(),
        "Timestamp" => format!("{scalar} can not be converted to milliseconds since epoch"),
        "List" | "Map" | "Structure" => "Unexpected field type".to_owned(),
        wanted => format!("{scalar} cannot be converted to {wanted}"),
    }
}

fn size(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
