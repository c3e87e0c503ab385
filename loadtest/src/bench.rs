//! What a whole edge costs beside the floor: CPU time a request, in one run on one machine.
//!
//! (a) is a bare server that parses the JSON, signs a JWT and answers ([`floor`]); (b) is an edge's process with the bundle of
//! `signet dev` and its profile `bench`: a caller's token, twenty Cedar policies, limits, one plugin, the audit spool and its
//! way to the authority, which has a process of its own. Both speak HTTP/1.1 in the clear over kept-alive connections; they
//! are pinned to one core, the client and the authority to another; they take turns, and the medians count, since neighbours
//! make single rounds useless.

mod admin;
mod beside;
mod caller;
pub mod fleet;
pub mod floor;
pub mod kms;
pub mod modes;
mod operator;
mod process;
mod progress;
pub mod restart;
mod rows;
pub mod sampling;
mod sigv4;
mod site;
mod spread;
pub mod stop;
pub mod swap;

pub use rows::Rows;
pub use spread::Spread;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use signing::key::Secret;
use tokio::runtime::Runtime;

use crate::{LoadError, Options, Protocol, Report, Until};
use process::{Cores, Server};

/// What every request of a bench asks for.
const BODY: &str = r#"{"subject":"user-42","audience":"https://app.example","claims":{"role":"viewer","plan_hint":"basic"},"lifetime":300}"#;
const PROFILE: &str = "bench";
/// Both servers show in the warm-up that what they sign is right.
const VERIFY_EVERY: u32 = 20;
const WARM_UP: Duration = Duration::from_secs(1);

/// How to run a bench.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `signet` binary.
    pub signet: PathBuf,
    /// The program that serves (a): `FLOOR ARGS…` must print `{"http":URL}`.
    pub floor: (PathBuf, Vec<String>),
    /// Rounds for each. At least 5 for a median worth its name.
    pub rounds: u16,
    /// How long a round takes.
    pub round: Duration,
    /// Connections, each with one request in flight.
    pub connections: u16,
}

/// One round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// User and system time of the server's process divided by the requests, in microseconds.
    pub cpu_us: f64,
    /// Half were answered within this, in microseconds.
    pub p50_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// Answers a second.
    pub rate: f64,
}

/// A server's rounds, and the median of each figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The medians.
    pub median: Round,
    /// In the order they ran.
    pub rounds: Vec<Round>,
}

/// Both servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// (a).
    pub floor: Measured,
    /// (b).
    pub edge: Measured,
    /// The median CPU time of (b) divided by that of (a).
    pub ratio: f64,
    /// Whether the servers had one core and the client another.
    pub pinned: bool,
    /// Connections, each with one request in flight.
    pub connections: u16,
}

/// Runs the bench. Call it from a program that has one thread only: it moves that thread between cores so that
/// children and runtimes inherit their place.
///
/// # Errors
/// [`LoadError::Bench`] where a server does not start or a request fails; then no figure would mean anything.
pub fn compare(settings: &Settings) -> Result<Comparison, LoadError> {
    if settings.rounds == 0 || settings.round.is_zero() {
        return Err(bench("a bench takes at least one round of at least a second"));
    }
    let cores = Cores::available();
    let data = tempfile::tempdir().map_err(bench)?;
    cores.server()?;
    let floor = start_floor(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bench)?;
    let (edge, _authority) = runtime.block_on(beside::start(&settings.signet, data.path(), &cores))?;
    cores.client()?;
    take_turns(settings, &runtime, (&floor, &edge), cores.are_two())
}

/// The rounds of both.
fn take_turns(
    settings: &Settings,
    runtime: &Runtime,
    (floor, edge): (&Subject, &Subject),
    pinned: bool,
) -> Result<Comparison, LoadError> {
    // The client never sleeps: waking a sleeping one costs a server's send an interrupt of another core, and the slower
    // server would pay it for every answer, the faster one for none.
    let spinning = runtime.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    for subject in [floor, edge] {
        runtime.block_on(subject.drive(settings, WARM_UP, VERIFY_EVERY))?;
    }
    let (mut floors, mut edges) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        floors.push(runtime.block_on(floor.round(settings))?);
        edges.push(runtime.block_on(edge.round(settings))?);
    }
    spinning.abort();
    let (floor, edge) = (Measured::new(floors), Measured::new(edges));
    Ok(Comparison {
        ratio: edge.median.cpu_us / floor.median.cpu_us.max(f64::MIN_POSITIVE),
        floor,
        edge,
        pinned,
        connections: settings.connections,
    })
}

/// A running server and how to ask it.
struct Subject {
    name: &'static str,
    server: Server,
    url: String,
    profile: &'static str,
    token: String,
    ca_file: Option<PathBuf>,
}

fn start_floor(settings: &Settings) -> Result<Subject, LoadError> {
    let (program, arguments) = &settings.floor;
    let (server, ready) = Server::start(Command::new(program).args(arguments), "the bare server")?;
    let url = text(&ready, "/http")?;
    Ok(Subject {
        name: "the bare server",
        server,
        url,
        profile: PROFILE,
        token: "none".to_owned(),
        ca_file: None,
    })
}

fn text(ready: &Value, pointer: &str) -> Result<String, LoadError> {
    let found = ready.pointer(pointer).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .ok_or_else(|| bench(format!("the server's first line has no {pointer}")))
}

impl Subject {
    /// As [`Subject::ask`]; a request that fails ends the bench.
    async fn drive(&self, settings: &Settings, time: Duration, verify_every: u32) -> Result<Report, LoadError> {
        let report = self.ask(settings, time, verify_every).await?;
        if report.is_clean() && report.answered() > 0 {
            Ok(report)
        } else {
            Err(bench(format!(
                "{} did not answer every request well\n{report}",
                self.name
            )))
        }
    }

    /// One request after another on each connection, for a while.
    async fn ask(&self, settings: &Settings, time: Duration, verify_every: u32) -> Result<Report, LoadError> {
        let options = Options {
            url: self.url.clone(),
            profile: self.profile.to_owned(),
            token: Secret::new(self.token.clone().into_bytes()),
            protocol: Protocol::Http1,
            connections: settings.connections,
            until: Until::Elapsed(time),
            body: BODY.to_owned(),
            ca_file: self.ca_file.clone(),
            verify_every,
            jwks_url: None,
        };
        crate::run(options).await
    }

    async fn round(&self, settings: &Settings) -> Result<Round, LoadError> {
        let before = self.server.cpu_micros()?;
        let report = self.drive(settings, settings.round, 0).await?;
        let used = self.server.cpu_micros()?.saturating_sub(before);
        Ok(Round::new(used, &report))
    }
}

impl Round {
    /// `used` is CPU time in microseconds.
    fn new(used: u64, report: &Report) -> Round {
        Round {
            cpu_us: used as f64 / report.answered().max(1) as f64,
            p50_us: report.p50_us,
            p99_us: report.p99_us,
            rate: report.rate,
        }
    }
}

/// The four figures of a table's line.
impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu_us, p50_us, p99_us, rate) = (self.cpu_us, self.p50_us, self.p99_us, self.rate);
        write!(out, "{cpu_us:>16.1}{p50_us:>10}{p99_us:>10}{rate:>14.0}")
    }
}

impl Measured {
    fn new(rounds: Vec<Round>) -> Measured {
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        let whole = |figure: fn(&Round) -> u64| {
            let mut all: Vec<u64> = rounds.iter().map(figure).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let median = Round {
            cpu_us: of(|round| round.cpu_us),
            p50_us: whole(|round| round.p50_us),
            p99_us: whole(|round| round.p99_us),
            rate: of(|round| round.rate),
        };
        Measured { median, rounds }
    }
}

/// The upper one of two in the middle.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.floor.rounds.len();
        let place = if self.pinned {
            "server on one core, client on another"
        } else {
            "not pinned: one core only"
        };
        writeln!(
            out,
            "medians of {rounds} rounds each, {} connections, HTTP/1.1, {place}",
            self.connections
        )?;
        writeln!(
            out,
            "{:<28}{:>16}{:>10}{:>10}{:>14}",
            "", "CPU µs/request", "p50 µs", "p99 µs", "requests/s"
        )?;
        for (name, measured) in [
            ("(a) bare server, signs only", &self.floor),
            ("(b) whole edge", &self.edge),
        ] {
            writeln!(out, "{name:<28}{}", measured.median)?;
        }
        write!(out, "{:<28}{:>16.2}", "(b) / (a)", self.ratio)
    }
}

fn bench(reason: impl ToString) -> LoadError {
    LoadError::Bench(reason.to_string())
}

#[cfg(test)]
mod tests;
