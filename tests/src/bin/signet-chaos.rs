//! `make chaos SECONDS=…`: faults under load for as long as wanted, and what they brought about.
#![allow(clippy::print_stdout, reason = "a report is what this is for")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use system_tests::chaos::{self, fleet::Store, namespace};

/// One fleet lives for so long; what is left of the time is given to others, each with the next seed.
const ROUND: Duration = Duration::from_secs(60);

const USAGE: &str = "usage: signet-chaos [SECONDS [SEED]]
Faults under load for so long (60), in rounds of at most 60 s, each with the next seed. Even seeds have one authority with its
state in a file, odd ones two over etcd. Every round has every kind of fault at least once, and lasts longer where that takes it.
Exit codes: 0 every promise was kept, 1 one was broken, 2 wrong usage.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(60), |text| text.parse());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let seed = arguments.next().map_or(Ok(now), |text| text.parse());
    let (Ok(seconds), Ok(seed), None) = (seconds, seed, arguments.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    namespace::enter();
    let mut left = Duration::from_secs(seconds);
    let mut code = ExitCode::SUCCESS;
    for seed in seed.. {
        // Before anything can go wrong: whoever finds this run ended knows how to have it again.
        println!("seed {seed} begins");
        let store = if seed % 2 == 0 { Store::File } else { Store::Etcd };
        let report = chaos::run(store, seed, left.min(ROUND));
        print!("{report}");
        if !report.violations.is_empty() {
            code = ExitCode::FAILURE;
        }
        left = left.saturating_sub(ROUND);
        if left.is_zero() {
            break;
        }
    }
    code
}
