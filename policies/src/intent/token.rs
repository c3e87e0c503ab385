//! The body of a request for a token.

use std::collections::BTreeMap;

use serde_json::Value;

use super::body::{Body, escape, shorten, wrong_type};
use super::{IntentError, MAX_AUDIENCES, MAX_TEXT_BYTES, REGISTERED, TokenIntent};
use crate::names;
use crate::profile::{Audiences, ClaimRules, Profile, TokenProfile};

pub(super) fn parse(profile: &Profile, body: &[u8]) -> Result<TokenIntent, IntentError> {
    let Some(rules) = profile.token() else {
        let detail = format!(
            "the profile `{}` signs artifacts, ask at /v1/signatures/{}",
            profile.name, profile.name
        );
        return Err(IntentError::refused("invalid_request", "", detail));
    };
    let mut body = Body::parse(body)?;
    let subject = body.text("subject")?;
    let audience = body.take("audience").map(audience_list).transpose()?;
    let claims = match body.take("claims") {
        None => BTreeMap::new(),
        Some(Value::Object(members)) => members.into_iter().collect(),
        Some(other) => return Err(wrong_type("/claims", "an object", &other)),
    };
    let lifetime = body
        .take("lifetime")
        .map(|value| requested_lifetime(&value, rules))
        .transpose();
    body.finish("subject, audience, claims and lifetime")?;
    if let Some(subject) = &subject {
        check_text("/subject", subject)?;
    }
    check_claims(&claims, &rules.claims)?;
    Ok(TokenIntent {
        subject,
        audience: check_audience(audience, &rules.audiences)?,
        claims,
        lifetime: lifetime?.unwrap_or(rules.default_lifetime),
    })
}

fn audience_list(value: Value) -> Result<Vec<String>, IntentError> {
    let items = match value {
        Value::String(text) => return Ok(vec![text]),
        Value::Array(items) => items,
        other => return Err(wrong_type("/audience", "a text or a list of texts", &other)),
    };
    let text = |(index, item): (usize, Value)| match item {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&format!("/audience/{index}"), "a text", &other)),
    };
    items.into_iter().enumerate().map(text).collect()
}

fn check_audience(asked: Option<Vec<String>>, rules: &Audiences) -> Result<Vec<String>, IntentError> {
    let Some(asked) = asked else {
        return rules.default.clone().map(|audience| vec![audience]).ok_or_else(|| {
            IntentError::refused(
                "invalid_request",
                "/audience",
                "the profile has no default audience, name one",
            )
        });
    };
    if asked.is_empty() || asked.len() > MAX_AUDIENCES {
        let detail = format!("a token has 1 to {MAX_AUDIENCES} audiences, not {}", asked.len());
        return Err(IntentError::refused("invalid_request", "/audience", detail));
    }
    for (index, audience) in asked.iter().enumerate() {
        check_text("/audience", audience)?;
        if !rules.allows(audience) {
            let detail = format!("the profile does not take the audience `{}`", shorten(audience));
            return Err(IntentError::refused("audience_not_allowed", "/audience", detail));
        }
        if asked.iter().take(index).any(|earlier| earlier == audience) {
            let detail = format!("the audience `{}` is named twice", shorten(audience));
            return Err(IntentError::refused("invalid_request", "/audience", detail));
        }
    }
    Ok(asked)
}

fn check_text(pointer: &str, text: &str) -> Result<(), IntentError> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        let detail = format!("1 to {MAX_TEXT_BYTES} bytes without control characters are taken");
        return Err(IntentError::refused("invalid_request", pointer, detail));
    }
    Ok(())
}

/// A lifetime of the right type that is too long or too short is 422; anything but a whole number is 400.
fn requested_lifetime(value: &Value, rules: &TokenProfile) -> Result<u32, IntentError> {
    let max = rules.max_lifetime;
    let seconds = match value {
        Value::Number(number) if number.is_u64() || number.is_i64() => number,
        Value::Number(number) if number.as_f64().is_some_and(|float| float >= f64::from(u32::MAX)) => {
            let detail = format!("the profile takes a lifetime of at most {max} seconds");
            return Err(IntentError::refused("lifetime_too_long", "/lifetime", detail));
        }
        Value::Number(_) => {
            return Err(IntentError::shape(
                "/lifetime",
                "expected a whole number of seconds, found a fraction",
            ));
        }
        other => return Err(wrong_type("/lifetime", "a whole number of seconds", other)),
    };
    match seconds.as_u64() {
        None | Some(0) => {
            let detail = format!("the lifetime must be from 1 to {max} seconds, not {seconds}");
            Err(IntentError::refused("invalid_request", "/lifetime", detail))
        }
        Some(seconds) => u32::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds <= max)
            .ok_or_else(|| {
                let detail = format!("the profile takes a lifetime of at most {max} seconds, not {seconds}");
                IntentError::refused("lifetime_too_long", "/lifetime", detail)
            }),
    }
}

fn check_claims(claims: &BTreeMap<String, Value>, rules: &ClaimRules) -> Result<(), IntentError> {
    for name in claims.keys() {
        // Made for a refusal only: most claims are fine.
        let refused = |code, detail: String| {
            let at = format!("/claims/{}", escape(&shorten(name)));
            Err(IntentError::refused(code, &at, detail))
        };
        if REGISTERED.contains(&name.as_str()) {
            let detail = format!("`{name}` is a registered claim: use subject, audience and lifetime instead");
            return refused("invalid_claims", detail);
        }
        if !names::is_claim(name) {
            let detail = "a claim's name has 1 to 256 bytes without control characters";
            return refused("invalid_claims", detail.to_owned());
        }
        if !rules.caller_may_set(name) {
            let detail = format!("the profile does not take the claim `{}`", shorten(name));
            return refused("claim_not_allowed", detail);
        }
    }
    if let Some(detail) = super::claims_out_of_bounds(claims) {
        return Err(IntentError::refused("invalid_claims", "/claims", detail));
    }
    let missing: Vec<&str> = rules
        .required
        .iter()
        .filter(|name| !claims.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let detail = format!("the profile requires the claims `{}`", missing.join("`, `"));
        return Err(IntentError::refused("missing_claims", "/claims", detail));
    }
    Ok(())
}
