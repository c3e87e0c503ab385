//! The claims of a token: the seven registered ones typed, the others bounded (RFC 7519 section 4).

mod borrowed;
mod value;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use borrowed::ClaimsRef;
pub use value::{ClaimValue, ValueError};

use crate::json::{self, JsonError};

/// The claim names RFC 7519 section 4.1 registers; callers and plugins never set these through `claims`.
pub const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// The deepest a claim's value nests; a text has depth 0.
pub const MAX_DEPTH: usize = 8;
/// The most claims beside the registered ones.
pub const MAX_EXTRA: usize = 64;
/// The largest claims object, in bytes of JSON.
pub const MAX_LEN: usize = 16 * 1024;
/// The most audiences.
pub const MAX_AUDIENCES: usize = 64;
/// The latest time a NumericDate may name: the end of the year 9999.
const MAX_DATE: u64 = 253_402_300_799;

/// The claims of one token. Times are whole Unix seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// Who issued it.
    pub iss: Option<String>,
    /// Whom it speaks of.
    pub sub: Option<String>,
    /// For whom it is; written as one text where there is one, left out where there is none.
    pub aud: Vec<String>,
    /// From this second on it counts no more.
    pub exp: Option<u64>,
    /// Before this second it does not count yet.
    pub nbf: Option<u64>,
    /// When it was made.
    pub iat: Option<u64>,
    /// Its id.
    pub jti: Option<String>,
    /// All others. Holds none of [`REGISTERED`].
    pub extra: BTreeMap<String, Value>,
}

/// Why claims are not acceptable. The fault of whoever wrote them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Not a JSON object, or with duplicate members, or nested too deeply.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A registered claim has the wrong type or is out of range. Never treated as absent (R2).
    #[error("the claim `{name}` must be {expected}")]
    Malformed {
        /// The claim.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A registered name among the other claims.
    #[error("the claim `{0}` is registered and cannot be set here")]
    Registered(&'static str),
    /// More than [`MAX_EXTRA`] other claims.
    #[error("there are {0} claims, at most 64 are allowed")]
    TooMany(usize),
    /// A value nested more than [`MAX_DEPTH`] deep.
    #[error("the claim `{0}` is nested more than 8 deep")]
    TooDeep(String),
    /// More than [`MAX_LEN`] bytes of JSON.
    #[error("the claims take {0} bytes, at most 16384 are allowed")]
    TooLarge(usize),
}

impl Claims {
    /// Reads a token's payload.
    ///
    /// # Errors
    /// [`ClaimsError`]; a registered claim that is present but malformed refuses the whole (R2, CVE-2026-25537).
    pub fn parse(payload: &[u8]) -> Result<Self, ClaimsError> {
        if payload.len() > MAX_LEN {
            return Err(ClaimsError::TooLarge(payload.len()));
        }
        let mut members = json::parse_object(payload, MAX_DEPTH.saturating_add(1))?;
        let claims = Self {
            iss: text(&mut members, "iss")?,
            sub: text(&mut members, "sub")?,
            aud: audience(&mut members)?,
            exp: date(&mut members, "exp", f64::floor)?,
            nbf: date(&mut members, "nbf", f64::ceil)?,
            iat: date(&mut members, "iat", f64::floor)?,
            jti: text(&mut members, "jti")?,
            extra: members.into_iter().collect(),
        };
        check_extra(&claims.extra)?;
        Ok(claims)
    }

    /// Writes a token's payload, as [`ClaimsRef::encode`] does.
    ///
    /// # Errors
    /// [`ClaimsError`] when a bound is exceeded or `extra` holds a registered name.
    pub fn encode(&self) -> Result<Vec<u8>, ClaimsError> {
        ClaimsRef::from(self).encode()
    }

    /// Whether `audience` is among those the token is for.
    pub fn is_for(&self, audience: &str) -> bool {
        self.aud.iter().any(|one| one == audience)
    }
}

/// Checks claims that a caller or a plugin sets beside the registered ones.
///
/// # Errors
/// [`ClaimsError`] for a registered name, too many claims or too much depth.
pub fn check_extra(extra: &BTreeMap<String, Value>) -> Result<(), ClaimsError> {
    if extra.len() > MAX_EXTRA {
        return Err(ClaimsError::TooMany(extra.len()));
    }
    if let Some(name) = REGISTERED.into_iter().find(|name| extra.contains_key(*name)) {
        return Err(ClaimsError::Registered(name));
    }
    match extra.iter().find(|(_, value)| json::depth(value) > MAX_DEPTH) {
        Some((name, _)) => Err(ClaimsError::TooDeep(name.chars().take(64).collect())),
        None => Ok(()),
    }
}

const AUDIENCE: &str = "a text or a list of 1 to 64 texts";
const DATE: &str = "a number of seconds since 1970, up to the year 9999";

fn text(members: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, ClaimsError> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(_) => Err(ClaimsError::Malformed {
            name,
            expected: "a text",
        }),
    }
}

fn audience(members: &mut Map<String, Value>) -> Result<Vec<String>, ClaimsError> {
    let malformed = || ClaimsError::Malformed {
        name: "aud",
        expected: AUDIENCE,
    };
    match members.remove("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(many)) if (1..=MAX_AUDIENCES).contains(&many.len()) => many
            .into_iter()
            .map(|one| match one {
                Value::String(one) => Ok(one),
                _ => Err(malformed()),
            })
            .collect(),
        Some(_) => Err(malformed()),
    }
}

/// A NumericDate may have a fraction (RFC 7519 section 2); `round` takes it to the stricter side.
fn date(
    members: &mut Map<String, Value>,
    name: &'static str,
    round: fn(f64) -> f64,
) -> Result<Option<u64>, ClaimsError> {
    let malformed = || ClaimsError::Malformed { name, expected: DATE };
    let Some(value) = members.remove(name) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        return Err(malformed());
    };
    let seconds = match number.as_u64() {
        Some(whole) => whole,
        None => whole_seconds(round(number.as_f64().ok_or_else(malformed)?)).ok_or_else(malformed)?,
    };
    if seconds > MAX_DATE {
        Err(malformed())
    } else {
        Ok(Some(seconds))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked on the line before, and the value is whole"
)]
fn whole_seconds(value: f64) -> Option<u64> {
    (0.0..=253_402_300_799.0).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    // R2
    #[test]
    fn a_malformed_registered_claim_refuses_the_token() {
        let cases = [
            r#"{"exp":"1700000000"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":1e300}"#,
            r#"{"exp":[1700000000]}"#,
            r#"{"exp":true}"#,
            r#"{"exp":18446744073709551616}"#,
            r#"{"nbf":"0"}"#,
            r#"{"nbf":{}}"#,
            r#"{"iat":"yesterday"}"#,
            r#"{"iat":-0.5}"#,
            r#"{"aud":7}"#,
            r#"{"aud":[]}"#,
            r#"{"aud":null}"#,
            r#"{"aud":["a",1]}"#,
            r#"{"aud":{"a":1}}"#,
            r#"{"iss":1}"#,
            r#"{"iss":null}"#,
            r#"{"sub":["x"]}"#,
            r#"{"jti":9}"#,
        ];
        for payload in cases {
            assert!(
                matches!(Claims::parse(payload.as_bytes()), Err(ClaimsError::Malformed { .. })),
                "{payload}"
            );
        }
    }

    #[test]
    fn duplicate_claims_refuse_the_token() {
        assert!(Claims::parse(br#"{"exp":1,"exp":99999999999}"#).is_err());
        assert!(Claims::parse(br#"{"role":"a","role":"b"}"#).is_err());
        for payload in ["[]", "7", "", "{"] {
            assert!(
                matches!(Claims::parse(payload.as_bytes()), Err(ClaimsError::Json(_))),
                "{payload}"
            );
        }
    }

    #[test]
    fn fractions_of_seconds_go_to_the_stricter_side() {
        let claims = Claims::parse(br#"{"exp":10.9,"nbf":10.1,"iat":1e1}"#).unwrap();
        assert_eq!((claims.exp, claims.nbf, claims.iat), (Some(10), Some(11), Some(10)));
    }

    #[test]
    fn what_is_written_reads_back() {
        let claims = Claims {
            iss: Some("https://a".into()),
            sub: Some("x".into()),
            aud: vec!["b".into()],
            exp: Some(20),
            nbf: Some(5),
            iat: Some(10),
            jti: Some("id".into()),
            extra: BTreeMap::from([("role".to_owned(), Value::from("editor"))]),
        };
        let payload = claims.encode().unwrap();
        assert_eq!(
            payload,
            br#"{"iss":"https://a","sub":"x","aud":"b","exp":20,"nbf":5,"iat":10,"jti":"id","role":"editor"}"#
        );
        assert_eq!(Claims::parse(&payload).unwrap(), claims);
        let two = Claims {
            aud: vec!["b".into(), "c".into()],
            ..Claims::default()
        };
        assert_eq!(two.encode().unwrap(), br#"{"aud":["b","c"]}"#);
    }

    #[test]
    fn bounds_hold_when_reading_and_when_writing() {
        let extra = |value: Value| Claims {
            extra: BTreeMap::from([("k".to_owned(), value)]),
            ..Claims::default()
        };
        let deep = (0..9).fold(Value::Null, |inner, _| Value::from(vec![inner]));
        assert_eq!(extra(deep).encode(), Err(ClaimsError::TooDeep("k".into())));
        assert!(matches!(
            extra("x".repeat(20_000).into()).encode(),
            Err(ClaimsError::TooLarge(_))
        ));
        let many = Claims {
            extra: (0..65).map(|i| (format!("c{i}"), Value::Null)).collect(),
            ..Claims::default()
        };
        assert_eq!(many.encode(), Err(ClaimsError::TooMany(65)));
        let late = Claims {
            exp: Some(u64::MAX),
            ..Claims::default()
        };
        assert!(matches!(late.encode(), Err(ClaimsError::Malformed { name: "exp", .. })));

        assert!(Claims::parse(format!("{{\"k\":{}}}", "[".repeat(9) + &"]".repeat(9)).as_bytes()).is_err());
        assert!(Claims::parse(format!("{{\"k\":{}}}", "[".repeat(8) + &"]".repeat(8)).as_bytes()).is_ok());
        assert!(Claims::parse(&vec![b' '; MAX_LEN + 1]).is_err());
    }

    #[test]
    fn registered_names_cannot_hide_among_the_others() {
        for name in REGISTERED {
            let claims = Claims {
                extra: BTreeMap::from([(name.to_owned(), Value::Null)]),
                ..Claims::default()
            };
            assert_eq!(claims.encode(), Err(ClaimsError::Registered(name)));
        }
    }
}
