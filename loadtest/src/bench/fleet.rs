//! What a fleet of edges costs its authority, and how soon all of it has heard that a key is stopped.
//!
//! The authority is a real process with a software HSM. The edges are in this one ([`edge`]): each has its own node
//! certificate, connection and stream, so that the authority cannot tell them from real ones that have no callers. Both
//! share the machine, so the times include what the edges themselves take.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use node::channel::Peer;
use node::listen::raise_open_files;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;

use self::edge::{Common, Counts, Told};
use super::progress::Progress;
use super::site::Site;
use super::spread::Spread;
use super::{bench, text};
use crate::LoadError;

mod edge;

/// Fewer rounds make no median worth its name.
const FEWEST_ROUNDS: u16 = 11;
/// Keys that each edge holds leases of, and how long those are, seconds: what a key has that says nothing.
const KEYS: usize = 10;
const LEASE_SECONDS: u64 = 60;
/// How long nothing but heartbeats and renewals is watched: three renewals of each edge.
const IDLE: Duration = Duration::from_secs(60);
/// Enrolments under way at once.
const ENROLLING: usize = 16;
/// Edges that connect at once.
const CONNECTING: usize = 32;
/// How long the whole fleet may take to hear of one change.
const PATIENCE: Duration = Duration::from_secs(120);
/// Open files beside the connections.
const OTHER_FILES: u64 = 128;

/// How to measure a fleet.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// The `signet` binary.
    pub signet: PathBuf,
    /// Edges.
    pub edges: u16,
    /// How often a key is disabled; 11 at least.
    pub rounds: u16,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetFigures {
    /// Edges that were connected, all of them all the time.
    pub edges: u16,
    /// Keys that each of them held leases of.
    pub keys: usize,
    /// Resident memory of the authority without an edge, and with all of them, bytes.
    pub alone_bytes: u64,
    /// See `alone_bytes`.
    pub with_edges_bytes: u64,
    /// The difference for one edge.
    pub bytes_per_edge: u64,
    /// CPU time of the authority while nothing changes, milliseconds for one edge in one minute.
    pub idle_cpu_ms_per_edge_minute: f64,
    /// Renewals of leases in that time, for one edge in one minute.
    pub renewals_per_edge_minute: f64,
    /// Leases that ran out although the authority was there, in the whole run.
    pub lapsed: u64,
    /// From when the disable was sent until it was answered, which is when it is committed.
    pub committed: Spread,
    /// … until the last edge had the key's new state.
    pub last_edge: Spread,
    /// … until the authority said that it is fenced: all edges have acknowledged.
    pub fenced: Spread,
}

/// Runs the simulation.
///
/// # Errors
/// [`LoadError::Bench`] where the system does not let this process have a connection for each edge, the authority does not
/// start, or an edge loses its stream; then no figure would mean anything.
pub fn measure(settings: &FleetSettings) -> Result<FleetFigures, LoadError> {
    enough_files(settings.edges, raise_open_files())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(bench)?;
    runtime.block_on(simulate(settings))
}

/// The authority has the same limit as this process, which it inherits.
fn enough_files(edges: u16, limit: u64) -> Result<(), LoadError> {
    let needed = u64::from(edges).saturating_add(OTHER_FILES);
    if limit >= needed {
        return Ok(());
    }
    Err(bench(format!(
        "{edges} edges need {needed} open files and the hard limit is {limit}, {} too few; raise it with `ulimit -Hn {needed}` as root, or \
         take fewer edges",
        needed.saturating_sub(limit)
    )))
}

async fn simulate(settings: &FleetSettings) -> Result<FleetFigures, LoadError> {
    let edges = usize::from(settings.edges);
    let site = Site::start(&settings.signet, edges.saturating_add(64)).await?;
    let mut ids = Vec::new();
    for _ in 0..KEYS {
        ids.push(site.admin.create_key(LEASE_SECONDS, None).await?);
    }
    let watched = ids.pop().ok_or_else(|| bench("there is no key"))?;
    let alone_bytes = site.authority.resident_bytes()?;
    let channels = enroll(&site, edges).await?;
    let (told, mut heard) = mpsc::channel(edges.saturating_mul(2).max(1));
    let common = Arc::new(Common {
        watched,
        keys: KEYS,
        told,
        counts: Counts::default(),
    });
    let mut fleet = JoinSet::new();
    connect(channels, &common, &mut heard, &mut fleet).await?;
    let mut hearing = Hearing {
        heard: &mut heard,
        edges,
    };
    let renewed = common.counts.renewals.load(Ordering::Relaxed);
    let cpu = idle(&site).await?;
    let with_edges_bytes = site.authority.resident_bytes()?;
    let renewed = common.counts.renewals.load(Ordering::Relaxed).saturating_sub(renewed);
    let each = |count: f64| count / f64::from(settings.edges.max(1)) / (IDLE.as_secs_f64() / 60.0);
    let [committed, last_edge, fenced] =
        stops(&site, &common.watched, &mut hearing, settings.rounds.max(FEWEST_ROUNDS)).await?;
    fleet.shutdown().await;
    Ok(FleetFigures {
        edges: settings.edges,
        keys: KEYS,
        alone_bytes,
        with_edges_bytes,
        bytes_per_edge: with_edges_bytes
            .saturating_sub(alone_bytes)
            .checked_div(settings.edges.into())
            .unwrap_or(0),
        idle_cpu_ms_per_edge_minute: each(cpu as f64 / 1e3),
        renewals_per_edge_minute: each(renewed as f64),
        lapsed: common.counts.lapsed.load(Ordering::Relaxed),
        committed,
        last_edge,
        fenced,
    })
}

/// So many edges, each with a channel of its own that is not connected yet.
async fn enroll(site: &Site, edges: usize) -> Result<Vec<Channel>, LoadError> {
    let mut progress = Progress::new("edges enrolled");
    let peer = Peer::parse(&site.grpc()).map_err(bench)?;
    let root = CertificateDer::from_pem_file(site.node_root()).map_err(bench)?;
    let stranger = edge::connect(&peer, root, None)?;
    let (mut enrolling, mut channels) = (JoinSet::new(), Vec::with_capacity(edges));
    for number in 0..edges {
        let (admin, peer, stranger) = (site.admin.clone(), peer.clone(), stranger.clone());
        enrolling.spawn(async move {
            let token = admin.join_token(&format!("edge-{number}")).await?;
            edge::enroll(stranger, &peer, text(&token, "/join_token")?).await
        });
        if enrolling.len() >= ENROLLING {
            channels.extend(joined(&mut enrolling).await?);
        }
        progress.tell(channels.len(), edges);
    }
    while !enrolling.is_empty() {
        channels.extend(joined(&mut enrolling).await?);
    }
    Ok(channels)
}

/// Lets the edges in, some at a time, until all have their leases.
async fn connect(
    mut channels: Vec<Channel>,
    common: &Arc<Common>,
    heard: &mut Receiver<Told>,
    fleet: &mut JoinSet<()>,
) -> Result<(), LoadError> {
    let mut progress = Progress::new("edges connected");
    let total = channels.len();
    while !channels.is_empty() {
        let group = channels.split_off(channels.len().saturating_sub(CONNECTING));
        let edges = group.len();
        for channel in group {
            fleet.spawn(edge::follow(channel, common.clone()));
        }
        let mut hearing = Hearing { heard, edges };
        hearing
            .until("edges have their leases", |told| matches!(told, Told::Leased))
            .await?;
        progress.tell(total.saturating_sub(channels.len()), total);
    }
    Ok(())
}

async fn joined(tasks: &mut JoinSet<Result<Channel, LoadError>>) -> Result<Option<Channel>, LoadError> {
    match tasks.join_next().await {
        Some(ended) => ended.map_err(bench)?.map(Some),
        None => Ok(None),
    }
}

/// CPU time of the authority while nothing happens, microseconds.
async fn idle(site: &Site) -> Result<u64, LoadError> {
    let mut progress = Progress::new("seconds of an idle fleet");
    let (begun, before) = (Instant::now(), site.authority.cpu_micros()?);
    while let Some(left) = IDLE.checked_sub(begun.elapsed()) {
        let seconds = |time: Duration| usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
        progress.tell(seconds(begun.elapsed()), seconds(IDLE));
        tokio::time::sleep(left.min(Duration::from_millis(500))).await;
    }
    Ok(site.authority.cpu_micros()?.saturating_sub(before))
}

/// Disables and enables the key again and again: until committed, until the last edge has it, until fenced.
async fn stops(site: &Site, key: &str, hearing: &mut Hearing<'_>, rounds: u16) -> Result<[Spread; 3], LoadError> {
    let mut progress = Progress::new("times disabled");
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..rounds {
        progress.tell(round.into(), rounds.into());
        let sent = Instant::now();
        let (last, (committed, fenced)) = tokio::try_join!(
            hearing.until("edges know the key is disabled", |told| matches!(
                told,
                Told::State(false, _)
            )),
            disable(site, key)
        )?;
        for (times, at) in times.iter_mut().zip([committed, last, fenced]) {
            times.push(at.saturating_duration_since(sent));
        }
        site.admin.set("EnableKey", key).await?;
        hearing
            .until("edges know the key is enabled", |told| {
                matches!(told, Told::State(true, _))
            })
            .await?;
    }
    Ok(times.map(Spread::of))
}

/// When it was answered, and when it was said to be fenced.
async fn disable(site: &Site, key: &str) -> Result<(Instant, Instant), LoadError> {
    site.admin.set("DisableKey", key).await?;
    let committed = Instant::now();
    while !site.admin.is_fenced(key).await? {
        if committed.elapsed() > PATIENCE {
            return Err(bench(format!("a disabled key was not fenced within {PATIENCE:?}")));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((committed, Instant::now()))
}

/// What the edges say.
struct Hearing<'a> {
    heard: &'a mut Receiver<Told>,
    edges: usize,
}

impl Hearing<'_> {
    /// Until every edge has said this once; answers the latest time that came with it. What else they say is passed over.
    async fn until(&mut self, what: &'static str, is_it: impl Fn(&Told) -> bool) -> Result<Instant, LoadError> {
        let mut progress = Progress::new(what);
        let (mut latest, mut count) = (Instant::now(), 0_usize);
        while count < self.edges {
            progress.tell(count, self.edges);
            let told = timeout(PATIENCE, self.heard.recv()).await.ok().flatten();
            match told {
                Some(Told::Ended(why)) => return Err(bench(format!("an edge lost its stream: {why}"))),
                Some(told) if is_it(&told) => {
                    count = count.saturating_add(1);
                    if let Told::State(_, at) = told {
                        latest = latest.max(at);
                    }
                }
                Some(_) => {}
                None => {
                    return Err(bench(format!(
                        "{count} of {} {what}, the others said nothing",
                        self.edges
                    )));
                }
            }
        }
        Ok(latest)
    }
}

impl fmt::Display for FleetFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (edges, keys) = (self.edges, self.keys);
        writeln!(
            out,
            "{edges} edges with leases of {keys} keys each, {LEASE_SECONDS} s; authority and edges share {cores} cores"
        )?;
        let line = |out: &mut fmt::Formatter<'_>, name: &str, value: String| writeln!(out, "{name:<42}{value}");
        line(
            out,
            "memory, authority alone",
            format!("{:>10.1} MiB", mib(self.alone_bytes)),
        )?;
        line(
            out,
            "memory, with all edges",
            format!("{:>10.1} MiB", mib(self.with_edges_bytes)),
        )?;
        let kib = self.bytes_per_edge as f64 / 1024.0;
        line(out, "memory an edge", format!("{kib:>10.1} KiB"))?;
        let (cpu, renewals) = (self.idle_cpu_ms_per_edge_minute, self.renewals_per_edge_minute);
        line(
            out,
            "CPU of the idle authority",
            format!("{cpu:>10.1} ms an edge and minute"),
        )?;
        line(
            out,
            "renewals",
            format!("{renewals:>10.1} an edge and minute, {} leases ran out", self.lapsed),
        )?;
        line(out, "disable → committed", self.committed.to_string())?;
        line(out, "disable → the last edge has it", self.last_edge.to_string())?;
        write!(out, "{:<42}{}", "disable → fenced", self.fenced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_open_files_is_said() {
        enough_files(100, 228).unwrap();
        let error = enough_files(2_000, 1_024).unwrap_err().to_string();
        assert!(error.contains("2128") && error.contains("1104 too few"), "{error}");
    }

    #[tokio::test]
    async fn the_last_edge_counts_and_a_lost_stream_ends_it() {
        let (send, mut heard) = mpsc::channel(8);
        let mut hearing = Hearing {
            heard: &mut heard,
            edges: 2,
        };
        let late = Instant::now() + Duration::from_secs(9);
        let disabled = |told: &Told| matches!(told, Told::State(false, _));
        for told in [
            Told::State(false, late),
            Told::Leased,
            Told::State(false, Instant::now()),
        ] {
            send.send(told).await.unwrap();
        }
        assert_eq!(hearing.until("edges", disabled).await.unwrap(), late);
        send.send(Told::Ended("gone".into())).await.unwrap();
        assert!(
            hearing
                .until("edges", disabled)
                .await
                .unwrap_err()
                .to_string()
                .contains("gone")
        );
    }
}
