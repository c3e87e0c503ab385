//! A new rule in each language, with the compilers that `make test` installs: it builds at once, is formatted, passes its
//! cases, keeps its budget, and is what an edge loads.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use system_tests::{Output, checkout, run, signet, tool};
use tempfile::TempDir;

/// With the compilers in front of what there is on the path.
fn with_compilers(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
    let own = [tool("guests/bin"), tool("guests-npm/node_modules/.bin")];
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new(program);
    command.env("PATH", path).current_dir(dir);
    command
}

fn plugin(dir: &Path, arguments: &[&str]) -> Output {
    run(with_compilers(signet(), dir).arg("plugin").args(arguments))
}

fn json(output: Output) -> Value {
    serde_json::from_str(&output.success()).unwrap()
}

/// All of `signet plugin`, on a rule `RULE` in `here` that is new. Returns what `inspect` says.
fn from_new_to_bench(here: &Path) -> Value {
    let built = json(plugin(here, &["build", RULE, "--json"]));
    let tested = json(plugin(here, &["test", RULE, "--json"]));
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&4.into(), &0.into()),
        "{tested}"
    );
    let verdicts = tested["verdicts"].as_object().unwrap();
    let all = [
        "narrow",
        "refuse rule_misconfigured",
        "refuse subject_missing",
        "refuse tokens_only",
    ];
    assert!(verdicts.keys().eq(all), "{verdicts:?}");
    let measured = json(plugin(here, &["bench", RULE, "--calls", "20", "--json"]));
    for case in measured["cases"].as_array().unwrap() {
        assert!(
            case["median_us"].as_f64() > Some(0.0) && case["memory_bytes"].as_u64() > Some(0),
            "{case}"
        );
    }
    let seen = json(plugin(here, &["inspect", &format!("{RULE}/{RULE}.wasm"), "--json"]));
    assert_eq!(
        (&seen["sha256"], &seen["loads"]),
        (&built["sha256"], &true.into()),
        "{seen}"
    );
    // What it does not use it does not import: hosts of 1.0.0 load it too.
    assert_eq!(seen["world"], "signet:rule/rule@1.0.0", "{seen}");
    seen
}

const RULE: &str = "short-lived";

fn new(here: &Path, lang: &str) {
    plugin(here, &["new", RULE, "--lang", lang]).success();
}

/// A rule in `lang` that is small: no interpreter is in it.
fn compiled(lang: &str, formatter: Option<(&str, &[&str])>) {
    let dir = TempDir::new().unwrap();
    new(dir.path(), lang);
    if let Some((program, arguments)) = formatter {
        run(with_compilers(program, &dir.path().join(RULE)).args(arguments)).success();
    }
    is_small(&from_new_to_bench(dir.path()));
}

fn is_small(seen: &Value) {
    assert!(seen["bytes"].as_u64() < Some(64 << 10), "{seen}");
    assert_eq!(seen["memory_bytes"], 65_536, "one page in all: {seen}");
}

/// A rule in `lang` that carries an interpreter.
fn interpreted(lang: &str) {
    let dir = TempDir::new().unwrap();
    new(dir.path(), lang);
    let seen = from_new_to_bench(dir.path());
    // What the bundle of the guides leaves room for, and what the default memory is.
    assert!(seen["bytes"].as_u64() < Some(24 << 20), "{seen}");
    assert!(seen["memory_bytes"].as_u64() < Some(16 << 20), "{seen}");
    let mut imports: Vec<_> = seen["imports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    imports.sort_unstable();
    let interfaces = ["config@1.0.0", "log@1.0.0", "types@1.0.0"].map(|name| format!("signet:rule/{name}"));
    assert_eq!(imports, interfaces, "nothing of WASI");
}

#[test]
fn a_rule_in_c() {
    compiled("c", None);
}

#[test]
fn a_rule_in_zig() {
    compiled(
        "zig",
        Some(("python", &["-m", "ziglang", "fmt", "--check", "rule.zig", "signet.zig"])),
    );
}

#[test]
fn a_rule_in_assemblyscript() {
    compiled("assemblyscript", None);
}

/// In one place of the build directory each time, so that what cargo built of std is built once.
#[test]
fn a_rule_in_rust() {
    let here = signet().ancestors().nth(2).unwrap().join("plugins/languages");
    let (rule, built) = (here.join(RULE), here.join("built"));
    std::fs::create_dir_all(&built).unwrap();
    if rule.exists() {
        std::fs::remove_dir_all(&rule).unwrap();
    }
    new(&here, "rust");
    std::os::unix::fs::symlink(&built, rule.join("target")).unwrap();
    is_formatted(&rule.join("src/lib.rs"));
    is_small(&from_new_to_bench(&here));
}

/// By nobody's settings but rustfmt's own, as in a directory of somebody else's.
fn is_formatted(file: &Path) {
    let dir = TempDir::new().unwrap();
    let copy: PathBuf = dir.path().join("lib.rs");
    std::fs::copy(file, &copy).unwrap();
    // Under the checkout, so that its toolchain is meant.
    run(Command::new("rustfmt")
        .args(["--edition", "2024", "--check"])
        .arg(&copy)
        .current_dir(checkout()))
    .success();
}

#[test]
fn a_rule_in_javascript() {
    interpreted("js");
}

#[test]
fn a_rule_in_python() {
    interpreted("python");
}

/// A virtual environment in the plugin's directory is where its page says that Zig is, whatever the path has.
#[test]
fn zig_is_found_in_the_virtual_environment_of_the_directory() {
    for lang in ["zig", "c"] {
        let dir = TempDir::new().unwrap();
        new(dir.path(), lang);
        std::os::unix::fs::symlink(tool("guests"), dir.path().join(RULE).join(".venv")).unwrap();
        let mut build = Command::new(signet());
        let build = build
            .args(["plugin", "build", RULE])
            .env("PATH", "")
            .current_dir(dir.path());
        run(build).success();
    }
}

/// `edits` of the rule, and what building and testing it then come to.
fn edited(lang: &str, file: &str, edits: [&str; 2]) -> (Output, TempDir) {
    let dir = TempDir::new().unwrap();
    new(dir.path(), lang);
    let rule = dir.path().join(RULE).join(file);
    let text = std::fs::read_to_string(&rule).unwrap();
    assert!(text.contains(edits[0]), "{text}");
    std::fs::write(&rule, text.replace(edits[0], edits[1])).unwrap();
    (plugin(dir.path(), &["build", RULE]), dir)
}

#[test]
fn a_mistake_in_javascript_has_its_line() {
    let (output, dir) = edited("js", "rule.js", ["const max = get(", "const max = = get("]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("/rule.js:7:15: SyntaxError: "), "{output:?}");
    std::fs::remove_file(dir.path().join(RULE).join("package.json")).unwrap();
    let again = plugin(dir.path(), &["build", RULE]);
    assert_eq!(
        again.stderr, output.stderr,
        "it is a module whether a package.json says so or not"
    );
}

/// The rule fails where it judges an artifact, and says so; the rest of it is as before.
fn says_what_was_thrown(lang: &str, file: &str, edits: [&str; 2], said: &str) {
    let (output, dir) = edited(lang, file, edits);
    output.success();
    let output = plugin(dir.path(), &["test", RULE, "--json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&3.into(), &1.into()),
        "{report}"
    );
    let cases = report["cases"].as_array().unwrap();
    let fails = cases.iter().find(|case| case["passed"] == false).unwrap();
    assert_eq!(fails["actual"]["code"], "trap", "{fails}");
    assert_eq!(fails["log"].as_array().unwrap().len(), 1, "{fails}");
    assert_eq!(fails["log"][0]["level"], "error", "{fails}");
    assert_eq!(fails["log"][0]["message"], said, "{fails}");
    // A refusal is none of these.
    let missing = cases.iter().find(|case| case["name"] == "a-token-needs-a-subject");
    assert_eq!(missing.unwrap()["log"], serde_json::json!([]), "{report}");
}

#[test]
fn an_exception_in_javascript_is_in_the_rules_log() {
    let edits = [
        "throw { code: \"tokens_only\"",
        "throw new Error(\"limit table is empty\");\n    throw { code: \"tokens_only\"",
    ];
    says_what_was_thrown(
        "js",
        "rule.js",
        edits,
        "uncaught Error: limit table is empty at evaluate@rule.js:13:11",
    );
}

#[test]
fn an_exception_in_python_is_in_the_rules_log() {
    let edits = ["raise refusal(\"tokens_only\"", "raise refuse(\"tokens_only\""];
    let said = "uncaught NameError: name 'refuse' is not defined at rule.py:19";
    says_what_was_thrown("python", "rule.py", edits, said);
}
