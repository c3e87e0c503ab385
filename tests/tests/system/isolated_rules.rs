//! `isolation = "process"` with the real binary: what callers notice of it (nothing), what its processes have (nothing), and that
//! none outlives what it is for.

use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};
use system_tests::{Dev, Output, run, signal, within};

const FILE: &str = "file = \"plugins/claim-guard.wasm\"\n";

/// A copy of the bundle in use, with or without a process for the rule of the profile `api`.
fn apply(dev: &Dev, isolation: &str) -> Output {
    let copy = dev.data().join(format!("isolation-{isolation}"));
    run(Command::new("cp").arg("-r").arg(dev.data().join("bundle")).arg(&copy)).success();
    let manifest = copy.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(FILE));
    std::fs::write(
        &manifest,
        text.replace(FILE, &format!("{FILE}isolation = \"{isolation}\"\n")),
    )
    .unwrap();
    dev.cli(&["bundle", "apply", copy.to_str().unwrap()])
}

/// The workers among a process's children.
fn workers(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<u32> = children
        .collect::<String>()
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    let is_worker = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).nth(1) == Some(b"plugin-worker")
    };
    children.into_iter().filter(is_worker).collect()
}

/// As many as an edge on this machine has of one plugin.
fn each() -> usize {
    std::thread::available_parallelism().unwrap().get().min(4)
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn restarts(dev: &Dev) -> u64 {
    let metrics = String::from_utf8(dev.anonymous("/metrics").get().body).unwrap();
    let line = "signet_edge_plugin_worker_restarts_total{plugin=\"claim-guard\"} ";
    let value = metrics.lines().find_map(|found| found.strip_prefix(line));
    value.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// Refused by the rule, or allowed by it.
fn answers(dev: &Dev) -> [u16; 2] {
    let refused = dev.curl("/v1/tokens/api").post(r#"{"claims":{"role":"admin"}}"#);
    [refused.status, dev.curl("/v1/tokens/api").post("{}").status]
}

// R22, R25
#[test]
fn a_rule_runs_in_processes_that_have_nothing_and_end_with_their_bundle() {
    let dev = Dev::start();
    let before = answers(&dev);
    assert_eq!(before, [403, 201]);
    assert!(workers(dev.pid()).is_empty());
    apply(&dev, "process").success();
    within(60, "the edge has its workers", || workers(dev.pid()).len() == each());
    within(20, "the rule judges there", || answers(&dev) == before);
    let is_confined = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.contains("Seccomp:\t2\n") && status.contains("NoNewPrivs:\t1\n")
    };
    // One judges already; another may still be starting.
    within(60, "all are confined", || {
        workers(dev.pid()).into_iter().all(is_confined)
    });
    for pid in workers(dev.pid()) {
        let environment = std::fs::read(format!("/proc/{pid}/environ"));
        if geteuid().is_root() {
            assert_eq!(environment.unwrap(), b"", "nothing of ours is in its environment");
            let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            let open = open.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap());
            let open: Vec<String> = open.map(|path| path.to_str().unwrap().to_owned()).collect();
            let meant = ["socket:", "pipe:", "/memfd:signet-plugin"];
            let is_meant = |path: &String| meant.iter().any(|kind| path.starts_with(kind));
            assert!(open.iter().all(is_meant), "{open:?}");
            assert_eq!(
                open.iter().filter(|path| path.starts_with("pipe:")).count(),
                1,
                "{open:?}"
            );
            let data = dev.data().to_str().unwrap();
            let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
            assert!(
                !maps.contains(data),
                "it has mapped a file of the authority's or the edge's"
            );
        } else {
            assert!(environment.is_err(), "it may not be looked into");
        }
    }

    let first = workers(dev.pid());
    let killed = restarts(&dev);
    first.iter().for_each(|pid| signal(*pid, Signal::KILL));
    within(60, "each is replaced", || restarts(&dev) == killed + first.len() as u64);
    within(60, "by another", || workers(dev.pid()).len() == each());
    within(20, "which answers", || answers(&dev) == before);
    within(10, "the log says so", || {
        dev.log().contains("a plugin's worker ended; another is started")
    });

    apply(&dev, "shared").success();
    within(60, "they end with their bundle", || workers(dev.pid()).is_empty());
    assert_eq!(answers(&dev), before);
    let refused = apply(&dev, "container");
    let says = ["bundle.toml:", "isolation", "`shared` or `process`"];
    assert!(
        refused.code != 0 && says.iter().all(|part| refused.stderr.contains(part)),
        "{refused:?}"
    );
}

// R25
#[test]
fn no_worker_outlives_an_edge_that_is_killed() {
    let dev = Dev::start();
    apply(&dev, "process").success();
    within(60, "the edge has its workers", || workers(dev.pid()).len() == each());
    let left = workers(dev.pid());
    dev.kill();
    within(20, "they end with it", || !left.iter().any(|pid| is_there(*pid)));
}
