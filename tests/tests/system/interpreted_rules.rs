//! A rule in JavaScript and one in Python at a real edge: what Python's interpreter needs is said where it is missing, and then each
//! passes one request and refuses another. And batches, whose requests both judge in one instance.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use system_tests::{Answer, Dev, Output, within};
use tempfile::TempDir;

use crate::example_rules::{INTERPRETED, component};
use crate::plugin_languages::plugin;

/// What stands behind `config` of each.
const CONFIG: [&str; 2] = [
    r#"{ patterns = ['order=[A-Z]{2}-\d{6}'], required = ["order"] }"#,
    r#"{ claims = ["display=${roles} ${subject}"] }"#,
];

const PROFILE: &str = r#"tenant = "000000000001"
kind = "token"
key = "alias/dev-api"
algorithm = "ES256"
issuer = "dev"
audiences = ["https://api.example"]
lifetime = { default = "5m", max = "1h" }
claims = { allowed = ["order"], plugin = ["calls", "display"] }
"#;

/// What an interpreter needs.
const ENOUGH: &str = "max_size = \"24MiB\"\nmemory = \"32MiB\"\ndeadline = \"100ms\"";

/// A rule of the bundle, with what stands under its `[[plugins]]`.
struct Rule {
    name: &'static str,
    component: PathBuf,
    given: String,
}

/// Both examples, each given so much.
fn examples(given: &str) -> Vec<Rule> {
    let example = |(name, config): (&&'static str, &str)| Rule {
        name,
        component: component(name),
        given: format!("config = {config}\n{given}"),
    };
    INTERPRETED.iter().zip(CONFIG).map(example).collect()
}

/// The bundle with these rules in it, each with a profile.
fn apply(dev: &Dev, rules: &[Rule]) -> Output {
    let bundle = dev.data().join("bundle");
    let original = dev.data().join("bundle.toml");
    if !original.exists() {
        std::fs::copy(bundle.join("bundle.toml"), &original).unwrap();
    }
    let mut manifest = std::fs::read_to_string(original).unwrap();
    for Rule { name, component, given } in rules {
        manifest.push_str(&format!(
            "\n[[plugins]]\nname = \"{name}\"\nfile = \"plugins/{name}.wasm\"\n{given}\n"
        ));
        std::fs::copy(component, bundle.join(format!("plugins/{name}.wasm"))).unwrap();
        write(
            &bundle.join(format!("profiles/x-{name}.toml")),
            &format!("{PROFILE}plugins = [\"{name}\"]\n"),
        );
    }
    write(&bundle.join("bundle.toml"), &manifest);
    dev.cli(&["bundle", "apply", bundle.to_str().unwrap()])
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn mint(dev: &Dev, name: &str, body: Value) -> Answer {
    dev.curl(&format!("/v1/tokens/x-{name}")).post(&body.to_string())
}

fn is_refused(answer: &Answer, code: &str) {
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (403, "rule_refused"),
        "{answer:?}"
    );
    assert_eq!(answer.json()["rule_code"], code, "{answer:?}");
}

fn claims(dev: &Dev, minted: &Answer) -> Value {
    assert_eq!(minted.status, 201, "{minted:?}");
    claims_of(dev, &minted.json()["token"])
}

fn claims_of(dev: &Dev, token: &Value) -> Value {
    let token = json!({"token": token}).to_string();
    dev.curl("/v1/verify").post(&token).json()["claims"].clone()
}

fn until_served(dev: &Dev, name: &str) {
    within(300, "the edge has the bundle", || {
        dev.curl(&format!("/v1/tokens/x-{name}")).post("{").problem() == "malformed_json"
    });
}

#[test]
fn a_rule_in_javascript_and_one_in_python_are_enforced_with_what_an_interpreter_needs() {
    let dev = Dev::start();
    for (given, write) in [
        ("", "write `max_size = \""),
        ("max_size = \"24MiB\"\nmemory = \"4MiB\"", "write `memory = \""),
    ] {
        let refused = apply(&dev, &examples(given));
        assert_eq!(refused.code, 1, "{refused:?}");
        let of = |name: &str| refused.stderr.lines().find(|line| line.contains(name));
        assert!(
            of("claim-template").is_some_and(|line| line.contains(write)),
            "{refused:?}"
        );
        assert_eq!(of("claim-patterns"), None, "JavaScript's engine is small: {refused:?}");
    }
    apply(&dev, &examples(ENOUGH)).success();
    until_served(&dev, "claim-template");

    let passed = mint(
        &dev,
        "claim-patterns",
        json!({"subject": "alice", "claims": {"order": "DE-123456"}}),
    );
    assert_eq!(claims(&dev, &passed)["order"], "DE-123456");
    let refused = mint(
        &dev,
        "claim-patterns",
        json!({"subject": "alice", "claims": {"order": "DE-1"}}),
    );
    is_refused(&refused, "claim_malformed");

    let passed = mint(&dev, "claim-template", json!({"subject": "alice"}));
    assert_eq!(claims(&dev, &passed)["display"], "developer alice");
    is_refused(&mint(&dev, "claim-template", json!({})), "word_missing");
    // Beside them the others are as ever.
    dev.mint("session", "{}");
}

/// Its claim is how often it was called in its instance.
const JAVASCRIPT: &str = r#"
let calls = 0;

export async function evaluate({ payload: { val: { subject } } }) {
  calls += 1;
  if (subject === "refused") {
    throw { code: "refused_subject", message: "no" };
  }
  if (subject === "broken") {
    throw new TypeError("broken");
  }
  return { claims: [["calls", { tag: "int", val: calls }]] };
}
"#;

const PYTHON: &str = r#"
from componentize_py_types import Err
from wit_world.imports import types

calls = 0


class WitWorld:
    def evaluate(self, request):
        global calls
        calls += 1
        match request.payload.value.subject:
            case "refused":
                raise Err(types.Refusal("refused_subject", "no"))
            case "broken":
                raise TypeError("broken")
        return types.Verdict(lifetime_cap=None, claims=[("calls", types.Value_Int(calls))])
"#;

/// Built in `here` for the world `rule-batch`.
fn counting(here: &Path, name: &'static str, (lang, file, text): (&str, &str, &str)) -> Rule {
    let dir = here.join(name);
    std::fs::create_dir(&dir).unwrap();
    let manifest = format!("name = \"{name}\"\nlang = \"{lang}\"\nworld = \"signet:rule/rule-batch@1.2.0\"\n");
    write(&dir.join("plugin.toml"), &manifest);
    write(&dir.join(file), text);
    plugin(here, &["build", name]).success();
    Rule {
        name,
        component: dir.join(format!("{name}.wasm")),
        given: ENOUGH.to_owned(),
    }
}

/// Of each element the claim, or the code that it was refused with.
fn batch(dev: &Dev, name: &str, subjects: &[&str]) -> Vec<Value> {
    let requests: Vec<_> = subjects.iter().map(|subject| json!({"subject": subject})).collect();
    let body = json!({"requests": requests}).to_string();
    let answer = dev.curl(&format!("/v1/tokens/x-{name}/batch")).post(&body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let outcome = |result: &Value| match result["token"].is_string() {
        true => claims_of(dev, &result["token"])["calls"].clone(),
        false => result.get("rule_code").unwrap_or(&result["code"]).clone(),
    };
    answer["results"].as_array().unwrap().iter().map(outcome).collect()
}

#[test]
fn a_batch_is_judged_in_one_instance_of_a_rule_in_javascript_and_of_one_in_python() {
    let (dev, here) = (Dev::start(), TempDir::new().unwrap());
    let rules = [
        ("counting-js", ("js", "rule.js", JAVASCRIPT)),
        ("counting-python", ("python", "rule.py", PYTHON)),
    ];
    let rules = rules.map(|(name, rule)| counting(here.path(), name, rule));
    apply(&dev, &rules).success();
    for (name, said) in [
        ("counting-js", "uncaught TypeError: broken at evaluate (rule.js:10:15)"),
        ("counting-python", "uncaught TypeError: broken at rule.py:16"),
    ] {
        until_served(&dev, name);
        // More than one call takes; and nothing is there for the next batch.
        let subjects: Vec<_> = ["alice", "refused", "bob", "carol"]
            .into_iter()
            .cycle()
            .take(20)
            .collect();
        let expected = (0..20).map(|place| match place % 4 {
            1 => json!("refused_subject"),
            _ => json!(place % 16 + 1),
        });
        let expected: Vec<_> = expected.collect();
        for _ in 0..2 {
            assert_eq!(batch(&dev, name, &subjects), expected, "{name}");
        }
        // What fails the call for all of them is one's own failure.
        let broken = batch(&dev, name, &["alice", "broken", "refused", "bob"]);
        assert_eq!(
            broken,
            [json!(1), json!("rule_failed"), json!("refused_subject"), json!(1)],
            "{name}"
        );
        let log = dev.log();
        assert!(log.contains(&format!("request 2 of a batch: {said}")), "{name}: {log}");
    }
}
