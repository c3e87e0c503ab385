//! A component that was composed of a rule and a library, each with a memory of its own, runs as one that is linked.

use crate::support::{small_host, text, token, word};
use runtime::PluginSource;

/// How long a text is.
const LIBRARY: &str = r#"
  (component $library'
    (core module $code
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "length") (param i32 i32) (result i32)
        (if (i32.ne (i32.load8_u (local.get 0)) (i32.const 104)) (then unreachable))
        (local.get 1)))
    (core instance $it (instantiate $code))
    (func (export "length") (param "text" string) (result u32)
      (canon lift (core func $it "length") (memory (core memory $it "memory")) (realloc (core func $it "realloc")))))
  (instance $library (instantiate $library'))
"#;

/// Traps unless the library says that `hello` has five bytes.
const RULE: &str = r#"
  (core module $rule
    (import "host" "memory" (memory 1))
    (import "host" "length" (func $length (param i32 i32) (result i32)))
    (data (i32.const 64) "hello")
    (func (export "evaluate") (param i32) (result i32)
      (if (i32.ne (call $length (i32.const 64) (i32.const 5)) (i32.const 5)) (then unreachable))
      (i32.const 1024)))
"#;

/// The rule as a component that imports `length` beside what the world has, within one that has the world's imports, the library and
/// nothing else: what `wac` and its like make.
fn composed() -> String {
    let world = text("world");
    let (imports, _) = world.split_once("{{memory}}").unwrap();
    let rule = world
        .replace("$world", "$rule'")
        .replace(
            "{{memory}}",
            "(import \"length\" (func $length' (param \"text\" string) (result u32))) {{memory}}",
        )
        .replace("{{memory}}", &text("memory"))
        .replace("{{rule}}", RULE)
        .replace(
            "(core instance $host",
            "(core func $length (canon lower (func $length') (memory $mem))) (core instance $host",
        )
        .replace(
            "(export \"log\" (func $log))",
            "(export \"log\" (func $log)) (export \"length\" (func $length))",
        );
    format!(
        r#"{imports} {LIBRARY} {rule}
        (instance $rule (instantiate $rule'
          (with "signet:rule/types@1.0.0" (instance $types)) (with "signet:rule/log@1.0.0" (instance $log))
          (with "signet:rule/config@1.0.0" (instance $config)) (with "length" (func $library "length"))))
        (export "evaluate" (func $rule "evaluate")))"#
    )
}

#[tokio::test]
async fn a_rule_that_is_composed_with_a_library_runs() {
    let source = PluginSource::new("composed", wat::parse_str(composed()).unwrap());
    let plugin = small_host().load(source).unwrap();
    for _ in 0..3 {
        assert_eq!(word(&plugin.evaluate(&token(vec![], vec![])).await), "allowed");
    }
}
