//! What a plugin answers, and the checks between the guest's answer and anything that uses it.

use crate::failure::RuleError;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use wasmtime::component::{ComponentType, Lift};

/// Go on, but no further than this says. Checked: names are unique and bounded, values are JSON.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// The longest lifetime in seconds, at least 1.
    pub lifetime_cap: Option<u32>,
    /// Claims to add, in the plugin's order. Whether the profile lets it write them is for the caller to check.
    pub claims: Vec<(String, Json)>,
}

/// Most claims one plugin may add.
const MAX_CLAIMS: usize = 32;
/// All claims of one verdict together, in bytes: what a whole token may have.
const MAX_CLAIM_BYTES: usize = 16 << 10;
/// Longest name of a claim, in bytes.
const MAX_CLAIM_NAME: usize = 128;
/// Longest code of a refusal, in bytes.
const MAX_CODE: usize = 64;
/// Longest message of a refusal, in bytes.
const MAX_MESSAGE: usize = 512;

/// The WIT type `verdict`.
#[derive(Debug, Serialize, Deserialize, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawVerdict {
    #[component(name = "lifetime-cap")]
    lifetime_cap: Option<u32>,
    claims: Vec<(String, Value)>,
}

/// The WIT type `refusal`.
#[derive(Debug, Serialize, Deserialize, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawRefusal {
    code: String,
    message: String,
}

/// Checks an answer to a request for a token (`token`) or an artifact.
pub(crate) fn check(answer: Result<RawVerdict, RawRefusal>, token: bool) -> Result<Verdict, RuleError> {
    match answer {
        Ok(verdict) => check_verdict(verdict, token),
        Err(refusal) => Err(check_refusal(refusal)),
    }
}

fn check_verdict(raw: RawVerdict, token: bool) -> Result<Verdict, RuleError> {
    if raw.lifetime_cap == Some(0) {
        return Err(RuleError::bad_output("a lifetime cap of 0; to deny, refuse"));
    }
    if !token && !raw.claims.is_empty() {
        return Err(RuleError::bad_output("claims for an artifact, which has none"));
    }
    if raw.claims.len() > MAX_CLAIMS {
        return Err(RuleError::bad_output(format!(
            "{} claims, more than {MAX_CLAIMS}",
            raw.claims.len()
        )));
    }
    let sizes = raw
        .claims
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.size()));
    if sizes.fold(0, usize::saturating_add) > MAX_CLAIM_BYTES {
        return Err(RuleError::bad_output(format!(
            "claims of more than {MAX_CLAIM_BYTES} bytes"
        )));
    }
    let mut names = BTreeSet::new();
    for (name, _) in &raw.claims {
        if name.is_empty() || name.len() > MAX_CLAIM_NAME || name.chars().any(char::is_control) {
            return Err(RuleError::bad_output(format!(
                "a claim's name must be 1 to {MAX_CLAIM_NAME} printable bytes"
            )));
        }
        if !names.insert(name.as_str()) {
            return Err(RuleError::bad_output(format!("claim `{name}` twice")));
        }
    }
    let mut claims = Vec::with_capacity(raw.claims.len());
    for (name, value) in raw.claims {
        match value.into_json() {
            Ok(value) => claims.push((name, value)),
            Err(reason) => return Err(RuleError::bad_output(format!("claim `{name}`: {reason}"))),
        }
    }
    Ok(Verdict {
        lifetime_cap: raw.lifetime_cap,
        claims,
    })
}

fn check_refusal(raw: RawRefusal) -> RuleError {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if raw.code.is_empty() || raw.code.len() > MAX_CODE || !raw.code.bytes().all(word) {
        return RuleError::bad_output(format!(
            "a refusal's code must be 1 to {MAX_CODE} of `a`–`z`, `0`–`9` and `_`"
        ));
    }
    if raw.message.len() > MAX_MESSAGE || raw.message.chars().any(char::is_control) {
        return RuleError::bad_output(format!(
            "a refusal's message must be one line of at most {MAX_MESSAGE} bytes"
        ));
    }
    RuleError::Refused {
        code: raw.code,
        message: raw.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;
    use serde_json::json;

    fn verdict(lifetime_cap: Option<u32>, claims: &[(&str, Value)]) -> Result<RawVerdict, RawRefusal> {
        let claims = claims
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect();
        Ok(RawVerdict { lifetime_cap, claims })
    }

    fn refusal(code: &str, message: &str) -> Result<RawVerdict, RawRefusal> {
        Err(RawRefusal {
            code: code.into(),
            message: message.into(),
        })
    }

    fn is_bad(answer: Result<RawVerdict, RawRefusal>, token: bool) -> bool {
        matches!(
            check(answer, token),
            Err(RuleError::Failed {
                kind: FailureKind::BadOutput,
                ..
            })
        )
    }

    #[test]
    fn a_verdict_becomes_json() {
        let answer = check(verdict(Some(60), &[("plan", Value::Text("free".into()))]), true);
        assert_eq!(
            answer,
            Ok(Verdict {
                lifetime_cap: Some(60),
                claims: vec![("plan".into(), json!("free"))]
            })
        );
        assert_eq!(check(verdict(None, &[]), false), Ok(Verdict::default()));
    }

    #[test]
    fn a_refusal_keeps_its_code() {
        let expected = RuleError::Refused {
            code: "no_role".into(),
            message: "not yours".into(),
        };
        assert_eq!(check(refusal("no_role", "not yours"), true), Err(expected));
    }

    // R22
    #[test]
    fn garbage_is_bad_output() {
        let one = Value::Int(1);
        assert!(is_bad(verdict(Some(0), &[]), true));
        assert!(is_bad(verdict(None, &[("", one.clone())]), true));
        assert!(is_bad(verdict(None, &[("a\n", one.clone())]), true));
        assert!(is_bad(verdict(None, &[(&"n".repeat(129), one.clone())]), true));
        assert!(is_bad(verdict(None, &[("a", one.clone()), ("a", one.clone())]), true));
        assert!(
            is_bad(verdict(None, &[("a", one.clone())]), false),
            "claims for an artifact"
        );
        assert!(is_bad(verdict(None, &[("a", Value::Float(f64::NAN))]), true));
        assert!(is_bad(verdict(None, &[("a", Value::Json("nope".into()))]), true));
        let text = |length| Value::Text("x".repeat(length));
        assert!(is_bad(verdict(None, &[("a", text(9_000)), ("b", text(9_000))]), true));
        let names: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        let many: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), one.clone())).collect();
        assert!(is_bad(verdict(None, &many), true));
        assert!(!is_bad(verdict(None, &many[..32]), true));
        for (code, message) in [
            ("", "m"),
            ("Role", "m"),
            ("a-b", "m"),
            (&"c".repeat(65), "m"),
            ("c", "two\nlines"),
        ] {
            assert!(is_bad(refusal(code, message), true), "{code} {message}");
        }
        assert!(is_bad(refusal("c", &"m".repeat(513)), true));
    }
}
