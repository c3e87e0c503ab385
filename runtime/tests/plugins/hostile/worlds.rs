//! Components that are not of the world: every interface in a version that is not served, every type of the contract changed
//! in one place, and what a rule must not import or fails to export.

use super::Case;
use crate::support::{folder, text};

/// What a component may import by no name at all, and what the WASI worlds have.
const FOREIGN: [&str; 18] = [
    "wasi:cli/environment@0.2.0",
    "wasi:cli/exit@0.2.0",
    "wasi:cli/stdin@0.2.0",
    "wasi:cli/stdout@0.2.0",
    "wasi:clocks/monotonic-clock@0.2.0",
    "wasi:clocks/wall-clock@0.2.0",
    "wasi:filesystem/preopens@0.2.0",
    "wasi:filesystem/types@0.2.0",
    "wasi:http/outgoing-handler@0.2.0",
    "wasi:io/streams@0.2.0",
    "wasi:random/random@0.2.0",
    "wasi:sockets/tcp@0.2.0",
    "wasi:keyvalue/store@0.2.0",
    "signet:rule/exec@1.0.0",
    "signet:rule/sign@1.1.0",
    "signet:rules/log@1.0.0",
    "other:rule/log@1.0.0",
    "signet:rule/log",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let (memory, rule) = (text("memory"), text("good"));
    let whole = |world: &str| world.replace("{{memory}}", &memory).replace("{{rule}}", &rule);
    let newest = std::fs::read_to_string(folder().join("../world/1.1.0.wat")).unwrap();
    versions(&mut cases, "1.0.0", &whole(&text("world")));
    versions(&mut cases, "1.1.0", &whole(&newest));
    versions(&mut cases, "1.2.0", &whole(&newest.replace("@1.1.0", "@1.2.0")));
    changes(&mut cases, &whole(&newest));
    for import in FOREIGN {
        let component = format!("(component (import \"{import}\" (instance)))");
        cases.push(Case::new(
            format!("imports {import}"),
            &component,
            format!("load: imports `{import}`, which plugins do not have"),
        ));
    }
    exports(&mut cases);
    cases
}

fn versions(cases: &mut Vec<Case>, world: &str, whole: &str) {
    for interface in ["types", "log", "config", "digest", "counter", "lookup"] {
        let import = format!("\"signet:rule/{interface}@{world}\"");
        if !whole.contains(&import) {
            continue;
        }
        for version in [
            "0.9.0",
            "1.0.1",
            "1.2.1",
            "1.3.0",
            "1.99.0",
            "2.0.0",
            "11.0.0",
            "1.0.0-rc.1",
            "1.2.0-rc.1",
        ] {
            let other = format!("signet:rule/{interface}@{version}");
            let text = whole.replace(&import, &format!("\"{other}\""));
            let expected = format!("load: imports `{other}`, which plugins do not have");
            cases.push(Case::new(format!("{interface} {version} for {world}"), &text, expected));
        }
    }
    for interface in ["digest", "counter", "lookup"] {
        let text = whole.replace(
            &format!("signet:rule/{interface}@1.1.0"),
            &format!("signet:rule/{interface}@1.0.0"),
        );
        if text != whole {
            let expected = format!("load: imports `signet:rule/{interface}@1.0.0`");
            cases.push(Case::new(format!("{interface} before there was one"), &text, expected));
        }
    }
}

/// One place of the contract changed: the name of a field, of a case or of a function, a type, a parameter.
fn changes(cases: &mut Vec<Case>, whole: &str) {
    let mut change = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}");
        let name = format!("{to} for {from}");
        cases.push(Case::new(
            name,
            &whole.replace(from, to),
            "load: does not implement the world",
        ));
    };
    for field in [
        "profile",
        "key",
        "format",
        "tenant",
        "caller",
        "payload",
        "time",
        "request-id",
        "trace-id",
        "source-address",
        "protocol",
        "id",
        "kind",
        "issuer",
        "attributes",
        "subject",
        "audience",
        "lifetime",
        "claims",
        "form",
        "algorithm",
        "digest",
        "lifetime-cap",
        "code",
        "message",
    ] {
        change(&format!("(field \"{field}\""), &format!("(field \"{field}-x\""));
    }
    for case in ["text", "int", "float", "boolean", "texts", "json", "token", "artifact"] {
        change(&format!("(case \"{case}\""), &format!("(case \"{case}-x\""));
    }
    for (from, to) in [
        ("(field \"time\" u64)", "(field \"time\" s64)"),
        ("(field \"time\" u64)", "(field \"time\" u32)"),
        ("(field \"lifetime\" u32)", "(field \"lifetime\" u64)"),
        (
            "(field \"lifetime-cap\" (option u32))",
            "(field \"lifetime-cap\" (option s32))",
        ),
        ("(field \"trace-id\" (option string))", "(field \"trace-id\" string)"),
        ("(field \"audience\" (list string))", "(field \"audience\" string)"),
        ("(field \"digest\" (list u8))", "(field \"digest\" (list s8))"),
        ("(case \"int\" s64)", "(case \"int\" s32)"),
        ("(case \"float\" f64)", "(case \"float\" f32)"),
        ("(case \"json\" string)))", "(case \"json\" string) (case \"more\")))"),
        ("(case \"int\" s64) ", ""),
        ("(enum \"digest\" \"message\")", "(enum \"message\" \"digest\")"),
        ("(enum \"http1\" \"http2\" \"http3\")", "(enum \"http1\" \"http2\")"),
        (
            "(enum \"http1\" \"http2\" \"http3\")",
            "(enum \"http1\" \"http2\" \"http3\" \"http4\")",
        ),
        ("(enum \"trace\" \"debug\"", "(enum \"debug\" \"trace\""),
        ("(enum \"full\" \"out-of-bounds\")", "(enum \"full\")"),
        ("(enum \"no-such-table\" \"wrong-kind\"", "(enum \"no-such-table\""),
        (
            "(param \"level\" $level) (param \"message\" string)",
            "(param \"level\" $level) (param \"message\" u32)",
        ),
        (
            "(param \"level\" $level) (param \"message\" string)",
            "(param \"message\" string)",
        ),
        (
            "(param \"level\" $level) (param \"message\" string)",
            "(param \"level\" u32) (param \"message\" string)",
        ),
        (
            "(param \"name\" string) (result (option $value))",
            "(param \"name\" string) (result $value)",
        ),
        (
            "(param \"name\" string) (result (option $value))",
            "(param \"name\" (list u8)) (result (option $value))",
        ),
        (
            "(param \"data\" (list u8)) (result (list u8))",
            "(param \"data\" (list u8)) (result string)",
        ),
        (
            "(param \"data\" (list u8)) (result (list u8))",
            "(param \"data\" string) (result (list u8))",
        ),
        (
            "(param \"key\" string) (param \"window-seconds\" u32)",
            "(param \"key\" string) (param \"window-seconds\" u64)",
        ),
        (
            "(param \"key\" string) (param \"window-seconds\" u32)",
            "(param \"key\" u32) (param \"window-seconds\" u32)",
        ),
        ("(result (result u32 (error $problem)))", "(result u32)"),
        (
            "(param \"table\" string) (param \"key\" string)",
            "(param \"table\" u32) (param \"key\" string)",
        ),
        (
            "(param \"table\" string) (param \"address\" string)",
            "(param \"table\" string) (param \"address\" u32)",
        ),
    ] {
        change(from, to);
    }
    for interface in ["log", "config", "digest", "counter", "lookup"] {
        let from = format!("\"signet:rule/{interface}@1.1.0\" (instance ${interface}");
        change(&from, &format!("{from} (export \"more\" (func))"));
    }
}

fn exports(cases: &mut Vec<Case>) {
    const FUNCTION: &str = "(core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i \"f\")))";
    let mut export = |name: &str, text: &str, expected: &str| {
        cases.push(Case::new(
            format!("exports {name}"),
            &format!("(component {text})"),
            format!("load: {expected}"),
        ));
    };
    let wrong = "does not implement the world";
    export(
        "nothing but another",
        &format!("{FUNCTION} (export \"decide\" (func $f))"),
        wrong,
    );
    export(
        "in another case",
        &format!("{FUNCTION} (export \"evaluated\" (func $f))"),
        wrong,
    );
    export(
        "a function of nothing",
        &format!("{FUNCTION} (export \"evaluate\" (func $f))"),
        wrong,
    );
    export(
        "it in an instance",
        &format!(
            "{FUNCTION} (instance $w (export \"evaluate\" (func $f))) (export \"signet:rule/rule@1.0.0\" (instance $w))"
        ),
        wrong,
    );
    export(
        "an instance",
        &format!("{FUNCTION} (instance $w (export \"evaluate\" (func $f))) (export \"evaluate\" (instance $w))"),
        wrong,
    );
    export(
        "a component",
        "(component $c) (export \"evaluate\" (component $c))",
        "exporting a component from the root component is not supported",
    );
    export(
        "a module",
        "(core module $m) (export \"evaluate\" (core module $m))",
        wrong,
    );
    export("a type", "(type $t u32) (export \"evaluate\" (type $t))", wrong);
    for result in ["u32", "string", "bool", "(result)", "(list u8)", "(option string)"] {
        let text = format!(
            "(core module $m (memory (export \"m\") 1) (func (export \"f\") (result i32) (i32.const 0)))
             (core instance $i (instantiate $m))
             (func (export \"evaluate\") (result {result}) (canon lift (core func $i \"f\") (memory (core memory $i \"m\"))))"
        );
        export(&format!("one that answers {result}"), &text, wrong);
    }
    for parameter in ["u32", "s32", "bool", "char"] {
        let text = format!(
            "(core module $m (func (export \"f\") (param i32))) (core instance $i (instantiate $m))
             (func (export \"evaluate\") (param \"request\" {parameter}) (canon lift (core func $i \"f\")))"
        );
        export(&format!("one that takes {parameter}"), &text, wrong);
    }
}
