//! A rule in JavaScript and one in Python at a real edge: what Python's interpreter needs is said where it is missing, and then each
//! passes one request and refuses another.

use std::path::Path;

use serde_json::{Value, json};
use system_tests::{Answer, Dev, Output, within};

use crate::example_rules::{INTERPRETED, component};

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
claims = { allowed = ["order"], plugin = ["display"] }
"#;

/// The bundle with both rules in it, each given so much.
fn apply(dev: &Dev, given: &str) -> Output {
    let bundle = dev.data().join("bundle");
    let original = dev.data().join("bundle.toml");
    if !original.exists() {
        std::fs::copy(bundle.join("bundle.toml"), &original).unwrap();
    }
    let mut manifest = std::fs::read_to_string(original).unwrap();
    for (name, config) in INTERPRETED.iter().zip(CONFIG) {
        manifest.push_str(&format!(
            "\n[[plugins]]\nname = \"{name}\"\nfile = \"plugins/{name}.wasm\"\nconfig = {config}\n{given}\n"
        ));
        std::fs::copy(component(name), bundle.join(format!("plugins/{name}.wasm"))).unwrap();
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
    let token = json!({"token": minted.json()["token"]}).to_string();
    dev.curl("/v1/verify").post(&token).json()["claims"].clone()
}

#[test]
fn a_rule_in_javascript_and_one_in_python_are_enforced_with_what_an_interpreter_needs() {
    let dev = Dev::start();
    for (given, write) in [
        ("", "write `max_size = \""),
        ("max_size = \"24MiB\"\nmemory = \"4MiB\"", "write `memory = \""),
    ] {
        let refused = apply(&dev, given);
        assert_eq!(refused.code, 1, "{refused:?}");
        let of = |name: &str| refused.stderr.lines().find(|line| line.contains(name));
        assert!(
            of("claim-template").is_some_and(|line| line.contains(write)),
            "{refused:?}"
        );
        assert_eq!(of("claim-patterns"), None, "JavaScript's engine is small: {refused:?}");
    }
    apply(&dev, "max_size = \"24MiB\"\nmemory = \"32MiB\"\ndeadline = \"100ms\"").success();
    within(300, "the edge has the bundle", || {
        dev.curl("/v1/tokens/x-claim-template").post("{").problem() == "malformed_json"
    });

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
