//! `signet-bench`: CPU time a request of a whole edge beside a bare server that only signs.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use loadtest::LoadError;
use loadtest::bench::{Settings, compare, floor, kms};
use serde::Serialize;

/// As `signet` itself, so that the two servers differ in what they do only.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compare a whole `signet dev` with a bare server that parses, signs Ed25519 and answers; or measure its key API.
#[derive(Debug, Parser)]
struct Arguments {
    /// The `signet` binary.
    #[arg(long, value_name = "PATH", default_value = "target/release/signet")]
    signet: PathBuf,
    /// Rounds for each, taking turns.
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
    #[arg(long)]
    kms: bool,
    /// Be the bare server.
    #[arg(long, hide = true)]
    floor: bool,
}

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
    match arguments.kms {
        false => print(&compare(&settings)?, arguments.json),
        true => print(&kms::measure(&settings)?, arguments.json),
    }
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
