//! The anchor: a small file outside the store that holds a revision which the store had. A store that is behind it was put back
//! to an older state (R29).
//!
//! It is written after the store's commit is durable and never before, so it may lag behind and is never ahead: a crash gives no
//! false alarm. It also says that sums over the rows are kept ([`crate::sealed`]): a store without any was robbed of them, where
//! there is an anchor that knows of them. Where several authorities share the store, one whose anchor is not there does not start:
//! another process may have its name, and keep the anchor. It is sealed under the authority's own key-encryption key: a revision that was not
//! reached cannot be written, but an older file can be put in its place. Whoever puts back store and anchor together is found out
//! by what edges have seen.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::paths;
use crate::seal::{Reason, Seal};
use crate::sealed::{Change, Vault};

/// Between two writings: what a crash lets the anchor lag behind at most.
const PAUSE: Duration = Duration::from_secs(1);
/// After the revision: the store keeps sums over its rows. Anchors from before there were any end there.
const SUMMED: u8 = 1;
/// A longer file is none of ours, bytes.
const MAX_LEN: u64 = 1024;

/// The file.
#[derive(Clone, Debug)]
pub struct Anchor {
    file: PathBuf,
    /// The row that says that there is one; each replica has its own.
    row: String,
}

/// The row that says that there is an anchor: without one, it was taken away.
#[derive(Serialize, Deserialize)]
struct Marker {}

/// What the file says.
enum Found {
    Nothing,
    Unreadable,
    Revision { seen: u64, summed: bool },
}

impl Anchor {
    /// At this path, there or not: that of a replica, or of an authority that is alone on its store.
    pub fn new(file: PathBuf, replica: Option<&str>) -> Self {
        let row = replica.map_or_else(|| paths::ANCHOR.to_owned(), paths::anchor_of);
        Self { file, row }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What the anchor has against the store as it is.
    ///
    /// # Errors
    /// The store's; [`Fault::State`] where it is shared and knows an anchor of this name that is not there.
    pub(crate) async fn contradiction(&self, vault: &Vault) -> Result<Option<Reason>, Fault> {
        let marked = vault.store().get(&self.row).await?.is_some();
        let lost = Reason::NoAnchor {
            file: self.file.clone(),
        };
        match self.read(vault).await? {
            // An older authority's file in the place of one that has none yet says as little as no file.
            Found::Nothing | Found::Unreadable if !marked => Ok(None),
            Found::Nothing if vault.store().is_shared() => Err(self.elsewhere()),
            Found::Nothing | Found::Unreadable => Ok(Some(lost)),
            Found::Revision { seen, .. } => {
                let store = vault.store().revision().await?;
                let witness = format!("the anchor `{}`", self.file.display());
                Ok((seen > store).then_some(Reason::RolledBack { store, seen, witness }))
            }
        }
    }

    /// Sealing the store would stop the process that has the anchor, and all others, for a name that was not changed. With a name of
    /// its own this one says as much of the store as without its anchor: nothing.
    fn elsewhere(&self) -> Fault {
        let name = self.row.rsplit('/').next().unwrap_or_default();
        let message = format!(
            "the store knows an anchor of the replica `{name}`, and `{}` is not there: another process may run under this name; \
             give this authority a name of its own in `replica` of `[store]`, also where the anchor was lost with its disk; where \
             the file is kept elsewhere, put it in its place",
            self.file.display()
        );
        Fault::state("replica_name", message)
    }

    /// Whether the store has kept sums when the anchor was written.
    pub(crate) async fn knows_sums(&self, vault: &Vault) -> Result<bool, Fault> {
        Ok(matches!(self.read(vault).await?, Found::Revision { summed: true, .. }))
    }

    /// Makes the file and the row that says so, where they are not there: in that order, or a crash between them would take
    /// the file for one that was removed.
    pub(crate) async fn ensure(&self, vault: &Vault) -> Result<(), Fault> {
        if vault.store().get(&self.row).await?.is_none() {
            self.write(vault, vault.store().revision().await?).await?;
            vault.commit(Change::new().create(&self.row, &Marker {})).await?;
        }
        Ok(())
    }

    /// For a new authority in the place of an older one, whose anchor is not this one's.
    pub(crate) async fn start_anew(&self, vault: &Vault) -> Result<(), Fault> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let detail = format!("`{}`: {error}", self.file.display());
                Err(Fault::Unavailable { part: "anchor", detail })
            }
            _ => {
                vault.ensure_sums().await?;
                self.ensure(vault).await
            }
        }
    }

    /// Says that the store has this revision, durable when it returns. Of a store that keeps sums over its rows.
    pub(crate) async fn write(&self, vault: &Vault, revision: u64) -> Result<(), Fault> {
        let content = [&revision.to_be_bytes()[..], &[SUMMED]].concat();
        let sealed = vault.seal_for(&self.row, &content).await?;
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || replace(&file, &sealed)).await;
        let failed = |detail: String| Fault::Unavailable { part: "anchor", detail };
        let written = written.map_err(|error| failed(error.to_string()))?;
        written.map_err(|error| failed(format!("`{}`: {error}", self.file.display())))
    }

    /// The revision, whatever the store says; none where the file is not there or not this authority's.
    pub(crate) async fn revision(&self, vault: &Vault) -> Result<Option<u64>, Fault> {
        Ok(match self.read(vault).await? {
            Found::Revision { seen, .. } => Some(seen),
            Found::Nothing | Found::Unreadable => None,
        })
    }

    async fn read(&self, vault: &Vault) -> Result<Found, Fault> {
        match std::fs::metadata(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_LEN => {}
            _ => return Ok(Found::Unreadable),
        }
        let Ok(sealed) = std::fs::read(&self.file) else {
            return Ok(Found::Unreadable);
        };
        let opened = vault.open_for(&self.row, &sealed).await?;
        let Some((revision, rest)) = opened.as_ref().and_then(|bytes| bytes.split_first_chunk()) else {
            return Ok(Found::Unreadable);
        };
        let seen = u64::from_be_bytes(*revision);
        Ok(match rest {
            [] => Found::Revision { seen, summed: false },
            [SUMMED] => Found::Revision { seen, summed: true },
            _ => Found::Unreadable,
        })
    }
}

/// Writes the anchor after the store has grown, until the process ends. Of a sealed store nothing is to be believed.
pub(crate) async fn keep(anchor: Anchor, vault: Arc<Vault>, seal: Arc<Seal>) {
    let mut grown = vault.store().watch();
    loop {
        grown.borrow_and_update();
        if let Err(fault) = anchor.advance(&vault, &seal).await {
            fault.log("writing the anchor");
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        if grown.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Anchor {
    /// Brings the anchor to where the store is.
    pub(crate) async fn advance(&self, vault: &Vault, seal: &Seal) -> Result<(), Fault> {
        let revision = vault.store().revision().await?;
        if seal.is_closed() {
            return Ok(());
        }
        self.write(vault, revision).await
    }
}

/// Whole or not at all, and durable.
fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let aside = file.with_extension("new");
    let mut written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    written.write_all(content)?;
    written.sync_all()?;
    std::fs::rename(&aside, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
