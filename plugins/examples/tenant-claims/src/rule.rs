//! The rule itself, as functions of its settings, the request and what the table has.

use signet_plugin::{Payload, Refusal, Request, Value, Verdict, refuse};

/// The most claims that a verdict may bring.
const MOST_CLAIMS: usize = 32;

/// `[plugins.config]` of the bundle.
#[derive(Debug)]
pub struct Settings {
    /// The claims to add, 1 to 32, each once.
    pub claims: Vec<String>,
    /// The caller's attribute that names the tenant. None: the request's own.
    pub attribute: Option<String>,
    /// Whether a token goes on without a claim that the table does not have. Default false.
    pub skips_unknown: bool,
}

impl Settings {
    /// Reads them; an unusable one is an error, since a guard that guesses is none.
    pub fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Settings, String> {
        let claims = match get("claims") {
            Some(Value::Texts(claims)) if are_claims(&claims) => claims,
            _ => return Err("`claims` must be a list of 1 to 32 claims, each once, without `/`".into()),
        };
        let attribute = match get("attribute") {
            None => None,
            Some(Value::Text(name)) if !name.is_empty() => Some(name),
            Some(_) => return Err("`attribute` must be the name of an attribute".into()),
        };
        let skips_unknown = match get("unknown") {
            None => false,
            Some(Value::Text(answer)) if answer == "refuse" => false,
            Some(Value::Text(answer)) if answer == "skip" => true,
            Some(_) => return Err("`unknown` must be `refuse` or `skip`".into()),
        };
        Ok(Settings {
            claims,
            attribute,
            skips_unknown,
        })
    }
}

/// A name with a slash in it would make two rows of the table look alike: `a/b` of `c`, and `b` of `c/a`.
fn are_claims(names: &[String]) -> bool {
    let alone = |(at, name): (usize, &String)| !names[..at].contains(name);
    let is_name = |name: &String| !name.is_empty() && !name.contains('/');
    (1..=MOST_CLAIMS).contains(&names.len()) && names.iter().all(is_name) && names.iter().enumerate().all(alone)
}

/// Whose claims are to be added.
pub fn tenant<'a>(settings: &Settings, request: &'a Request) -> Result<&'a str, Refusal> {
    if !matches!(request.payload, Payload::Token(_)) {
        return refuse(
            "tokens_only",
            "this rule adds claims to tokens, and this is an artifact",
        );
    }
    let Some(attribute) = &settings.attribute else {
        return Ok(&request.tenant);
    };
    match request.caller.attribute(attribute) {
        Some(Value::Text(tenant)) if !tenant.is_empty() => Ok(tenant),
        _ => refuse(
            "tenant_missing",
            "the caller's identity does not say which tenant it belongs to",
        ),
    }
}

/// The table's key for a claim of a tenant.
pub fn key(tenant: &str, claim: &str) -> String {
    format!("{tenant}/{claim}")
}

/// Adds what the table has: for each claim of the settings its value, or nothing.
pub fn decide(settings: &Settings, found: Vec<(String, Option<String>)>) -> Result<Verdict, Refusal> {
    let mut claims = Vec::new();
    for (name, value) in found {
        match value {
            Some(value) => claims.push((name, Value::Text(value))),
            None if settings.skips_unknown => {}
            None => return refuse("tenant_unknown", "nothing is known about this tenant"),
        }
    }
    Ok(Verdict {
        lifetime_cap: None,
        claims,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::testing;

    fn texts(texts: &[&str]) -> Value {
        Value::Texts(texts.iter().map(|text| text.to_string()).collect())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn settings(pairs: &[(&str, Value)]) -> Result<Settings, String> {
        let find = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
        };
        Settings::read(find)
    }

    #[test]
    fn the_tenant_is_the_requests_or_an_attributes() {
        let own = settings(&[("claims", texts(&["plan"]))]).unwrap();
        let by_attribute = settings(&[("claims", texts(&["plan"])), ("attribute", text("org"))]).unwrap();
        let request = |org: Value| testing::token(&[], &[("org", org)]);
        assert_eq!(tenant(&own, &request(text("acme"))), Ok("000000000001"));
        assert_eq!(tenant(&by_attribute, &request(text("acme"))), Ok("acme"));
        for wrong in [texts(&["acme"]), text("")] {
            assert_eq!(
                tenant(&by_attribute, &request(wrong)).unwrap_err().code,
                "tenant_missing"
            );
        }
        assert_eq!(tenant(&own, &testing::artifact(&[])).unwrap_err().code, "tokens_only");
    }

    #[test]
    fn what_the_table_has_is_added() {
        let found = || {
            vec![
                ("plan".to_owned(), Some("gold".to_owned())),
                ("region".to_owned(), None),
            ]
        };
        let claims = ("claims", texts(&["plan", "region"]));
        let strict = settings(std::slice::from_ref(&claims)).unwrap();
        assert_eq!(decide(&strict, found()).unwrap_err().code, "tenant_unknown");
        let lax = settings(&[claims, ("unknown", text("skip"))]).unwrap();
        assert_eq!(
            decide(&lax, found()).unwrap().claims,
            [("plan".to_owned(), text("gold"))]
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        let many: Vec<String> = (0..33).map(|number| format!("c{number}")).collect();
        for (name, value) in [
            ("claims", texts(&[])),
            ("claims", texts(&["plan", ""])),
            ("claims", texts(&["plan", "plan"])),
            ("claims", texts(&["a/b"])),
            ("claims", Value::Texts(many)),
            ("claims", text("plan")),
            ("attribute", text("")),
            ("attribute", Value::Int(1)),
            ("unknown", text("allow")),
            ("unknown", Value::Boolean(true)),
        ] {
            let claims = (name != "claims").then(|| ("claims", texts(&["plan"])));
            let pairs: Vec<_> = claims.into_iter().chain([(name, value.clone())]).collect();
            assert!(settings(&pairs).unwrap_err().contains(name), "{name} {value:?}");
        }
        assert!(settings(&[]).is_err());
    }
}
