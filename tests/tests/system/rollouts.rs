//! New versions of rules on the real binary: broken ones that are given up without being asked, restarts, and each mistake's answer.
//! The good ones' way is in the guide, which [`crate::plugin_guide`] walks.

use std::path::Path;

use serde_json::Value;
use system_tests::{Dev, checkout, within};
use tempfile::TempDir;

/// A rule for the world of the plugins' tests.
fn component(dir: &Path, name: &str, rule: &str) -> String {
    let text = |name: &str| std::fs::read_to_string(checkout().join("runtime/tests/hostile").join(name)).unwrap();
    let world = text("world.wat")
        .replace("{{memory}}", &text("memory.wat"))
        .replace("{{rule}}", rule);
    let path = dir.join(name);
    std::fs::write(&path, wat::parse_str(world).unwrap()).unwrap();
    path.display().to_string()
}

fn status(dev: &Dev) -> Value {
    let text = dev.cli(&["rollout", "status", "claim-guard", "--json"]).success();
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["rollouts"][0].clone()
}

fn failed(dev: &Dev, arguments: &[&str], words: &[&str]) {
    let output = dev.cli(arguments);
    assert_ne!(output.code, 0, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
    assert!(!output.stderr.contains("panicked"), "{output:?}");
}

// R31
#[test]
fn a_broken_version_is_given_up_for_all_and_denies_nobody() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let traps = "(core module $rule (func (export \"evaluate\") (param i32) (result i32) unreachable))";
    let file = component(dir.path(), "traps.wasm", traps);
    let dev = Dev::start_in(&data, &[]);
    let start = [
        "rollout",
        "start",
        "claim-guard",
        "--file",
        &file,
        "--steps",
        "99%,100%",
    ];
    dev.cli(&start).success();
    let id = status(&dev)["id"].clone();
    within(30, "the edge gave it up, and the authority for all", || {
        dev.mint("api", "{\"subject\":\"alice\"}");
        status(&dev)["stage"] == "aborted"
    });
    let seen = status(&dev);
    let reason = seen["reason"].as_str().unwrap();
    let why = "2 of 2 calls failed; of 100, at most 1 may (1%); the last one with `trap`";
    assert!(reason.ends_with(why), "{seen}");
    assert_eq!(
        (&seen["changed_by"], &seen["candidate"]["failed"]),
        (&"signet".into(), &2.into()),
        "{seen}"
    );
    let text = dev.cli(&["rollout", "status"]).success();
    assert!(
        text.contains("claim-guard: aborted (") && text.contains("2 failed"),
        "{text}"
    );
    let metrics = dev.anonymous("/metrics").get();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("signet_edge_rollouts_stopped_total{plugin=\"claim-guard\"} 1"),
        "{metrics}"
    );
    within(10, "it is on record", || {
        let records = dev.cli(&["audit", "tail", "--authority"]).success();
        let about = |record: &&str| record.contains("\"admin:AbortRollout\"") && record.contains("\"signet\"");
        records.lines().filter(about).count() == 1
    });
    assert!(dev.stop().success());

    // What was given up stays so, and one that runs goes on.
    let dev = Dev::start_in(&data, &[]);
    assert_eq!((&status(&dev)["id"], &status(&dev)["stage"]), (&id, &"aborted".into()));
    let allows = "(core module $rule (func (export \"evaluate\") (param i32) (result i32) (i32.const 1024)))";
    let file = component(dir.path(), "allows.wasm", allows);
    dev.cli(&["rollout", "start", "claim-guard", "--file", &file, "--max-p99", "1s"])
        .success();
    assert!(dev.stop().success());
    let dev = Dev::start_in(&data, &[]);
    within(30, "both are asked again, and differ", || {
        dev.mint("api", "{\"subject\":\"alice\"}");
        status(&dev)["differences"]["claims"]
            .as_u64()
            .is_some_and(|count| count > 0)
    });
    assert_eq!(status(&dev)["stage"], "shadow");
    assert_ne!(status(&dev)["id"], id);
    assert!(dev.stop().success());
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start();
    let traps = "(core module $rule (func (export \"evaluate\") (param i32) (result i32) unreachable))";
    let file = component(dir.path(), "traps.wasm", traps);
    let written = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let junk = written("junk.wasm", b"no component");
    let core = written("core.wasm", b"\0asm\x01\0\0\0");
    let start = |plugin: &'static str, file: &str, more: &[&str]| {
        let arguments = [&["rollout", "start", plugin, "--file", file], more].concat();
        dev.cli(&arguments)
    };
    let cases = [
        (start("nobody", &file, &[]), 1, "no plugin `nobody`; it has claim-guard"),
        (start("../up", &file, &[]), 1, "cannot name a plugin"),
        (start("claim-guard", "nowhere.wasm", &[]), 1, "`nowhere.wasm`"),
        (
            start("claim-guard", &dir.path().display().to_string(), &[]),
            1,
            "is a directory; give the built component in it",
        ),
        (start("claim-guard", &junk, &[]), 1, "junk.wasm` is no WebAssembly file"),
        (start("claim-guard", &core, &[]), 1, "plugins/claim-guard.wasm"),
        (
            start("claim-guard", &file, &["--steps", "50%,10%"]),
            2,
            "steps grow and end with 100%",
        ),
        (start("claim-guard", &file, &["--max-failures", "2"]), 2, "such as 0.5%"),
        (start("claim-guard", &file, &["--max-p99", "2h"]), 2, "such as 3ms"),
        (start("claim-guard", &file, &["--min-calls", "0"]), 1, "fewest calls"),
    ];
    for (output, code, words) in cases {
        assert_eq!(output.code, code, "{output:?}");
        assert!(output.stderr.contains(words), "`{words}` is not in {output:?}");
    }
    assert!(dev.cli(&["rollout", "status"]).success().starts_with("no rollouts; "));
    failed(
        &dev,
        &["rollout", "status", "claim-guard"],
        &["there is no rollout of `claim-guard`"],
    );
    failed(
        &dev,
        &["rollout", "promote", "claim-guard"],
        &["there is no rollout of `claim-guard`"],
    );
    failed(
        &dev,
        &["rollout", "abort", "claim-guard"],
        &["there is no rollout of `claim-guard`"],
    );
    start("claim-guard", &file, &[]).success();
    failed(
        &dev,
        &["rollout", "start", "claim-guard", "--file", &file],
        &["is running (shadow)", "abort it first"],
    );
    dev.cli(&["rollout", "promote", "claim-guard", "--percent", "20"])
        .success();
    failed(
        &dev,
        &["rollout", "promote", "claim-guard", "--percent", "5"],
        &["no step forward", "to go back, abort"],
    );
    failed(
        &dev,
        &["rollout", "promote", "claim-guard", "--percent", "0"],
        &["1..=100"],
    );
}

/// Nothing is known about a version that has judged nothing: a step is taken with a word about that, the last one only when it is said.
#[test]
fn what_has_judged_nothing_becomes_everybodys_only_where_that_is_said() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start();
    let allows = "(core module $rule (func (export \"evaluate\") (param i32) (result i32) (i32.const 1024)))";
    let file = component(dir.path(), "allows.wasm", allows);
    let start = ["rollout", "start", "claim-guard", "--file", &file, "--max-p99", "1s"];
    let promote = ["rollout", "promote", "claim-guard"];
    dev.cli(&start).success();
    let first = dev.cli(&promote);
    let said = "this authority has heard of no call of the new version of `claim-guard`";
    assert!(first.code == 0 && first.stderr.contains(said), "{first:?}");
    assert_eq!(first.stdout, "claim-guard: canary 1%\n");
    let all = [&promote[..], &["--percent", "100"]].concat();
    failed(&dev, &all, &[said, "`signet rollout status claim-guard`", "--untried"]);
    assert_eq!(status(&dev)["stage"], "canary 1%");
    let untried = dev.cli(&[&all[..], &["--untried"]].concat());
    assert!(untried.code == 0 && untried.stderr.is_empty(), "{untried:?}");
    assert_eq!(status(&dev)["stage"], "enforced");

    // One that has judged needs no more words.
    let file = component(dir.path(), "again.wasm", &allows.replace("1024", "2048"));
    let start = ["rollout", "start", "claim-guard", "--file", &file, "--max-p99", "1s"];
    dev.cli(&start).success();
    within(30, "the authority has heard of a call", || {
        dev.mint("api", "{\"subject\":\"alice\"}");
        status(&dev)["candidate"]["calls"].as_u64() > Some(0)
    });
    let all = dev.cli(&all);
    assert!(all.code == 0 && all.stderr.is_empty(), "{all:?}");
    assert!(dev.stop().success());
}

/// The authority has it; each edge takes it when it hears of it.
#[test]
fn what_is_in_force_is_said_to_be_on_its_way_to_the_edges() {
    let dev = Dev::start();
    let bundle = dev.data().join("bundle");
    let profile = bundle.join("profiles/api.toml");
    let text = std::fs::read_to_string(&profile).unwrap() + "# more\n";
    std::fs::write(&profile, &text).unwrap();
    let bundle = bundle.display().to_string();
    let hint = "edges take it as they hear of it; `--fence` waits until all have\n";
    let applied = dev.cli(&["bundle", "apply", &bundle]).success();
    assert!(applied.contains("in force: ") && applied.ends_with(hint), "{applied}");
    let again = dev.cli(&["bundle", "apply", &bundle]).success();
    assert!(again.starts_with("nothing changes") && !again.contains(hint), "{again}");
    std::fs::write(&profile, text + "# and more\n").unwrap();
    let fenced = dev.cli(&["bundle", "apply", &bundle, "--fence"]).success();
    assert!(
        fenced.contains("no edge signs with it any more") && !fenced.contains(hint),
        "{fenced}"
    );
    assert!(dev.stop().success());
}
