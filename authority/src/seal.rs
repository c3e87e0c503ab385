//! The seal on an authority whose state may be older than what it had already promised: after a restore, or when its store was
//! put back (R29). It starts and says why, but no key is used or handed out until what was stopped meanwhile has been stopped
//! again, or a quorum has waived that ([`crate::unseal`]).
//!
//! The reason is a row of the store, so that a restart changes nothing. A store that is put back once more is found by its
//! revision, as before.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::anchor::Anchor;
use crate::backup::format::AuditPosition;
use crate::clock::rfc3339;
use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Vault, Whole};

/// How far apart the revisions of two lives of a store are: more commits than one makes.
const LIFE: u64 = 1 << 38;
/// Seconds in which a store begins one life at most.
const APART: u64 = 60;

/// Between two times that a running authority adds up its rows, which reads the whole store.
const ADD_UP: Duration = Duration::from_secs(3600);

/// Why an authority is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// Its store is from a backup.
    Restored {
        /// The backup's id.
        backup: String,
        /// The revision that the backup holds.
        revision: u64,
        /// When the backup was made, Unix seconds.
        taken_at: u64,
        /// Where the audit spool was then.
        audit: Option<AuditPosition>,
        /// Unix seconds.
        restored_at: u64,
    },
    /// Its store is at an older revision than it had once.
    RolledBack {
        /// The store's.
        store: u64,
        /// The one it had.
        seen: u64,
        /// Who knows: the anchor's file or an edge.
        witness: String,
    },
    /// Rows are not as this authority wrote them last.
    Replayed {
        /// The kinds of the rows (the first part of their paths); none where the sums over the rows were altered themselves.
        kinds: Vec<String>,
    },
    /// The anchor, which shows that the store was not put back, is gone or is not this store's.
    NoAnchor {
        /// The file.
        file: PathBuf,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let then = "stop it and run `signet restore replay`, or `signet restore waive` with a quorum's shares";
        match self {
            Self::Restored { backup, taken_at, .. } => write!(
                f,
                "this authority is sealed: it was restored from the backup `{backup}` of {}, and what was stopped since then \
                 has to be stopped again: {then}",
                rfc3339(*taken_at)
            ),
            Self::RolledBack { store, seen, witness } => write!(
                f,
                "this authority is sealed: its store is at revision {store}, and {witness} has seen revision {seen}: the store \
                 was put back to an older state; put the newer store in its place, restore a backup, or {then}"
            ),
            Self::Replayed { kinds } => {
                f.write_str("this authority is sealed: ")?;
                match kinds.as_slice() {
                    [] => f.write_str("the sums over the rows of its store are gone or are of another state")?,
                    kinds => write!(
                        f,
                        "rows of its store of the kinds `{}` are not as it wrote them last",
                        kinds.join("`, `")
                    )?,
                }
                write!(
                    f,
                    ": older rows were put back, or some were taken away or added, beneath it; put an unaltered store in its \
                     place, restore a backup, or {then}"
                )
            }
            Self::NoAnchor { file } => write!(
                f,
                "this authority is sealed: its anchor `{}` is gone or is of another store, and nothing shows that the store was \
                 not put back; put the file in its place, or {then}",
                file.display()
            ),
        }
    }
}

impl Reason {
    /// The revision that the store has to be raised beyond, beside its own.
    pub(crate) fn seen(&self) -> u64 {
        match self {
            Self::RolledBack { seen, .. } => *seen,
            Self::Restored { revision, .. } => *revision,
            Self::NoAnchor { .. } | Self::Replayed { .. } => 0,
        }
    }
}

/// The first revision of the next life of a store that has had `revision`: beyond all that it may have had since. With the time
/// in it (`now`, Unix seconds), lives that begin from the same backup do not meet either.
pub(crate) fn next_life(revision: u64, now: u64) -> u64 {
    let lives = revision.checked_div(LIFE).unwrap_or_default().saturating_add(1);
    let by_time = now.checked_div(APART).unwrap_or_default();
    lives.max(by_time).saturating_mul(LIFE)
}

/// Whether this authority serves. Asked for each request.
#[derive(Debug)]
pub struct Seal {
    reason: RwLock<Option<Reason>>,
    closed: watch::Sender<bool>,
}

impl Seal {
    /// No seal.
    pub(crate) fn open() -> Arc<Self> {
        Self::with(None)
    }

    fn with(reason: Option<Reason>) -> Arc<Self> {
        let closed = watch::channel(reason.is_some()).0;
        Arc::new(Self {
            reason: RwLock::new(reason),
            closed,
        })
    }

    /// As the store and the anchor outside it say. Where the anchor says that the store was put back, the store says so too
    /// when this returns.
    ///
    /// # Errors
    /// The store's; a store of which nothing is known is none that may serve. On a store that is shared, the anchor's that is not
    /// there: whoever has this name has it.
    pub(crate) async fn examine(vault: &Vault, anchor: &Anchor) -> Result<Arc<Self>, Fault> {
        let held = vault.get::<Reason>(paths::SEAL).await?;
        let whole = vault.is_whole().await?;
        let replayed = replayed(&whole, anchor.knows_sums(vault).await?);
        let found = match &held {
            Some(held) if matches!(held.value, Reason::Replayed { .. }) => None,
            Some(_) => replayed,
            None => anchor.contradiction(vault).await?.or(replayed),
        };
        match (found, held) {
            (None, Some(held)) => Ok(Self::with(Some(held.value))),
            (None, None) => {
                if whole == Whole::Unknown {
                    vault.take_as_whole().await?;
                }
                anchor.ensure(vault).await?;
                Ok(Self::open())
            }
            (Some(reason), held) => {
                let change = Change::new().set(paths::SEAL, &reason, held.map(|held| held.stamp));
                vault.commit(change).await?;
                Ok(Self::with(Some(reason)))
            }
        }
    }

    /// Why it does not serve; none when it does.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it does not serve.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Turns true when it is closed.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// To be asked before a key is used, changed or handed out.
    ///
    /// # Errors
    /// [`Fault::Sealed`].
    pub fn demand_open(&self) -> Result<(), Fault> {
        if self.is_closed() { Err(Fault::Sealed) } else { Ok(()) }
    }

    /// Closes it in this process where another has closed it in the store.
    pub(crate) async fn follow(&self, vault: &Vault) -> Result<(), Fault> {
        if !self.is_closed()
            && let Some(held) = vault.get::<Reason>(paths::SEAL).await?
        {
            self.close_here(&held.value);
        }
        Ok(())
    }

    /// Adds up the rows, and closes it where they are not as they were written. A running authority has sums.
    pub(crate) async fn add_up(&self, vault: &Vault) -> Result<(), Fault> {
        if let Some(reason) = replayed(&vault.is_whole().await?, true) {
            self.close(vault, reason).await;
        }
        Ok(())
    }

    /// False where it is closed already.
    fn close_here(&self, reason: &Reason) -> bool {
        let mut held = self.reason.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return false;
        }
        tracing::error!("{reason}");
        *held = Some(reason.clone());
        self.closed.send_replace(true);
        true
    }

    /// Closes it for good: at once in this process, and in the store, where others and the next start find it.
    pub(crate) async fn close(&self, vault: &Vault, reason: Reason) {
        if !self.close_here(&reason) {
            return;
        }
        match vault.commit(Change::new().create(paths::SEAL, &reason)).await {
            Ok(_) | Err(Fault::Raced { .. }) => {}
            Err(fault) => fault.log("sealing the authority"),
        }
    }
}

/// What the sums over the rows have against them. Sums that are known of and are not there were taken away; a store that never
/// had any begins with them.
fn replayed(whole: &Whole, known: bool) -> Option<Reason> {
    match whole {
        Whole::No(kinds) => Some(Reason::Replayed { kinds: kinds.clone() }),
        Whole::Unknown if known => Some(Reason::Replayed { kinds: Vec::new() }),
        Whole::Unknown | Whole::Yes => None,
    }
}

/// Adds up the rows from time to time, until the process ends, and closes the seal where they are not as they were written.
pub(crate) async fn keep_adding_up(vault: Arc<Vault>, seal: Arc<Seal>) {
    loop {
        tokio::time::sleep(ADD_UP).await;
        if seal.is_closed() {
            return;
        }
        if let Err(fault) = seal.add_up(&vault).await {
            fault.log("adding up the rows");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_of_a_store_do_not_meet() {
        assert_eq!(next_life(0, 0), LIFE);
        assert_eq!(next_life(LIFE - 1, 59), LIFE);
        assert_eq!(next_life(LIFE, 60), 2 * LIFE);
        assert!(next_life(u64::MAX, 0) > LIFE);
        let now = 1_800_000_000;
        assert!(
            next_life(5_000, now) < next_life(5_000, now + APART),
            "of the same backup, a minute later"
        );
        assert!(i64::try_from(next_life(0, now)).is_ok(), "a gauge shows it");
    }

    // R29
    #[test]
    fn the_reason_names_both_revisions_and_what_to_do() {
        let reason = Reason::RolledBack {
            store: 12,
            seen: 40,
            witness: "the anchor `/x`".to_owned(),
        };
        let text = reason.to_string();
        for part in [
            "revision 12",
            "revision 40",
            "`/x`",
            "signet restore replay",
            "signet restore waive",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
