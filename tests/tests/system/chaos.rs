//! A short run of what `make chaos` does for as long as wanted, by the same program.

use std::process::Command;

use system_tests::{run, signet};

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
    let count = |what: &str| {
        let line = output
            .stdout
            .lines()
            .find_map(|line| line.trim_start().strip_suffix(what));
        let count = line.unwrap_or_else(|| panic!("no `{what}` in {}", output.stdout));
        count.trim().parse::<usize>().unwrap()
    };
    assert_eq!(count("  violations"), 0);
    for what in [
        "signatures of /v1/tokens/api over HTTP/1.1",
        "signatures of /v1/tokens/api over HTTP/3",
        "signatures of /v1/signatures/release over HTTP/1.1",
        "signatures of /v1/signatures/release over HTTP/3",
        "kills of an edge",
    ] {
        assert!(count(&format!("  {what}")) > 0, "{what}");
    }
}
