//! The rule itself, as a function of its settings and the request.

use signet_plugin::{Payload, Refusal, Request, Token, Value, Verdict, refuse};

/// `[plugins.config]` of the bundle.
#[derive(Debug, Default)]
pub struct Settings {
    /// Seconds; absent means that editors have no cap of their own.
    pub editor_max_seconds: Option<u32>,
    /// Absent means that no plan is assigned.
    pub plan: Option<String>,
}

impl Settings {
    /// Reads them; an unusable one is an error, since a guard that guesses is none.
    pub fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Settings, String> {
        let editor_max_seconds = match get("editor_max_seconds") {
            None => None,
            Some(Value::Int(seconds @ 1..=0xffff_ffff)) => Some(seconds as u32),
            Some(_) => return Err("`editor_max_seconds` must be a whole number of seconds, at least 1".into()),
        };
        let plan = match get("plan") {
            None => None,
            Some(Value::Text(plan)) => Some(plan),
            Some(_) => return Err("`plan` must be a text".into()),
        };
        Ok(Settings {
            editor_max_seconds,
            plan,
        })
    }
}

/// Refuses or narrows one token.
pub fn decide(settings: &Settings, request: &Request) -> Result<Verdict, Refusal> {
    let Payload::Token(token) = &request.payload else {
        return refuse("tokens_only", "this rule judges tokens, and this is an artifact");
    };
    let role = role(token)?;
    if role == Some("admin")
        && !request
            .caller
            .attribute("roles")
            .is_some_and(|roles| roles.has_text("admin"))
    {
        return refuse("role_not_allowed", "the caller may not ask for the role admin");
    }
    let lifetime_cap = if role == Some("editor") {
        settings.editor_max_seconds
    } else {
        None
    };
    let claims = settings
        .plan
        .iter()
        .map(|plan| ("plan".into(), Value::Text(plan.clone())))
        .collect();
    Ok(Verdict { lifetime_cap, claims })
}

/// The claim `role`. Anything but a text is refused: a verifier may read `["admin"]` as `admin`.
fn role(token: &Token) -> Result<Option<&str>, Refusal> {
    match token.claim("role") {
        None => Ok(None),
        Some(Value::Text(role)) => Ok(Some(role)),
        Some(_) => refuse("role_not_text", "the claim role must be a text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::testing;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn texts(texts: &[&str]) -> Value {
        Value::Texts(texts.iter().map(|text| text.to_string()).collect())
    }

    fn request(role: Option<Value>, roles: Option<Value>) -> Request {
        let pair = |name, value: Option<Value>| value.map(|value| (name, value)).into_iter().collect::<Vec<_>>();
        testing::token(&pair("role", role), &pair("roles", roles))
    }

    fn code(result: Result<Verdict, Refusal>) -> String {
        result.unwrap_err().code
    }

    #[test]
    fn admin_needs_the_role() {
        let settings = Settings::default();
        let ask = |roles| decide(&settings, &request(Some(text("admin")), roles));
        assert_eq!(code(ask(None)), "role_not_allowed");
        assert_eq!(code(ask(Some(texts(&["editor", "administrator"])))), "role_not_allowed");
        assert_eq!(code(ask(Some(text("editor")))), "role_not_allowed");
        assert_eq!(code(ask(Some(Value::Json("\"admin\"".into())))), "role_not_allowed");
        assert!(ask(Some(texts(&["editor", "admin"]))).is_ok());
        assert!(ask(Some(text("admin"))).is_ok());
    }

    #[test]
    fn a_role_that_is_not_a_text_is_refused() {
        for role in [
            texts(&["admin"]),
            Value::Json("[\"admin\"]".into()),
            Value::Int(1),
            Value::Boolean(true),
        ] {
            assert_eq!(
                code(decide(&Settings::default(), &request(Some(role), None))),
                "role_not_text"
            );
        }
    }

    #[test]
    fn editors_are_capped_and_others_are_not() {
        let settings = Settings {
            editor_max_seconds: Some(60),
            plan: None,
        };
        let cap = |role| decide(&settings, &request(role, None)).unwrap().lifetime_cap;
        assert_eq!(cap(Some(text("editor"))), Some(60));
        assert_eq!(cap(Some(text("reader"))), None);
        assert_eq!(cap(None), None);
    }

    #[test]
    fn the_plan_is_added() {
        let settings = Settings {
            editor_max_seconds: None,
            plan: Some("free".into()),
        };
        let verdict = decide(&settings, &request(None, None)).unwrap();
        assert!(matches!(&verdict.claims[..], [(name, Value::Text(plan))] if name == "plan" && plan == "free"));
        assert!(
            decide(&Settings::default(), &request(None, None))
                .unwrap()
                .claims
                .is_empty()
        );
    }

    #[test]
    fn artifacts_are_not_its_to_judge() {
        assert_eq!(
            code(decide(&Settings::default(), &testing::artifact(&[]))),
            "tokens_only"
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        let read =
            |name: &'static str, value: Value| Settings::read(move |asked| (asked == name).then(|| value.clone()));
        assert!(
            read("editor_max_seconds", Value::Int(0))
                .unwrap_err()
                .contains("editor_max_seconds")
        );
        assert!(read("editor_max_seconds", Value::Int(1 << 32)).is_err());
        assert!(read("editor_max_seconds", text("60")).is_err());
        assert!(read("plan", Value::Int(1)).unwrap_err().contains("plan"));
        assert_eq!(
            read("editor_max_seconds", Value::Int(60)).unwrap().editor_max_seconds,
            Some(60)
        );
        assert_eq!(read("plan", text("free")).unwrap().plan.as_deref(), Some("free"));
    }
}
