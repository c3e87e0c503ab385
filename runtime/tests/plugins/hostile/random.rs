//! Random rules. A seeded generator writes valid code of all that the host accepts: numbers, memory, tables, calls, loops and the
//! imports; what it does is left to chance.

use crate::support::{component, load, small_host, text, token};
use runtime::PluginSource;

/// Rules of one run. Each is compiled, which is what the test costs.
const RULES: usize = 150;
/// As long as nothing else is asked for by `SIGNET_SEED`, every run makes the same rules.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

const TYPES: [&str; 4] = ["i32", "i64", "f32", "f64"];
const FUNCTIONS: u64 = 4;
const CONSTANTS: [i64; 12] = [
    0,
    1,
    2,
    7,
    -1,
    255,
    1024,
    65_535,
    65_536,
    131_072,
    i32::MAX as i64,
    i32::MIN as i64,
];

/// An expression of one type. Locals 0 to 3 of each function are of the four types.
fn expression(random: &mut Random, of: &str, depth: u32) -> String {
    let local = TYPES.iter().position(|one| *one == of).unwrap();
    if depth == 0 || random.below(5) == 0 {
        return match random.below(3) {
            0 => format!("(local.get {local})"),
            1 => format!("(global.get $g{local})"),
            _ => format!("({of}.const {})", random.pick(&CONSTANTS)),
        };
    }
    let inner = |random: &mut Random, of: &str| expression(random, of, depth - 1);
    let (one, two) = (inner(random, of), inner(random, of));
    match random.below(8) {
        0 => format!("({of}.load offset={} {})", random.below(9) * 4096, inner(random, "i32")),
        1 if of == "i32" => format!("(i32.lt_s {one} {two})"),
        1 if of == "i64" => format!("(i64.extend_i32_s {})", inner(random, "i32")),
        1 => format!("({of}.convert_i64_s {})", inner(random, "i64")),
        2 if of == "i32" || of == "i64" => {
            let from = random.pick(&["f32", "f64"]);
            format!("({of}.trunc_{from}_s {})", inner(random, from))
        }
        2 => format!("({of}.sqrt {one})"),
        3 if of == "i32" => format!("(memory.grow {one})"),
        3 => format!("(select {one} {two} {})", inner(random, "i32")),
        4 if of == "i32" => {
            let callee = random.below(FUNCTIONS);
            format!("(call $f{callee} {one} {})", inner(random, "i64"))
        }
        5 if of == "i32" => format!("(call_indirect $t (type $f) {one} {} {two})", inner(random, "i64")),
        6 if of == "i32" || of == "i64" => format!("({of}.{} {one} {two})", random.pick(&["div_s", "rem_u", "shl"])),
        _ => format!("({of}.{} {one} {two})", random.pick(&["add", "sub", "mul"])),
    }
}

fn statement(random: &mut Random, depth: u32) -> String {
    let of = random.pick(&TYPES);
    let place = TYPES.iter().position(|one| *one == of).unwrap();
    let value = expression(random, of, 3);
    let number = |random: &mut Random| expression(random, "i32", 2);
    match random.below(if depth == 0 { 6 } else { 9 }) {
        0 | 1 => format!("(local.set {place} {value})"),
        2 => format!("(global.set $g{place} {value})"),
        3 => format!("({of}.store {} {value})", number(random)),
        4 => format!(
            "(call $log (i32.const {}) {} {})",
            random.below(6),
            number(random),
            number(random)
        ),
        5 => {
            let (at, with, length) = (number(random), number(random), number(random));
            random
                .pick(&[
                    "(memory.fill A B C)",
                    "(memory.copy A B C)",
                    "(table.set $t A (ref.func $f0))",
                ])
                .replace('A', &at)
                .replace('B', &with)
                .replace('C', &length)
        }
        6 => format!("(if {} (then {}))", number(random), statement(random, depth - 1)),
        7 => format!("(call $get {} {} {})", number(random), number(random), number(random)),
        _ => format!(
            "(loop $l {} (br_if $l {}))",
            statement(random, depth - 1),
            number(random)
        ),
    }
}

fn rule(random: &mut Random) -> String {
    let functions: String = (0..FUNCTIONS)
        .map(|index| {
            let statements: String = (0..random.below(4)).map(|_| statement(random, 2)).collect();
            let answer = expression(random, "i32", 3);
            format!("(func $f{index} (type $f) (local f32 f64) {statements} {answer})\n")
        })
        .collect();
    let answer = expression(random, "i32", 2);
    let answer = random.pick(&["(i32.const 1024)", answer.as_str()]).to_owned();
    let start = random.pick(&["", "", "", "(start $s)"]);
    format!(
        r#"(core module $rule
      (import "host" "memory" (memory 1))
      (import "host" "log" (func $log (param i32 i32 i32)))
      (import "host" "get" (func $get (param i32 i32 i32)))
      (type $f (func (param i32 i64) (result i32)))
      (table $t 8 funcref) (elem (i32.const 0) $f0 $f1 $f2 $f3)
      (global $g0 (mut i32) (i32.const 1)) (global $g1 (mut i64) (i64.const -1))
      (global $g2 (mut f32) (f32.const 0.5)) (global $g3 (mut f64) (f64.const nan))
      {functions}
      (func $s (drop (call $f0 (i32.const 0) (i64.const 0))))
      {start}
      (func (export "evaluate") (param i32) (result i32) (local i64 f32 f64)
        (drop (call $f3 (local.get 0) (i64.const 1))) {answer}))"#
    )
}

pub(super) async fn run() {
    let seed = std::env::var("SIGNET_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(SEED).max(1);
    println!("SIGNET_SEED={seed}");
    let (host, mut random, mut loaded) = (small_host(), Random(seed), 0);
    let good = load(&host, "good");
    for number in 0..RULES {
        let rule = rule(&mut random);
        match host.load(PluginSource::new(format!("random {number}"), component(&rule))) {
            Ok(plugin) => {
                loaded += 1;
                for _ in 0..3 {
                    // Any outcome will do but one that is ours.
                    let outcome = plugin.evaluate(&token(vec![], vec![])).await;
                    let panicked = plugin
                        .metrics()
                        .host_panicked
                        .load(std::sync::atomic::Ordering::Relaxed);
                    assert_eq!(panicked, 0, "{outcome:?}\n{rule}");
                }
            }
            Err(error) => assert!(
                matches!(error.reason, runtime::LoadFailure::DoesNotStart(_)),
                "{error}\n{rule}"
            ),
        }
        let next = good.evaluate(&token(vec![], vec![])).await;
        assert!(next.is_ok(), "after {number}: {next:?}\n{rule}");
    }
    println!("{loaded} of {RULES} could be loaded");
    assert!(loaded >= RULES / 4, "{loaded}");
    assert!(
        load(&host, "good").evaluate(&token(vec![], vec![])).await.is_ok(),
        "{}",
        text("good")
    );
}
