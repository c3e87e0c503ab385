//! A short run of what `make chaos` does for as long as wanted, by the same program.

use std::process::Command;

use system_tests::{run, signet};

/// Counts of a report that may be 0, and the one that must be. Every other counts what a run has to have, faults of each kind
/// among them.
const MAY_BE_NONE: [&str; 3] = [
    "processes that ended by themselves",
    "covered by a reservation",
    "tokens of keys that nobody published",
];
const MUST_BE_NONE: &str = "violations";
/// What has to be there at all.
const EXPECTED: [&str; 13] = [
    "signatures of /v1/tokens/api over HTTP/1.1",
    "signatures of /v1/tokens/api over HTTP/3",
    "signatures of /v1/signatures/release over HTTP/1.1",
    "signatures of /v1/signatures/release over HTTP/3",
    "kills of an edge",
    "orderly stops of an edge",
    "orderly stops of an authority",
    "edges frozen until a fence, with a request in flight",
    "under way at a fence and judged",
    "tokens verified",
    "artifacts verified",
    "fenced stops",
    "keys made",
];
/// Kinds of fault that need a disk of their own, which only root is sure to get.
const MOUNTED: [&str; 2] = ["full disks of ", "read-only disks of "];

// R30, R34, R35, R36
#[test]
fn no_fault_breaks_a_promise() {
    run_with(|seed| seed * 2);
}

// R27, R30, R34, R35, R36
#[test]
fn no_fault_breaks_a_promise_over_etcd() {
    run_with(|seed| seed * 2 + 1);
}

/// Even seeds have the authority's state in a file, odd ones in etcd.
fn run_with(seed: impl Fn(u64) -> u64) {
    let seed = match std::env::var("SIGNET_CHAOS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => seed(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()),
    };
    eprintln!("SIGNET_CHAOS_SEED={seed}");
    let program = signet().with_file_name("signet-chaos");
    let output = run(Command::new(program).args(["15", &seed.to_string()]));
    eprintln!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, 0);
    let is_root = rustix::process::geteuid().is_root();
    let wrong = wrong_with(&output.stdout, is_root);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
}

/// What a report lacks, or has and should not.
fn wrong_with(report: &str, is_root: bool) -> Vec<String> {
    let parts = report.lines().filter_map(|line| line.trim().split_once("  "));
    let (mut wrong, mut counted) = (Vec::new(), Vec::new());
    for (count, what) in parts {
        match count.parse::<usize>() {
            Ok(count) => {
                counted.push(what);
                let is_wrong = match what {
                    MUST_BE_NONE => count != 0,
                    _ => count == 0 && !MAY_BE_NONE.contains(&what),
                };
                wrong.extend(is_wrong.then(|| format!("{what}: {count}")));
            }
            Err(_) if count == "not done" => {
                let is_excused = !is_root && MOUNTED.iter().any(|kind| what.starts_with(kind));
                wrong.extend((!is_excused).then(|| format!("not done: {what}")));
            }
            Err(_) => {}
        }
    }
    let missing = EXPECTED
        .iter()
        .chain([&MUST_BE_NONE])
        .filter(|what| !counted.contains(what));
    wrong.extend(missing.map(|what| format!("nothing is said of {what}")));
    wrong
}

#[test]
fn a_report_without_a_fault_a_fence_or_a_signature_fails() {
    let counts: Vec<_> = EXPECTED
        .iter()
        .chain(&MAY_BE_NONE)
        .map(|what| format!("       3  {what}\n"))
        .collect();
    let good = format!("seed 2, 15.0 s of load\n{}       0  violations\n", counts.concat());
    assert_eq!(wrong_with(&good, true), [""; 0]);
    for what in EXPECTED {
        let none = good.replace(&format!("3  {what}"), &format!("0  {what}"));
        assert_eq!(wrong_with(&none, true), [format!("{what}: 0")]);
        let silent = good.replace(&format!("       3  {what}\n"), "");
        assert_eq!(wrong_with(&silent, true), [format!("nothing is said of {what}")]);
    }
    for what in MAY_BE_NONE {
        let none = good.replace(&format!("3  {what}"), &format!("0  {what}"));
        assert_eq!(wrong_with(&none, true), [""; 0]);
    }
    assert_eq!(
        wrong_with(&format!("{good}       0  cut links\n"), true),
        ["cut links: 0"]
    );
    let broken = good.replace("0  violations", "1  violations");
    assert_eq!(wrong_with(&broken, true), ["violations: 1"]);
    let full = format!("{good}not done  full disks of an edge: nothing can be mounted here\n");
    assert_eq!(wrong_with(&full, false), [""; 0]);
    assert_eq!(wrong_with(&full, true).len(), 1);
    assert_eq!(wrong_with(&format!("{good}not done  cut links: why\n"), false).len(), 1);
}
