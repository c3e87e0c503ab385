//! What a record costs by its mode, at a steady rate: `cargo run --release -p audit --example spool -- [RECORDS-A-SECOND [DIRECTORY]]`
//!
//! Open loop: each latency counts from when the record was due. The modes take turns in one run, and the medians of the
//! rounds count. The first second of a round does not: the first segment of a process grows until the next one is ready. The directory is to be on the disk that is asked about; a temporary one where none is given.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

use audit::record::{Draft, Outcome, Verdict, VerdictOutcome};
use audit::spool::{Settings, Spool};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use uuid::Uuid;

const ROUNDS: usize = 5;
const SECONDS: u32 = 4;
/// Milliseconds of a round that do not count.
const BEGINNING: u64 = 1_000;

/// One round: microseconds, and how many records were refused.
struct Round {
    p50: u128,
    p99: u128,
    p999: u128,
    cpu: f64,
    refused: u32,
}

fn draft() -> Draft<'static> {
    Draft {
        outcome: Outcome::Signed,
        caller: "oidc:https://ci.example#repo:acme/web".into(),
        tenant: "000000000001".into(),
        profile: Some("bench".into()),
        key: Some("5e0f6c0a-98a5-4be5-9d1f-6c3a2b9f5a01".into()),
        kid: Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".into()),
        digest: Some([7; 32]),
        policies: vec!["allow-ci".to_owned()].into(),
        plugins: vec![Verdict {
            plugin: "claim-guard".into(),
            component: Some([9; 32]),
            outcome: VerdictOutcome::Allowed,
        }],
        request_id: Uuid::from_u128(42),
        trace_id: None,
        time_ms: 1_790_000_000_123,
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let rate = arguments
        .next()
        .map_or(20_000, |rate| rate.parse().expect("records a second"));
    let given = arguments.next().map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = given.unwrap_or_else(|| temporary.path().to_owned());
    println!("{rate} records/s, medians of {ROUNDS} rounds of {SECONDS} s, µs");
    println!(
        "{:<10}{:>8}{:>8}{:>8}{:>18}{:>10}",
        "", "p50", "p99", "p99.9", "CPU-µs a record", "refused"
    );
    let (mut reserve, mut commit) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        reserve.push(round(&directory.join(format!("reserve-{number}")), rate, false).await);
        commit.push(round(&directory.join(format!("commit-{number}")), rate, true).await);
    }
    print("reserve", &reserve);
    print("commit", &commit);
}

async fn round(directory: &Path, rate: u32, commits: bool) -> Round {
    let (spool, _) = Spool::open(directory, "edge-1", "i1", Settings::default()).expect("a spool");
    let spool = Arc::new(spool);
    let (latencies, mut all) = mpsc::unbounded_channel();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut used = cpu();
    let mut begun = 0;
    for millisecond in 1..=BEGINNING + u64::from(SECONDS) * 1_000 {
        let due: Instant = tick.tick().await.into_std();
        let counts = millisecond > BEGINNING;
        if millisecond == BEGINNING {
            used = cpu();
        }
        let until = millisecond * u64::from(rate) / 1_000;
        for _ in begun..until {
            let (spool, latencies) = (spool.clone(), latencies.clone());
            tokio::spawn(async move {
                let recorded = if commits {
                    spool.commit(&draft()).await
                } else {
                    spool.append(&draft())
                };
                if counts {
                    latencies.send((due.elapsed(), recorded.is_ok())).expect("a receiver");
                }
            });
        }
        begun = until;
    }
    drop(latencies);
    let (mut times, mut refused) = (Vec::new(), 0);
    while let Some((time, recorded)) = all.recv().await {
        times.push(time.as_micros());
        refused += u32::from(!recorded);
    }
    let cpu = cpu_since(used).as_secs_f64() * 1e6 / times.len() as f64;
    tokio::task::spawn_blocking(move || spool.close())
        .await
        .expect("a spool that closes");
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1000];
    Round {
        p50: at(500),
        p99: at(990),
        p999: at(999),
        cpu,
        refused,
    }
}

fn print(mode: &str, rounds: &[Round]) {
    let median = |of: fn(&Round) -> u128| {
        let mut values: Vec<u128> = rounds.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let mut cpu: Vec<f64> = rounds.iter().map(|round| round.cpu).collect();
    cpu.sort_by(f64::total_cmp);
    println!(
        "{mode:<10}{:>8}{:>8}{:>8}{:>18.1}{:>10}",
        median(|round| round.p50),
        median(|round| round.p99),
        median(|round| round.p999),
        cpu[cpu.len() / 2],
        rounds.iter().map(|round| round.refused).sum::<u32>()
    );
}

/// User and system time of this process, in clock ticks of 10 ms.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    ticks(11) + ticks(12)
}

fn cpu_since(before: u64) -> Duration {
    Duration::from_millis((cpu() - before) * 10)
}
