//! A rule on a laptop: made, built, tested, measured and looked at with the real binary.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use system_tests::{Output, checkout, run, signet};
use tempfile::TempDir;

fn plugin(dir: &Path, arguments: &[&str]) -> Output {
    run(Command::new(signet()).arg("plugin").args(arguments).current_dir(dir))
}

fn json(output: Output) -> Value {
    serde_json::from_str(&output.success()).unwrap()
}

fn failed(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 1, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
    assert!(!output.stderr.contains("panicked"), "{output:?}");
}

#[test]
fn a_template_builds_passes_its_cases_and_keeps_its_budget() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    plugin(here, &["new", "short-lived", "--lang", "wat"]).success();
    failed(
        &plugin(here, &["test", "short-lived"]),
        &["not built yet", "signet plugin build short-lived"],
    );
    let built = json(plugin(here, &["build", "short-lived", "--json"]));
    let tested = json(plugin(here, &["test", "short-lived", "--json"]));
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&4.into(), &0.into()),
        "{tested}"
    );
    assert_eq!(tested["verdicts"]["refuse rule_misconfigured"], 1, "{tested}");
    let measured = json(plugin(here, &["bench", "short-lived", "--calls", "50", "--json"]));
    for case in measured["cases"].as_array().unwrap() {
        assert!(case["median_us"].as_f64().unwrap() > 0.0, "{case}");
        assert_eq!(case["memory_bytes"], 65_536, "{case}");
    }
    let seen = json(plugin(here, &["inspect", "short-lived/short-lived.wasm", "--json"]));
    assert_eq!(seen["world"], "signet:rule/rule@1.0.0", "{seen}");
    assert_eq!(
        (&seen["sha256"], &seen["loads"]),
        (&built["sha256"], &true.into()),
        "{seen}"
    );
}

#[test]
fn a_case_that_fails_shows_both_sides() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    plugin(here, &["new", "short-lived", "--lang", "wat"]).success();
    plugin(here, &["build", "short-lived"]).success();
    let case = here.join("short-lived/cases/a-token-is-capped.toml");
    let text = std::fs::read_to_string(&case).unwrap();
    std::fs::write(&case, text.replace("lifetime_cap = 600", "lifetime_cap = 60")).unwrap();
    let output = plugin(here, &["test", "short-lived"]);
    failed(&output, &["1 of 4 cases failed"]);
    for line in [
        "FAIL  a-token-is-capped",
        "- lifetime_cap = 60\n",
        "+ lifetime_cap = 600\n",
        "3 passed, 1 failed",
    ] {
        assert!(output.stdout.contains(line), "`{line}` is not in {output:?}");
    }
    std::fs::write(&case, text.replace("lifetime = 3600", "liftime = 3600")).unwrap();
    failed(
        &plugin(here, &["test", "short-lived"]),
        &["a-token-is-capped.toml:5: unknown field `liftime`"],
    );
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    plugin(here, &["new", "one", "--lang", "wat"]).success();
    failed(
        &plugin(here, &["new", "one", "--lang", "wat"]),
        &["`one` exists", "--dir"],
    );
    failed(
        &plugin(here, &["new", "../one", "--lang", "wat"]),
        &["cannot name a plugin"],
    );
    let lang = plugin(here, &["new", "two", "--lang", "cobol"]);
    assert!(
        lang.code == 2 && lang.stderr.contains("rust, c, js, python, zig, assemblyscript, wat"),
        "{lang:?}"
    );
    failed(
        &plugin(here, &["build", "nowhere"]),
        &["no plugin.toml", "signet plugin new"],
    );
    failed(
        &plugin(here, &["inspect", "one/rule.wat"]),
        &["not a WebAssembly file", "signet plugin build"],
    );
    let rule = here.join("one/rule.wat");
    let text = std::fs::read_to_string(&rule).unwrap();
    std::fs::write(&rule, text.replace("(export \"evaluate\")", "(export \"judge\")")).unwrap();
    failed(
        &plugin(here, &["build", "one"]),
        &["signet:rule/rule@1.1.0", "evaluate"],
    );
    std::fs::write(
        &rule,
        text.replace("i32.load8_u offset=72 (local.get $request)", "unreachable"),
    )
    .unwrap();
    plugin(here, &["build", "one"]).success();
    let output = plugin(here, &["test", "one"]);
    failed(&output, &["4 of 4 cases failed"]);
    assert!(output.stdout.contains("+ code = \"trap\""), "{output:?}");
    plugin(here, &["new", "other", "--lang", "zig"]).success();
    let nothing = run(Command::new(signet())
        .args(["plugin", "build", "other"])
        .env("PATH", "")
        .current_dir(here));
    failed(&nothing, &["no zig on this machine", "pip install ziglang"]);
}

#[test]
fn the_committed_components_load() {
    for name in ["claim-guard", "protected-artifact"] {
        let file = checkout().join(format!("deploy/dev/bundle/plugins/{name}.wasm"));
        let seen = json(plugin(&checkout(), &["inspect", &file.display().to_string(), "--json"]));
        assert_eq!(seen["world"], "signet:rule/rule@1.0.0", "{seen}");
    }
}
