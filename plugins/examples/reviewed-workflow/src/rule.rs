//! The rule itself, as a function of its settings and the request.

use signet_plugin::{Caller, Payload, Refusal, Request, Value, Verdict, allow, refuse};

/// `[plugins.config]` of the bundle. Each entry is exact, or a prefix that ends in `*`.
#[derive(Debug)]
pub struct Settings {
    /// Refs whose jobs may sign. At least one.
    pub refs: Vec<String>,
    /// Workflows that were reviewed, as `FILE@REF`. At least one; a prefix fixes the file and the beginning of the ref.
    pub workflows: Vec<String>,
    /// Deployment environments. None at all: the rule does not ask for one.
    pub environments: Vec<String>,
    /// Events that start a job, as `push`. None at all: the rule does not ask.
    pub events: Vec<String>,
}

impl Settings {
    /// Reads them; an unusable one is an error, since a guard that guesses is none.
    pub fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Settings, String> {
        let settings = Settings {
            refs: patterns(get("refs"), "refs")?,
            workflows: patterns(get("workflows"), "workflows")?,
            environments: patterns(get("environments"), "environments")?,
            events: patterns(get("events"), "events")?,
        };
        if settings.refs.is_empty() || settings.workflows.is_empty() {
            return Err("`refs` and `workflows` must each name at least one".into());
        }
        // Whoever may push a branch may write any workflow on it: the file alone says nothing about a review.
        let fixes_a_ref = |entry: &String| {
            entry
                .split_once('@')
                .is_some_and(|(file, at)| !file.is_empty() && !file.contains('*') && !at.is_empty() && at != "*")
        };
        if !settings.workflows.iter().all(fixes_a_ref) {
            return Err("each of `workflows` must be FILE@REF, and only the end of REF may be a `*`".into());
        }
        Ok(settings)
    }
}

fn patterns(value: Option<Value>, name: &str) -> Result<Vec<String>, String> {
    let usable = |entry: &String| {
        let fixed = entry.strip_suffix('*').unwrap_or(entry);
        !fixed.is_empty() && !fixed.contains('*')
    };
    match value {
        None => Ok(Vec::new()),
        Some(Value::Texts(entries)) if entries.iter().all(usable) => Ok(entries),
        Some(_) => Err(format!(
            "`{name}` must be a list of texts, none of them empty or a bare `*`, with a `*` at the end only"
        )),
    }
}

/// Whether the artifact may be signed.
pub fn decide(settings: &Settings, request: &Request) -> Result<Verdict, Refusal> {
    if !matches!(request.payload, Payload::Artifact(_)) {
        return refuse("artifacts_only", "this rule judges artifacts, and this is a token");
    }
    let caller = &request.caller;
    demand(caller, "ref", &settings.refs, ("ref_missing", "ref_not_protected"))?;
    demand(
        caller,
        "workflow",
        &settings.workflows,
        ("workflow_missing", "workflow_not_reviewed"),
    )?;
    let environment = ("environment_missing", "environment_not_allowed");
    if !settings.environments.is_empty() {
        demand(caller, "environment", &settings.environments, environment)?;
    }
    if !settings.events.is_empty() {
        demand(
            caller,
            "event",
            &settings.events,
            ("event_missing", "event_not_allowed"),
        )?;
    }
    allow()
}

/// The attribute must be there as a text, and be one of the entries; the codes say which of the two it was not.
fn demand(caller: &Caller, name: &str, entries: &[String], codes: (&str, &str)) -> Result<(), Refusal> {
    let Some(Value::Text(value)) = caller.attribute(name) else {
        return refuse(codes.0, &format!("the caller's identity does not say its {name}"));
    };
    if entries.iter().any(|entry| covers(entry, value)) {
        Ok(())
    } else {
        refuse(codes.1, &format!("artifacts are not signed for the caller's {name}"))
    }
}

fn covers(entry: &str, value: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(prefix) => value.starts_with(prefix),
        None => entry == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::testing;

    const FILE: &str = "org/app/.github/workflows/release.yml";

    fn texts(texts: &[&str]) -> Value {
        Value::Texts(texts.iter().map(|text| text.to_string()).collect())
    }

    fn settings(environments: &[&str], events: &[&str]) -> Settings {
        let workflow = format!("{FILE}@refs/heads/main");
        let get = |name: &str| match name {
            "refs" => Some(texts(&["refs/heads/main", "refs/tags/v*"])),
            "workflows" => Some(texts(&[&workflow])),
            "environments" => Some(texts(environments)),
            _ => Some(texts(events)),
        };
        Settings::read(get).unwrap()
    }

    fn ask(settings: &Settings, attributes: &[(&str, &str)]) -> Result<(), String> {
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(name, value)| (*name, Value::Text(value.to_string())))
            .collect();
        match decide(settings, &testing::artifact(&attributes)) {
            Ok(verdict) => {
                assert_eq!(verdict, allow().unwrap());
                Ok(())
            }
            Err(refusal) => Err(refusal.code),
        }
    }

    #[test]
    fn ref_and_workflow_must_both_be_right() {
        let settings = settings(&[], &[]);
        let main = format!("{FILE}@refs/heads/main");
        let branch = format!("{FILE}@refs/heads/mine");
        let ask = |r: &str, w: &str| ask(&settings, &[("ref", r), ("workflow", w)]);
        assert_eq!(ask("refs/heads/main", &main), Ok(()));
        assert_eq!(ask("refs/tags/v1", &main), Ok(()));
        assert_eq!(ask("refs/heads/main2", &main), Err("ref_not_protected".into()));
        assert_eq!(ask("refs/heads/main", &branch), Err("workflow_not_reviewed".into()));
        assert_eq!(ask("refs/heads/main", FILE), Err("workflow_not_reviewed".into()));
    }

    #[test]
    fn environment_and_event_are_asked_for_when_they_are_set() {
        let workflow = format!("{FILE}@refs/heads/main");
        let base = [("ref", "refs/heads/main"), ("workflow", &*workflow)];
        let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
        let settings = settings(&["production"], &["push", "workflow_*"]);
        assert_eq!(ask(&settings, &base), Err("environment_missing".into()));
        let staging = with(&[("environment", "staging"), ("event", "push")]);
        assert_eq!(ask(&settings, &staging), Err("environment_not_allowed".into()));
        let no_event = with(&[("environment", "production")]);
        assert_eq!(ask(&settings, &no_event), Err("event_missing".into()));
        let fork = with(&[("environment", "production"), ("event", "pull_request_target")]);
        assert_eq!(ask(&settings, &fork), Err("event_not_allowed".into()));
        let good = with(&[("environment", "production"), ("event", "workflow_dispatch")]);
        assert_eq!(ask(&settings, &good), Ok(()));
    }

    #[test]
    fn an_attribute_of_another_type_is_missing() {
        let request = testing::artifact(&[("ref", texts(&["refs/heads/main"]))]);
        assert_eq!(decide(&settings(&[], &[]), &request).unwrap_err().code, "ref_missing");
        let token = testing::token(&[], &[]);
        assert_eq!(decide(&settings(&[], &[]), &token).unwrap_err().code, "artifacts_only");
    }

    #[test]
    fn a_workflow_without_its_ref_is_no_setting() {
        let read = |workflow: &str| {
            Settings::read(|name| match name {
                "refs" => Some(texts(&["refs/heads/main"])),
                "workflows" => Some(texts(&[workflow])),
                _ => None,
            })
        };
        for wrong in [
            "release.yml",
            "release.yml@",
            "release.yml@*",
            "*@refs/heads/main",
            "release*",
            "@main",
        ] {
            assert!(read(wrong).unwrap_err().contains("workflows"), "{wrong}");
        }
        assert!(read("release.yml@refs/tags/v*").is_ok());
        assert!(Settings::read(|_| None).is_err());
        assert!(Settings::read(|name| (name != "events").then(|| texts(&["a@b"])).or(Some(Value::Int(1)))).is_err());
    }
}
