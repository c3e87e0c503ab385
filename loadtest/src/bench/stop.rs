//! How soon real edges stop: when they are told, and when they cannot be told; and how soon they, and their authority, are
//! back after a kill -9.
//!
//! Each edge is asked by one caller who has one request under way all the time, so that a time is as exact as an answer is
//! fast. A caller sees a stop when it is refused; that an edge signs once more after it has refused ends the bench.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node::lease::bound;
use rustix::process::Signal;
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bench;
use super::caller::Caller;
use super::progress::Progress;
use super::site::{Site, files};
use super::spread::Spread;
use crate::LoadError;

/// Edges, with leases as short as they can be, seconds.
const EDGES: usize = 2;
const LEASE_SECONDS: u64 = 5;
/// Rounds of what takes seconds each.
const LONG_ROUNDS: u16 = 11;
/// How long all edges may take until they sign.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to measure stops.
#[derive(Debug, Clone)]
pub struct StopSettings {
    /// The `signet` binary.
    pub signet: PathBuf,
    /// How often a key is disabled. Below 1,000 there is no p99.9, and the longest stands for it.
    pub rounds: u16,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StopFigures {
    /// Edges, and the lease of their key, seconds.
    pub edges: usize,
    /// See `edges`.
    pub lease_seconds: u64,
    /// From when the disable was sent until the last edge refused.
    pub disabled: Spread,
    /// From when the authority was stopped (SIGSTOP) until the last edge refused.
    pub cut_off: Spread,
    /// What `cut_off` may be at most, milliseconds.
    pub bound_ms: u64,
    /// From the start of an edge's process until its first signature left.
    pub edge_restart: Spread,
    /// From the start of an authority's process until its first answer to an operator.
    pub authority_restart: Spread,
}

/// Runs it.
///
/// # Errors
/// [`LoadError::Bench`] where something does not start, or an edge signs after it has refused.
pub fn measure(settings: &StopSettings) -> Result<StopFigures, LoadError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(bench)?;
    runtime.block_on(run(settings))
}

async fn run(settings: &StopSettings) -> Result<StopFigures, LoadError> {
    let mut site = Site::start(&settings.signet, 64).await?;
    let (key, token) = site.add_edges(EDGES, LEASE_SECONDS).await?;
    let callers = site
        .edges
        .iter()
        .map(|edge| Caller::new(&edge.url, files::RESERVE, &token));
    let callers: Vec<_> = callers.collect::<Result<_, _>>()?;
    let figures = StopFigures {
        edges: EDGES,
        lease_seconds: LEASE_SECONDS,
        disabled: disabled(&site, &callers, &key, settings.rounds).await?,
        cut_off: cut_off(&site, &callers, settings.rounds.min(LONG_ROUNDS)).await?,
        bound_ms: bound(LEASE_SECONDS.saturating_mul(1_000)),
        edge_restart: edge_restart(&mut site, &callers, settings.rounds.min(LONG_ROUNDS)).await?,
        authority_restart: authority_restart(&mut site, settings.rounds.min(LONG_ROUNDS)).await?,
    };
    Ok(figures)
}

async fn disabled(site: &Site, callers: &[Caller], key: &str, rounds: u16) -> Result<Spread, LoadError> {
    let mut progress = Progress::new("times disabled");
    let mut times = Vec::new();
    for round in 0..rounds {
        progress.tell(round.into(), rounds.into());
        let took = last_refusal(callers, async || site.admin.set("DisableKey", key).await).await?;
        times.push(took);
        site.admin.set("EnableKey", key).await?;
    }
    Ok(Spread::of(times))
}

async fn cut_off(site: &Site, callers: &[Caller], rounds: u16) -> Result<Spread, LoadError> {
    let mut progress = Progress::new("times cut off");
    let mut times = Vec::new();
    for round in 0..rounds {
        progress.tell(round.into(), rounds.into());
        let took = last_refusal(callers, async || site.authority.signal(Signal::STOP)).await;
        site.authority.signal(Signal::CONT)?;
        times.push(took?);
    }
    Ok(Spread::of(times))
}

async fn edge_restart(site: &mut Site, callers: &[Caller], rounds: u16) -> Result<Spread, LoadError> {
    let mut progress = Progress::new("restarts of an edge");
    let caller = callers.first().ok_or_else(|| bench("there is no edge"))?;
    let mut times = Vec::new();
    for round in 0..rounds {
        progress.tell(round.into(), rounds.into());
        caller.until_signed().await?;
        let begun = site.restart_edge(0)?;
        caller.until_signed().await?;
        times.push(begun.elapsed());
    }
    Ok(Spread::of(times))
}

async fn authority_restart(site: &mut Site, rounds: u16) -> Result<Spread, LoadError> {
    let mut progress = Progress::new("restarts of the authority");
    let mut times = Vec::new();
    for round in 0..rounds {
        progress.tell(round.into(), rounds.into());
        let begun = site.restart_authority()?;
        site.wait_for_authority().await?;
        times.push(begun.elapsed());
    }
    Ok(Spread::of(times))
}

/// How long after `stop` was begun the last edge refused. Every edge has signed for its caller before.
async fn last_refusal(
    callers: &[Caller],
    stop: impl AsyncFnOnce() -> Result<(), LoadError>,
) -> Result<Duration, LoadError> {
    let signing = Arc::new(Barrier::new(callers.len().saturating_add(1)));
    let mut asking = JoinSet::new();
    for caller in callers {
        let (caller, signing) = (caller.clone(), signing.clone());
        asking.spawn(async move {
            caller.until_signed().await?;
            signing.wait().await;
            caller.until_refused().await
        });
    }
    timeout(PATIENCE, signing.wait())
        .await
        .map_err(|_| bench(format!("not every edge signed within {PATIENCE:?}")))?;
    let begun = Instant::now();
    stop().await?;
    let mut last = Duration::ZERO;
    while let Some(refused) = asking.join_next().await {
        let refused = refused.map_err(bench)??;
        last = last.max(refused.saturating_duration_since(begun));
    }
    Ok(last)
}

impl fmt::Display for StopFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (edges, lease) = (self.edges, self.lease_seconds);
        writeln!(out, "{edges} edges and an authority, leases of {lease} s")?;
        writeln!(out, "{:<42}{}", "disable → the last edge refuses", self.disabled)?;
        writeln!(
            out,
            "{:<42}{}",
            "authority frozen → the last edge refuses", self.cut_off
        )?;
        let bound = self.bound_ms as f64;
        let verdict = if self.cut_off.max_ms <= bound { "kept" } else { "BROKEN" };
        writeln!(out, "{:<42}    {bound:>8.1} ms, {verdict}", "  the bound")?;
        writeln!(out, "{:<42}{}", "edge started → first signature", self.edge_restart)?;
        write!(
            out,
            "{:<42}{}",
            "authority started → first answer", self.authority_restart
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_was_not_kept_is_seen() {
        let spread = |ms| Spread::of(vec![Duration::from_millis(ms)]);
        let figures = |cut_off| StopFigures {
            edges: 2,
            lease_seconds: 5,
            disabled: spread(7),
            cut_off: spread(cut_off),
            bound_ms: bound(5_000),
            edge_restart: spread(1),
            authority_restart: spread(1),
        };
        assert!(figures(5_352).to_string().contains("kept"));
        assert!(figures(5_353).to_string().contains("BROKEN"));
    }

    /// Two servers that sign, and stop when they are told: one at once, one later.
    #[tokio::test]
    async fn the_last_refusal_counts() {
        let stopped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut callers = Vec::new();
        for slack in [0, 5] {
            let stopped = stopped.clone();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(serve(listener, stopped, slack));
            callers.push(Caller::new(&url, files::RESERVE, "caller").unwrap());
        }
        let stop = async || {
            stopped.store(1, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        };
        let took = last_refusal(&callers, stop).await.unwrap();
        assert!(took > Duration::ZERO && took < PATIENCE);
        // Each refuses from its first refusal on: 1 and three more, the late one after 5 more signatures.
        assert_eq!(stopped.load(std::sync::atomic::Ordering::SeqCst), 1 + 4 + 5 + 4);
    }

    /// Answers 201 until it was told to stop and has signed `slack` times more; counts what it was asked after that.
    async fn serve(listener: tokio::net::TcpListener, stopped: Arc<std::sync::atomic::AtomicUsize>, slack: usize) {
        use std::sync::atomic::Ordering;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let left = Arc::new(std::sync::atomic::AtomicUsize::new(slack));
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (stopped, left) = (stopped.clone(), left.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let mut status = "201 Created";
                    if stopped.load(Ordering::SeqCst) > 0 {
                        stopped.fetch_add(1, Ordering::SeqCst);
                        let spare = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                        if spare.is_err() {
                            status = "503 Service Unavailable";
                        }
                    }
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    }
}
