use serde_json::{Number, Value};

/// A claim as plugins see it: WIT has no recursive types, so whatever nests is JSON text.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimValue {
    /// A text.
    Text(String),
    /// A whole number that fits 64 bits with sign.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A list of nothing but texts; an empty list too.
    Texts(Vec<String>),
    /// Anything else, as JSON text: objects, mixed lists, null.
    Json(String),
}

/// A value that has no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// JSON has no infinities and no NaN.
    #[error("a number must be finite")]
    NotFinite,
    /// The text of [`ClaimValue::Json`] is not JSON, has duplicate members or nests more than 8 deep.
    #[error("the value is not acceptable JSON")]
    NotJson,
}

impl From<&Value> for ClaimValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(float)) => Self::Float(float),
                (None, None) => Self::Json(number.to_string()),
            },
            Value::Array(items) => texts(items).map_or_else(|| Self::Json(value.to_string()), Self::Texts),
            Value::Object(_) | Value::Null => Self::Json(value.to_string()),
        }
    }
}

impl TryFrom<ClaimValue> for Value {
    type Error = ValueError;

    fn try_from(value: ClaimValue) -> Result<Self, ValueError> {
        Ok(match value {
            ClaimValue::Text(text) => Self::String(text),
            ClaimValue::Int(int) => Self::from(int),
            ClaimValue::Float(float) => Self::Number(Number::from_f64(float).ok_or(ValueError::NotFinite)?),
            ClaimValue::Bool(bool) => Self::Bool(bool),
            ClaimValue::Texts(texts) => Self::from(texts),
            ClaimValue::Json(text) => {
                crate::json::parse(text.as_bytes(), super::MAX_DEPTH).map_err(|_| ValueError::NotJson)?
            }
        })
    }
}

fn texts(items: &[Value]) -> Option<Vec<String>> {
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_values_round_trip() {
        let values = [
            json!("a"),
            json!(-3),
            json!(1.5),
            json!(true),
            json!(["a", "b"]),
            json!([]),
            json!({"a": [1, null]}),
            json!(["a", 1]),
            json!(null),
        ];
        for value in values {
            assert_eq!(Value::try_from(ClaimValue::from(&value)).unwrap(), value);
        }
    }

    #[test]
    fn each_kind_is_seen_as_itself() {
        assert_eq!(ClaimValue::from(&json!(i64::MAX)), ClaimValue::Int(i64::MAX));
        assert!(matches!(ClaimValue::from(&json!(u64::MAX)), ClaimValue::Float(_)));
        assert_eq!(ClaimValue::from(&json!(["a"])), ClaimValue::Texts(vec!["a".into()]));
        assert_eq!(ClaimValue::from(&json!(null)), ClaimValue::Json("null".into()));
    }

    #[test]
    fn values_without_json_are_refused() {
        assert_eq!(Value::try_from(ClaimValue::Float(f64::NAN)), Err(ValueError::NotFinite));
        for text in ["", "{", r#"{"a":1,"a":2}"#, "[[[[[[[[[1]]]]]]]]]"] {
            assert_eq!(
                Value::try_from(ClaimValue::Json(text.into())),
                Err(ValueError::NotJson),
                "{text}"
            );
        }
    }
}
