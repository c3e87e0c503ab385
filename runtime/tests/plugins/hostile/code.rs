//! Code that does not end well: each body stands in `evaluate`, in a start function and in the allocator.

use super::Case;

/// What both modules have. Of the table, entry 0 is null and entry 1 is of another type than `$nothing`.
const AROUND: &str = r#"
  (type $nothing (func))
  (table $t 4 funcref)
  (elem (i32.const 1) $other)
  (elem $functions func $other)
  (data $bytes "1234")
  (global $zero (mut i32) (i32.const 0))
  (func $other (param i32) (result i32) (local.get 0))
  (func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))
  (func $large (param i64 f64) (result i64) (local i64 i64 i64 i64 i64 i64 i64 i64)
    (i64.add (call $large (local.get 2) (local.get 1)) (local.get 0)))
"#;

/// The honest allocator, of which the lying ones are changed.
const BUMP: &str = r#"
  (global $next (mut i32) (i32.const 65536))
  (func $bump (param $align i32) (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
"#;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, body, expected) in bodies() {
        let function = format!("(func $bad {body})");
        let honest = "(i32.const 1024)";
        let rule = |then: &str| {
            format!("(core module $rule (import \"host\" \"memory\" (memory 1)) {AROUND} {function} {then})")
        };
        let called = rule(&format!(
            "(func (export \"evaluate\") (param i32) (result i32) (call $bad) {honest})"
        ));
        let started = rule(&format!(
            "(start $bad) (func (export \"evaluate\") (param i32) (result i32) {honest})"
        ));
        let allocator = format!(
            "(core module $memory (memory (export \"memory\") 2) {AROUND} {BUMP} {function}
             (func (export \"realloc\") (param i32 i32 i32 i32) (result i32)
               (call $bad) (call $bump (local.get 2) (local.get 3))))"
        );
        let at_start = match expected {
            "timeout" => "load: does not start: the plugin ran out of time",
            "memory" => "load: does not start: the plugin ran out of memory",
            _ => "load: does not start: the plugin trapped",
        };
        cases.push(Case::new(format!("{name}, started"), &started, at_start));
        cases.push(Case::new(format!("{name}, to allocate"), &allocator, expected));
        cases.push(Case::new(name, &called, expected));
    }
    for (name, body) in instructions() {
        let rule = format!(
            "(core module $rule (import \"host\" \"memory\" (memory 1))
             (func (export \"evaluate\") (param i32) (result i32) {body} (i32.const 1024)))"
        );
        cases.push(Case::new(name, &rule, "trap"));
    }
    cases.extend(allocators());
    cases
}

fn bodies() -> Vec<(String, String, &'static str)> {
    let mut bodies: Vec<(String, String, &'static str)> = Vec::new();
    let mut add = |name: &str, body: &str, expected| bodies.push((name.to_owned(), body.to_owned(), expected));
    for (name, body) in [
        ("unreachable code", "unreachable"),
        ("recursion without end", "(drop (call $deep (i32.const 1)))"),
        (
            "recursion with large frames",
            "(drop (call $large (i64.const 1) (f64.const 1)))",
        ),
        (
            "a call of null",
            "(call_indirect $t (type $nothing) (global.get $zero))",
        ),
        (
            "a call of another type",
            "(call_indirect $t (type $nothing) (i32.const 1))",
        ),
        (
            "a call beyond the table",
            "(call_indirect $t (type $nothing) (i32.const 4))",
        ),
        (
            "a call far beyond the table",
            "(call_indirect $t (type $nothing) (i32.const -1))",
        ),
        (
            "a fill beyond memory",
            "(memory.fill (i32.const 131071) (i32.const 1) (i32.const 2))",
        ),
        (
            "a copy beyond memory",
            "(memory.copy (i32.const 0) (i32.const 1) (i32.const -1))",
        ),
        (
            "a copy from beyond memory",
            "(memory.copy (i32.const 0) (i32.const 131072) (i32.const 1))",
        ),
        (
            "data beyond its segment",
            "(memory.init $bytes (i32.const 0) (i32.const 1) (i32.const 4))",
        ),
        (
            "data of a dropped segment",
            "(data.drop $bytes) (memory.init $bytes (i32.const 0) (i32.const 0) (i32.const 4))",
        ),
        ("an entry beyond the table", "(drop (table.get $t (i32.const 4)))"),
        (
            "an entry set beyond the table",
            "(table.set $t (i32.const 4) (ref.null func))",
        ),
        (
            "a fill beyond the table",
            "(table.fill $t (i32.const 3) (ref.null func) (i32.const 2))",
        ),
        (
            "a copy beyond the table",
            "(table.copy $t $t (i32.const 0) (i32.const 2) (i32.const 3))",
        ),
        (
            "entries beyond their segment",
            "(table.init $t $functions (i32.const 0) (i32.const 0) (i32.const 2))",
        ),
    ] {
        add(name, body, "trap");
    }
    for (name, body) in [
        ("a loop", "(loop $l (br $l))"),
        ("two loops", "(loop $a (loop $b (br_if $b (global.get $zero)) (br $a)))"),
        ("a loop by table", "(loop $l (br_table $l $l $l (global.get $zero)))"),
        (
            "a loop of calls",
            "(loop $l (drop (call $other (i32.const 1))) (br $l))",
        ),
        (
            "a loop of indirect calls",
            "(loop $l (drop (call_indirect $t (param i32) (result i32) (i32.const 1) (i32.const 1))) (br $l))",
        ),
        (
            "a loop of fills",
            "(loop $l (memory.fill (i32.const 32768) (i32.const 1) (i32.const 4096)) (br $l))",
        ),
        (
            "a loop of copies",
            "(loop $l (memory.copy (i32.const 32768) (i32.const 40000) (i32.const 4096)) (br $l))",
        ),
        (
            "a loop of fills of the table",
            "(loop $l (table.fill $t (i32.const 2) (ref.null func) (i32.const 2)) (br $l))",
        ),
        (
            "a loop that grows by nothing",
            "(loop $l (drop (memory.grow (i32.const 0))) (br $l))",
        ),
        (
            "a loop that grows a table by nothing",
            "(loop $l (drop (table.grow $t (ref.null func) (i32.const 0))) (br $l))",
        ),
        (
            "a loop of divisions",
            "(local i64) (loop $l (local.set 0 (i64.div_u (i64.const -1) (i64.or (local.get 0) (i64.const 1)))) (br $l))",
        ),
        (
            "a loop of roots",
            "(local f64) (loop $l (local.set 0 (f64.sqrt (f64.add (local.get 0) (f64.const 2)))) (br $l))",
        ),
    ] {
        add(name, body, "timeout");
    }
    for (name, grow) in [
        ("memory by the page", "(memory.grow (i32.const 1))"),
        ("memory by the mebibyte", "(memory.grow (i32.const 16))"),
        ("memory at once", "(memory.grow (i32.const 60000))"),
        (
            "a table by the hundred",
            "(table.grow $t (ref.null func) (i32.const 100))",
        ),
        ("a table at once", "(table.grow $t (ref.null func) (i32.const 1000000))"),
        ("a table by 2^32 - 1", "(table.grow $t (ref.null func) (i32.const -1))"),
    ] {
        let body = format!("(loop $l (br_if $l (i32.ne {grow} (i32.const -1)))) unreachable");
        add(name, &body, "memory");
    }
    bodies
}

/// Every instruction that can trap on what it is given.
fn instructions() -> Vec<(String, String)> {
    let mut cases = Vec::new();
    for of in ["i32", "i64"] {
        for operation in ["div_s", "div_u", "rem_s", "rem_u"] {
            let body = format!("(local {of}) (drop ({of}.{operation} ({of}.const 1) (local.get 1)))");
            cases.push((format!("{of}.{operation} by zero"), body));
        }
        let least = if of == "i32" {
            "0x80000000"
        } else {
            "0x8000000000000000"
        };
        let body = format!("(drop ({of}.div_s ({of}.const {least}) ({of}.const -1)))");
        cases.push((format!("{of}.div_s that overflows"), body));
        for from in ["f32", "f64"] {
            for sign in ["s", "u"] {
                for value in ["nan", "inf", "-inf", "1e30"] {
                    let body = format!("(drop ({of}.trunc_{from}_{sign} ({from}.const {value})))");
                    cases.push((format!("{of}.trunc_{from}_{sign} of {value}"), body));
                }
            }
        }
    }
    let narrow = ["8_s", "8_u", "16_s", "16_u", "32_s", "32_u"];
    let loads = ["i32", "i64", "f32", "f64", "v128"].map(|of| format!("{of}.load"));
    let loads = loads
        .into_iter()
        .chain(narrow[..4].iter().map(|width| format!("i32.load{width}")))
        .chain(narrow.iter().map(|width| format!("i64.load{width}")));
    for load in loads {
        cases.push((
            format!("{load} beyond memory"),
            format!("(drop ({load} (i32.const 131072)))"),
        ));
        cases.push((
            format!("{load} beyond the address space"),
            format!("(drop ({load} offset=0xffffffff (i32.const -1)))"),
        ));
    }
    for (of, store) in [
        ("i32", "store"),
        ("i32", "store8"),
        ("i32", "store16"),
        ("i64", "store"),
        ("i64", "store8"),
        ("i64", "store16"),
        ("i64", "store32"),
        ("f32", "store"),
        ("f64", "store"),
    ] {
        cases.push((
            format!("{of}.{store} beyond memory"),
            format!("({of}.{store} (i32.const 131072) ({of}.const 1))"),
        ));
    }
    cases
}

/// Allocators that lie about where the request may be written. Null, the answer's own place and an address that overlaps it
/// are within the guest's memory: what it answers is then what was written there.
fn allocators() -> Vec<Case> {
    let allocator = |answer: u32, body: &str| {
        format!(
            "(core module $memory (memory (export \"memory\") 2) {BUMP}
               (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) {body}))
             (core module $rule (func (export \"evaluate\") (param i32) (result i32) (i32.const {answer})))"
        )
    };
    let mut cases = Vec::new();
    for (name, answer, body) in [
        ("null, and the answer there", 0, "(i32.const 0)"),
        ("one pointer, the answer's", 1024, "(i32.const 1024)"),
        ("a pointer that overlaps the answer", 1024, "(i32.const 1016)"),
        (
            "as much as was asked for, at the answer",
            1024,
            "(i32.sub (i32.const 1024) (i32.rem_u (local.get 3) (i32.const 2)))",
        ),
        ("an odd address", 1024, "(i32.const 70001)"),
        ("half aligned", 1024, "(i32.const 70004)"),
        (
            "one byte too late",
            1024,
            "(i32.add (call $bump (local.get 2) (local.get 3)) (i32.const 1))",
        ),
        ("the end of memory", 1024, "(i32.const 131072)"),
        ("the last bytes", 1024, "(i32.const 131064)"),
        ("beyond memory", 1024, "(i32.const 1048576)"),
        ("half the address space", 1024, "(i32.const 0x80000000)"),
        ("the last of the address space", 1024, "(i32.const -8)"),
        ("minus one", 1024, "(i32.const -1)"),
        ("the size", 1024, "(i32.sub (i32.const 131073) (local.get 3))"),
        (
            "well at first, then the end",
            1024,
            "(if (result i32) (i32.gt_u (global.get $next) (i32.const 65900)) (then (i32.const 131072)) (else (call $bump (local.get 2) (local.get 3))))",
        ),
    ] {
        cases.push(Case::new(
            format!("allocates {name}"),
            &allocator(answer, body),
            "bad_output",
        ));
    }
    cases
}
