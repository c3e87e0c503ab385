//! A rule that fails again and again, with the real binary: what callers get, what operators see, and how it is got round.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use system_tests::{Dev, Output, checkout, run, within};

/// Traps at a lifetime of 13 s, and allows everything else.
const ODD: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param $request i32) (result i32)
    (if (i32.eq (i32.load offset=96 (local.get $request)) (i32.const 13)) (then unreachable))
    (i32.const 1024)))"#;

fn bundle(dev: &Dev) -> PathBuf {
    let copy = dev.data().join("odd");
    run(Command::new("cp").arg("-r").arg(dev.data().join("bundle")).arg(&copy)).success();
    let part =
        |name: &str| std::fs::read_to_string(checkout().join(format!("runtime/tests/hostile/{name}.wat"))).unwrap();
    let component = part("world")
        .replace("{{memory}}", &part("memory"))
        .replace("{{rule}}", ODD);
    std::fs::write(copy.join("plugins/odd.wasm"), wat::parse_str(component).unwrap()).unwrap();
    append(
        &copy,
        "bundle.toml",
        "\n[[plugins]]\nname = \"odd\"\nfile = \"plugins/odd.wasm\"\ndeadline = \"100ms\"\n",
    );
    let session = std::fs::read_to_string(copy.join("profiles/session.toml")).unwrap();
    assert!(!session.contains("plugins"), "{session}");
    append(&copy, "profiles/session.toml", "\nplugins = [\"odd\"]\n");
    copy
}

fn append(bundle: &Path, file: &str, text: &str) {
    let path = bundle.join(file);
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{before}{text}")).unwrap();
}

fn apply(dev: &Dev, bundle: &Path) -> Output {
    dev.cli(&["bundle", "apply", bundle.to_str().unwrap()])
}

fn metric(dev: &Dev, name: &str) -> Option<String> {
    let metrics = String::from_utf8(dev.anonymous("/metrics").get().body).unwrap();
    let line = format!("{name}{{plugin=\"odd\"}} ");
    metrics
        .lines()
        .find_map(|found| found.strip_prefix(&line))
        .map(str::to_owned)
}

fn verdicts(dev: &Dev, id: &Value) -> Option<Value> {
    let tail = dev.cli(&["audit", "tail"]).success();
    let records = tail.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .into_iter()
        .find(|record| record["request_id"] == *id)
        .map(|record| record["plugins"].clone())
}

/// What the authority's log says of the rule's breaker, oldest first.
fn breakers(dev: &Dev) -> Vec<String> {
    let found = dev.cli(&["audit", "search", "--plugin", "odd"]).success();
    let records = found.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let changes = records.filter_map(|record| record["breaker"].as_str().map(str::to_owned));
    changes.collect()
}

// R22
#[test]
fn a_rule_that_fails_denies_at_once_and_is_skipped_only_where_both_sides_say_so() {
    let dev = Dev::start();
    let copy = bundle(&dev);
    apply(&dev, &copy).success();
    within(10, "the rule is in force", || {
        metric(&dev, "signet_edge_plugin_open").is_some()
    });
    let post = |body: &str| dev.curl("/v1/tokens/session").post(body);
    for _ in 0..6 {
        let answer = post(r#"{"lifetime":13}"#);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (503, "rule_failed"),
            "{answer:?}"
        );
    }
    assert_eq!(metric(&dev, "signet_edge_plugin_openings_total").as_deref(), Some("1"));
    within(10, "the log says so", || dev.log().contains("fails again and again"));
    within(20, "a trial that is answered closes it", || post("{}").status == 201);
    assert_eq!(metric(&dev, "signet_edge_plugin_open").as_deref(), Some("0"));
    within(10, "both are in the audit log", || {
        breakers(&dev) == ["opened", "closed"]
    });

    // One side alone is refused, with the place and what to write.
    let profile = std::fs::read_to_string(copy.join("profiles/session.toml")).unwrap();
    append(&copy, "profiles/session.toml", "may_skip = [\"odd\"]\n");
    let refused = apply(&dev, &copy);
    let says = ["profiles/session.toml:", "may_skip[0]", "write on_failure = \"skip\""];
    assert!(
        refused.code != 0 && says.iter().all(|part| refused.stderr.contains(part)),
        "{refused:?}"
    );
    std::fs::write(copy.join("profiles/session.toml"), &profile).unwrap();
    append(&copy, "bundle.toml", "on_failure = \"skip\"\n");
    let refused = apply(&dev, &copy);
    let says = ["bundle.toml:", "plugins[2].on_failure", "write may_skip = [\"odd\"]"];
    assert!(
        refused.code != 0 && says.iter().all(|part| refused.stderr.contains(part)),
        "{refused:?}"
    );

    append(&copy, "profiles/session.toml", "may_skip = [\"odd\"]\n");
    apply(&dev, &copy).success();
    let mut last = None;
    within(10, "the rule is skipped", || {
        let answer = post(r#"{"lifetime":13}"#);
        last = Some(answer.json()["id"].clone());
        answer.status == 201
    });
    let last = last.unwrap();
    let component = std::fs::read(copy.join("plugins/odd.wasm")).unwrap();
    let component = format!(
        "sha256:{}",
        signing::encoding::hex(&signing::digest::sha256(&component))
    );
    within(10, "the record says so", || {
        verdicts(&dev, &last)
            == Some(json!([{"plugin": "odd", "component": component, "outcome": "skipped", "kind": "trap"}]))
    });
    within(10, "the log says so", || {
        dev.log().contains("a rule was skipped, as the profile allows")
    });
    assert_ne!(metric(&dev, "signet_edge_plugin_skips_total").as_deref(), Some("0"));
}
