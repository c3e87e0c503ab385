//! Rules in JavaScript, built with nothing but `signet`: what arrives in them, what they find, and what a mistake looks like.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use system_tests::{Output, run, signet};
use tempfile::TempDir;

use crate::plugin_languages::imports;

const MANIFEST: &str = r#"name = "rule"
lang = "js"
world = "signet:rule/rule@1.1.0"
imports = ["log", "config", "counter", "lookup", "digest"]
deadline = "100ms"
memory = "2MiB"

[config]
large = 9007199254740993

[tables.plans]
kind = "exact"
rows = { alice = "free" }

[tables.networks]
kind = "prefix"
rows = { "192.0.2.0/24" = "office" }
"#;

/// What a rule finds, each thing under the subject that asks for it.
const EVERYTHING: &str = r#"
import { get as setting } from "signet:rule/config@1.0.0";
import { log } from "signet:rule/log@1.0.0";
import { increment } from "signet:rule/counter@1.1.0";
import { get, prefix } from "signet:rule/lookup@1.1.0";
import { sha256, sha512 } from "signet:rule/digest@1.1.0";
import { hex } from "./lib/hex.js";

const text = (val) => ({ tag: "text", val: String(val) });
let calls = 0;

const thrown = (work) => {
  try {
    return work();
  } catch (error) {
    return `${error instanceof Error} ${error.name} ${error.payload ?? error.message}`;
  }
};

const asked = {
  values: ({ payload: { val: { claims, subject, audience, lifetime } }, time, traceId, caller, ...request }) => [
    ...claims,
    ["typed", text([typeof time, time, traceId, lifetime, audience, request.protocol, request.payload].join(" "))],
    ["setting", setting("large")],
    ["none", text(setting("no-such"))],
    ["caller", text(`${caller.kind} ${caller.attributes.map(([name, { tag, val }]) => `${name}=${tag}:${val}`)}`)],
  ],
  clock: ({ time }) => {
    const now = new Date();
    return [["clock", text(`${Date.now() === Number(time) * 1000} ${now.toISOString()} ${now.getTimezoneOffset()}`)]];
  },
  digest: () => {
    const abc = new TextEncoder().encode("abc");
    return [
      ["sha256", text(hex(sha256(abc)))],
      ["sha512", text(sha512(abc).length)],
      ["wrong", text(thrown(() => sha256("abc")))],
      ["decoded", text(new TextDecoder().decode(new TextEncoder().encode("Zoë \ud83d\ude00")))],
    ];
  },
  lookup: ({ sourceAddress }) => [
    ["plan", text(get("plans", "alice"))],
    ["nobody", text(get("plans", "bob"))],
    ["network", text(prefix("networks", sourceAddress))],
    ["table", text(thrown(() => get("no-such", "alice")))],
    ["kind", text(thrown(() => prefix("plans", "192.0.2.1")))],
    ["address", text(thrown(() => prefix("networks", "nowhere")))],
  ],
  counter: () => [
    ["first", text(increment("a", 60))],
    ["second", text(increment("a", 60))],
    ["window", text(thrown(() => increment("a", 0)))],
    ["fraction", text(thrown(() => increment("a", 1.5)))],
    ["key", text(thrown(() => increment(7, 60)))],
  ],
  fresh: () => [["calls", { tag: "int", val: ++calls }]],
  later: async () => {
    await Promise.resolve();
    return [["later", { tag: "boolean", val: true }]];
  },
  texts: () => [
    ["pattern", text("order-7".replace(/^(?<what>\p{L}+)-(\d)$/u, "$<what> $2"))],
    ["json", { tag: "json", val: JSON.stringify({ a: [1, "x"] }) }],
    ["list", { tag: "texts", val: ["", "ß"] }],
    ["float", { tag: "float", val: 0.1 + 0.2 }],
  ],
  console: () => {
    console.warn("seven", 7n, { a: [1n] }, new Error("x"));
    log("debug", "line");
    return [];
  },
  random: () => [["random", text(Math.random())]],
  surrogate: () => [["half", text("\ud800")]],
  never: () => new Promise(() => {}),
  level: () => log("loud", "x"),
  recursion: () => asked.recursion() + 1,
  memory: () => {
    const all = [];
    for (;;) all.push(new Array(100_000).fill(0));
  },
  loop: () => {
    for (;;);
  },
};

export function evaluate(request) {
  const claims = asked[request.payload.val.subject](request);
  return claims instanceof Promise ? claims.then((claims) => ({ claims })) : { claims };
}
"#;

const HEX: &str =
    "export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, \"0\")).join(\"\");\n";

/// A plugin's directory, gone when dropped.
struct Rule {
    dir: TempDir,
}

impl Rule {
    fn new(rule: &str) -> Rule {
        let rule_of = Rule {
            dir: TempDir::new().unwrap(),
        };
        rule_of.write("plugin.toml", MANIFEST);
        rule_of.write("rule.js", rule);
        rule_of
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn plugin(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(signet());
        // Nothing of it is on the path.
        let command = command.arg("plugin").args(arguments).env("PATH", "");
        run(command.current_dir(self.dir.path()))
    }

    /// What its cases came to: all of them passed.
    fn cases(&self) -> Vec<Value> {
        let output = self.plugin(&["test", "--json"]);
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let cases = report["cases"].as_array().unwrap();
        let failed: Vec<_> = cases.iter().filter(|case| case["passed"] == false).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        cases.clone()
    }

    fn refused(&self) -> String {
        let output = self.plugin(&["build"]);
        assert_eq!(output.code, 1, "{output:?}");
        let dir = std::fs::canonicalize(self.dir.path()).unwrap();
        output.stderr.trim_end().replace(&format!("{}/", dir.display()), "")
    }
}

fn component(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("rule.wasm")).unwrap()
}

#[test]
fn what_arrives_is_typed_and_all_that_the_world_has_is_there() {
    let rule = Rule::new(EVERYTHING);
    rule.write("lib/hex.js", HEX);
    let allowed = [
        (
            "values",
            "echo = 9007199254740993, half = 1.5, yes = true, who = \"a\", list = [\"x\", \"y\"]",
            "typed = \"bigint 1800000000  300 https://api.example http2 \", setting = 9007199254740993, none = \"undefined\", \
             caller = \"oidc roles=texts:editor\", echo = 9007199254740993, half = 1.5, yes = true, who = \"a\", list = [\"x\", \"y\"]",
        ),
        ("clock", "", "clock = \"true 2027-01-15T08:00:00.000Z 0\""),
        (
            "digest",
            "",
            "sha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\", sha512 = \"64\", \
             wrong = \"true TypeError digest: the data must be a Uint8Array; for a text: new TextEncoder().encode(text)\", \
             decoded = \"Zoë 😀\"",
        ),
        (
            "lookup",
            "",
            "plan = \"free\", nobody = \"undefined\", network = \"office\", table = \"true ComponentError no-such-table\", \
             kind = \"true ComponentError wrong-kind\", address = \"true ComponentError not-an-address\"",
        ),
        (
            "counter",
            "",
            "first = \"1\", second = \"2\", window = \"true ComponentError out-of-bounds\", \
             fraction = \"true TypeError increment: windowSeconds must be a whole number\", \
             key = \"true TypeError increment: the key must be a text\"",
        ),
        ("fresh", "", "calls = 1"),
        ("later", "", "later = true"),
        (
            "texts",
            "",
            "pattern = \"order 7\", json = { a = [1, \"x\"] }, list = [\"\", \"ß\"], float = 0.30000000000000004",
        ),
        ("console", "", ""),
    ];
    for (name, claims, expected) in allowed {
        let request = format!(
            "time = 1800000000\nprotocol = \"http2\"\nsource_address = \"192.0.2.7\"\n[request.caller]\nattributes = {{ roles = [\"editor\"] }}\n\
             [request.token]\nsubject = \"{name}\"\naudience = [\"https://api.example\"]\nlifetime = 300\nclaims = {{ {claims} }}\n"
        );
        let case = format!("[request]\n{request}[expect]\nverdict = \"allow\"\nclaims = {{ {expected} }}\n");
        rule.write(&format!("cases/{name}.toml"), &case);
    }
    let failing = [
        (
            "random",
            "trap",
            "uncaught TypeError: a rule has no random numbers at random (rule.js:72:39)",
        ),
        (
            "surrogate",
            "trap",
            r#"evaluate returned no verdict: `claims[0]` is not like ["plan", { tag: "text", val: "free" }]"#,
        ),
        (
            "never",
            "trap",
            "uncaught TypeError: it waits for what never comes: there is nothing to wait for in a rule",
        ),
        (
            "level",
            "trap",
            "uncaught TypeError: log: the level must be one of trace, debug, info, warn and error at level (rule.js:75:16)",
        ),
        ("recursion", "trap", ""),
        ("memory", "memory", ""),
        ("loop", "timeout", ""),
    ];
    for (name, code, _) in failing {
        let case = format!("[request.token]\nsubject = \"{name}\"\n[expect]\nverdict = \"fail\"\ncode = \"{code}\"\n");
        rule.write(&format!("cases/{name}.toml"), &case);
    }
    rule.plugin(&["build"]).success();
    let cases = rule.cases();
    let log_of = |name: &str| &cases.iter().find(|case| case["name"] == name).unwrap()["log"];
    for (name, _, said) in failing.iter().filter(|(_, _, said)| !said.is_empty()) {
        assert_eq!(log_of(name)[0]["message"], *said, "{name}");
    }
    let lines = json!([
        {"level": "warn", "message": "seven 7 {\"a\":[\"1\"]} Error: x"},
        {"level": "debug", "message": "line"},
    ]);
    assert_eq!(*log_of("console"), lines);
}

/// Each under the subject that asks for it: what a rule did not mean for a verdict, or what looks like one.
const STRANGE: &str = r#"
import { increment } from "signet:rule/counter@1.1.0";
import { log } from "signet:rule/log@1.0.0";

const no = { code: "no", message: "no" };
const refuse = async () => {
  throw no;
};
const claim = (tag, val) => ({ claims: [["a", { tag, val }]] });
let reads = 0;

const answers = {
  not_awaited: async () => {
    refuse();
    return { claims: [] };
  },
  not_awaited_nor_async: () => {
    refuse();
    return { claims: [] };
  },
  microtask: () => {
    queueMicrotask(() => {
      throw no;
    });
    return { claims: [] };
  },
  hole: () => ({ claims: [, ["a", { tag: "text", val: "x" }]] }),
  hole_in_texts: () => claim("texts", [, "x"]),
  endless: () => {
    const texts = new Array(2 ** 32 - 1);
    texts[0] = "x";
    return claim("texts", texts);
  },
  inherited: () => Object.create({ lifetime_cap: 5 }, { claims: { value: [] } }),
  null_cap: () => ({ lifetimeCap: null, claims: [] }),
  untold: () => {
    throw new Proxy({}, { get() { throw new Proxy({}, { get() { throw 1; } }); } });
  },
  not_loaded: async () => {
    await import("./late.js");
    return { claims: [] };
  },
  no_interface: async () => {
    await import("signet:rule/digest@1.1.0");
    return { claims: [] };
  },
  level: () => {
    log("info\0", "x");
    return { claims: [] };
  },
  awaited: async () => {
    await Promise.all([refuse(), refuse()]);
    return { claims: [] };
  },
  getter: () => ({ get claims() { throw no; } }),
  changing: () => ({ claims: [["a", { tag: "text", get val() { return ["first", 2][reads++]; } }]] }),
  inherits: () => {
    Array.prototype.map = Array.prototype.indexOf = Array.prototype.every = () => [];
    Array.prototype[Symbol.iterator] = undefined;
    return claim("texts", ["x"]);
  },
  no_component_error: () => {
    globalThis.ComponentError = undefined;
    try {
      increment("a", 0);
    } catch ({ payload }) {
      return claim("text", payload);
    }
  },
  decoded: () => {
    const told = (bytes, options) => {
      try {
        return new TextDecoder("utf-8", options).decode(new Uint8Array(bytes));
      } catch (error) {
        return error.name;
      }
    };
    const [mark, wrong, half] = [[0xef, 0xbb, 0xbf, 0x61], [0x61, 0xff], [0xed, 0xa0, 0x80]];
    return claim("texts", [told(mark), told(mark, { ignoreBOM: true }), told(wrong), told(wrong, { fatal: true }), told(half, { fatal: true })]);
  },
};

export const evaluate = (request) => answers[request.payload.val.subject]();
"#;

#[test]
fn what_a_rule_did_not_mean_for_a_verdict_allows_nothing() {
    let rule = Rule::new(STRANGE);
    rule.write("late.js", "");
    let lost = "uncaught, in a promise that nothing awaits: {\"code\":\"no\",\"message\":\"no\"}";
    let no_claim = r#"evaluate returned no verdict: `claims[0]` is not like ["plan", { tag: "text", val: "free" }]"#;
    let traps = [
        ("not_awaited", lost),
        ("not_awaited_nor_async", lost),
        ("microtask", lost),
        ("hole", no_claim),
        ("hole_in_texts", no_claim),
        ("endless", no_claim),
        (
            "inherited",
            "evaluate returned no verdict: `lifetime_cap`: a verdict has `lifetimeCap` and `claims` only",
        ),
        (
            "null_cap",
            "evaluate returned no verdict: `lifetimeCap`: null is no whole number of seconds up to 4294967295",
        ),
        ("untold", "uncaught: what was thrown cannot be told"),
        (
            "not_loaded",
            "uncaught ReferenceError: `late.js` was not loaded at the build: import it at the top of a module",
        ),
        (
            "no_interface",
            "uncaught ReferenceError: `signet:rule/digest@1.1.0` was not loaded at the build: import it at the top of a module",
        ),
        (
            "level",
            "uncaught TypeError: log: the level must be one of trace, debug, info, warn and error at level (rule.js:48:5)",
        ),
    ];
    let others = [
        ("awaited", "verdict = \"refuse\"\ncode = \"no\""),
        ("getter", "verdict = \"refuse\"\ncode = \"no\""),
        ("changing", "verdict = \"allow\"\nclaims = { a = \"first\" }"),
        ("inherits", "verdict = \"allow\"\nclaims = { a = [\"x\"] }"),
        (
            "no_component_error",
            "verdict = \"allow\"\nclaims = { a = \"out-of-bounds\" }",
        ),
        (
            "decoded",
            "verdict = \"allow\"\nclaims = { a = [\"a\", \"\\uFEFFa\", \"a\\uFFFD\", \"TypeError\", \"TypeError\"] }",
        ),
    ];
    let traps_of = traps.map(|(name, _)| (name, "verdict = \"fail\"\ncode = \"trap\""));
    for (name, expect) in traps_of.iter().chain(&others) {
        let case = format!("[request.token]\nsubject = \"{name}\"\n[expect]\n{expect}\n");
        rule.write(&format!("cases/{name}.toml"), &case);
    }
    rule.plugin(&["build"]).success();
    let cases = rule.cases();
    for (name, said) in traps {
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        assert_eq!(case["log"][0]["message"], said, "{case}");
    }
}

#[test]
fn the_same_rule_is_built_into_the_same_bytes_and_imports_what_it_uses() {
    // The source's own text is not in the component.
    let remark = " a".repeat(200_000);
    let text = format!(
        "import {{ get }} from \"signet:rule/config@1.0.0\";\nexport const evaluate = () => ({{ claims: get(\"x\") ?? [] }});\n//{remark}\n"
    );
    let (rule, again) = (Rule::new(&text), Rule::new(&text));
    for rule in [&rule, &again] {
        rule.plugin(&["build"]).success();
    }
    assert!(component(rule.dir.path()) == component(again.dir.path()));
    let seen: Value = serde_json::from_str(&rule.plugin(&["inspect", "rule.wasm", "--json"]).success()).unwrap();
    // Its exceptions are told to `log`.
    let expected = ["config@1.0.0", "log@1.0.0", "types@1.0.0"].map(|name| format!("signet:rule/{name}"));
    assert_eq!(imports(&seen), expected);
    // What an edge gives each plugin by default is enough.
    assert!(
        seen["bytes"].as_u64() < Some(1_300_000) && seen["memory_bytes"].as_u64() < Some(1 << 20),
        "{seen}"
    );
}

#[test]
fn a_rule_that_cannot_be_built_is_told_where_and_why() {
    let evaluate = "export function evaluate() {\n  return { claims: [] };\n}\n";
    let mistakes = [
        (
            "const a = = 1;".to_owned(),
            "rule.js:1:11: SyntaxError: unexpected token",
        ),
        (
            "export const rule = 1;".to_owned(),
            "rule.js: TypeError: it exports no function by the name `evaluate`",
        ),
        (
            "export default function evaluate() {}".to_owned(),
            "rule.js: TypeError: it exports no function by the name `evaluate`",
        ),
        (
            "module.exports = { evaluate() {} };".to_owned(),
            "rule.js:1:1: ReferenceError: module is not defined; a rule is an ES module",
        ),
        (
            format!("{evaluate}const made = async () => null.x;\nmade();\n"),
            "rule.js:4:1: TypeError: cannot read property 'x' of null",
        ),
        (
            format!("import {{ get }} from \"signet:rule/config@1.0.0\";\n{evaluate}const max = get(\"max\");\n"),
            "rule.js:5:13: TypeError: `get` is called outside of `evaluate`, where there is no edge to answer",
        ),
        (
            format!("{evaluate}console.log(\"loaded\");\n"),
            "rule.js:4:9: TypeError: `log` is called outside of `evaluate`",
        ),
        (
            format!("import \"./plugin.json\" with {{ type: \"json\" }};\n{evaluate}"),
            "rule.js: TypeError: `plugin.json` is no module",
        ),
        (
            format!("{evaluate}const table = undefined;\ntable.get(1);\n"),
            "rule.js:5:1: TypeError: cannot read property 'get' of undefined",
        ),
        (
            format!("import \"./other.js\";\n{evaluate}"),
            "rule.js: ReferenceError: there is no module `other.js` of at most 8 MiB in the plugin's directory",
        ),
        (
            format!("import \"../other.js\";\n{evaluate}"),
            "rule.js: ReferenceError: there is no module `../other.js` of at most 8 MiB in the plugin's directory",
        ),
        (
            format!("import _ from \"lodash\";\n{evaluate}"),
            "rule.js: ReferenceError: there is no module `lodash` of at most 8 MiB in the plugin's directory; what npm has",
        ),
        (
            format!("import \"signet:rule/config\";\n{evaluate}"),
            "rule.js: ReferenceError: there is no `signet:rule/config`; signet.d.ts has what there is",
        ),
        (
            format!("{evaluate}const born = Date.now();\n"),
            "rule.js: the rule asks for the time outside of `evaluate`",
        ),
        (
            format!("{evaluate}const dice = Math.random();\n"),
            "rule.js:4:19: TypeError: a rule has no random numbers",
        ),
        (
            format!("{evaluate}await new Promise(() => {{}});\n"),
            "rule.js: TypeError: it waits for what never comes",
        ),
        (
            format!("{evaluate}const all = [];\nfor (;;) all.push(new Array(1e6).fill(0));\n"),
            "out of memory",
        ),
        (
            format!("{evaluate}throw {{ code: \"x\", message: \"y\" }};\n"),
            "rule.js: {\"code\":\"x\",\"message\":\"y\"}",
        ),
    ];
    for (text, said) in mistakes {
        let rule = Rule::new(&text);
        rule.write("plugin.json", "{}");
        let refused = rule.refused();
        assert!(refused.contains(said), "{text}: {refused}");
        assert!(!refused.contains("\n"), "one line: {refused}");
    }
    let rule = Rule::new(&format!(
        "import {{ sha256 }} from \"signet:rule/digest@1.1.0\";\n{evaluate}"
    ));
    rule.write("plugin.toml", &MANIFEST.replace(", \"digest\"", ""));
    let refused = rule.refused();
    assert!(
        refused.contains("`signet:rule/digest@1.1.0` is not granted: write digest into `imports` of plugin.toml"),
        "{refused}"
    );
}

/// In a file that is a module, `declare module` adds to one that must exist: editors then know no import of a rule.
#[test]
fn the_file_of_types_is_no_module() {
    let types = include_str!("../../../plugins/sdk/js/signet.d.ts");
    let of_modules: Vec<_> = types
        .lines()
        .filter(|line| line.starts_with("export ") || line.starts_with("import "))
        .collect();
    assert!(of_modules.is_empty(), "{of_modules:?}");
}
