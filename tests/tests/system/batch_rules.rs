//! Rules that judge several requests in one call, with the compilers that `make test` installs: what makes one of a new rule in
//! each language, what `signet plugin` shows of it, and how a mistake in one is told.

use std::path::Path;

use serde_json::{Value, json};
use system_tests::{Output, checkout, run, tool};
use tempfile::TempDir;

use crate::plugin_languages::{RULE, new, parsed, plugin, with_compilers};

const ONE: &str = "world = \"signet:rule/rule@1.1.0\"";
const BATCH: &str = "world = \"signet:rule/rule-batch@1.2.0\"";

/// Replaces a text of a rule's file that is there once.
fn edit(here: &Path, file: &str, from: &str, to: &str) {
    let file = here.join(RULE).join(file);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "`{from}` in {text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

fn append(here: &Path, file: &str, more: &str) {
    let file = here.join(RULE).join(file);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, text + more).unwrap();
}

/// A case with the settings of `plugin.toml`, whose other fields are those of every other case.
fn case(here: &Path, name: &str, request: &str, expect: &str) {
    let text = format!("[request.{request}\n[expect]\n{expect}\n");
    std::fs::write(here.join(RULE).join(format!("cases/{name}.toml")), text).unwrap();
}

/// 18 cases beside the template's 6, each with another answer than the one before.
fn more_cases(here: &Path) {
    for number in 0..18 {
        let (subject, expect) = match number % 2 {
            0 => ("subject = \"alice\"\n", "verdict = \"allow\"\nlifetime_cap = 600"),
            _ => ("", "verdict = \"refuse\"\ncode = \"subject_missing\""),
        };
        let request = format!("token]\n{subject}lifetime = {}", 60 + number);
        case(here, &format!("token-{number:02}"), &request, expect);
    }
}

/// All of `signet plugin`, on a rule `RULE` in `here` that has just been made one of batches.
fn is_a_batch_rule(here: &Path) {
    more_cases(here);
    plugin(here, &["build", RULE]).success();
    let seen = parsed(plugin(here, &["inspect", RULE, "--json"]));
    assert_eq!(
        (&seen["world"], &seen["loads"]),
        (&json!("signet:rule/rule-batch@1.2.0"), &json!(true)),
        "{seen}"
    );
    assert_eq!(seen["exports"], json!(["evaluate", "evaluate-batch"]), "{seen}");
    for arguments in [&["test", RULE, "--json"][..], &["test", RULE, "--json", "--isolated"]] {
        let tested = parsed(plugin(here, arguments));
        assert_eq!(
            (&tested["passed"], &tested["failed"]),
            (&json!(24), &json!(0)),
            "{tested}"
        );
        // The 20 of tokens with the same settings in two calls, each of the other 4 by itself.
        assert_eq!(tested["batches"], json!({"cases": 24, "calls": 6}), "{tested}");
    }
    let measured = parsed(plugin(here, &["bench", RULE, "--calls", "100", "--json"]));
    for case in measured["cases"].as_array().unwrap() {
        let batch = &case["batch"];
        assert_eq!(
            (&batch["requests"], &batch["failed"]),
            (&json!(16), &Value::Null),
            "{case}"
        );
        assert!(
            batch["median_us"].as_f64() > Some(0.0) && batch["memory_bytes"].as_u64() > Some(0),
            "{case}"
        );
    }
}

fn batch_rule(lang: &str, make: impl FnOnce(&Path)) {
    let dir = TempDir::new().unwrap();
    new(dir.path(), lang);
    edit(dir.path(), "plugin.toml", ONE, BATCH);
    make(dir.path());
    is_a_batch_rule(dir.path());
}

fn in_c(here: &Path) {
    let include = "#include \"signet_rule.h\"";
    edit(
        here,
        "rule.c",
        include,
        &format!("#define SIGNET_EVALUATE_BATCH\n{include}"),
    );
}

#[test]
fn a_batch_rule_in_c() {
    batch_rule("c", in_c);
}

#[test]
fn a_batch_rule_in_zig() {
    batch_rule("zig", |here| {
        append(here, "rule.zig", "\ncomptime {\n    signet.exportBatch(evaluate);\n}\n");
        let mut check = with_compilers("python", &here.join(RULE));
        run(check.args(["-m", "ziglang", "fmt", "--check", "rule.zig", "signet.zig"])).success();
    });
}

#[test]
fn a_batch_rule_in_assemblyscript() {
    batch_rule("assemblyscript", |here| {
        edit(
            here,
            "rule.ts",
            "import { Answer,",
            "import { Answer, Answers, answers,",
        );
        let export = "export function evaluate_batch(at: usize, length: usize): Answers { return answers(at, length, evaluate); }";
        append(here, "rule.ts", &format!("\n{export}\n"));
    });
}

#[test]
fn a_batch_rule_in_webassembly_text() {
    batch_rule("wat", |here| {
        edit(
            here,
            "rule.wat",
            "(func (export \"evaluate\")",
            "(func $evaluate (export \"evaluate\")",
        );
        let file = here.join(RULE).join("rule.wat");
        let text = std::fs::read_to_string(&file).unwrap();
        let module = text.trim_end().strip_suffix(')').unwrap();
        std::fs::write(&file, format!("{module}{EVALUATE_BATCH})\n")).unwrap();
    });
}

/// Requests lie 152 bytes apart, answers 20. They have room in the first page.
const EVALUATE_BATCH: &str = r#"
  (func (export "evaluate-batch") (param $request i32) (param $count i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 3)) (i32.const -4)))
    (i32.store (i32.const 540) (local.get $at))
    (i32.store (i32.const 544) (local.get $count))
    (global.set $heap (i32.add (local.get $at) (i32.mul (local.get $count) (i32.const 20))))
    (loop $next
      (if (local.get $count)
        (then
          (memory.copy (local.get $at) (call $evaluate (local.get $request)) (i32.const 20))
          (local.set $at (i32.add (local.get $at) (i32.const 20)))
          (local.set $request (i32.add (local.get $request) (i32.const 152)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next))))
    (i32.const 540))"#;

/// Of the rule in Rust that is new in `here`: its test builds it where std is built already.
pub fn in_rust(here: &Path) {
    edit(here, "plugin.toml", ONE, BATCH);
    let refused = plugin(here, &["build", RULE]);
    told(
        &refused,
        &["does not export `evaluate-batch`", "`signet_plugin::export_batch!`"],
    );
    edit(
        here,
        "src/lib.rs",
        "    Guest, Payload",
        "    BatchGuest, Guest, Payload",
    );
    edit(
        here,
        "src/lib.rs",
        "signet_plugin::export!",
        "impl BatchGuest for Rule {}\n\nsignet_plugin::export_batch!",
    );
    is_a_batch_rule(here);
}

fn told(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 1, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
}

#[test]
fn a_world_that_the_rule_does_not_fit_is_told_with_what_to_write() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    new(here, "c");
    edit(here, "plugin.toml", ONE, BATCH);
    let none = plugin(here, &["build", RULE]);
    told(
        &none,
        &["does not export `evaluate-batch`", "`#define SIGNET_EVALUATE_BATCH`"],
    );
    in_c(here);
    edit(here, "plugin.toml", BATCH, ONE);
    told(&plugin(here, &["build", RULE]), &["exports `evaluate-batch`", BATCH]);
    edit(here, "plugin.toml", ONE, BATCH);
    plugin(here, &["build", RULE]).success();
    // Neither may it count.
    let last = "return signet_allow_for";
    edit(
        here,
        "rule.c",
        last,
        &format!("signet_count(SIGNET_LITERAL(\"all\"), 60);\n    {last}"),
    );
    let counting = plugin(here, &["build", RULE]);
    told(&counting, &["has no `counter`", "remove the calls of `counter`", ONE]);
    edit(here, "plugin.toml", "\"config\"]", "\"config\", \"counter\"]");
    let manifest = std::fs::read_to_string(here.join(RULE).join("plugin.toml")).unwrap();
    let line = 1 + manifest.lines().position(|line| line.starts_with("imports")).unwrap();
    let granted = plugin(here, &["build", RULE]);
    told(
        &granted,
        &[&format!("{RULE}/plugin.toml:{line}: imports: "), "has no `counter`"],
    );
}

/// As other tools than `signet plugin build` make one.
#[test]
fn a_batch_rule_that_counts_is_said_not_to_load() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    std::fs::create_dir(here.join("wit")).unwrap();
    for entry in std::fs::read_dir(checkout().join("plugins/wit/1.2.0")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), here.join("wit").join(entry.file_name())).unwrap();
    }
    let world = "package signet:rule@1.2.0;\nworld both { include rule-batch; import counter; }\n";
    std::fs::write(here.join("wit/both.wit"), world).unwrap();
    let module = r#"(module
        (import "signet:rule/counter@1.2.0" "increment" (func (param i32 i32 i32 i32)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "evaluate") (param i32) (result i32) unreachable)
        (func (export "evaluate-batch") (param i32 i32) (result i32) unreachable))"#;
    std::fs::write(here.join("both.wat"), module).unwrap();
    let embed = ["embed", "wit", "--world", "both", "both.wat", "-o", "module.wasm"];
    for arguments in [&embed[..], &["new", "module.wasm", "-o", "both.wasm"]] {
        let mut tools = with_compilers(tool("guests/bin/wasm-tools"), here);
        run(tools.arg("component").args(arguments)).success();
    }
    let output = plugin(here, &["inspect", "both.wasm", "--json"]);
    told(
        &output,
        &[
            "exports `evaluate-batch` and imports `counter`",
            "leave out one of the two",
        ],
    );
    let seen: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&seen["world"], &seen["loads"], &seen["advice"]),
        (&json!("signet:rule/rule-batch@1.2.0"), &json!(false), &Value::Null),
        "{seen}"
    );
    let text = plugin(here, &["inspect", "both.wasm"]).stdout;
    assert!(
        text.contains("world    signet:rule/rule-batch@1.2.0\n") && text.contains("loads    no\n"),
        "{text}"
    );
}

/// A rule that is right about each request by itself.
fn batch_rule_in_c(here: &Path, top: &str, before: &str) {
    new(here, "c");
    edit(here, "plugin.toml", ONE, BATCH);
    in_c(here);
    more_cases(here);
    let evaluate = "signet_answer *evaluate(const signet_request *request) {";
    edit(here, "rule.c", evaluate, &format!("{top}\n{evaluate}\n{before}"));
    plugin(here, &["build", RULE]).success();
}

#[test]
fn what_a_rule_keeps_from_one_request_to_the_next_is_seen_in_its_cases() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    let once =
        "    if (judged++ > 0) return signet_refuse(SIGNET_LITERAL(\"once\"), SIGNET_LITERAL(\"one is enough\"));";
    batch_rule_in_c(here, "static int judged;", once);
    let output = plugin(here, &["test", RULE]);
    // The first of both calls is like by itself.
    told(&output, &["22 of 24 cases failed"]);
    let words = "FAIL  token-00  in a batch of 10, unlike by itself\n        - verdict = \"allow\"\n        - lifetime_cap = 600\n        \
                 + verdict = \"refuse\"\n        + code = \"once\"\n";
    assert!(output.stdout.contains(words), "{output:?}");
    // One with settings of its own is asked about twice in one call.
    assert!(
        output.stdout.contains("FAIL  no-setting-is-refused  in a batch of 2, "),
        "{output:?}"
    );
    let tested: Value = serde_json::from_str(&plugin(here, &["test", RULE, "--json"]).stdout).unwrap();
    let case = tested["cases"].as_array().unwrap().iter();
    let case = case.clone().find(|case| case["name"] == "token-00").unwrap();
    assert_eq!(
        (&case["batch"], &case["actual"]["code"], &case["expected"]["verdict"]),
        (&json!(10), &json!("once"), &json!("allow")),
        "{case}"
    );
}

#[test]
fn a_case_that_expects_a_failure_is_in_no_batch_and_a_batch_that_fails_is_told() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    let traps = "    if (request->is_artifact) __builtin_trap();\n    judged++;";
    batch_rule_in_c(here, "static int judged;", traps);
    case(
        here,
        "an-artifact-is-refused",
        "artifact]",
        "verdict = \"fail\"\ncode = \"trap\"",
    );
    let output = plugin(here, &["test", RULE]).success();
    assert!(
        output.contains("in batches too: 23 of 24 cases, calls: 5\n24 passed, 0 failed\n"),
        "{output}"
    );
    // The second request of a call takes the instance with it.
    edit(here, "rule.c", "judged++;", "if (judged++) __builtin_trap();");
    plugin(here, &["build", RULE]).success();
    let output = plugin(here, &["test", RULE]);
    told(&output, &["23 of 24 cases failed"]);
    let words = "FAIL  token-00  in a batch of 10, unlike by itself\n";
    assert!(
        output.stdout.contains(words) && output.stdout.contains("+ code = \"trap\"\n"),
        "{output:?}"
    );
    let measured = plugin(here, &["bench", RULE, "--calls", "10"]);
    told(&measured, &["23 of 24 cases failed or took more than the budget"]);
    assert!(
        measured.stdout.contains("fail trap") && measured.stdout.contains("batch µs"),
        "{measured:?}"
    );
}

/// Nothing is said of batches where there are none.
#[test]
fn a_rule_of_one_request_is_tested_and_measured_as_ever() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    new(here, "wat");
    plugin(here, &["build", RULE]).success();
    let tested = parsed(plugin(here, &["test", RULE, "--json"]));
    assert_eq!(tested.get("batches"), None, "{tested}");
    let text = plugin(here, &["test", RULE]).success();
    assert!(!text.contains("batch"), "{text}");
    let measured = plugin(here, &["bench", RULE, "--calls", "200"]).success();
    assert!(!measured.contains("batch"), "{measured}");
}
