//! A short run of what `make chaos` does for as long as wanted.

use std::time::Duration;

use system_tests::chaos::{self, fleet::Store};

// R35, R36
#[test]
fn no_fault_breaks_a_promise() {
    run(Store::File, Duration::from_secs(25));
}

// R35, R36
#[test]
fn no_fault_breaks_a_promise_over_etcd() {
    run(Store::Etcd, Duration::from_secs(20));
}

fn run(store: Store, lasts: Duration) {
    let seed = match std::env::var("SIGNET_CHAOS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs(),
    };
    eprintln!("SIGNET_CHAOS_SEED={seed}");
    let report = chaos::run(store, seed, lasts);
    eprintln!("{report}");
    assert_eq!(report.violations, [], "{report}");
    assert!(report.signatures > 0 && report.kills > 0, "{report}");
}
