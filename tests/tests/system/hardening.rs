//! What the kernel says of the real processes: no key leaves their memory by a core dump or a swap device (R25).

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, prlimit};
use system_tests::{checkout, signal, signet, within};

use crate::production::site::{Hsm, Site};

/// A line of `/proc/PID/status`, in KiB.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// The parts of a process's memory that it writes to and that a swap device may get, as `/proc/PID/smaps` has them (proc(5)):
/// in memory, and without the flag `lo`.
fn unlocked(pid: u32) -> Vec<String> {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut found, mut part, mut resident) = (Vec::new(), "", false);
    for line in smaps.lines() {
        match line.split_once(':') {
            Some(("Rss", size)) => resident = size.trim() != "0 kB",
            Some(("VmFlags", flags)) => {
                let has = |flag| flags.split_whitespace().any(|found| found == flag);
                if resident && has("wr") && !has("lo") {
                    found.push(part.to_owned());
                }
            }
            // ADDRESS-ADDRESS PERMISSIONS OFFSET MAJOR:MINOR …
            Some((start, _)) if start.contains('-') && start.contains(' ') => part = line,
            _ => {}
        }
    }
    assert!(!part.is_empty(), "{smaps}");
    found
}

fn core_limits(pid: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    line.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(" ")
}

/// The process that the authority runs its PKCS#11 module in.
pub fn worker(authority: u32) -> Option<u32> {
    let children = std::fs::read_dir(format!("/proc/{authority}/task"))
        .unwrap()
        .filter_map(|task| {
            let path = task.unwrap().path().join("children");
            std::fs::read_to_string(path).ok()
        });
    let children = children.collect::<String>();
    children.split_whitespace().next().map(|pid| pid.parse().unwrap())
}

/// Lifts the limit on core files as far as this test may, so that only what a process did about itself stands against a dump.
fn allow_core(pid: u32) {
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = prlimit(Pid::from_raw(i32::try_from(pid).unwrap()), Resource::Core, none);
}

/// `setpriv` without the capabilities that let root look into any process: CAP_SYS_PTRACE, and CAP_PERFMON (38) by itself or as a
/// part of CAP_SYS_ADMIN.
fn unprivileged() -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-sys_ptrace,-sys_admin,-cap_38",
        "--inh-caps=-sys_ptrace,-sys_admin,-cap_38",
        "--ambient-caps=-all",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether a process of the same user, with the same rights, may look into the memory of that one.
fn is_dumpable(pid: u32) -> bool {
    let mut look = unprivileged();
    look.arg("cat").arg(format!("/proc/{pid}/environ"));
    look.status().unwrap().success()
}

/// Gives the profile a rule, and waits until the edge has it.
fn with_a_plugin(site: &Site) {
    let plugin = checkout().join("deploy/dev/bundle/plugins/claim-guard.wasm");
    std::fs::create_dir(site.path("bundle/plugins")).unwrap();
    std::fs::copy(plugin, site.path("bundle/plugins/claim-guard.wasm")).unwrap();
    let append = |name: &str, text: &str| {
        let before = std::fs::read_to_string(site.path(name)).unwrap();
        site.write(name, &format!("{before}\n{text}"));
    };
    append(
        "bundle/bundle.toml",
        "[[plugins]]\nname = \"claim-guard\"\nfile = \"plugins/claim-guard.wasm\"\n[plugins.config]\n\
         editor_max_seconds = 120\nplan = \"dev\"\n",
    );
    append(
        "bundle/profiles/api.toml",
        "claims = { plugin = [\"plan\"] }\nplugins = [\"claim-guard\"]\n",
    );
    site.bash("signet bundle apply ./bundle").success();
    within(20, "the edge calls the rule", || {
        assert_eq!(site.mint().status, 201);
        let metrics = String::from_utf8(site.get("/metrics").body).unwrap();
        metrics.contains("signet_edge_plugin_calls_total{plugin=\"claim-guard\",outcome=\"allowed\"}")
    });
}

// R25
#[test]
fn processes_with_keys_dump_no_core_and_are_locked_in_memory() {
    let mut site = Site::walk(Hsm::SoftHsm);
    let (authority, edge) = (site.authority.take().unwrap(), site.edge.take().unwrap());
    let worker = worker(authority.pid()).expect("the worker is a child of the authority");
    for (name, pid) in [("authority", authority.pid()), ("edge", edge.pid()), ("worker", worker)] {
        assert_eq!(core_limits(pid), "0 0", "{name}");
        let (locked, resident) = (memory(pid, "VmLck"), memory(pid, "VmRSS"));
        println!("{name}: {} MiB resident, {} MiB locked", resident / 1024, locked / 1024);
        if geteuid().is_root() {
            // The plugins' pool of terabytes is not, and nothing that was only reserved is in memory.
            assert!(locked > 1024, "{name}: {locked} KiB are locked");
            // No rule was called yet, so that nothing of the pool is in memory.
            let unlocked = unlocked(pid);
            assert!(unlocked.is_empty(), "{name}: {unlocked:?}");
            assert!(resident < 512 * 1024, "{name}: {resident} KiB are resident");
        }
    }
    with_a_plugin(&site);
    let resident = memory(edge.pid(), "VmRSS");
    for _ in 0..100 {
        assert_eq!(site.mint().status, 201, "a rule runs where memory is locked");
    }
    let grown = memory(edge.pid(), "VmRSS").saturating_sub(resident);
    assert!(grown < 64 * 1024, "the edge has grown by {grown} KiB with 100 calls");

    if !geteuid().is_root() {
        return;
    }
    // Not SIGSEGV: the handlers for stack overflows and for guests swallow the first one that is sent rather than raised.
    // What the same signal does to a process that has not protected itself, where cores are written at all.
    let dir = tempfile::tempdir().unwrap();
    let mut control = Command::new("sleep")
        .arg("60")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    allow_core(control.id());
    signal(control.id(), Signal::ABORT);
    println!(
        "an ordinary process dumps its core: {}",
        control.wait().unwrap().core_dumped()
    );
    allow_core(worker);
    signal(worker, Signal::ABORT);
    within(10, "another worker is started", || {
        self::worker(authority.pid()).is_some_and(|now| now != worker)
    });
    let log = site.logs();
    assert!(log.contains("signal: 6") && !log.contains("core dumped"), "{log}");
    let mut ordinary = unprivileged().args(["sleep", "60"]).spawn().unwrap();
    within(10, "an ordinary process may be looked into", || {
        is_dumpable(ordinary.id())
    });
    ordinary.kill().unwrap();
    ordinary.wait().unwrap();
    drop(edge);
    let mut edge = unprivileged();
    edge.arg(signet())
        .args(["edge", "run", "--config"])
        .arg(site.path("etc/edge.toml"));
    let mut edge = edge.spawn().unwrap();
    within(30, "the edge answers", || site.get("/livez").status == 200);
    assert!(!is_dumpable(edge.id()), "the edge's memory may be read");
    edge.kill().unwrap();
    edge.wait().unwrap();
    site.start_edge();
    for process in [authority, site.edge.take().unwrap()] {
        allow_core(process.pid());
        signal(process.pid(), Signal::ABORT);
        let status = process.wait();
        assert!(status.signal() == Some(6) && !status.core_dumped(), "{status:?}");
    }
}

#[test]
fn a_restarted_edge_signs_soon() {
    let mut site = Site::walk(Hsm::Software);
    for _ in 0..3 {
        site.edge.take().unwrap().kill();
        let began = Instant::now();
        site.edge = Some(site.spawn("edge", "edge"));
        within(15, "the first signature", || site.mint().status == 201);
        println!("edge restart → first signature: {} ms", began.elapsed().as_millis());
    }
    let ready = site.get("/readyz").json();
    assert!(
        ready["seconds_left"].as_object().is_some_and(|keys| !keys.is_empty()),
        "{ready}"
    );
}
