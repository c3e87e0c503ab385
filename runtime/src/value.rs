//! The WIT type `value`, owned: what a guest hands back, and a plugin's settings.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use wasmtime::component::{ComponentType, Lift, Lower};

/// A setting of a plugin, or a claim it adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum Value {
    /// A text.
    #[component(name = "text")]
    Text(String),
    /// A whole number.
    #[component(name = "int")]
    Int(i64),
    /// Any other number.
    #[component(name = "float")]
    Float(f64),
    /// True or false.
    #[component(name = "boolean")]
    Bool(bool),
    /// A list of texts.
    #[component(name = "texts")]
    Texts(Vec<String>),
    /// Anything else, as JSON text.
    #[component(name = "json")]
    Json(String),
}

impl Value {
    /// The JSON value, or why there is none: a float that JSON has no form for, or text that is not JSON.
    pub(crate) fn into_json(self) -> Result<Json, &'static str> {
        match self {
            Value::Text(text) => Ok(Json::String(text)),
            Value::Int(int) => Ok(Json::from(int)),
            Value::Float(float) => serde_json::Number::from_f64(float)
                .map(Json::Number)
                .ok_or("a float that is not finite has no form in JSON"),
            Value::Bool(value) => Ok(Json::Bool(value)),
            Value::Texts(texts) => Ok(Json::Array(texts.into_iter().map(Json::String).collect())),
            Value::Json(text) => {
                let value = serde_json::from_str(&text).map_err(|_| "text that is not JSON")?;
                if nests(&value, MAX_DEPTH) {
                    Ok(value)
                } else {
                    Err("JSON that nests more than 8 deep")
                }
            }
        }
    }

    /// Bytes this value takes in a guest's memory, roughly: for bounds, not for accounts.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => 8,
            Value::Texts(texts) => texts
                .iter()
                .fold(0, |sum: usize, text| sum.saturating_add(text.len()).saturating_add(8)),
        }
    }
}

/// The deepest that JSON of a plugin nests: as deep as a claim may.
const MAX_DEPTH: usize = 8;

fn nests(value: &Json, depth: usize) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Json>> = match value {
        Json::Array(items) => Box::new(items.iter()),
        Json::Object(members) => Box::new(members.values()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return true,
    };
    depth
        .checked_sub(1)
        .is_some_and(|depth| inner.all(|value| nests(value, depth)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_become_json() {
        assert_eq!(Value::Text("a".into()).into_json(), Ok(json!("a")));
        assert_eq!(Value::Int(i64::MIN).into_json(), Ok(json!(i64::MIN)));
        assert_eq!(Value::Float(0.5).into_json(), Ok(json!(0.5)));
        assert_eq!(Value::Bool(true).into_json(), Ok(json!(true)));
        assert_eq!(Value::Texts(vec!["a".into()]).into_json(), Ok(json!(["a"])));
        assert_eq!(Value::Json(r#"{"a":[1]}"#.into()).into_json(), Ok(json!({"a": [1]})));
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        assert!(Value::Float(f64::NAN).into_json().is_err());
        assert!(Value::Float(f64::INFINITY).into_json().is_err());
        assert!(Value::Json("{".into()).into_json().is_err());
        assert!(Value::Json(String::new()).into_json().is_err());
        assert!(Value::Json("[".repeat(10_000)).into_json().is_err());
        let nested = |depth| Value::Json(format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
        assert!(nested(8).into_json().is_ok());
        assert!(nested(9).into_json().is_err());
        assert!(
            Value::Json(r#"{"a":[{"a":[{"a":[{"a":[{}]}]}]}]}"#.into())
                .into_json()
                .is_err()
        );
    }
}
