//! The claims of a verified token. A malformed one refuses the token; it never counts as absent (R2, CVE-2026-25537).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::LEEWAY;
use crate::identity::{Attribute, AuthCode, AuthError, Window, quoted};

/// The last second of the year 9999: times beyond it are nonsense, and sums with them could overflow.
const LAST_SECOND: u64 = 253_402_300_799;
const MAX_SUBJECT: usize = 1024;

/// The registered claims (RFC 7519 section 4.1) that identify a caller.
#[derive(Debug)]
pub(super) struct Registered<'a> {
    pub(super) subject: &'a str,
    pub(super) audiences: Vec<&'a str>,
    /// When the token is valid, leeway included.
    pub(super) window: Window,
}

impl<'a> Registered<'a> {
    /// Reads `sub`, `aud`, `exp` (required), `nbf`, `iat` and `jti` (if there).
    pub(super) fn read(claims: &'a Map<String, Value>) -> Result<Self, AuthError> {
        let subject = match claims.get("sub") {
            Some(Value::String(subject)) => subject.as_str(),
            _ => return Err(malformed("the claim `sub` is missing or not text")),
        };
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(malformed(
                "the claim `sub` is not 1 to 1024 bytes without control characters",
            ));
        }
        let audiences = match claims.get("aud") {
            Some(Value::String(audience)) => vec![audience.as_str()],
            Some(Value::Array(list)) => list
                .iter()
                .map(Value::as_str)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        if audiences.is_empty() || audiences.contains(&"") {
            return Err(malformed(
                "the claim `aud` is missing, or neither text nor a list of texts",
            ));
        }
        if claims.get("jti").is_some_and(|id| !id.is_string()) {
            return Err(malformed("the claim `jti` is not text"));
        }
        let not_after = date(claims, "exp")?.ok_or_else(|| malformed("the claim `exp` is missing"))?;
        let begins = date(claims, "nbf")?.max(date(claims, "iat")?).unwrap_or(0);
        let window = Window {
            not_before: begins.saturating_sub(LEEWAY),
            not_after,
        };
        Ok(Self {
            subject,
            audiences,
            window,
        })
    }

    pub(super) fn check_time(&self, now: u64) -> Result<(), AuthError> {
        if now >= self.window.not_after {
            return Err(AuthError::new(
                AuthCode::TokenExpired,
                "the token has expired; get a new one",
            ));
        }
        if now < self.window.not_before {
            return Err(AuthError::new(
                AuthCode::TokenNotYetValid,
                "the token's `nbf` or `iat` lies in the future",
            ));
        }
        Ok(())
    }
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, perhaps with a fraction, which is cut off.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, AuthError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = |value: f64| (0.0..=LAST_SECOND as f64).contains(&value).then_some(value as u64);
    let seconds = value.as_u64().or_else(|| value.as_f64().and_then(whole));
    match seconds {
        Some(seconds) if seconds <= LAST_SECOND => Ok(Some(seconds)),
        _ => Err(malformed(format!(
            "the claim `{name}` is not a number of seconds since 1970"
        ))),
    }
}

/// Where an attribute comes from: a claim by name, or inside one by JSON pointer (RFC 6901) if it begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttributeMap(pub(super) Vec<(String, String)>);

impl AttributeMap {
    /// The attributes of these claims. A claim that is not there gives none; `null` neither.
    pub(super) fn read(&self, claims: &Map<String, Value>) -> Result<BTreeMap<String, Attribute>, AuthError> {
        let mut attributes = BTreeMap::new();
        for (claim, attribute) in &self.0 {
            let value = match claim.strip_prefix('/') {
                None => claims.get(claim),
                Some(pointer) => inside(claims, pointer),
            };
            let value = match value {
                None | Some(Value::Null) => continue,
                Some(value) => convert(value),
            };
            let wrong = || {
                malformed(format!(
                    "the claim {} is no text, integer, boolean or list of texts",
                    quoted(claim)
                ))
            };
            attributes.insert(attribute.clone(), value.ok_or_else(wrong)?);
        }
        Ok(attributes)
    }
}

fn inside<'a>(claims: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let (first, rest) = match pointer.split_once('/') {
        Some((first, _)) => (first, pointer.get(first.len()..)?),
        None => (pointer, ""),
    };
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

fn convert(value: &Value) -> Option<Attribute> {
    match value {
        Value::String(text) => Some(Attribute::Text(text.clone())),
        Value::Bool(value) => Some(Attribute::Bool(*value)),
        Value::Number(number) => number.as_i64().map(Attribute::Int),
        Value::Array(list) => {
            let texts = list.iter().map(|element| element.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(Attribute::Texts)
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> AuthError {
    AuthError::new(AuthCode::MalformedClaims, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(name: &str, value: Value) -> Map<String, Value> {
        let mut claims = json!({"sub": "s", "aud": "a", "exp": 100, "nbf": 50, "iat": 40, "jti": "j"});
        claims[name] = value;
        claims.as_object().unwrap().clone()
    }

    fn without(name: &str) -> Map<String, Value> {
        let mut claims = with("x", Value::Null);
        claims.remove(name);
        claims
    }

    #[test]
    fn the_window_begins_at_the_later_of_nbf_and_iat() {
        let claims = with("iat", json!(60));
        let registered = Registered::read(&claims).unwrap();
        assert_eq!(
            registered.window,
            Window {
                not_before: 60 - LEEWAY,
                not_after: 100
            }
        );
        assert_eq!(registered.check_time(99), Ok(()));
        assert_eq!(registered.check_time(100).unwrap_err().code(), "token_expired");
        assert_eq!(
            registered.check_time(60 - LEEWAY - 1).unwrap_err().code(),
            "token_not_yet_valid"
        );
        let claims = with("exp", json!(99.9));
        assert_eq!(Registered::read(&claims).unwrap().window.not_after, 99);
    }

    // R2
    #[test]
    fn a_malformed_claim_refuses_the_token() {
        let nonsense = [
            json!(null),
            json!("100"),
            json!(true),
            json!([100]),
            json!({}),
            json!(-1),
            json!(-0.5),
        ];
        let huge = [json!(1e300), json!(u64::MAX), json!(LAST_SECOND + 1), json!(i64::MIN)];
        for name in ["exp", "nbf", "iat"] {
            for value in nonsense.iter().chain(&huge) {
                let error = Registered::read(&with(name, value.clone())).unwrap_err();
                assert_eq!(error.code(), "malformed_claims", "{name} {value}");
            }
        }
        for value in [
            json!(null),
            json!(1),
            json!([]),
            json!([1]),
            json!(["a", 1]),
            json!({}),
            json!(""),
            json!(["a", ""]),
        ] {
            assert_eq!(
                Registered::read(&with("aud", value.clone())).unwrap_err().code(),
                "malformed_claims",
                "{value}"
            );
        }
        for value in [
            json!(null),
            json!(1),
            json!(""),
            json!(["s"]),
            json!("a\nb"),
            json!("s".repeat(1025)),
        ] {
            assert_eq!(
                Registered::read(&with("sub", value.clone())).unwrap_err().code(),
                "malformed_claims",
                "{value}"
            );
        }
        assert!(Registered::read(&with("jti", json!(1))).is_err());
        for name in ["sub", "aud", "exp"] {
            assert_eq!(
                Registered::read(&without(name)).unwrap_err().code(),
                "malformed_claims",
                "{name}"
            );
        }
        for name in ["nbf", "iat", "jti"] {
            Registered::read(&without(name)).unwrap();
        }
    }

    #[test]
    fn attributes_are_mapped_by_name_or_pointer() {
        let map = AttributeMap(vec![
            ("roles".into(), "roles".into()),
            ("https://x/y".into(), "y".into()),
            ("/realm/a~1b/0".into(), "first".into()),
            ("n".into(), "number".into()),
            ("t".into(), "flag".into()),
            ("missing".into(), "missing".into()),
            ("/realm/none".into(), "none".into()),
        ]);
        let claims = json!({"roles": ["a", "b"], "https://x/y": "z", "realm": {"a/b": ["q"]}, "n": -5, "t": true});
        let attributes = map.read(claims.as_object().unwrap()).unwrap();
        let expected = BTreeMap::from([
            ("roles".to_owned(), Attribute::Texts(vec!["a".into(), "b".into()])),
            ("y".to_owned(), Attribute::Text("z".into())),
            ("first".to_owned(), Attribute::Text("q".into())),
            ("number".to_owned(), Attribute::Int(-5)),
            ("flag".to_owned(), Attribute::Bool(true)),
        ]);
        assert_eq!(attributes, expected);
    }

    #[test]
    fn a_mapped_claim_of_another_type_refuses_the_token() {
        let map = AttributeMap(vec![("c".into(), "c".into())]);
        for value in [json!(1.5), json!(u64::MAX), json!({}), json!([1]), json!(["a", null])] {
            let claims = json!({"c": value});
            assert_eq!(
                map.read(claims.as_object().unwrap()).unwrap_err().code(),
                "malformed_claims",
                "{value}"
            );
        }
    }
}
