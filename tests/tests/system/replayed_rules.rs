//! A new version of a rule on sampled requests, with the real binary: from `[sampling]` in the bundle to what would change.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use system_tests::{Dev, Output, checkout, run, signet, within};
use tempfile::TempDir;

/// Allows everything, or refuses it.
fn component(dir: &Path, name: &str, verdict: &str) -> String {
    let text = |name: &str| std::fs::read_to_string(checkout().join("runtime/tests/hostile").join(name)).unwrap();
    let rule = format!("(core module $rule (func (export \"evaluate\") (param i32) (result i32) {verdict}))");
    let world = text("world.wat")
        .replace("{{memory}}", &text("memory.wat"))
        .replace("{{rule}}", &rule);
    let path = dir.join(name);
    std::fs::write(&path, wat::parse_str(world).unwrap()).unwrap();
    path.display().to_string()
}

/// A command that asks no server.
fn local(arguments: &[&str]) -> Output {
    run(Command::new(signet()).args(arguments))
}

fn metric(dev: &Dev, code: &str) -> u64 {
    let metrics = String::from_utf8(dev.anonymous("/metrics").get().body).unwrap();
    let line = format!("signet_edge_samples_total{{code=\"{code}\"}} ");
    let found = metrics.lines().find_map(|found| found.strip_prefix(&line));
    found.map_or(0, |count| count.parse().unwrap())
}

/// Every file below a directory, as bytes.
fn stored(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(stored(&path));
        } else if let Ok(content) = std::fs::read(&path) {
            files.push((path.display().to_string(), content));
        }
    }
    files
}

// R10
#[test]
fn a_new_version_is_asked_about_sampled_requests_whose_values_are_nowhere_to_be_read() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let dev = Dev::start();
    let other = local(&["plugin", "sampling-key", &file("other.key"), "--json"]).success();
    assert!(serde_json::from_str::<Value>(&other).unwrap()["key"].is_string());
    let none = dev.cli(&["plugin", "samples", "--out", &file("none")]);
    assert!(none.code == 1 && none.stderr.contains("keeps no samples"), "{none:?}");

    let help = local(&["plugin", "replay", "--help"]).success();
    assert!(
        help.contains("Exit codes") && help.contains("--against old.wasm"),
        "{help}"
    );

    let printed = local(&["plugin", "sampling-key", &file("sampling.key")]).success();
    let line = printed.lines().last().unwrap();
    let manifest = dev.data().join("bundle/bundle.toml");
    let before = std::fs::read_to_string(&manifest).unwrap();
    let section = format!("\n[sampling]\nrate = 1.0\nfields = [\"token.claims.role\"]\n{line}\n");
    std::fs::write(&manifest, before.clone() + &section).unwrap();
    let bundle = dev.data().join("bundle").display().to_string();
    dev.cli(&["bundle", "apply", &bundle]).success();
    let canary = "canary-of-a-sampled-request";
    within(30, "a sample is at the authority", || {
        dev.mint(
            "api",
            &json!({"subject": canary, "claims": {"role": "editor"}}).to_string(),
        );
        metric(&dev, "shipped") > 0
    });
    dev.cli(&["plugin", "samples", "--out", &file("today")]).success();
    let again = dev.cli(&["plugin", "samples", "--out", &file("today")]);
    assert!(again.code == 1 && again.stderr.contains("name a new file"), "{again:?}");
    let sealed = std::fs::read_to_string(file("today")).unwrap();
    assert!(!sealed.contains(canary) && !sealed.contains("editor"), "{sealed}");
    for (path, content) in stored(&dev.data().join("authority")) {
        let found = content.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{path}");
    }

    let replay = |component: &str, key: &str, more: &[&str]| {
        let (samples, key) = (file("today"), file(key));
        let first = ["plugin", "replay", component, "--samples", &samples, "--key", &key];
        local(&[&first[..], more].concat())
    };
    // Of another authority, which an edge has told the same.
    std::fs::copy(file("today"), file("of-another")).unwrap();
    let refuses = component(dir.path(), "claim-guard.wasm", "unreachable");
    let seen: Value = serde_json::from_str(&replay(&refuses, "sampling.key", &["--json"]).success()).unwrap();
    assert_eq!(
        (&seen["plugin"], &seen["same"]),
        (&json!("claim-guard"), &json!(0)),
        "{seen}"
    );
    assert_eq!(seen["changes"], json!({"newly_failed": seen["samples"]}), "{seen}");
    let example = &seen["examples"]["newly_failed"][0];
    assert_eq!(example["before"], "allow, at most 120 s, 1 claim", "{seen}");
    let both = replay(&refuses, "sampling.key", &["--json", "--samples", &file("of-another")]).success();
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both["samples"], seen["samples"], "nothing counts twice");
    let gated = replay(&refuses, "sampling.key", &["--fail-on-change"]);
    assert!(
        gated.code == 3 && gated.stdout.contains("newly_failed") && gated.stderr.contains("would change"),
        "{gated:?}"
    );
    let allows = component(dir.path(), "allows.wasm", "(i32.const 1024)");
    let text = replay(&allows, "sampling.key", &["--plugin", "claim-guard"]).success();
    assert!(text.contains("lifetime  ") && text.contains("-> allow\n"), "{text}");
    let text = replay(
        &allows,
        "sampling.key",
        &["--plugin", "claim-guard", "--against", &allows, "--fail-on-change"],
    )
    .success();
    assert!(text.contains("nothing would change"), "{text}");

    let guard = checkout()
        .join("deploy/dev/bundle/plugins/claim-guard.wasm")
        .display()
        .to_string();
    let text = replay(&guard, "sampling.key", &["--bundle", &bundle]).success();
    assert!(
        text.contains("nothing would change"),
        "the same version, with the bundle's settings: {text}"
    );

    let mistakes = [
        (replay(&allows, "sampling.key", &[]), "none of"),
        (replay(&allows, "sampling.key", &[]), "they are of claim-guard"),
        (
            replay(&allows, "other.key", &[]),
            "none of its batches opens with this key",
        ),
        (replay(&allows, "today", &[]), "is no sampling key"),
        (
            local(&["plugin", "sampling-key", &file("other.key")]),
            "is there already; name a new file",
        ),
        (replay(&file("nowhere.wasm"), "sampling.key", &[]), "does not exist"),
    ];
    for (output, words) in mistakes {
        assert_eq!(output.code, 1, "{output:?}");
        assert!(
            output.stderr.contains(words) && !output.stderr.contains("panicked"),
            "{output:?}"
        );
    }
    within(10, "who read samples is on record", || {
        let records = dev.cli(&["audit", "tail", "--authority"]).success();
        records.contains("\"admin:ReadSamples\"")
    });

    // Asked for no more, they are gone.
    std::fs::write(&manifest, before).unwrap();
    dev.cli(&["bundle", "apply", &bundle]).success();
    let none = dev.cli(&["plugin", "samples", "--out", &file("none")]);
    assert!(none.code == 1 && none.stderr.contains("keeps no samples"), "{none:?}");
    assert!(dev.stop().success());
}
