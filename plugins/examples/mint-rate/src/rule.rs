//! The rule itself, as a function of its settings, the request and the count.

use signet_plugin::{Payload, Refusal, Request, Value, Verdict, allow, refuse};

/// The longest window of the import `counter`, in seconds.
const LONGEST_WINDOW: i64 = 86_400;

/// `[plugins.config]` of the bundle.
#[derive(Debug)]
pub struct Settings {
    /// The most within a window. At least 1.
    pub max: u32,
    /// 1 to 86400.
    pub window_seconds: u32,
    /// What is counted.
    pub by: By,
}

/// Whose requests are counted together.
#[derive(Debug, PartialEq, Eq)]
pub enum By {
    /// Those for one token subject, whoever asks.
    Subject,
    /// Those of one caller, for whatever it asks.
    Caller,
}

impl Settings {
    /// Reads them; an unusable one is an error, since a guard that guesses is none.
    pub fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Settings, String> {
        let Some(Value::Int(max @ 1..=1_000_000)) = get("max") else {
            return Err("`max` must be a whole number from 1 to 1000000".into());
        };
        let Some(Value::Int(window @ 1..=LONGEST_WINDOW)) = get("window_seconds") else {
            return Err("`window_seconds` must be a whole number from 1 to 86400".into());
        };
        let by = match get("by") {
            None => By::Subject,
            Some(Value::Text(by)) if by == "subject" => By::Subject,
            Some(Value::Text(by)) if by == "caller" => By::Caller,
            Some(_) => return Err("`by` must be `subject` or `caller`".into()),
        };
        Ok(Settings {
            max: max as u32,
            window_seconds: window as u32,
            by,
        })
    }
}

/// Counts the request and judges the count. `count` answers with the uses of a name within the window, this one included,
/// or with nothing where it cannot tell.
pub fn decide(
    settings: &Settings,
    request: &Request,
    count: impl FnOnce(&str) -> Option<u32>,
) -> Result<Verdict, Refusal> {
    let who = match (&settings.by, &request.payload) {
        (By::Caller, _) => &request.caller.id,
        (By::Subject, Payload::Artifact(_)) => {
            return refuse("tokens_only", "this rule counts by subject, and an artifact has none");
        }
        (By::Subject, Payload::Token(token)) => match &token.subject {
            Some(subject) => subject,
            None => return refuse("subject_missing", "a token must name its subject"),
        },
    };
    // A rule counts for all its profiles; these are apart, as are tenants. No name has a zero byte in the first two.
    match count(&format!("{}\0{}\0{who}", request.tenant, request.profile)) {
        Some(uses) if uses <= settings.max => allow(),
        Some(_) => refuse("rate_exceeded", "too many requests; try again later"),
        None => refuse("rate_unknown", "too many are counted already; try again later"),
    }
}

/// A counter's key for a name, which may be longer than a key: its digest in hexadecimal.
pub fn key(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::testing;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn settings(by: &str) -> Settings {
        Settings::read(|name| match name {
            "max" => Some(Value::Int(3)),
            "window_seconds" => Some(Value::Int(60)),
            _ => Some(text(by)),
        })
        .unwrap()
    }

    fn code(settings: &Settings, request: &Request, uses: Option<u32>) -> String {
        match decide(settings, request, |_| uses) {
            Ok(verdict) => format!("allow {}", verdict.claims.len()),
            Err(refusal) => refusal.code,
        }
    }

    #[test]
    fn up_to_the_limit_and_no_further() {
        let request = testing::token(&[], &[]);
        let by = settings("subject");
        assert_eq!(code(&by, &request, Some(1)), "allow 0");
        assert_eq!(code(&by, &request, Some(3)), "allow 0");
        assert_eq!(code(&by, &request, Some(4)), "rate_exceeded");
        assert_eq!(code(&by, &request, None), "rate_unknown");
    }

    #[test]
    fn what_is_counted_together() {
        let name = |by: &str, request: &Request| {
            let mut name = String::new();
            let _ = decide(&settings(by), request, |counted| {
                name = counted.to_owned();
                Some(1)
            });
            name
        };
        let token = testing::token(&[], &[]);
        assert_eq!(name("subject", &token), "000000000001\0web\0user-1");
        assert_eq!(
            name("caller", &token),
            "000000000001\0web\0oidc:https://ci.example#build"
        );
        let artifact = testing::artifact(&[]);
        assert_eq!(
            name("caller", &artifact),
            "000000000001\0release\0oidc:https://ci.example#build"
        );
        assert_eq!(code(&settings("subject"), &artifact, Some(1)), "tokens_only");
        let mut nobody = testing::token(&[], &[]);
        if let Payload::Token(token) = &mut nobody.payload {
            token.subject = None;
        }
        assert_eq!(code(&settings("subject"), &nobody, Some(1)), "subject_missing");
        assert_eq!(code(&settings("caller"), &nobody, Some(1)), "allow 0");
    }

    #[test]
    fn a_key_is_hexadecimal() {
        assert_eq!(key(&[0x00, 0xff, 0x1a]), "00ff1a");
    }

    #[test]
    fn wrong_settings_are_named() {
        let with = |name: &'static str, value: Option<Value>| {
            Settings::read(move |asked| match asked {
                _ if asked == name => value.clone(),
                "by" => None,
                _ => Some(Value::Int(1)),
            })
        };
        assert_eq!(with("by", None).unwrap().by, By::Subject);
        for (name, value) in [
            ("max", None),
            ("max", Some(Value::Int(0))),
            ("max", Some(Value::Int(1_000_001))),
            ("window_seconds", None),
            ("window_seconds", Some(Value::Int(86_401))),
            ("by", Some(text("ip"))),
            ("by", Some(Value::Int(1))),
        ] {
            assert!(
                with(name, value.clone()).unwrap_err().contains(name),
                "{name} {value:?}"
            );
        }
    }
}
