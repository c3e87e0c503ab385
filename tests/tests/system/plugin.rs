//! A rule on a laptop: made, built, tested, measured and looked at with the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use system_tests::{Output, checkout, run, signet, within};
use tempfile::TempDir;

fn plugin(dir: &Path, arguments: &[&str]) -> Output {
    run(Command::new(signet()).arg("plugin").args(arguments).current_dir(dir))
}

fn parsed(output: Output) -> Value {
    serde_json::from_str(&output.success()).unwrap()
}

/// Replaces a text of a file that is there once.
fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "`{from}` in {text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

/// A rule in WebAssembly text, built, whose cases pass.
fn short_lived(here: &Path) -> PathBuf {
    plugin(here, &["new", "short-lived", "--lang", "wat"]).success();
    plugin(here, &["build", "short-lived"]).success();
    here.join("short-lived")
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
    let built = parsed(plugin(here, &["build", "short-lived", "--json"]));
    let tested = parsed(plugin(here, &["test", "short-lived", "--json"]));
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&6.into(), &0.into()),
        "{tested}"
    );
    assert_eq!(tested["verdicts"]["refuse rule_misconfigured"], 3, "{tested}");
    let measured = parsed(plugin(here, &["bench", "short-lived", "--calls", "50", "--json"]));
    for case in measured["cases"].as_array().unwrap() {
        assert!(case["median_us"].as_f64().unwrap() > 0.0, "{case}");
        assert_eq!(case["memory_bytes"], 65_536, "{case}");
    }
    let seen = parsed(plugin(here, &["inspect", "short-lived/short-lived.wasm", "--json"]));
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
    short_lived(here);
    let case = here.join("short-lived/cases/a-token-is-capped.toml");
    let text = std::fs::read_to_string(&case).unwrap();
    std::fs::write(&case, text.replace("lifetime_cap = 600", "lifetime_cap = 60")).unwrap();
    let output = plugin(here, &["test", "short-lived"]);
    failed(&output, &["1 of 6 cases failed"]);
    for line in [
        "FAIL  a-token-is-capped",
        "- lifetime_cap = 60\n",
        "+ lifetime_cap = 600\n",
        "5 passed, 1 failed",
    ] {
        assert!(output.stdout.contains(line), "`{line}` is not in {output:?}");
    }
    std::fs::write(&case, text.replace("lifetime = 3600", "liftime = 3600")).unwrap();
    failed(
        &plugin(here, &["test", "short-lived"]),
        &["a-token-is-capped.toml:5: unknown field `liftime`"],
    );
    std::fs::write(&case, format!("unset = [\"max_second\"]\n{text}")).unwrap();
    failed(
        &plugin(here, &["test", "short-lived"]),
        &["a-token-is-capped: plugin.toml has no setting `max_second` that could be unset"],
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
    failed(&output, &["6 of 6 cases failed"]);
    assert!(output.stdout.contains("+ code = \"trap\""), "{output:?}");
    plugin(here, &["new", "other", "--lang", "zig"]).success();
    let nothing = run(Command::new(signet())
        .args(["plugin", "build", "other"])
        .env("PATH", "")
        .current_dir(here));
    failed(
        &nothing,
        &[
            "no zig on this machine",
            "python3 -m venv .venv && .venv/bin/pip install ziglang",
        ],
    );
}

/// The rule says something at each call; where it trapped, that is all there is to go by.
#[test]
fn what_a_rule_logs_is_shown_where_a_case_fails_and_where_it_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    plugin(here, &["new", "short-lived", "--lang", "wat"]).success();
    let rule = here.join("short-lived/rule.wat");
    let import = "(import \"signet:rule/log@1.0.0\" \"log\" (func $log (param i32 i32 i32)))";
    edit(&rule, "(module\n", &format!("(module\n{import}\n"));
    let evaluate = "(func (export \"evaluate\") (param $request i32) (result i32)\n";
    let says = "(call $log (i32.const 3) (i32.const 16) (i32.const 11)) (call $log (i32.const 4) (i32.const 32) (i32.const 15))\n";
    edit(&rule, evaluate, &format!("{evaluate}{says}"));
    plugin(here, &["build", "short-lived"]).success();
    let lines = "        log warn: tokens_only\n        log error: subject_missing\n";
    let quiet = plugin(here, &["test", "short-lived"]).success();
    assert!(!quiet.contains("log "), "{quiet}");
    for arguments in [
        &["test", "short-lived", "-v"][..],
        &["test", "short-lived", "--verbose", "--isolated"],
    ] {
        let told = plugin(here, arguments).success();
        assert_eq!(told.matches(lines).count(), 6, "{told}");
    }
    // The last of these traps.
    edit(
        &rule,
        says,
        &format!("{says}(if (i32.load8_u offset=72 (local.get $request)) (then unreachable))\n"),
    );
    plugin(here, &["build", "short-lived"]).success();
    let output = plugin(here, &["test", "short-lived"]);
    failed(&output, &["1 of 6 cases failed"]);
    let (_, trapped) = output.stdout.split_once("FAIL  an-artifact-is-refused\n").unwrap();
    assert!(
        trapped.contains("+ code = \"trap\"") && trapped.contains(lines),
        "{output:?}"
    );
    assert_eq!(output.stdout.matches("log ").count(), 2, "{output:?}");
    let output = plugin(here, &["test", "short-lived", "--json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let said = json!([{"level": "warn", "message": "tokens_only"}, {"level": "error", "message": "subject_missing"}]);
    let cases = report["cases"].as_array().unwrap();
    assert!(
        cases.len() == 6 && cases.iter().all(|case| case["log"] == said),
        "{report}"
    );
}

#[test]
fn what_a_bundle_would_refuse_is_named_as_of_the_manifest() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    let rule = short_lived(here);
    let manifest = rule.join("plugin.toml");
    let good = std::fs::read_to_string(&manifest).unwrap();
    let (lines, end) = (good.lines().count(), good.trim_end());
    let head = end.replace("memory =", "isolation = \"process\"\nmax_size = \"1KiB\"\nmemory =");
    std::fs::write(&manifest, &head).unwrap();
    for command in ["test", "bench", "build"] {
        let words = [
            "short-lived/plugin.toml:8: max_size: `short-lived.wasm` has ",
            "write `max_size = \"1MiB\"`",
        ];
        failed(&plugin(here, &[command, "short-lived"]), &words);
    }
    std::fs::write(&manifest, head.replace("1KiB", "64KiB")).unwrap();
    plugin(here, &["test", "short-lived"]).success();
    std::fs::write(&manifest, good.replace("\"16MiB\"", "\"65MiB\"")).unwrap();
    let words = "signet: short-lived/plugin.toml:7: memory: out of bounds (write a size from 64KiB to 64MiB)";
    failed(&plugin(here, &["test", "short-lived"]), &[words]);
    let rows = "[tables.nets]\nkind = \"prefix\"\n[tables.nets.rows]\n\"10.0.0.0/8\" = \"a\"\n\"10.0.0.0/33\" = \"b\"";
    std::fs::write(&manifest, format!("{end}\n{rows}\n")).unwrap();
    for command in ["test", "bench"] {
        let output = plugin(here, &[command, "short-lived"]);
        failed(
            &output,
            &[
                &format!("short-lived/plugin.toml:{}: ", lines + 5),
                "here, in plugin.toml",
            ],
        );
        assert!(
            !output.stderr.contains("a-token-is-capped"),
            "it is no case's: {output:?}"
        );
    }
}

#[test]
fn a_directory_is_inspected_as_its_component_is() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    failed(&plugin(here, &["inspect", "nowhere"]), &["`nowhere` does not exist"]);
    plugin(here, &["new", "short-lived", "--lang", "wat"]).success();
    failed(
        &plugin(here, &["inspect", "short-lived"]),
        &["not built yet", "signet plugin build short-lived"],
    );
    plugin(here, &["build", "short-lived"]).success();
    let seen = |path: &str| parsed(plugin(here, &["inspect", path, "--json"]));
    assert_eq!(seen("short-lived"), seen("short-lived/short-lived.wasm"));
}

/// Whether a process has a child that is a worker.
fn has_worker(parent: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    children.collect::<String>().split_whitespace().any(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).nth(1) == Some(b"plugin-worker")
    })
}

#[test]
fn the_manifest_says_where_calls_are_made() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    let manifest = short_lived(here).join("plugin.toml");
    for isolation in ["shared", "process"] {
        edit(
            &manifest,
            "deadline =",
            &format!("isolation = \"{isolation}\"\ndeadline ="),
        );
        let bench = ["plugin", "bench", "short-lived", "--calls", "1000000"];
        let mut command = Command::new(signet());
        let command = command.args(bench).current_dir(here).stdout(Stdio::null());
        let mut measuring = command.spawn().unwrap();
        let mut is_apart = false;
        while measuring.try_wait().unwrap().is_none() && !is_apart {
            is_apart = has_worker(measuring.id());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let _ = measuring.kill();
        measuring.wait().unwrap();
        assert_eq!(is_apart, isolation == "process");
        edit(&manifest, &format!("isolation = \"{isolation}\"\n"), "");
    }
}

#[test]
fn a_source_that_changes_is_built_and_tested_again() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    plugin(here, &["new", "short-lived", "--lang", "wat"]).success();
    let (out, rule) = (here.join("out"), here.join("short-lived/rule.wat"));
    let mut watching = Command::new(signet())
        .args(["plugin", "test", "short-lived", "--watch"])
        .current_dir(here)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(here.join("err")).unwrap())
        .spawn()
        .unwrap();
    let shows = |words: &str, times: usize| {
        within(60, &format!("{words} {times} times"), || {
            let all = ["out", "err"].map(|file| std::fs::read_to_string(here.join(file)).unwrap());
            all.concat().matches(words).count() >= times
        });
    };
    // It is not built yet: that comes first.
    shows("6 passed, 0 failed", 1);
    shows("waiting for a change", 1);
    edit(
        &rule,
        "(data (i32.const 32) \"subject_missing\")",
        "(data (i32.const 32) \"subject_messing\")",
    );
    shows("5 passed, 1 failed", 1);
    shows("waiting for a change", 2);
    // A mistake is told, and once it is gone all is well.
    edit(&rule, "(module\n", "(modul\n");
    shows("waiting for a change", 3);
    edit(&rule, "(modul\n", "(module\n");
    edit(&rule, "subject_messing", "subject_missing");
    shows("6 passed, 0 failed", 2);
    watching.kill().unwrap();
    watching.wait().unwrap();
}

/// A case that passes on an old build says nothing about the rule that stands there.
#[test]
fn an_old_build_is_said_to_be_one() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    let rule = short_lived(here);
    let later = |file: &str| {
        let built = rule.join("short-lived.wasm").metadata().unwrap().modified().unwrap();
        let file = std::fs::File::options().append(true).open(rule.join(file)).unwrap();
        file.set_modified(built + std::time::Duration::from_secs(5)).unwrap();
    };
    let cases = ["cases/a-token-is-capped.toml", "plugin.toml", "README.md"];
    cases.into_iter().for_each(later);
    let up_to_date = plugin(here, &["test", "short-lived", "--json"]);
    assert_eq!((up_to_date.code, up_to_date.stderr.as_str()), (0, ""), "{up_to_date:?}");
    later("rule.wat");
    let said = "signet: `short-lived/rule.wat` is newer than `short-lived/short-lived.wasm`; `signet plugin build short-lived` first";
    let tested = plugin(here, &["test", "short-lived", "--json"]);
    assert_eq!(tested.stderr, format!("{said}, or test with --watch\n"));
    assert_eq!(parsed(tested)["passed"], 6);
    let others: [&[&str]; 2] = [&["bench", "short-lived", "--calls", "10"], &["inspect", "short-lived"]];
    for command in others {
        let output = plugin(here, &[command, &["--json"]].concat());
        assert!(output.stderr.starts_with(&format!("{said}\n")), "{output:?}");
        // A busy machine may take it over the budget.
        serde_json::from_str::<Value>(&output.stdout).unwrap();
    }
    // Of a file by itself nobody knows what it was built from.
    let file = plugin(here, &["test", "short-lived/short-lived.wasm"]);
    assert_eq!((file.code, file.stderr.as_str()), (0, ""), "{file:?}");

    // Who watches gets a new one first.
    edit(&rule.join("rule.wat"), "subject_missing", "subject_messing");
    later("rule.wat");
    let out = here.join("out");
    let mut watching = Command::new(signet())
        .args(["plugin", "test", "short-lived", "--watch"])
        .current_dir(here)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    within(60, "a first run", || {
        std::fs::read_to_string(&out).unwrap().contains(" failed\n")
    });
    watching.kill().unwrap();
    watching.wait().unwrap();
    let first = std::fs::read_to_string(&out).unwrap();
    assert!(first.contains("5 passed, 1 failed"), "{first}");
}

#[test]
fn the_committed_components_load() {
    for name in ["claim-guard", "protected-artifact"] {
        let file = checkout().join(format!("deploy/dev/bundle/plugins/{name}.wasm"));
        let seen = parsed(plugin(&checkout(), &["inspect", &file.display().to_string(), "--json"]));
        assert_eq!(seen["world"], "signet:rule/rule@1.0.0", "{seen}");
    }
}
