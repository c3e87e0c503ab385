//! How soon an authority with many keys is back after a kill -9: until it answers an operator, and until a key is used.
//! Between, it reads every row of its store, and compares them with the sums it has kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use super::bench;
use super::progress::Progress;
use super::site::Site;
use super::spread::Spread;
use crate::LoadError;

/// Keys that are made at the same time.
const AT_ONCE: usize = 64;

/// How to measure restarts.
#[derive(Debug, Clone)]
pub struct RestartSettings {
    /// The `signet` binary.
    pub signet: PathBuf,
    /// Keys that the authority holds.
    pub keys: usize,
    /// Restarts.
    pub rounds: u16,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestartFigures {
    /// Keys that the authority held.
    pub keys: usize,
    /// From the start of the authority's process until its first answer to an operator.
    pub answered: Spread,
    /// From the start of the authority's process until one of the keys had signed.
    pub signed: Spread,
}

/// Makes the keys, then kills and starts the authority.
///
/// # Errors
/// The authority does not start, or answers with an error.
pub fn measure(settings: &RestartSettings) -> Result<RestartFigures, LoadError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(bench)?.block_on(restarts(settings))
}

async fn restarts(settings: &RestartSettings) -> Result<RestartFigures, LoadError> {
    let mut site = Site::start(&settings.signet, 64).await?;
    let key = site.admin.create_raw_key().await?;
    make(&site, settings.keys.saturating_sub(1)).await?;
    let mut progress = Progress::new("restarts of the authority");
    let (mut answered, mut signed) = (Vec::new(), Vec::new());
    for round in 0..settings.rounds {
        progress.tell(round.into(), settings.rounds.into());
        let begun = site.restart_authority()?;
        site.wait_for_authority().await?;
        answered.push(begun.elapsed());
        site.admin.sign(&key).await?;
        signed.push(begun.elapsed());
    }
    Ok(RestartFigures {
        keys: settings.keys,
        answered: Spread::of(answered),
        signed: Spread::of(signed),
    })
}

async fn make(site: &Site, keys: usize) -> Result<(), LoadError> {
    let mut progress = Progress::new("keys");
    let taken = Arc::new(AtomicUsize::new(0));
    let mut making = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (admin, taken) = (site.admin.clone(), taken.clone());
        making.spawn(async move {
            while taken.fetch_add(1, Ordering::Relaxed) < keys {
                admin.create_raw_key().await?;
            }
            Ok::<(), LoadError>(())
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            ended = making.join_next() => match ended {
                Some(ended) => ended.map_err(bench)??,
                None => break,
            },
            _ = tick.tick() => progress.tell(taken.load(Ordering::Relaxed).min(keys), keys),
        }
    }
    Ok(())
}

impl fmt::Display for RestartFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "an authority with {} keys, after kill -9", self.keys)?;
        writeln!(out, "  start -> an operator is answered   {}", self.answered)?;
        write!(out, "  start -> a key has signed          {}", self.signed)
    }
}
