//! How a sealed authority ([`crate::seal`]) comes to serve again: what the audit spool says was stopped since is stopped again, or
//! a quorum waives that. Both are done beside the data directory of an authority that is not running, so that neither the audit
//! spool nor a share of the backup key crosses a network, and both are on record: in the audit spool and in the store.
//!
//! The quorum is that of the backup key: whoever brings k of its n shares speaks for it. They only prove that, and open nothing.

use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use node::telemetry::Metrics;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::replay::Replayed;
use crate::backup::{Share, read_key};
use crate::config::Config;
use crate::fault::Fault;
use crate::init;
use crate::kms::{Decided, Entry, Recorder};
use crate::log_place::LogPlace;
use crate::paths;
use crate::restore;
use crate::seal::{Reason, Seal, next_life};
use crate::sealed::{Change, Vault};
use crate::serve::{Parts, StartError, open_recorder};

mod history;
pub mod replay;
#[cfg(test)]
mod tests;

/// Bytes of a waiver's reason.
const MAX_REASON: usize = 512;
/// Shown by the admin API at most.
const HISTORY: usize = 100;

/// How a seal was lifted: a row of the store, kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsealing {
    /// Unix seconds.
    pub at: u64,
    /// Why it had been sealed.
    pub why: Reason,
    /// `replayed` or `waived`.
    pub how: String,
    /// The operator's words, for a waiver.
    pub reason: Option<String>,
    /// The indices of the shares that a waiver was made with.
    pub shares: Vec<u8>,
}

/// What a replay found and did.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// What was stopped again.
    pub replayed: Vec<Replayed>,
    /// What cannot be done from the record alone; while there is any, the authority stays sealed.
    pub outstanding: Vec<String>,
    /// Whether it serves at its next start.
    pub unsealed: bool,
}

/// The state of an authority that is not running.
struct Site {
    parts: Parts,
    vault: Arc<Vault>,
    recorder: Arc<Recorder>,
    why: Reason,
}

/// Stops again what the audit spool in `audit` says was stopped, and unseals when nothing else is left to do.
///
/// # Errors
/// [`StartError`] when the authority is not sealed or is running, or when the spool is damaged or does not reach back to the
/// backup. What was stopped until then stays stopped.
pub async fn replay(config: &Config, audit: &Path) -> Result<Outcome, StartError> {
    replay_on(config, Parts::open(config).await?, audit).await
}

pub(crate) async fn replay_on(config: &Config, parts: Parts, audit: &Path) -> Result<Outcome, StartError> {
    let site = open(config, parts).await?;
    let result = site.replay(config, audit).await;
    site.close("restore:Replay", None, result).await
}

/// Unseals without a replay, on the word of a quorum.
///
/// # Errors
/// [`StartError`] when the authority is not sealed or is running, has no backup key, or the shares are not enough.
pub async fn waive(config: &Config, reason: &str, shares: &[Share]) -> Result<Unsealing, StartError> {
    if reason.trim().is_empty() || reason.len() > MAX_REASON || reason.contains(char::is_control) {
        let message = format!("the reason has 1 to {MAX_REASON} printable bytes");
        return Err(Fault::invalid("bad_request", message).into());
    }
    waive_on(config, Parts::open(config).await?, reason, shares).await
}

pub(crate) async fn waive_on(
    config: &Config,
    parts: Parts,
    reason: &str,
    shares: &[Share],
) -> Result<Unsealing, StartError> {
    let site = open(config, parts).await?;
    let result = site.waive(config, reason, shares).await;
    let digest = signing::digest::sha256(reason.as_bytes());
    site.close("restore:Waive", Some(digest), result).await
}

/// How seals were lifted, the oldest first.
pub(crate) async fn history(vault: &Vault) -> Result<Vec<Unsealing>, Fault> {
    let rows = vault.page::<Unsealing>(paths::UNSEALINGS, None, HISTORY).await?;
    Ok(rows.into_iter().map(|(_, held)| held.value).collect())
}

/// The log of a spool: the authority's own in its place, or what lies beside a copy.
fn log_of(config: &Config, spool: &Path) -> Result<LogPlace, Fault> {
    let wrong = |(field, message)| Fault::invalid("bad_request", format!("{field} {message}"));
    match spool == config.audit_dir() {
        true => LogPlace::of(config).map_err(wrong),
        false => Ok(LogPlace::Directory(spool.parent().unwrap_or(spool).join("log"))),
    }
}

async fn open(config: &Config, parts: Parts) -> Result<Site, StartError> {
    match examine(config, &parts).await {
        Ok((vault, recorder, why)) => Ok(Site {
            parts,
            vault,
            recorder,
            why,
        }),
        Err(error) => {
            parts.close();
            Err(error)
        }
    }
}

async fn examine(config: &Config, parts: &Parts) -> Result<(Arc<Vault>, Arc<Recorder>, Reason), StartError> {
    let vault = Arc::new(Vault::new(parts.store.clone(), parts.hsm.clone()));
    init::load_roots(&vault, &config.trust_domain).await?;
    let seal = Seal::examine(&vault, &config.anchor()).await?;
    let why = seal.reason();
    let why = why.ok_or_else(|| Fault::state("not_sealed", "this authority is not sealed; there is nothing to do"))?;
    let recorder = open_recorder(config, parts.clock.clone(), &Metrics::new("signet_authority"))?;
    Ok((vault, recorder, why))
}

impl Site {
    async fn replay(&self, config: &Config, audit: &Path) -> Result<Outcome, Fault> {
        let directory = audit.to_owned();
        let position = match &self.why {
            Reason::Restored { audit, .. } => audit.clone(),
            // At which of its records a store was that was put back is not known: all are taken.
            Reason::RolledBack { .. } | Reason::NoAnchor { .. } | Reason::Replayed { .. } => None,
        };
        let log = log_of(config, audit)?;
        let stops = tokio::task::spawn_blocking(move || replay::read(&directory, &log, position.as_ref())).await;
        let stops = stops.map_err(|error| Fault::internal(error.to_string()))??;
        let (replayed, outstanding) = replay::apply(&self.vault, stops, self.parts.clock.now()).await?;
        if outstanding.is_empty() {
            let lifted = self.lifted("replayed", None, Vec::new());
            self.lift(config, &lifted).await?;
        }
        Ok(Outcome {
            unsealed: outstanding.is_empty(),
            replayed,
            outstanding,
        })
    }

    async fn waive(&self, config: &Config, reason: &str, shares: &[Share]) -> Result<Unsealing, Fault> {
        let no_quorum = || {
            let message =
                "this authority has no backup key, so there is no quorum that could waive; replay the audit spool";
            Fault::state("no_quorum", message)
        };
        let (key, _) = read_key(&self.vault).await?.ok_or_else(no_quorum)?;
        key.combine(shares)?;
        let indices = shares.iter().map(|share| share.index).collect();
        let lifted = self.lifted("waived", Some(reason.to_owned()), indices);
        self.lift(config, &lifted).await?;
        Ok(lifted)
    }

    fn lifted(&self, how: &str, reason: Option<String>, shares: Vec<u8>) -> Unsealing {
        Unsealing {
            at: self.parts.clock.now(),
            why: self.why.clone(),
            how: how.to_owned(),
            reason,
            shares,
        }
    }

    /// One commit: the seal is off and why is said, or neither. The revision goes beyond all that edges have been told, so that
    /// none of them takes what comes for old.
    async fn lift(&self, config: &Config, lifted: &Unsealing) -> Result<(), Fault> {
        let held = self.vault.get::<Reason>(paths::SEAL).await?;
        let held = held.ok_or_else(|| Fault::internal("the seal's row is gone"))?;
        // A crash before the seal is off leaves an authority that is sealed for the reason that it was.
        match &self.why {
            Reason::Replayed { .. } => self.vault.take_as_whole().await?,
            _ => self.vault.ensure_sums().await?,
        }
        restore::forget(&self.vault).await?;
        replay::postpone_deletions(&self.vault, self.parts.clock.now()).await?;
        let now = self.vault.store().revision().await?;
        let anchor = config.anchor();
        let anchored = anchor.revision(&self.vault).await?.unwrap_or_default();
        let beyond = next_life(now.max(anchored).max(self.why.seen()), self.parts.clock.now());
        if matches!(self.why, Reason::NoAnchor { .. }) {
            // Before the seal is off: a crash between the two would take the file for one that was removed again.
            anchor.write(&self.vault, now).await?;
        }
        let change = Change::new()
            .unchanged(paths::SEAL, held.stamp)
            .delete(paths::SEAL)
            .delete(paths::SESSIONS)
            .create(format!("{}{beyond:020}", paths::UNSEALINGS), lifted)
            .raise_to(beyond);
        let revision = self.vault.commit(change).await?;
        anchor.write(&self.vault, revision).await?;
        anchor.ensure(&self.vault).await
    }

    /// Records what was done or refused, and lets go of everything.
    async fn close<T>(
        self,
        operation: &str,
        digest: Option<[u8; 32]>,
        result: Result<T, Fault>,
    ) -> Result<T, StartError> {
        let entry = Entry {
            operation,
            caller: "operator:local",
            account: "",
            decided: Decided::default(),
            digest,
            refused: result.as_ref().err().map(Fault::code),
            request_id: Uuid::new_v4(),
            headers: &HeaderMap::new(),
        };
        let recorded = self.recorder.record(entry);
        let recorder = self.recorder;
        let closed = tokio::task::spawn_blocking(move || recorder.close()).await;
        drop(self.vault);
        self.parts.close();
        let value = result?;
        closed.map_err(|error| Fault::internal(error.to_string()))?;
        recorded.map_err(|refusal| Fault::internal(refusal.detail.unwrap_or_default()))?;
        Ok(value)
    }
}
