//! Rules with `evaluate-batch`: several requests in one instance, and what becomes of them when that call fails.

use crate::support::{component, small_host, text, token, word};
use runtime::{FailureKind, Host, MAX_BATCH, Payload, Plugin, PluginSource, Request, RuleError, Verdict};
use std::sync::atomic::Ordering;

const RULE: &str = include_str!("../world/batch-rule.wat");
const EXPORT: &str = include_str!("../world/batch.wat");

const ALL_ARE_THERE: &str = "(i32.const 1024)";

fn rule(more: &str, answer: &str) -> String {
    RULE.replace("{{more}}", more).replace("{{answer}}", answer)
}

/// The world with one more export.
fn exporting(export: &str, rule: &str) -> Vec<u8> {
    let world = text("world")
        .replace("{{memory}}", &text("memory"))
        .replace("{{rule}}", rule);
    let (world, end) = world.trim_end().rsplit_once(')').unwrap();
    component(&format!("{world}{export}{end})"))
}

fn batch(more: &str, answer: &str) -> Vec<u8> {
    exporting(EXPORT, &rule(more, answer))
}

fn load(host: &Host, wasm: Vec<u8>) -> Plugin {
    host.load(PluginSource::new("batch", wasm)).unwrap()
}

fn lasting(lifetime: u32) -> Request<'static> {
    let mut request = token(vec![], vec![]);
    if let Payload::Token(token) = &mut request.payload {
        token.lifetime = lifetime;
    }
    request
}

fn requests(lifetimes: &[u32]) -> Vec<Request<'static>> {
    lifetimes.iter().map(|lifetime| lasting(*lifetime)).collect()
}

fn cap(outcome: &Result<Verdict, RuleError>) -> Option<u32> {
    outcome.as_ref().ok().and_then(|verdict| verdict.lifetime_cap)
}

async fn served(plugin: &Plugin, lifetimes: &[u32]) -> Vec<Result<Verdict, RuleError>> {
    let requests = requests(lifetimes);
    if let Some(together) = plugin.serve_batch(&requests).await {
        return together;
    }
    // As an edge does it.
    let mut outcomes = Vec::new();
    for request in &requests {
        outcomes.push(plugin.serve(request, |change| panic!("{change:?}")).await);
    }
    outcomes
}

fn calls(plugin: &Plugin) -> [u64; 3] {
    let metrics = plugin.metrics();
    [&metrics.batches, &metrics.batches_failed, &metrics.started].map(|counter| counter.load(Ordering::Relaxed))
}

// R21
#[tokio::test]
async fn requests_of_a_batch_share_an_instance_and_no_more() {
    let plugin = load(&small_host(), batch("", ALL_ARE_THERE));
    assert!(plugin.is_batch());
    for _ in 0..50 {
        let outcomes = served(&plugin, &[60, 600, 60]).await;
        assert_eq!(outcomes.iter().map(cap).collect::<Vec<_>>(), [Some(1), None, Some(3)]);
        assert!(
            matches!(&outcomes[1], Err(RuleError::Refused { code, message }) if code == "too_long" && message == "no")
        );
        assert_eq!(cap(&plugin.serve(&lasting(60), |_| ()).await), Some(1));
    }
    assert_eq!(calls(&plugin), [50, 0, 200]);
}

#[tokio::test]
async fn a_batch_has_two_requests_to_sixteen() {
    let plugin = load(&small_host(), batch("", ALL_ARE_THERE));
    for count in [0, 1, MAX_BATCH + 1] {
        assert_eq!(plugin.serve_batch(&requests(&vec![60; count])).await, None, "{count}");
    }
    for count in [2, MAX_BATCH] {
        let outcomes = plugin.serve_batch(&requests(&vec![60; count])).await.unwrap();
        let expected: Vec<_> = (1..=u32::try_from(count).unwrap()).map(Some).collect();
        assert_eq!(outcomes.iter().map(cap).collect::<Vec<_>>(), expected);
    }
    for count in [0, MAX_BATCH + 1] {
        let outcome = plugin.evaluate_batch(&requests(&vec![60; count])).await;
        assert!(matches!(
            outcome,
            Err(RuleError::Failed {
                kind: FailureKind::BadOutput,
                ..
            })
        ));
    }
    let alone = load(&small_host(), component(&text("good")));
    assert!(!alone.is_batch() && alone.serve_batch(&requests(&[60, 60])).await.is_none());
}

/// A request that breaks the rule denies itself only: the others are judged as if they had been asked about alone.
// R21, R22
#[tokio::test]
async fn a_call_that_fails_decides_nothing() {
    for (bad, kind) in [(13, "trap"), (50, "timeout")] {
        let plugin = load(&small_host(), batch("", ALL_ARE_THERE));
        let outcomes = served(&plugin, &[60, bad, 60, 600]).await;
        assert_eq!(
            outcomes.iter().map(word).collect::<Vec<_>>(),
            ["allowed", kind, "allowed", "refused"]
        );
        assert_eq!(
            (cap(&outcomes[0]), cap(&outcomes[2])),
            (Some(1), Some(1)),
            "in instances of their own"
        );
        assert_eq!(calls(&plugin), [0, 1, 4]);
        assert_eq!(
            cap(&served(&plugin, &[60, 60]).await[1]),
            Some(2),
            "the next batch is one again"
        );
    }
}

// R22
#[tokio::test]
async fn batches_that_fail_again_and_again_are_not_made_for_a_while() {
    let plugin = load(&small_host(), batch("", "unreachable"));
    for _ in 0..20 {
        let outcomes = served(&plugin, &[60, 600]).await;
        assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["allowed", "refused"]);
    }
    assert_eq!(calls(&plugin), [0, 5, 40]);
    assert!(!plugin.is_open(), "what it answers one by one counts");
}

// R22
#[tokio::test]
async fn the_bounds_of_a_call_are_there_for_each_request() {
    let log = "(call $log (i32.const 2) (i32.const 32) (i32.const 2))";
    let logs = load(&small_host(), batch(&log.repeat(17), ALL_ARE_THERE));
    served(&logs, &[60; 4]).await;
    let (lines, dropped) = (&logs.metrics().log_lines, &logs.metrics().log_dropped);
    assert_eq!(
        (lines.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed)),
        (64, 4)
    );
    // A thousand calls of the host for each request, and not one more.
    for (more, batches) in [("", [1, 0, 4]), (log, [0, 1, 4])] {
        let counted = format!(
            "(local.set $lifetime (i32.const 1000))
             (loop $again {log} (br_if $again (local.tee $lifetime (i32.sub (local.get $lifetime) (i32.const 1)))))
             (local.set $lifetime (i32.load offset=96 (local.get $request)))"
        );
        let once = format!("(if (i32.eq (global.get $judged) (i32.const 4)) (then {more}))");
        let plugin = load(&small_host(), batch(&format!("{counted}{once}"), ALL_ARE_THERE));
        let outcomes = served(&plugin, &[60; 4]).await;
        assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["allowed"; 4]);
        assert_eq!(calls(&plugin), batches);
    }
}

/// What `evaluate-batch` answers is believed as a whole or not at all.
// R21, R22
#[tokio::test]
async fn no_answer_to_a_batch_harms() {
    let answers = |at: &str, length: &str| {
        format!("(i32.store (i32.const 1024) {at}) (i32.store (i32.const 1028) {length}) (i32.const 1024)")
    };
    let whole = "(i32.const 2048)";
    let lies = [
        (
            "one answer less",
            answers(whole, "(i32.sub (local.get $length) (i32.const 1))"),
        ),
        (
            "one answer more",
            answers(whole, "(i32.add (local.get $length) (i32.const 1))"),
        ),
        ("no answer", answers(whole, "(i32.const 0)")),
        ("a million answers", answers(whole, "(i32.const 1000000)")),
        ("answers without end", answers(whole, "(i32.const -1)")),
        (
            "answers beyond the memory",
            answers("(i32.const 0x7ffffff0)", "(local.get $length)"),
        ),
        (
            "answers between two words",
            answers("(i32.const 2049)", "(local.get $length)"),
        ),
        (
            "no such case",
            format!("(i32.store8 (i32.const 2068) (i32.const 2)) {ALL_ARE_THERE}"),
        ),
        (
            "a cap of nothing",
            format!("(i32.store (i32.const 2076) (i32.const 0)) {ALL_ARE_THERE}"),
        ),
        (
            "claims out of bounds",
            format!(
                "(i32.store (i32.const 2080) (i32.const -8)) (i32.store (i32.const 2084) (i32.const 9)) {ALL_ARE_THERE}"
            ),
        ),
        ("a list beyond the memory", "(i32.const 0x7ffffff0)".to_owned()),
        ("a list between two words", "(i32.const 1025)".to_owned()),
        ("a trap", "unreachable".to_owned()),
        ("a loop", "(loop (br 0)) unreachable".to_owned()),
        ("memory", "(drop (memory.grow (i32.const 1000))) unreachable".to_owned()),
        (
            "a log beyond the memory",
            format!("(call $log (i32.const 2) (i32.const -8) (i32.const 16)) {ALL_ARE_THERE}"),
        ),
    ];
    let host = small_host();
    let workers = crate::workers::host(1);
    for (name, lie) in &lies {
        for (host, isolated) in [(&host, false), (&workers, true)] {
            let source = PluginSource {
                isolated,
                ..PluginSource::new("lies", batch("", lie))
            };
            let plugin = host.load(source).unwrap();
            let outcomes = served(&plugin, &[60, 600, 60]).await;
            let words: Vec<_> = outcomes.iter().map(word).collect();
            assert_eq!(words, ["allowed", "refused", "allowed"], "{name}, isolated: {isolated}");
            assert_eq!(calls(&plugin), [0, 1, 3], "{name}, isolated: {isolated}");
            assert_eq!(plugin.restarts(), 0, "{name}");
        }
    }
    let honest = load(&host, batch("", ALL_ARE_THERE));
    served(&honest, &[60, 60]).await;
    assert_eq!(calls(&honest), [1, 0, 2], "without the lie it is honest");
}

#[tokio::test]
async fn a_worker_judges_a_batch_as_this_process_does() {
    let host = crate::workers::host(1);
    let log = "(call $log (i32.const 2) (i32.const 32) (i32.const 2))";
    let source = PluginSource::new("batch", batch(&log.repeat(17), ALL_ARE_THERE));
    let isolated = PluginSource {
        isolated: true,
        ..source.clone()
    };
    let plugins = [source, isolated].map(|source| host.load(source).unwrap());
    for lifetimes in [&[60, 600, 60][..], &[60, 13, 600], &[60; MAX_BATCH]] {
        let outcomes = [
            served(&plugins[0], lifetimes).await,
            served(&plugins[1], lifetimes).await,
        ];
        assert_eq!(outcomes[0], outcomes[1]);
    }
    let seen = plugins.each_ref().map(|plugin| {
        let metrics = plugin.metrics();
        let logged =
            [&metrics.log_lines, &metrics.log_dropped, &metrics.memory_peak].map(|one| one.load(Ordering::Relaxed));
        (calls(plugin), logged)
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(plugins[1].restarts(), 0);
}

// R20
#[test]
fn what_does_not_fit_the_world_is_not_loaded() {
    let of_another_type = r#"
      (func (export "evaluate-batch") (param "requests" (list $request)) (result (list $verdict))
        (canon lift (core func $r "evaluate-batch") (memory $mem) (realloc (core func $m "realloc"))))"#;
    let an_instance = r#"
      (instance $nothing) (export "evaluate-batch" (instance $nothing))"#;
    let counts = r#"
      (import "signet:rule/counter@1.1.0" (instance))"#;
    let rule = rule("", ALL_ARE_THERE);
    let host = small_host();
    let cases = [
        (exporting(of_another_type, &rule), "`evaluate-batch`"),
        (exporting(an_instance, &rule), "`evaluate-batch`"),
        (
            exporting(&format!("{EXPORT}{counts}"), &rule),
            "exports `evaluate-batch` and imports `counter`",
        ),
    ];
    for (wasm, reason) in cases {
        let mut source = PluginSource::new("wrong", wasm);
        source.imports.push("counter".into());
        let error = host.load(source).unwrap_err().to_string();
        assert!(error.contains("signet:rule/rule") && error.contains(reason), "{error}");
    }
    assert!(!load(&host, component(&text("good"))).is_batch());
}
