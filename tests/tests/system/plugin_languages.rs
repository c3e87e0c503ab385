//! A new rule in each language, with the compilers that `make test` installs: it builds at once, is formatted, passes its
//! cases, keeps its budget, and is what an edge loads.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use system_tests::{Output, checkout, run, signet, tool};
use tempfile::TempDir;

use crate::batch_rules;

/// With the compilers in front of what there is on the path.
pub fn with_compilers(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
    let own = [tool("guests/bin"), tool("guests-npm/node_modules/.bin")];
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new(program);
    command.env("PATH", path).current_dir(dir);
    command
}

pub fn plugin(dir: &Path, arguments: &[&str]) -> Output {
    run(with_compilers(signet(), dir).arg("plugin").args(arguments))
}

pub fn parsed(output: Output) -> Value {
    serde_json::from_str(&output.success()).unwrap()
}

/// All of `signet plugin`, on a rule `RULE` in `here` that is new. Returns what `inspect` says.
fn from_new_to_bench(here: &Path) -> Value {
    let built = parsed(plugin(here, &["build", RULE, "--json"]));
    let tested = parsed(plugin(here, &["test", RULE, "--json"]));
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&6.into(), &0.into()),
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
    let measured = parsed(plugin(here, &["bench", RULE, "--calls", "200", "--json"]));
    for case in measured["cases"].as_array().unwrap() {
        assert!(
            case["median_us"].as_f64() > Some(0.0) && case["memory_bytes"].as_u64() > Some(0),
            "{case}"
        );
    }
    let seen = parsed(plugin(here, &["inspect", &format!("{RULE}/{RULE}.wasm"), "--json"]));
    assert_eq!(
        (&seen["sha256"], &seen["loads"]),
        (&built["sha256"], &true.into()),
        "{seen}"
    );
    // What it does not use it does not import: hosts of 1.0.0 load it too.
    assert_eq!(seen["world"], "signet:rule/rule@1.0.0", "{seen}");
    seen
}

pub const RULE: &str = "short-lived";

pub fn new(here: &Path, lang: &str) {
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

/// What `inspect --json` says that a component imports, in order.
pub fn imports(seen: &Value) -> Vec<&str> {
    let names = seen["imports"].as_array().unwrap().iter();
    let mut names: Vec<_> = names.map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// A rule in `lang` that carries an interpreter.
fn interpreted(lang: &str) {
    let dir = TempDir::new().unwrap();
    new(dir.path(), lang);
    let seen = from_new_to_bench(dir.path());
    // What the bundle of the guides leaves room for, and what the default memory is.
    assert!(seen["bytes"].as_u64() < Some(24 << 20), "{seen}");
    assert!(seen["memory_bytes"].as_u64() < Some(16 << 20), "{seen}");
    let interfaces = ["config@1.0.0", "log@1.0.0", "types@1.0.0"].map(|name| format!("signet:rule/{name}"));
    assert_eq!(imports(&seen), interfaces, "nothing of WASI");
}

#[test]
fn a_rule_in_c() {
    compiled("c", None);
}

/// In C there is nothing that holds a rule to an answer but this.
#[test]
fn a_rule_in_c_without_an_answer_allows_nothing() {
    let rule = |body: &str| {
        format!("#include \"signet_rule.h\"\nsignet_answer *evaluate(const signet_request *request) {{\n{body}\n}}\n")
    };
    let dir = TempDir::new().unwrap();
    new(dir.path(), "c");
    let source = dir.path().join(RULE).join("rule.c");
    std::fs::write(&source, rule("(void)request; return NULL;")).unwrap();
    plugin(dir.path(), &["build", RULE]).success();
    let output = plugin(dir.path(), &["test", RULE]);
    assert!(output.stdout.contains("verdicts seen: fail trap 6\n"), "{output:?}");
    std::fs::write(&source, rule("if (request->is_artifact) return signet_allow();")).unwrap();
    let output = plugin(dir.path(), &["build", RULE]);
    assert!(output.code == 1 && output.stderr.contains("rule.c:"), "{output:?}");
}

/// A cap of no second is none that can be given, and no number is an answer.
#[test]
fn a_rule_in_assemblyscript_without_an_answer_allows_nothing() {
    let dir = TempDir::new().unwrap();
    new(dir.path(), "assemblyscript");
    let source = dir.path().join(RULE).join("rule.ts");
    let rule = |answer: &str| {
        format!(
            "import {{ Answer, allow }} from \"./signet\";\nexport {{ cabi_realloc }} from \"./signet\";\n\
             export function evaluate(at: usize): Answer {{ return {answer}; }}\n"
        )
    };
    for cap in ["0", "-1", "4294967296"] {
        std::fs::write(&source, rule(&format!("allow({cap})"))).unwrap();
        plugin(dir.path(), &["build", RULE]).success();
        let output = plugin(dir.path(), &["test", RULE]);
        assert!(
            output.stdout.contains("verdicts seen: fail trap 6\n"),
            "{cap}: {output:?}"
        );
    }
    std::fs::write(&source, rule("0")).unwrap();
    let output = plugin(dir.path(), &["build", RULE]);
    assert!(
        output.code == 1 && output.stderr.contains("is not assignable"),
        "{output:?}"
    );
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
    batch_rules::in_rust(&here);
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
    let (output, _dir) = edited("js", "rule.js", ["const max = get(", "const max = = get("]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("/rule.js:7:15: SyntaxError: "), "{output:?}");
}

/// The rule fails where it judges an artifact, and says so; the rest of it is as before.
fn says_what_was_thrown(lang: &str, file: &str, edits: [&str; 2], said: &str) {
    let (output, dir) = edited(lang, file, edits);
    output.success();
    let output = plugin(dir.path(), &["test", RULE, "--json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&5.into(), &1.into()),
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
        "uncaught Error: limit table is empty at evaluate (rule.js:13:15)",
    );
}

#[test]
fn an_exception_in_python_is_in_the_rules_log() {
    let edits = ["raise refusal(\"tokens_only\"", "raise refuse(\"tokens_only\""];
    let said = "uncaught NameError: name 'refuse' is not defined at rule.py:19";
    says_what_was_thrown("python", "rule.py", edits, said);
}

/// Answers of one rule that picks one by the token's subject: the case `good` passes, any other is a trap after what it says here.
fn says_what_is_no_verdict(lang: &str, (file, rule): (&str, &str), shapes: &[(&str, &str)]) {
    let dir = TempDir::new().unwrap();
    new(dir.path(), lang);
    let here = dir.path().join(RULE);
    std::fs::write(here.join(file), rule).unwrap();
    std::fs::remove_dir_all(here.join("cases")).unwrap();
    std::fs::create_dir(here.join("cases")).unwrap();
    let good = "lifetime_cap = 60\nclaims = { a = \"x\", b = 5, c = 1.5, d = true, e = [\"x\"] }";
    for (name, _) in shapes.iter().chain([&("good", "")]) {
        let expect = match *name {
            "good" => format!("verdict = \"allow\"\n{good}"),
            _ => "verdict = \"fail\"\ncode = \"trap\"".to_owned(),
        };
        let case = format!("[request.token]\nsubject = \"{name}\"\n[expect]\n{expect}\n");
        std::fs::write(here.join(format!("cases/{name}.toml")), case).unwrap();
    }
    plugin(dir.path(), &["build", RULE]).success();
    let report = parsed(plugin(dir.path(), &["test", RULE, "--json"]));
    for (name, said) in shapes {
        let cases = report["cases"].as_array().unwrap();
        let case = cases.iter().find(|case| case["name"] == *name).unwrap();
        let told = format!("evaluate returned no verdict: {said}");
        assert_eq!(case["log"].as_array().unwrap().len(), 1, "{case}");
        assert_eq!(case["log"][0]["level"], "error", "{case}");
        assert_eq!(case["log"][0]["message"], told.as_str(), "{case}");
    }
    // Nor where nothing may be said.
    let manifest = here.join("plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("[\"log\", \"config\"]", "[\"config\"]")).unwrap();
    plugin(dir.path(), &["build", RULE]).success();
    let report = parsed(plugin(dir.path(), &["test", RULE, "--json"]));
    assert!(!report.to_string().contains("no verdict"), "{report}");
}

#[test]
fn an_answer_in_javascript_that_is_no_verdict_is_named_and_allows_nothing() {
    let rule = r#"
const claim = (tag, val) => ({ claims: [["ok", { tag: "boolean", val: true }], ["a", { tag, val }]] });
const answers = {
  good: { lifetimeCap: 60, claims: [["a", { tag: "text", val: "x" }], ["b", { tag: "int", val: 5n }],
    ["c", { tag: "float", val: 1.5 }], ["d", { tag: "boolean", val: true }], ["e", { tag: "texts", val: ["x"] }]] },
  nothing: undefined,
  yes: true,
  snake: { lifetime_cap: 60, claims: [] },
  wrapped: { tag: "ok", val: { claims: [] } },
  none: {},
  negative: { lifetimeCap: -1, claims: [] },
  wraps: { lifetimeCap: 2 ** 32 + 60, claims: [] },
  fraction: { lifetimeCap: 1.5, claims: [] },
  big: { lifetimeCap: 60n, claims: [] },
  object: { claims: { plan: "free" } },
  plain: { claims: [["plan", "free"]] },
  tagged: claim("string", "x"),
  number: claim("text", 5),
  truthy: claim("boolean", "false"),
  split: claim("texts", "ab"),
  huge: claim("int", 2n ** 63n),
};
export function evaluate(request) {
  const answer = answers[request.payload.val.subject];
  return answer === answers.snake ? Promise.resolve(answer) : answer;
}
"#;
    let cap = |shown: &str| format!("`lifetimeCap`: {shown} is no whole number of seconds up to 4294967295");
    let claim = r#"`claims[1]` is not like ["plan", { tag: "text", val: "free" }]"#;
    let shapes = [
        ("nothing", "undefined is not like { lifetimeCap: 60, claims: [] }"),
        ("yes", "true is not like { lifetimeCap: 60, claims: [] }"),
        ("snake", "`lifetime_cap`: a verdict has `lifetimeCap` and `claims` only"),
        ("wrapped", "`tag`: a verdict has `lifetimeCap` and `claims` only"),
        ("none", "`claims` is no list; where there are none it is []"),
        ("negative", &cap("number -1")),
        ("wraps", &cap("number 4294967356")),
        ("fraction", &cap("number 1.5")),
        ("big", &cap("bigint 60")),
        ("object", "`claims` is no list; where there are none it is []"),
        (
            "plain",
            r#"`claims[0]` is not like ["plan", { tag: "text", val: "free" }]"#,
        ),
        ("tagged", claim),
        ("number", claim),
        ("truthy", claim),
        ("split", claim),
        ("huge", claim),
    ];
    says_what_is_no_verdict("js", ("rule.js", rule), &shapes);
}

#[test]
fn an_answer_in_python_that_is_no_verdict_is_named_and_allows_nothing() {
    let rule = r#"
from componentize_py_types import Err
from wit_world.imports import types
from wit_world.imports.types import Value_Boolean, Value_Float, Value_Int, Value_Text, Value_Texts


def claim(value):
    return types.Verdict(lifetime_cap=None, claims=[("ok", Value_Boolean(True)), ("a", value)])


ANSWERS = {
    "good": types.Verdict(
        lifetime_cap=60,
        claims=[
            ("a", Value_Text("x")),
            ("b", Value_Int(5)),
            ("c", Value_Float(1.5)),
            ("d", Value_Boolean(True)),
            ("e", Value_Texts(["x"])),
        ],
    ),
    "nothing": None,
    "dict": {"lifetime_cap": 60, "claims": []},
    "refusal": types.Refusal("no", "no"),
    "negative": types.Verdict(lifetime_cap=-1, claims=[]),
    "fraction": types.Verdict(lifetime_cap=1.5, claims=[]),
    "text": types.Verdict(lifetime_cap="60", claims=[]),
    "yes": types.Verdict(lifetime_cap=True, claims=[]),
    "object": types.Verdict(lifetime_cap=None, claims={"plan": "free"}),
    "plain": types.Verdict(lifetime_cap=None, claims=[("plan", "free")]),
    "number": claim(Value_Text(5)),
    "truthy": claim(Value_Boolean("false")),
    "split": claim(Value_Texts("ab")),
    "huge": claim(Value_Int(2**63)),
}


class WitWorld:
    def evaluate(self, request):
        return ANSWERS[request.payload.value.subject]
"#;
    let cap = |shown: &str| format!("`lifetime_cap`: {shown} is no whole number of seconds up to 4294967295");
    let claim = r#"`claims[1]` is not like ("plan", types.Value_Text("free"))"#;
    let shapes = [
        (
            "nothing",
            "NoneType is not like types.Verdict(lifetime_cap=60, claims=[])",
        ),
        ("dict", "dict is not like types.Verdict(lifetime_cap=60, claims=[])"),
        (
            "refusal",
            "Refusal is not like types.Verdict(lifetime_cap=60, claims=[])",
        ),
        ("negative", &cap("-1")),
        ("fraction", &cap("1.5")),
        ("text", &cap("'60'")),
        ("yes", &cap("True")),
        ("object", "`claims` is no list; where there are none it is []"),
        ("plain", r#"`claims[0]` is not like ("plan", types.Value_Text("free"))"#),
        ("number", claim),
        ("truthy", claim),
        ("split", claim),
        ("huge", claim),
    ];
    says_what_is_no_verdict("python", ("rule.py", rule), &shapes);
}
