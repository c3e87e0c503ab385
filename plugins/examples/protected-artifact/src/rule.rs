//! The rule itself, as a function of its settings and the request.

use signet_plugin::{Payload, Refusal, Request, Value, Verdict, allow, refuse};

/// `[plugins.config]` of the bundle.
#[derive(Debug)]
pub struct Settings {
    /// Refs whose jobs may sign, each exact, or a prefix that ends in `*`. None means that nobody may.
    pub protected_refs: Vec<String>,
    /// Whether a refusal refuses. Default true.
    pub enforce: bool,
}

impl Settings {
    /// Reads them; an unusable one is an error, since a guard that guesses is none.
    pub fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Settings, String> {
        let protected_refs = match get("protected_refs") {
            None => Vec::new(),
            Some(Value::Texts(refs)) if refs.iter().all(|entry| !entry.is_empty() && entry != "*") => refs,
            Some(_) => return Err("`protected_refs` must be a list of refs, none of them empty or a bare `*`".into()),
        };
        let enforce = match get("enforce") {
            None => true,
            Some(Value::Boolean(enforce)) => enforce,
            Some(_) => return Err("`enforce` must be true or false".into()),
        };
        Ok(Settings {
            protected_refs,
            enforce,
        })
    }
}

/// Whether the artifact may be signed.
pub fn decide(settings: &Settings, request: &Request) -> Result<Verdict, Refusal> {
    if !matches!(request.payload, Payload::Artifact(_)) {
        return refuse("artifacts_only", "this rule judges artifacts, and this is a token");
    }
    let Some(Value::Text(caller_ref)) = request.caller.attribute("ref") else {
        return refuse("ref_missing", "the caller's identity does not say which ref it is for");
    };
    if settings.protected_refs.iter().any(|entry| covers(entry, caller_ref)) {
        allow()
    } else {
        refuse("ref_not_protected", "artifacts are signed for protected refs only")
    }
}

fn covers(entry: &str, caller_ref: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(prefix) => caller_ref.starts_with(prefix),
        None => entry == caller_ref,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::testing;

    fn settings(refs: &[&str]) -> Settings {
        Settings {
            protected_refs: refs.iter().map(|entry| entry.to_string()).collect(),
            enforce: true,
        }
    }

    fn request(caller_ref: Option<Value>) -> Request {
        let attributes: Vec<_> = caller_ref.map(|value| ("ref", value)).into_iter().collect();
        testing::artifact(&attributes)
    }

    fn ask(refs: &[&str], caller_ref: &str) -> Result<Verdict, String> {
        decide(&settings(refs), &request(Some(Value::Text(caller_ref.into())))).map_err(|refusal| refusal.code)
    }

    fn allowed() -> Result<Verdict, String> {
        allow().map_err(|refusal| refusal.code)
    }

    #[test]
    fn only_protected_refs_are_signed_for() {
        assert_eq!(ask(&["refs/heads/main"], "refs/heads/main"), allowed());
        assert_eq!(
            ask(&["refs/heads/main"], "refs/heads/main2"),
            Err("ref_not_protected".into())
        );
        assert_eq!(ask(&["refs/heads/main", "refs/tags/v*"], "refs/tags/v1.2"), allowed());
        assert_eq!(ask(&["refs/tags/v*"], "refs/tags/x"), Err("ref_not_protected".into()));
        assert_eq!(ask(&[], "refs/heads/main"), Err("ref_not_protected".into()));
    }

    #[test]
    fn a_caller_without_a_ref_is_refused() {
        let code = |request: &Request| decide(&settings(&["a"]), request).unwrap_err().code;
        assert_eq!(code(&request(None)), "ref_missing");
        assert_eq!(code(&request(Some(Value::Texts(vec!["a".into()])))), "ref_missing");
    }

    #[test]
    fn tokens_are_not_its_to_judge() {
        let request = testing::token(&[], &[("ref", Value::Text("a".into()))]);
        assert_eq!(decide(&settings(&["a"]), &request).unwrap_err().code, "artifacts_only");
    }

    #[test]
    fn wrong_settings_are_named() {
        let read =
            |name: &'static str, value: Value| Settings::read(move |asked| (asked == name).then(|| value.clone()));
        assert!(read("enforce", Value::Int(0)).unwrap_err().contains("enforce"));
        assert!(
            read("protected_refs", Value::Text("a".into()))
                .unwrap_err()
                .contains("protected_refs")
        );
        assert!(read("protected_refs", Value::Texts(vec!["*".into()])).is_err());
        assert!(read("protected_refs", Value::Texts(vec![String::new()])).is_err());
        let defaults = Settings::read(|_| None).unwrap();
        assert!(defaults.enforce && defaults.protected_refs.is_empty());
    }
}
