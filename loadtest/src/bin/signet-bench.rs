//! `signet-bench`: CPU time a request of a whole edge beside a bare server that only signs; a fleet's cost; how soon edges stop.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use loadtest::LoadError;
use loadtest::bench::fleet::FleetSettings;
use loadtest::bench::restart::RestartSettings;
use loadtest::bench::stop::StopSettings;
use loadtest::bench::{Settings, compare, fleet, floor, kms, modes, restart, sampling, stop, swap};
use serde::Serialize;

/// As `signet` itself, so that the two servers differ in what they do only.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compare a whole edge with a bare server that parses, signs Ed25519 and answers; or measure something else.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// The `signet` binary.
    #[arg(long, value_name = "PATH", default_value = "target/release/signet")]
    signet: PathBuf,
    /// Rounds for each, taking turns; with --fleet how often a key is disabled, 11 at least.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds a round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Connections, each with one request in flight.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Measure operations of the key API instead.
    #[arg(long, group = "what")]
    kms: bool,
    /// Measure an authority with N simulated edges instead: memory, CPU time, and how soon all know of a stop.
    #[arg(long, group = "what", value_name = "N", num_args = 0..=1, default_missing_value = "2000", value_parser = clap::value_parser!(u16).range(1..=20_000))]
    fleet: Option<u16>,
    /// Measure how soon real edges stop instead, a key disabled ROUNDS times; how soon they are back; and the audit modes.
    #[arg(long, group = "what", value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "1000", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    stop: Option<u16>,
    /// Measure how soon an authority with KEYS keys is back after a kill -9 instead, 11 times.
    #[arg(long, group = "what", value_name = "KEYS", num_args = 0..=1, default_missing_value = "100000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    restart: Option<u32>,
    /// Swap versions of a rule under load instead: for ROUNDS × SECONDS nothing changes, then version after version comes.
    #[arg(long, group = "what")]
    swap: bool,
    /// Measure what samples of requests cost an edge instead.
    #[arg(long, group = "what")]
    sampling: bool,
    /// Be the bare server.
    #[arg(long, hide = true)]
    floor: bool,
}

const EXAMPLES: &str = "Examples:
  signet-bench                          the whole edge beside the floor
  signet-bench --fleet 2000             2,000 simulated edges on one authority, about two minutes
  signet-bench --stop 1000 --json       1,000 stops of real edges, as JSON
  signet-bench --restart 100000         an authority of 100,000 keys, killed and started 11 times
  signet-bench --swap                   failed and delayed requests while a rule's versions are swapped
  signet-bench --signet target/debug/signet --fleet 50";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = if arguments.floor { be_floor() } else { bench(&arguments) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signet-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<(), LoadError> {
    let own = std::env::current_exe().map_err(failed)?;
    let settings = Settings {
        signet: arguments.signet.clone(),
        floor: (own, vec!["--floor".to_owned()]),
        rounds: arguments.rounds,
        round: Duration::from_secs(arguments.seconds.into()),
        connections: arguments.connections,
    };
    match arguments {
        Arguments { swap: true, .. } => print(&swap::measure(&settings)?, arguments.json),
        Arguments { sampling: true, .. } => print(&sampling::measure(&settings)?, arguments.json),
        Arguments { kms: true, .. } => print(&kms::measure(&settings)?, arguments.json),
        Arguments { fleet: Some(edges), .. } => {
            let settings = FleetSettings {
                signet: settings.signet,
                edges: *edges,
                rounds: settings.rounds,
            };
            print(&fleet::measure(&settings)?, arguments.json)
        }
        Arguments {
            restart: Some(keys), ..
        } => {
            let settings = RestartSettings {
                signet: settings.signet,
                keys: usize::try_from(*keys).unwrap_or(usize::MAX),
                rounds: settings.rounds.max(11),
            };
            print(&restart::measure(&settings)?, arguments.json)
        }
        Arguments { stop: Some(rounds), .. } => stops(&settings, *rounds, arguments.json),
        _ => print(&compare(&settings)?, arguments.json),
    }
}

fn stops(settings: &Settings, rounds: u16, json: bool) -> Result<(), LoadError> {
    let signet = settings.signet.clone();
    // Its runtime has ended, with all its threads, when the modes are measured.
    print(&stop::measure(&StopSettings { signet, rounds })?, json)?;
    print(&modes::measure(settings)?, json)
}

fn print(figures: &(impl Display + Serialize), json: bool) -> Result<(), LoadError> {
    let as_json = || serde_json::to_string(figures).map_err(|error| LoadError::Bench(error.to_string()));
    line(&if json { as_json()? } else { figures.to_string() })
}

fn be_floor() -> Result<(), LoadError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let ready = |address| {
        let _ = line(&format!(r#"{{"http":"http://{address}"}}"#));
    };
    match runtime.block_on(floor::serve(ready))? {}
}

fn line(text: &str) -> Result<(), LoadError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(failed)
}

fn failed(error: std::io::Error) -> LoadError {
    LoadError::Bench(error.to_string())
}
