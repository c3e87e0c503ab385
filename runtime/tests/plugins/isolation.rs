//! Nothing of one call is there in the next, and nothing of the host is there at all.

use crate::support::{component, load, once_free, small_host, text, token, word};
use runtime::{Argument, Host, PluginSource, RuleError, Settings, Value};
use std::sync::atomic::Ordering;
use std::time::Duration;

const CANARY: &str = "canary-7f3a91c2d4e8";

/// Leaves marks in memory, a global and a table, and refuses when it finds one.
const REMEMBERS: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (global $seen (mut i32) (i32.const 0))
  (table $t 8 8 funcref)
  (elem declare func $evaluate)
  (data (i32.const 4096) "seen")
  (func $evaluate (export "evaluate") (param i32) (result i32)
    (if (i32.or (i32.or (global.get $seen) (i32.load (i32.const 60000))) (i32.or
          (i32.eqz (ref.is_null (table.get $t (i32.const 5))))
          (i32.or (i32.ne (memory.size) (i32.const 2)) (i32.ne (i32.load (i32.const 4096)) (i32.const 0x6e656573)))))
      (then
        (i32.store8 (i32.const 1024) (i32.const 1))
        (i32.store (i32.const 1028) (i32.const 512))
        (i32.store (i32.const 1032) (i32.const 4))
        (i32.store (i32.const 512) (i32.const 0x6e656573))
        (return (i32.const 1024))))
    (global.set $seen (i32.const 1))
    (table.set $t (i32.const 5) (ref.func $evaluate))
    (i32.store (i32.const 60000) (i32.const 0x1111))
    (i32.store (i32.const 4096) (i32.const 0))
    (drop (memory.grow (i32.const 3)))
    (memory.fill (i32.const 131072) (i32.const 0x5a) (i32.const 65536))
    (i32.const 1024)))"#;

/// Looks for the canary in all the memory it has or can get, and refuses with `seen` when it finds it. Its answer lies
/// at 1024, where no request is ever written.
const SEARCHES: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (local $at i32) (local $end i32)
    (drop (memory.grow (i32.const 30)))
    (local.set $end (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)))
    (loop $again
      (if (i64.eq (i64.load (local.get $at)) (i64.const 0x372d7972616e6163))
        (then
          (i32.store8 (i32.const 1024) (i32.const 1))
          (i32.store (i32.const 1028) (i32.const 512))
          (i32.store (i32.const 1032) (i32.const 4))
          (i32.store (i32.const 512) (i32.const 0x6e656573))
          (return (i32.const 1024))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $at) (local.get $end))))
    (i32.const 1024)))"#;

// R21
#[tokio::test]
async fn state_does_not_last_from_one_call_to_the_next() {
    let host = small_host();
    let plugin = host.load(PluginSource::new("remembers", component(REMEMBERS))).unwrap();
    for call in 0..50 {
        let outcome = plugin.evaluate(&token(vec![], vec![])).await;
        assert_eq!(word(&outcome), "allowed", "call {call}: {outcome:?}");
    }
}

// R21
#[tokio::test]
async fn the_canary_of_one_tenant_is_never_seen_by_the_next() {
    // One slot, so that every call has the memory of the one before; and one page kept, so that both ways of clearing
    // it are used.
    let settings = Settings {
        max_calls: 1,
        max_compilations: 1,
        keep_resident: 65_536,
        ..Settings::default()
    };
    let host = Host::new(settings).unwrap();
    let mut source = PluginSource::new("searches", component(SEARCHES));
    source.deadline = Duration::from_millis(100);
    let searches = host.load(source).unwrap();
    let loops = load(&host, "loop");
    let many = CANARY.repeat(2_000);
    for round in 0..5 {
        let mut first = token(vec![("note", Argument::Text(&many))], vec![]);
        first.tenant = "000000000001";
        let seen = searches.evaluate(&first).await;
        assert_eq!(word(&seen), "refused", "the search finds what is there: {seen:?}");
        assert_eq!(
            word(&loops.evaluate(&first).await),
            "timeout",
            "and one that never gets to tidy up"
        );
        let mut second = token(vec![], vec![]);
        second.tenant = "000000000002";
        let next = searches.evaluate(&second).await;
        assert_eq!(word(&next), "allowed", "round {round}: {next:?}");
    }
}

/// Fills all the memory that a call can get, a table and a global with the canary, then does what `{end}` says.
const FILLS: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (global $g (mut i64) (i64.const 0))
  (table $t 10000 funcref)
  (elem declare func $evaluate)
  (func $evaluate (export "evaluate") (param i32) (result i32)
    (local $at i32) (local $end i32)
    (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (global.set $g (i64.const 0x372d7972616e6163))
    (table.fill $t (i32.const 0) (ref.func $evaluate) (i32.const 10000))
    (local.set $at (i32.const 8192))
    (local.set $end (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)))
    (loop $again
      (i64.store (local.get $at) (i64.const 0x372d7972616e6163))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $again (i32.le_u (local.get $at) (local.get $end))))
    {end}
    (i32.const 1024)))"#;

/// Traps if there is the canary in any memory it can get, in a table as large as one may be, or in a global.
const LOOKS: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (global $g (mut i64) (i64.const 0))
  (table $t 10000 funcref)
  (func (export "evaluate") (param i32) (result i32)
    (local $at i32) (local $end i32)
    (if (i64.ne (global.get $g) (i64.const 0)) (then unreachable))
    (loop $again
      (if (i32.eqz (ref.is_null (table.get $t (local.get $at)))) (then unreachable))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $at) (i32.const 10000))))
    (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (local.set $at (i32.const 0))
    (local.set $end (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)))
    (loop $again
      (if (i64.eq (i64.load (local.get $at)) (i64.const 0x372d7972616e6163)) (then unreachable))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $again (i32.le_u (local.get $at) (local.get $end))))
    (i32.const 1024)))"#;

/// However the call ends that left it: with a verdict, by a trap, at its deadline, or given up by its caller.
// R21
#[tokio::test(flavor = "current_thread")]
async fn a_canary_in_all_memory_tables_and_globals_is_never_seen_again() {
    for keep_resident in [0, 65_536, 16 << 20] {
        let settings = Settings {
            max_calls: 1,
            max_compilations: 1,
            keep_resident,
            ..Settings::default()
        };
        let host = Host::new(settings).unwrap();
        let plugin = |name: &str, rule: &str| {
            let mut source = PluginSource::new(name, component(rule));
            source.deadline = Duration::from_millis(100);
            host.load(source).unwrap()
        };
        let looks = plugin("looks", LOOKS);
        let at_once = plugin(
            "at once",
            &LOOKS.replace("(i32.const 16)) (i32.const -1)", "(i32.const 0)) (i32.const 2)"),
        );
        let ends = [
            ("allowed", ""),
            ("memory", "unreachable"),
            ("timeout", "(loop $l (br $l))"),
        ];
        for (expected, end) in ends {
            let fills = plugin(expected, &FILLS.replace("{end}", end));
            let mut of_a = token(vec![], vec![]);
            of_a.tenant = "000000000001";
            let mut of_b = token(vec![], vec![]);
            of_b.tenant = "000000000002";
            for round in 0..3 {
                let left = fills.evaluate(&of_a).await;
                assert_eq!(word(&left), expected, "{left:?}");
                // The same slot, by the two ways that a call is made.
                for next in [&at_once, &looks, &at_once] {
                    let seen = next.evaluate(&of_b).await;
                    assert_eq!(word(&seen), "allowed", "{expected}, round {round}: {seen:?}");
                }
            }
            // Only the one that loops can be given up while it runs: the others end before anybody could.
            if expected != "timeout" {
                continue;
            }
            let (given_up, yielded) = (fills.clone(), fills.metrics().yielded.load(Ordering::Relaxed));
            let call = tokio::spawn(async move { given_up.evaluate(&token(vec![], vec![])).await.is_ok() });
            while fills.metrics().yielded.load(Ordering::Relaxed) == yielded {
                assert!(!call.is_finished(), "it ended before it ran for a slice");
                tokio::task::yield_now().await;
            }
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            let seen = once_free(&looks, &of_b).await;
            assert_eq!(word(&seen), "allowed", "given up: {seen:?}");
        }
    }
}

/// The looking finds what there is: without it, the test above could not fail.
#[tokio::test]
async fn a_canary_that_is_there_is_seen() {
    let place = "(if (i64.ne (global.get $g) (i64.const 0)) (then unreachable))";
    for put in [
        "(global.set $g (i64.const 1))",
        "(table.set $t (i32.const 9999) (ref.func $e))",
        "(i64.store (i32.const 131064) (i64.const 0x372d7972616e6163))",
    ] {
        let rule = LOOKS
            .replace(place, &format!("{put} {place}"))
            .replace("(func (export", "(elem declare func $e) (func $e (export");
        let mut source = PluginSource::new("looks", component(&rule));
        source.deadline = Duration::from_millis(100);
        let outcome = small_host()
            .load(source)
            .unwrap()
            .evaluate(&token(vec![], vec![]))
            .await;
        assert_ne!(word(&outcome), "allowed", "{put}");
        assert_ne!(word(&outcome), "timeout", "{put}");
    }
}

/// The only compiler that is linked is Cranelift, and it makes code of this machine's own instructions.
// R20
#[test]
fn no_other_compiler_than_cranelift_can_be_chosen() {
    use wasmtime::{Config, Engine, Strategy};
    let engine = |strategy| Engine::new(Config::new().strategy(strategy));
    assert!(engine(Strategy::Winch).is_err());
    let cranelift = engine(Strategy::Cranelift).unwrap();
    assert!(!cranelift.is_pulley());
    let here = Host::new(Settings::default()).is_ok();
    assert_eq!(here, cfg!(target_arch = "x86_64"), "no host where it is not trusted");
}

// R22
#[tokio::test]
async fn log_lines_are_bounded_and_counted() {
    let host = small_host();
    let rule = text("log-flood").replace(
        "(loop $again (call $log (i32.const 2) (i32.const 0) (i32.const 100)) (br $again))\n    unreachable",
        "(local $n i32)
         (loop $again
           (call $log (i32.const 2) (i32.const 0) (i32.const 60000))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $n) (i32.const 1000))))
         (i32.const 1024)",
    );
    let plugin = host.load(PluginSource::new("chatty", component(&rule))).unwrap();
    assert_eq!(word(&plugin.evaluate(&token(vec![], vec![])).await), "allowed");
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(count(&plugin.metrics().log_lines), 16);
    assert_eq!(count(&plugin.metrics().log_dropped), 984);
}

#[tokio::test]
async fn each_plugin_reads_its_own_settings() {
    // Answers with the setting `a` as the refusal's code.
    let rule = r#"(core module $rule
      (import "host" "memory" (memory 1))
      (import "host" "get" (func $get (param i32 i32 i32)))
      (data (i32.const 0) "a")
      (func (export "evaluate") (param i32) (result i32)
        (call $get (i32.const 0) (i32.const 1) (i32.const 512))
        (if (i32.eqz (i32.load8_u (i32.const 512))) (then (return (i32.const 1024))))
        (i32.store8 (i32.const 1024) (i32.const 1))
        (i64.store (i32.const 1028) (i64.load (i32.const 528)))
        (i32.const 1024)))"#;
    let host = small_host();
    let mut source = PluginSource::new("one", component(rule));
    let none = host.load(source.clone()).unwrap();
    source.config.insert("a".into(), Value::Text("first".into()));
    let first = host.load(source.clone()).unwrap();
    source.config.insert("a".into(), Value::Text("second".into()));
    let second = host.load(source).unwrap();
    let code = async |plugin: &runtime::Plugin| match plugin.evaluate(&token(vec![], vec![])).await {
        Err(RuleError::Refused { code, .. }) => code,
        outcome => word(&outcome).to_owned(),
    };
    assert_eq!(code(&none).await, "allowed");
    assert_eq!(code(&first).await, "first");
    assert_eq!(code(&second).await, "second");
}

#[test]
fn bad_settings_of_a_plugin_are_refused_by_name() {
    let host = small_host();
    let good = component(&text("good"));
    let refused = |change: fn(&mut PluginSource)| {
        let mut source = PluginSource::new("p", good.clone());
        change(&mut source);
        host.load(source).unwrap_err().to_string()
    };
    assert!(refused(|source| source.deadline = Duration::ZERO).contains("`deadline` must be between 1 ms and 100ms"));
    assert!(refused(|source| source.deadline = Duration::from_secs(1)).contains("`deadline`"));
    assert!(refused(|source| source.memory = 0).contains("`memory` must be between 65536 and"));
    assert!(refused(|source| source.memory = 1 << 30).contains("`memory`"));
    let large = |source: &mut PluginSource| drop(source.config.insert("a".into(), Value::Text("x".repeat(70_000))));
    assert!(refused(large).contains("`config`"));
    assert!(refused(|source| source.wasm = vec![0; 33 << 20]).contains("more than 33554432"));
    assert!(refused(|source| source.wasm = b"\x7fELF\x02\x01\x01\0".to_vec()).contains("not a WebAssembly file"));
    assert!(refused(|source| source.wasm = b"(component)".to_vec()).contains("not a WebAssembly file"));
    assert!(refused(|source| source.wasm.truncate(6)).contains("ends within its first 8 bytes"));
}

// R20
#[test]
fn compilation_is_bounded_in_time() {
    let settings = Settings {
        compile_timeout: Duration::from_nanos(1),
        max_compilations: 1,
        ..Settings::default()
    };
    let host = Host::new(settings).unwrap();
    let function = "(func (param f64) (result f64) (f64.sqrt (f64.mul (local.get 0) (local.get 0))))".repeat(2_000);
    let rule = text("good").replace("(core module $rule", &format!("(core module $rule {function}"));
    let wasm = component(&rule);
    let first = host.load(PluginSource::new("slow", wasm.clone())).unwrap_err();
    assert!(matches!(first.reason, runtime::LoadFailure::TooSlow(_)), "{first}");
    let second = host.load(PluginSource::new("slow", wasm)).unwrap_err();
    assert!(
        matches!(second.reason, runtime::LoadFailure::Busy),
        "the first is still going on: {second}"
    );
}
