//! Isolated plugins: the same verdicts as in this process, from processes that have nothing but what they need.

use crate::support::{artifact, component, example, folder, text, token, word};
use runtime::{Argument, Host, Plugin, PluginSource, RuleError, Settings, TableKind, TableSource, Value, Workers};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const IS_WORKER: &str = "SIGNET_TEST_WORKER";

/// No test of its own: the worker, which is this test binary.
#[test]
fn the_worker() {
    if std::env::var_os(IS_WORKER).is_some() {
        runtime::run_worker().unwrap();
        std::process::exit(0);
    }
}

/// A host with so many workers for each plugin.
pub(crate) fn host(each: usize) -> Host {
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "{IS_WORKER}=1 exec '{}' --exact workers::the_worker --nocapture --quiet",
        program.display()
    );
    let workers = Workers {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        each,
    };
    Host::new(Settings {
        max_calls: 64,
        workers,
        ..Settings::default()
    })
    .unwrap()
}

/// As it is, and isolated.
fn both(host: &Host, source: PluginSource) -> [Plugin; 2] {
    let isolated = true;
    let apart = PluginSource {
        isolated,
        ..source.clone()
    };
    [host.load(source).unwrap(), host.load(apart).unwrap()]
}

// R21, R22
#[tokio::test]
async fn a_worker_answers_as_this_process_does() {
    let host = host(1);
    let mut source = PluginSource::new("claim-guard", example("claim-guard"));
    source.config.insert("editor_max_seconds".into(), Value::Int(60));
    source.config.insert("plan".into(), Value::Text("p".repeat(5_000)));
    let guard = both(&host, source);
    let long = "v".repeat(100_000);
    let requests = [
        token(vec![], vec![]),
        token(vec![("role", Argument::Text("admin"))], vec![]),
        token(
            vec![("role", Argument::Text("editor"))],
            vec![("roles", Argument::Texts(vec!["x", "editor"]))],
        ),
        token(vec![("role", Argument::Int(7))], vec![]),
        token(vec![("long", Argument::Text(&long))], vec![]),
        artifact(vec![("a", Argument::Float(0.5)), ("b", Argument::Bool(true))]),
    ];
    let mut words = Vec::new();
    for request in &requests {
        let [here, apart] = [guard[0].evaluate(request).await, guard[1].evaluate(request).await];
        assert_eq!(here, apart);
        words.push(word(&apart));
    }
    assert!(words.contains(&"allowed") && words.contains(&"refused"), "{words:?}");
    let [here, apart] = guard
        .each_ref()
        .map(|plugin| plugin.metrics().memory_peak.load(Ordering::Relaxed));
    assert_eq!(here, apart);
    assert_eq!(guard[1].restarts(), 0);
}

#[tokio::test]
async fn what_a_rule_logs_in_a_worker_is_logged_here() {
    let host = host(1);
    let mut source = PluginSource::new("claim-guard", example("claim-guard"));
    source
        .config
        .insert("editor_max_seconds".into(), Value::Text("60".into()));
    let guard = both(&host, source);
    for plugin in &guard {
        let outcome = plugin.evaluate(&token(vec![], vec![])).await;
        assert!(matches!(&outcome, Err(RuleError::Refused { code, .. }) if code == "rule_misconfigured"));
        assert_eq!(plugin.metrics().log_lines.load(Ordering::Relaxed), 1);
    }
    let flood = both(&host, PluginSource::new("log-flood", component(&text("log-flood"))));
    let dropped = flood.each_ref().map(|plugin| &plugin.metrics().log_dropped);
    for plugin in &flood {
        let _ = plugin.evaluate(&token(vec![], vec![])).await;
    }
    let [here, apart] = dropped.map(|dropped| dropped.load(Ordering::Relaxed));
    assert!(here > 0 && here == apart, "{here} {apart}");
}

/// Counts `k` within a minute, looks it up, and caps the lifetime at what was counted, or traps where the table is wrong.
const COUNTS: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (import "host" "increment" (func $increment (param i32 i32 i32 i32)))
  (import "host" "lookup-get" (func $get (param i32 i32 i32 i32 i32)))
  (data (i32.const 0) "plans") (data (i32.const 16) "bob")
  (func (export "evaluate") (param i32) (result i32)
    (call $increment (i32.const 16) (i32.const 3) (i32.const 60) (i32.const 512))
    (call $get (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 3) (i32.const 600))
    (if (i32.ne (i32.load8_u (i32.const 604)) (i32.const 1)) (then unreachable))
    (i32.store8 (i32.const 1028) (i32.const 1))
    (i32.store (i32.const 1032) (i32.load (i32.const 516)))
    (i32.const 1024)))"#;

#[tokio::test]
async fn all_workers_of_a_plugin_count_together_and_have_its_tables() {
    let host = host(2);
    let world = std::fs::read_to_string(folder().join("../world/1.1.0.wat")).unwrap();
    let whole = world.replace("{{memory}}", &text("memory")).replace("{{rule}}", COUNTS);
    let mut source = PluginSource::new("counts", wat::parse_str(&whole).unwrap());
    source.imports = runtime::grantable().map(str::to_owned).collect();
    source.isolated = true;
    let (file, kind) = ("plugins/plans.csv".to_owned(), TableKind::Exact);
    let text = Arc::from(&b"alice,gold\nbob,free\n"[..]);
    source.tables.insert("plans".into(), TableSource { file, kind, text });
    let plugin = host.load(source).unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { plugin.evaluate(&token(vec![], vec![])).await })
        })
        .collect();
    let mut counted = Vec::new();
    for call in calls {
        counted.push(call.await.unwrap().unwrap().lifetime_cap.unwrap());
    }
    counted.sort_unstable();
    assert_eq!(counted, (1..=20).collect::<Vec<_>>());
    plugin.forget_counts();
    let first = plugin.evaluate(&token(vec![], vec![])).await.unwrap();
    assert_eq!(first.lifetime_cap, Some(1));
}

/// Processes that threads of this one started.
fn children() -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children = children.collect::<String>();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn the_workers_end_with_their_plugin() {
    let host = host(3);
    let isolated = true;
    let good = PluginSource {
        isolated,
        ..PluginSource::new("good", component(&text("good")))
    };
    let plugin = host.load(good.clone()).unwrap();
    let first = children();
    assert_eq!(first.len(), 3);
    let next = host.load(good).unwrap();
    assert_eq!(children().len(), 6);
    drop(plugin);
    let end = Instant::now() + Duration::from_secs(60);
    while first.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    assert_eq!(children().len(), 3, "those of the next version stay");
    drop(next);
}

// R22
#[tokio::test]
async fn a_worker_has_three_descriptors_and_its_code_and_cannot_become_more() {
    let host = host(1);
    let isolated = true;
    let mut source = PluginSource::new("claim-guard", example("claim-guard"));
    source.config.insert("plan".into(), Value::Text("free".into()));
    let plugin = host.load(PluginSource { isolated, ..source }).unwrap();
    plugin.evaluate(&token(vec![], vec![])).await.unwrap();
    let pid = children()[0];
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {status}")).trim().to_owned()
    };
    // Filtered, and for good.
    assert_eq!((line("Seccomp:"), line("NoNewPrivs:")), ("2".into(), "1".into()));
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for none in ["Max core file size", "Max open files", "Max processes", "Max file size"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(none)).unwrap();
        assert_eq!(
            line.split_whitespace().take(2).collect::<Vec<_>>(),
            ["0", "0"],
            "{none}"
        );
    }
    for bounded in ["Max address space", "Max data size"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(bounded)).unwrap();
        assert!(!line.contains("unlimited"), "{line}");
    }
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        println!("only root may look at its descriptors");
        return;
    };
    let open = descriptors.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap());
    let open: Vec<String> = open.map(|path| path.to_str().unwrap().to_owned()).collect();
    let expected = |path: &String| {
        ["socket:", "pipe:", "/memfd:signet-plugin", "/memfd:wasm-memory-image"]
            .iter()
            .any(|kind| path.starts_with(kind))
    };
    assert!(open.iter().all(expected), "{open:?}");
    assert!(
        open.iter().filter(|path| path.starts_with("pipe:")).count() == 1,
        "{open:?}"
    );
}
