//! Too large, too many, too deep: what costs the host far more than its author, or would.

use super::Case;
use crate::support::{component, text};

/// A component around one core module, which is instantiated.
fn module(name: &str, body: &str, expected: &str) -> Case {
    let text = format!("(component (core module $m {body}) (core instance (instantiate $m)))");
    Case::new(name, &text, expected)
}

/// A component whose memory and allocator these are.
fn memory_of(name: &str, body: &str, expected: &str) -> Case {
    let allocator = "(func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 65536))";
    Case::new(name, &format!("(core module $memory {body} {allocator})"), expected)
}

fn rule(name: &str, fields: &str, body: &str, expected: &str) -> Case {
    let text = format!(
        "(core module $rule (import \"host\" \"memory\" (memory 1)) {fields}
           (func (export \"evaluate\") (param i32) (result i32) {body} (i32.const 1024)))"
    );
    Case::new(name, &text, expected)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = padded();
    let invalid = "load: not a valid component";
    let memory = "load: does not start: the plugin ran out of memory";
    let i32s = |count| "i32 ".repeat(count);
    cases.extend([
        module("1,001 parameters", &format!("(func (param {}))", i32s(1001)), invalid),
        module(
            "1,001 results",
            &format!("(func (result {}) unreachable)", i32s(1001)),
            invalid,
        ),
        module("50,001 locals", &format!("(func (local {}))", i32s(50_001)), invalid),
        module("100,001 segments of data", &"(data)".repeat(100_001), invalid),
        module("100,001 segments of entries", &"(elem func)".repeat(100_001), invalid),
        module("101 tables", &"(table 1 funcref)".repeat(101), invalid),
        module(
            "5 tables",
            &"(table 1 funcref)".repeat(5),
            "load: exceeds the per-instance limit of 4",
        ),
        module(
            "2 memories",
            "(memory 1) (memory 1)",
            "load: exceeds the per-instance limit of 1",
        ),
        module(
            "a name of 100,001 bytes",
            &format!("(func (export \"{}\"))", "n".repeat(100_001)),
            invalid,
        ),
        module(
            "a name that is exported twice",
            "(func (export \"a\")) (func (export \"a\"))",
            invalid,
        ),
        module("a memory of 4 GiB", "(memory 65536)", "load: not a valid component"),
        memory_of("a memory of 64 MiB", "(memory (export \"memory\") 1024)", memory),
        memory_of(
            "a memory of a page too many",
            "(memory (export \"memory\") 257)",
            memory,
        ),
        memory_of(
            "data at the end of 64 MiB",
            "(memory (export \"memory\") 1024) (data (i32.const 67108860) \"bomb\")",
            memory,
        ),
        module("a shared memory", "(memory 1 1 shared)", invalid),
        module("a memory of 64 bits", "(memory i64 1)", invalid),
        module(
            "a table of 10,001",
            "(table 10001 funcref)",
            "load: exceeds the limit of 10000",
        ),
        module(
            "a table of 2^32 - 1",
            "(table 0xffffffff funcref)",
            "load: exceeds the limit of 10000",
        ),
        module("a table of 64 bits", "(table i64 1 funcref)", invalid),
        module("garbage collection", "(type (struct (field i32)))", invalid),
        module("an exception", "(tag)", invalid),
        module("a tail call", "(func $f (return_call $f))", invalid),
        module(
            "relaxed SIMD",
            "(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))",
            invalid,
        ),
        module(
            "an atomic",
            "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
            invalid,
        ),
        module(
            "a start function that takes",
            "(func $f (param i32)) (start $f)",
            invalid,
        ),
        module(
            "a mutable constant",
            "(global $g (mut i32) (i32.const 0)) (global i32 (global.get $g))",
            invalid,
        ),
    ]);
    cases.extend(nested());
    cases.extend(many());
    cases
}

/// An honest component, made larger than one may be, and made of the same bytes again and again.
fn padded() -> Vec<Case> {
    let good = component(&text("good"));
    let mut padded = good.clone();
    padded.resize((32 << 20) + 1, 0);
    let mut twice = good.clone();
    twice.extend_from_slice(&good);
    let mut zeros = good.clone();
    zeros.resize(good.len() + 1024, 0);
    // A custom section that says it is 4 GiB, and a module that says so.
    let (mut custom, mut inner) = (good.clone(), good);
    custom.extend_from_slice(b"\0\xff\xff\xff\xff\x0f\x01x");
    inner.extend_from_slice(b"\x01\xff\xff\xff\xff\x0f\0asm\x01\0\0\0");
    let case = |name: &str, wasm: Vec<u8>, expected: &str| Case {
        name: name.to_owned(),
        wasm,
        expected: expected.to_owned(),
    };
    vec![
        case("32 MiB and a byte", padded, "load: more than 33554432"),
        case("a component twice", twice, "load: not a valid component"),
        case("a component and zeros", zeros, "load: not a valid component"),
        case("a section of 4 GiB", custom, "load: not a valid component"),
        case("a module of 4 GiB", inner, "load: not a valid component"),
    ]
}

fn nested() -> Vec<Case> {
    let deep = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let mut types = String::from("(type $t0 (tuple u8 u8))");
    let mut lists = String::from("(type $t0 (list u8))");
    for level in 1..=150 {
        let before = level - 1;
        lists += &format!("(type $t{level} (list $t{before}))");
        if level <= 40 {
            types += &format!("(type $t{level} (tuple $t{before} $t{before}))");
        }
    }
    let log = "(import \"signet:rule/log@1.1.0\" (instance (export \"log\" (func (param \"a\" $t)))))";
    vec![
        rule(
            "3,000 blocks in one another",
            "",
            &format!("{} unreachable {}", "block ".repeat(3000), "end ".repeat(3000)),
            "trap",
        ),
        rule(
            "1,000 loops in one another",
            "",
            &format!("{} br 999 {}", "loop ".repeat(1000), "end ".repeat(1000)),
            "timeout",
        ),
        rule(
            "a table of 50,000 branches",
            "",
            &format!(
                "(block $b (br_table {} (i32.const 7))) unreachable",
                "$b ".repeat(50_000)
            ),
            "trap",
        ),
        rule(
            "recursion with 10,000 locals",
            &format!(
                "(func $f (param i64) (result i64) (local {}) {} (i64.add (call $f (local.get 0)) (local.get 5000)))",
                "i64 ".repeat(10_000),
                (1..200)
                    .map(|at| format!("(local.set {at} (i64.add (local.get 0) (i64.const {at})))"))
                    .collect::<String>()
            ),
            "(drop (call $f (i64.const 1)))",
            "trap",
        ),
        Case::new(
            "a type that doubles 40 times",
            &format!("(component {types})"),
            "load: not a valid component",
        ),
        Case::new(
            "a type 150 deep",
            &format!("(component {lists} {})", log.replace("$t", "$t150")),
            "load: type nesting is too deep",
        ),
        Case::new(
            "components 80 deep",
            &deep("(component ", ")", 80),
            "load: it exports no function",
        ),
    ]
}

fn many() -> Vec<Case> {
    let calls = (1..2000)
        .map(|at| format!("(func $f{at} (call $f{}))", at - 1))
        .collect::<String>();
    let imports = (0..5000)
        .map(|at| format!("(import \"x{at}\" (func))"))
        .collect::<String>();
    let core = |count| "(core instance (instantiate $m))".repeat(count);
    let component =
        |name: &str, body: String, expected: &str| Case::new(name, &format!("(component {body})"), expected);
    vec![
        rule(
            "2,000 functions to a trap",
            &format!("(func $f0 unreachable) {calls}"),
            "(call $f1999)",
            "trap",
        ),
        rule(
            "2,000 globals and a trap",
            &"(global (mut i64) (i64.const 7))".repeat(2000),
            "unreachable",
            "trap",
        ),
        rule(
            "a mebibyte of data, again and again",
            &format!("(data $d \"{}\")", "d".repeat(1 << 20)),
            "(drop (memory.grow (i32.const 16)))
             (loop $l (memory.init $d (i32.const 131072) (i32.const 0) (i32.const 65536)) (br $l))",
            "timeout",
        ),
        rule(
            "10,000 pieces of data, the last beyond memory",
            &((0..10_000)
                .map(|at| format!("(data (i32.const {}) \"x\")", 2048 + at * 4))
                .collect::<String>()
                + "(data (i32.const 131072) \"x\")"),
            "",
            "load: does not start: the plugin trapped",
        ),
        component(
            "5,000 imports",
            imports,
            "load: imports `x0`, which plugins do not have",
        ),
        component(
            "65 instances",
            "(core module $m)".to_owned() + &core(65),
            "load: contains 65 core module instances",
        ),
        component(
            "1,001 instances",
            "(core module $m)".to_owned() + &core(1001),
            "load: instances count exceeds limit of 1000",
        ),
        component(
            "1,001 modules",
            "(core module)".repeat(1001),
            "load: not a valid component",
        ),
        component(
            "1,001 components",
            "(component)".repeat(1001),
            "load: not a valid component",
        ),
        component(
            "5 tables in two modules",
            "(core module $m (table 1 funcref) (table 1 funcref) (table 1 funcref))".to_owned() + &core(2),
            "load: contains 6",
        ),
        component(
            "5 memories in five modules",
            "(core module $m (memory 1))".to_owned() + &core(5),
            "load: contains 5 Wasm linear memories",
        ),
    ]
}
