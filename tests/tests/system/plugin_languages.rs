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
