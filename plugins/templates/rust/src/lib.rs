//! Caps each token's lifetime at the setting `max_seconds`, and wants a subject in it.

use signet_plugin::{
    Guest, Payload, Refusal, Request, Value, Verdict, config, misconfigured, refuse,
};

struct Rule;

impl Guest for Rule {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        match config::get("max_seconds") {
            Some(Value::Int(seconds @ 1..=0xffff_ffff)) => decide(seconds as u32, &request),
            _ => misconfigured("`max_seconds` must be a whole number of seconds, at least 1"),
        }
    }
}

signet_plugin::export!(Rule with_types_in signet_plugin);

/// The rule itself, as a function of its setting and the request.
fn decide(max_seconds: u32, request: &Request) -> Result<Verdict, Refusal> {
    let Payload::Token(token) = &request.payload else {
        return refuse(
            "tokens_only",
            "this rule judges tokens, and this is an artifact",
        );
    };
    if token.subject.is_none() {
        return refuse("subject_missing", "a token needs a subject");
    }
    Ok(Verdict {
        lifetime_cap: Some(max_seconds),
        claims: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::testing;

    #[test]
    fn tokens_are_capped_and_artifacts_refused() {
        let verdict = decide(60, &testing::token(&[], &[])).unwrap();
        assert_eq!(verdict.lifetime_cap, Some(60));
        assert_eq!(
            decide(60, &testing::artifact(&[])).unwrap_err().code,
            "tokens_only"
        );
    }
}
