//! The imports of 1.1.0: what they answer, who may have them, and what becomes of guests that abuse them.

use crate::support::{folder, load, small_host, text, token, word};
use runtime::{Host, LoadFailure, Plugin, PluginSource, RuleError, TableKind, TableSource, Verdict};
use std::sync::Arc;

const ALL: [&str; 5] = ["log", "config", "counter", "lookup", "digest"];

/// A component of the world 1.1.0 with every import, around a rule.
fn component(rule: &str) -> Vec<u8> {
    let world = std::fs::read_to_string(folder().join("../world/1.1.0.wat")).unwrap();
    let whole = world.replace("{{memory}}", &text("memory")).replace("{{rule}}", rule);
    wat::parse_str(&whole).unwrap_or_else(|error| panic!("{error}\n{whole}"))
}

fn granted(name: &str, rule: &str) -> PluginSource {
    let mut source = PluginSource::new(name, component(rule));
    source.imports = ALL.map(str::to_owned).to_vec();
    for (name, kind, text) in [
        ("plans", TableKind::Exact, "alice,gold\nbob,free\n"),
        ("nets", TableKind::Prefix, "10.0.0.0/8,lab\n10.1.0.0/16,gate\n"),
    ] {
        let (file, text) = (format!("plugins/{name}.csv"), Arc::from(text.as_bytes()));
        source.tables.insert(name.to_owned(), TableSource { file, kind, text });
    }
    source
}

fn loaded(host: &Host, rule: &str) -> Plugin {
    host.load(granted("it", rule)).unwrap()
}

/// Components name the version that they were built for, and are given what is newest.
#[test]
fn each_minor_version_since_is_served() {
    let world = std::fs::read_to_string(folder().join("../world/1.1.0.wat")).unwrap();
    for version in ["@1.1.0", "@1.2.0"] {
        let world = world.replace("@1.1.0", version);
        let whole = world
            .replace("{{memory}}", &text("memory"))
            .replace("{{rule}}", &text("good"));
        let source = PluginSource {
            wasm: wat::parse_str(&whole).unwrap(),
            ..granted("it", &text("good"))
        };
        small_host().load(source).unwrap();
    }
}

async fn outcome(plugin: &Plugin, time: u64) -> Result<Verdict, RuleError> {
    let mut request = token(vec![], vec![]);
    request.time = time;
    plugin.evaluate(&request).await
}

/// A rule that calls `function` with `arguments` and then goes on to `after`.
fn calling(function: &str, parameters: &str, arguments: &str, after: &str) -> String {
    format!(
        r#"(core module $rule
      (import "host" "memory" (memory 1))
      (import "host" "{function}" (func $call (param {parameters})))
      (data (i32.const 0) "plans") (data (i32.const 16) "bob") (data (i32.const 32) "nets")
      (data (i32.const 48) "10.1.2.3") (data (i32.const 64) "abc")
      (func (export "evaluate") (param i32) (result i32)
        (call $call {arguments})
        {after}
        (i32.const 1024)))"#
    )
}

fn constants(values: &[i32]) -> String {
    values.iter().map(|value| format!("(i32.const {value})")).collect()
}

/// Traps unless the 32 bits at `at` are `value`.
fn must_be(at: &str, value: u32) -> String {
    format!("(if (i32.ne (i32.load {at}) (i32.const {value:#x})) (then unreachable))")
}

#[tokio::test]
async fn digests_are_those_of_sha_2() {
    let host = small_host();
    // FIPS 180-4's examples for `abc`: the first four bytes, little-endian.
    for (function, length, first) in [
        ("sha256", 32, 0xbf16_78ba_u32),
        ("sha384", 48, 0x3f75_00cb),
        ("sha512", 64, 0xa135_afdd),
    ] {
        let after = must_be("(i32.const 516)", length) + &must_be("(i32.load (i32.const 512))", first);
        let rule = calling(function, "i32 i32 i32", &constants(&[64, 3, 512]), &after);
        let outcome = outcome(&loaded(&host, &rule), 0).await;
        assert_eq!(word(&outcome), "allowed", "{function}: {outcome:?}");
    }
}

#[tokio::test]
async fn tables_answer_by_key_and_by_prefix() {
    let host = small_host();
    let four = |text: &[u8; 4]| u32::from_le_bytes(*text);
    for (function, arguments, first) in [
        ("lookup-get", [0, 5, 16, 3, 512], four(b"free")),
        ("prefix", [32, 4, 48, 8, 512], four(b"gate")),
    ] {
        let after = must_be("(i32.const 512)", 0)
            + &must_be("(i32.const 516)", 1)
            + &must_be("(i32.const 524)", 4)
            + &must_be("(i32.load (i32.const 520))", first);
        let rule = calling(function, "i32 i32 i32 i32 i32", &constants(&arguments), &after);
        let outcome = outcome(&loaded(&host, &rule), 0).await;
        assert_eq!(word(&outcome), "allowed", "{function}: {outcome:?}");
    }
    for (function, arguments, problem) in [
        ("lookup-get", [16, 3, 16, 3, 512], 0),
        ("prefix", [0, 5, 48, 8, 512], 1),
        ("prefix", [32, 4, 16, 3, 512], 2),
    ] {
        let after = must_be("(i32.const 512)", 1)
            + &format!("(if (i32.ne (i32.load8_u (i32.const 516)) (i32.const {problem})) (then unreachable))");
        let rule = calling(function, "i32 i32 i32 i32 i32", &constants(&arguments), &after);
        let outcome = outcome(&loaded(&host, &rule), 0).await;
        assert_eq!(word(&outcome), "allowed", "{function}, problem {problem}: {outcome:?}");
    }
}

/// Three a minute: counted once a call, over calls, by the request's clock, those of calls that trap too.
#[tokio::test]
async fn a_rate_is_held_over_calls() {
    let host = small_host();
    let after = "(if (i32.gt_u (i32.load (i32.const 516)) (i32.const 3)) (then unreachable))";
    let rule = calling("increment", "i32 i32 i32 i32", &constants(&[64, 3, 60, 512]), after);
    let plugin = loaded(&host, &rule);
    for expected in ["allowed", "allowed", "allowed", "trap", "trap"] {
        assert_eq!(word(&outcome(&plugin, 6000).await), expected);
    }
    assert_eq!(
        word(&outcome(&plugin, 6060).await),
        "trap",
        "five are a second ago at most"
    );
    assert_eq!(word(&outcome(&plugin, 6240).await), "allowed");
    let other = loaded(&host, &rule);
    assert_eq!(word(&outcome(&other, 6000).await), "allowed", "plugins count apart");
}

/// A call that is long enough to be made anew counts once.
#[tokio::test]
async fn a_slow_call_counts_once() {
    let host = small_host();
    let after = must_be("(i32.const 516)", 1)
        + "(global.set $left (i32.const 3000000)) (loop $again (global.set $left (i32.sub (global.get $left) (i32.const 1))) (br_if $again (global.get $left)))";
    let rule = calling("increment", "i32 i32 i32 i32", &constants(&[64, 3, 60, 512]), &after)
        .replace("(func (export", "(global $left (mut i32) (i32.const 0)) (func (export");
    let mut source = granted("slow", &rule);
    source.deadline = std::time::Duration::from_millis(100);
    let plugin = host.load(source).unwrap();
    let outcome = outcome(&plugin, 6000).await;
    assert_eq!(word(&outcome), "allowed", "{outcome:?}");
}

// R20
#[test]
fn an_import_that_is_not_granted_is_refused_with_the_line_to_write() {
    let host = small_host();
    let mut source = granted("it", &text("good"));
    source.imports.retain(|name| name != "counter");
    let error = host.load(source).unwrap_err();
    assert!(matches!(error.reason, LoadFailure::Setting { name: "imports", .. }));
    let error = error.to_string();
    for part in [
        "plugin `it`: `imports` must be",
        "it imports `signet:rule/counter@1.1.0`",
        r#"imports = ["log", "config", "lookup", "digest", "counter"]"#,
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_table_with_a_fault_is_refused_with_its_line() {
    let mut source = granted("it", &text("good"));
    source.tables.get_mut("nets").unwrap().text = Arc::from(&b"10.0.0.0/8,lab\nhere,x\n"[..]);
    let error = small_host().load(source).unwrap_err().to_string();
    assert!(error.contains("plugins/nets.csv:2: not an IP prefix"), "{error}");
}

/// A function of the host, honest arguments, and what each of them is.
type Function = (&'static str, &'static [i32], &'static [Kind]);

/// What an argument is to the host.
#[derive(Clone, Copy)]
enum Kind {
    /// A number that may be any.
    Free,
    /// The number of a case, below this.
    Case(u32),
    /// A pointer to bytes; the next argument is their number.
    Bytes,
    Length,
    /// Where the answer goes: its alignment and size.
    Answer(u32, u32),
}

use Kind::{Answer, Bytes, Case, Free, Length};

const FUNCTIONS: [Function; 8] = [
    ("log", &[2, 64, 3], &[Case(5), Bytes, Length]),
    ("get", &[64, 3, 512], &[Bytes, Length, Answer(8, 24)]),
    ("sha256", &[64, 3, 512], &[Bytes, Length, Answer(4, 8)]),
    ("sha384", &[64, 3, 512], &[Bytes, Length, Answer(4, 8)]),
    ("sha512", &[64, 3, 512], &[Bytes, Length, Answer(4, 8)]),
    ("increment", &[64, 3, 60, 512], &[Bytes, Length, Free, Answer(4, 8)]),
    (
        "lookup-get",
        &[0, 5, 16, 3, 512],
        &[Bytes, Length, Bytes, Length, Answer(4, 16)],
    ),
    (
        "prefix",
        &[32, 4, 48, 8, 512],
        &[Bytes, Length, Bytes, Length, Answer(4, 16)],
    ),
];

/// Whether the arguments keep the canonical ABI (component-model, CanonicalABI.md) in a memory of 128 KiB, and hand over no more than
/// 64 KiB at once.
fn are_kept(arguments: &[i32], kinds: &[Kind]) -> bool {
    const MEMORY: u64 = 131_072;
    let number = |at: usize| u64::from(arguments[at].cast_unsigned());
    kinds.iter().enumerate().all(|(at, kind)| match *kind {
        Free | Length => true,
        Case(count) => number(at) < u64::from(count),
        Bytes => number(at + 1) <= 65_536 && number(at) + number(at + 1) <= MEMORY,
        Answer(align, size) => number(at) % u64::from(align) == 0 && number(at) + u64::from(size) <= MEMORY,
    })
}

/// Every function of the host, with addresses, lengths and cases that a guest can lie about: what does not keep the ABI ends the
/// call, what keeps it is a call like another.
// R21, R22
#[tokio::test]
async fn no_argument_of_an_import_harms() {
    let host = small_host();
    let good = load(&host, "good");
    let lies = [
        -1,
        -4,
        -8,
        -65536,
        i32::MIN,
        i32::MAX,
        i32::MAX - 3,
        131_072,
        131_071,
        131_069,
        1,
        3,
        0,
        1 << 20,
    ];
    let (mut denied, mut wrong) = (0, Vec::new());
    for (function, honest, kinds) in FUNCTIONS {
        for place in 0..honest.len() {
            for lie in lies {
                let mut arguments = honest.to_vec();
                arguments[place] = lie;
                let parameters = "i32 ".repeat(arguments.len());
                let rule = calling(function, &parameters, &constants(&arguments), "");
                let outcome = outcome(&loaded(&host, &rule), 0).await;
                let kept = are_kept(&arguments, kinds);
                denied += usize::from(!kept);
                if word(&outcome) != if kept { "allowed" } else { "bad_output" } {
                    wrong.push(format!("{function}{arguments:?}, kept {kept}: {outcome:?}"));
                }
            }
        }
        let next = good.evaluate(&token(vec![], vec![])).await;
        assert!(next.is_ok(), "after {function}: {next:?}");
    }
    println!("{denied} denied");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(denied >= 200);
}

/// The same call without end, of each import, and one digest too large: ended by the bounds, not by luck.
// R21, R22
#[tokio::test]
async fn floods_of_imports_end() {
    let host = small_host();
    let good = load(&host, "good");
    for (function, arguments) in [
        ("log", &[2, 64, 3][..]),
        ("get", &[64, 3, 512]),
        ("sha256", &[64, 3, 512]),
        ("sha384", &[64, 3, 512]),
        ("sha512", &[0, 65_536, 512]),
        ("increment", &[64, 3, 60, 512]),
        ("increment", &[64, 0, 0, 512]),
        ("lookup-get", &[0, 5, 16, 3, 512]),
        ("prefix", &[32, 4, 48, 8, 512]),
    ] {
        let parameters = "i32 ".repeat(arguments.len());
        let arguments = constants(arguments);
        let rule = calling(function, &parameters, "", "").replace(
            "(call $call )",
            &format!("(loop $again (call $call {arguments}) (br $again))"),
        );
        // Long enough for as many calls as there may be, on any machine.
        let mut source = granted("flood", &rule);
        source.deadline = std::time::Duration::from_millis(100);
        let outcome = outcome(&host.load(source).unwrap(), 0).await;
        assert_eq!(word(&outcome), "trap", "{function}: {outcome:?}");
        let next = good.evaluate(&token(vec![], vec![])).await;
        assert!(next.is_ok(), "after {function}: {next:?}");
    }
    let rule = calling("sha256", "i32 i32 i32", &constants(&[0, 65_537, 512]), "");
    let too_large = outcome(&loaded(&host, &rule), 0).await;
    assert_eq!(word(&too_large), "bad_output");
    assert!(
        format!("{too_large:?}").contains("too much data is being copied"),
        "{too_large:?}"
    );
}
