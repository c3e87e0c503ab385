//! JSON read strictly: no duplicate members, bounded depth and size. For tokens, keys and requests alike.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one JSON value. Duplicate members at any level are refused: two readers could disagree on which counts.
///
/// `max_depth` counts nested arrays and objects; a bare number has depth 0.
///
/// # Errors
/// [`JsonError`] with what is wrong and where; the caller's fault. The text holds no value of the input.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth_left: max_depth }
        .deserialize(&mut reader)
        .map_err(JsonError::from)?;
    reader.end().map_err(JsonError::from)?;
    Ok(value)
}

/// Reads one JSON object, as [`parse`] does.
///
/// # Errors
/// [`JsonError`], also for a value that is no object.
pub fn parse_object(bytes: &[u8], max_depth: usize) -> Result<Map<String, Value>, JsonError> {
    match parse(bytes, max_depth)? {
        Value::Object(members) => Ok(members),
        _ => Err(JsonError {
            message: "expected an object".into(),
            line: 1,
            column: 1,
        }),
    }
}

/// Arrays and objects nested in `value`; 0 for a bare number, text, boolean or null.
pub fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or(0).saturating_add(1)
}

/// Why a text is not acceptable JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line} column {column}")]
pub struct JsonError {
    /// What is wrong.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or_default().to_owned();
        Self {
            message,
            line: error.line(),
            column: error.column(),
        }
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if members.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format!("duplicate member `{shown}`")));
            }
            let value = entries.next_value_seed(inner)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn duplicates_are_refused_at_every_level() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"[{"x":0,"x":0}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = parse(text.as_bytes(), 8).unwrap_err();
            assert!(error.message.starts_with("duplicate member"), "{text}: {error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(depth(&parse(b"[[1]]", 2).unwrap()), 2);
        assert_eq!(parse(b"[[[1]]]", 2).unwrap_err().message, "nested too deeply");
        assert!(parse("[".repeat(100_000).as_bytes(), 8).is_err());
        assert!(parse(b"1", 0).is_ok());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{'a':1}",
            "NaN",
            "1e999",
            "{\"a\":\"\u{1}\"}",
            "[1,]",
            "\u{feff}{}",
        ] {
            assert!(parse(text.as_bytes(), 8).is_err(), "{text:?}");
        }
        assert!(parse(b"\"\xff\"", 8).is_err());
        assert!(parse(br#""\ud800""#, 8).is_err());
        assert!(parse_object(b"[]", 8).is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_where_both_accept(text in "[\\[\\]{}\":,a1.e-]{0,24}") {
            if let Ok(ours) = parse(text.as_bytes(), 100) {
                prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
