//! Restores: from a backup to a data directory that holds no authority yet.
//!
//! Everything is written to a store aside, which becomes the authority's in one step at the end: what was interrupted leaves
//! nothing that starts. With the HSM of the backup it is all there again. With another one the key-encryption keys come from the
//! shareholders and are sealed anew; what never left the old HSM is listed ([`lost`]), with what to do about it. A restored
//! authority is sealed ([`crate::seal`]).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use zeroize::Zeroizing;

use self::lost::Lost;
use crate::backup::format::{Header, Reader, Rows};
use crate::backup::{Keys, Share, origin};
use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::fault::Fault;
use crate::hsm::{Hsm, HsmErrorKind, RootRole};
use crate::init;
use crate::paths;
use crate::seal::{Reason, next_life};
use crate::sealed::{Change, Vault};
use crate::serve::{StartError, make_private_dir, open_hsm, open_store, store_path};
use crate::store::{RedbStore, Store, Transaction};

mod lost;
#[cfg(test)]
mod tests;

/// Rows put in one transaction.
const BATCH: usize = 500;

/// What a restore did.
#[derive(Serialize)]
pub struct Report {
    /// The backup's id.
    pub backup: String,
    /// When it was made, Unix seconds.
    pub taken_at: u64,
    /// Its rows, all of them restored.
    pub rows: u64,
    /// The store's revision now: beyond all that it can have had before.
    pub revision: u64,
    /// Whether it is the HSM of the backup.
    pub same_hsm: bool,
    /// Logical keys that came back whole.
    pub keys: u64,
    /// What could not come back, and what to do about each.
    pub lost: Vec<Lost>,
    /// The new admin token: the ones before are refused.
    #[serde(skip)]
    pub admin_token: Zeroizing<String>,
}

/// Restores the backup that `from` yields. `progress` is told how many rows of how many are there.
///
/// # Errors
/// [`StartError`]: the directory holds an authority, the backup is not whole, or the shares do not open it. Nothing has changed
/// then, but that a new HSM may have its roots.
pub async fn restore(
    config: &Config,
    clock: &Clock,
    from: impl Read,
    shares: &[Share],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, StartError> {
    config
        .check()
        .map_err(|(field, message)| StartError::Config { field, message })?;
    if !matches!(config.store, StoreConfig::Redb) {
        let message = "a backup is restored into a data directory: name a configuration without `store`, and bring the \
                       result into etcd with `signet store copy`";
        return Err(Fault::state("not_redb", message).into());
    }
    let backup = Reader::open(from)?;
    demand_trust_domain(&backup.header, &config.trust_domain)?;
    demand_empty(config).await?;
    make_private_dir(&config.data_dir)?;
    let hsm = open_hsm(config).await?;
    restore_into(config, clock, hsm, backup, shares, progress).await
}

/// As [`restore`], into an HSM that is open.
pub(crate) async fn restore_into(
    config: &Config,
    clock: &Clock,
    hsm: Arc<dyn Hsm>,
    backup: Reader<impl Read>,
    shares: &[Share],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, StartError> {
    let header = backup.header.clone();
    let (keys, same_hsm) = unlock(&header, hsm.as_ref(), shares).await?;
    let aside = Aside::create(&store_path(config)).await?;
    let vault = Arc::new(Vault::new(aside.store.clone(), hsm));
    let base = next_life(header.revision, clock.now());
    let restored = async {
        copy(&vault, backup.rows(&keys.rows)?, &keys, &header, base, progress).await?;
        settle(&vault, config, clock, &header, same_hsm).await
    };
    match restored.await {
        Ok(report) => {
            drop(vault);
            aside.finish()?;
            Ok(report)
        }
        Err(fault) => {
            drop(vault);
            aside.discard();
            Err(fault.into())
        }
    }
}

fn demand_trust_domain(header: &Header, trust_domain: &str) -> Result<(), Fault> {
    if header.trust_domain == trust_domain {
        return Ok(());
    }
    let message = format!(
        "this is a backup of the trust domain `{}`, and the configuration says `{trust_domain}`",
        crate::names::shown(&header.trust_domain)
    );
    Err(Fault::state("wrong_trust_domain", message))
}

/// A data directory that no authority has begun to use.
async fn demand_empty(config: &Config) -> Result<(), StartError> {
    let path = store_path(config);
    if !path.exists() {
        return Ok(());
    }
    let store = open_store(&path).await?;
    let revision = store.revision().await;
    if let Some(store) = Arc::into_inner(store) {
        store.close();
    }
    if revision? == 0 {
        return Ok(());
    }
    let message = format!(
        "`{}` holds an authority's state; a restore needs an empty data directory: move that file away, or name another directory",
        path.display()
    );
    Err(Fault::state("not_empty", message).into())
}

/// The backup's keys, by the HSM if it is the one, else by the shares; and whether it is the one.
async fn unlock(header: &Header, hsm: &dyn Hsm, shares: &[Share]) -> Result<(Keys, bool), Fault> {
    let here = match is_new(hsm).await? {
        true => None,
        false => Some(origin(hsm).await?),
    };
    let roots = |origin: &crate::backup::format::Origin| (origin.node_root.clone(), origin.delegation_root.clone());
    if here.as_ref().map(roots) == Some(roots(&header.hsm)) {
        return Ok((Keys::by_hsm(header, hsm).await?, true));
    }
    let Some(key) = &header.backup_key else {
        let message = format!(
            "this backup was made without a backup key, and only its own HSM (`{}`) can restore it; this is another one",
            crate::names::shown(&header.hsm.label)
        );
        return Err(Fault::state("other_hsm", message));
    };
    if shares.is_empty() {
        let message = format!(
            "this is not the HSM that the backup was made with (`{}`): give {} of the {} shares of the backup key `{}` with --share",
            crate::names::shown(&header.hsm.label),
            key.threshold,
            key.shares,
            key.id
        );
        return Err(Fault::state("shares_needed", message));
    }
    Ok((Keys::by_shares(header, &key.combine(shares)?)?, false))
}

/// Whether the HSM lacks a root: nobody's yet, or one that an interrupted restore began with.
async fn is_new(hsm: &dyn Hsm) -> Result<bool, Fault> {
    for role in RootRole::ALL {
        match hsm.root(role).await {
            Err(error) if error.kind == HsmErrorKind::NotFound => return Ok(true),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Puts every row where it was, the key-encryption keys under the HSM that is here.
async fn copy(
    vault: &Vault,
    mut rows: Rows<impl Read>,
    keys: &Keys,
    header: &Header,
    base: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Fault> {
    if keys.keks.is_some() {
        // Both masters, which the first key-encryption key needs.
        init::prepare_hsm(vault.hsm().as_ref()).await?;
    }
    let mut done: u64 = 0;
    while let Some(entries) = rows.next()? {
        for batch in entries.chunks(BATCH) {
            let mut transaction = Transaction::new().raise_to(base);
            for entry in batch {
                let value = match keys.open_kek(entry)? {
                    Some(kek) => vault.seal_kek(&entry.path, &kek).await?,
                    None => entry.value.clone(),
                };
                transaction = transaction.absent(&entry.path).put(&entry.path, value);
            }
            vault.store().commit(transaction).await?;
            done = done.saturating_add(u64::try_from(batch.len()).unwrap_or_default());
            progress(done, header.rows);
        }
    }
    if done == header.rows {
        return Ok(());
    }
    Err(crate::backup::format::altered(&format!(
        "it has {done} rows and says {}",
        header.rows
    )))
}

/// What must not be there to be used again after a state that was older: approvals and join tokens that were used since.
/// Whoever waits for one asks anew.
pub(crate) async fn forget(vault: &Vault) -> Result<(), Fault> {
    for kind in [paths::TOKENS, paths::APPROVALS] {
        for (path, held) in vault.all::<serde_json::Value>(kind).await? {
            let change = Change::new().unchanged(path.clone(), held.stamp).delete(path);
            vault.commit(change).await?;
        }
    }
    Ok(())
}

/// What is not as it was: a new admin token, no join tokens, no requests for approval and no sessions from before, roots and CAs of a new HSM, the seal.
async fn settle(
    vault: &Arc<Vault>,
    config: &Config,
    clock: &Clock,
    header: &Header,
    same_hsm: bool,
) -> Result<Report, Fault> {
    if !same_hsm {
        init::replace_roots(vault, &config.trust_domain, clock).await?;
    }
    init::load_roots(vault, &config.trust_domain).await?;
    let (keys, lost) = lost::settle(vault, &config.trust_domain, clock, same_hsm).await?;
    let admin_token = Zeroizing::new(init::new_admin_token(vault, clock).await?);
    forget(vault).await?;
    let reason = Reason::Restored {
        backup: header.id.clone(),
        revision: header.revision,
        taken_at: header.taken_at,
        audit: header.audit.clone(),
        restored_at: clock.now(),
    };
    let seen = vault.get::<Reason>(paths::SEAL).await?.map(|held| held.stamp);
    let change = Change::new().set(paths::SEAL, &reason, seen).delete(paths::SESSIONS);
    let anchor = config.anchor();
    // An anchor that is here has seen a later life of this store, where a backup is restored a second time.
    let beyond = anchor
        .revision(vault)
        .await?
        .map_or(0, |seen| next_life(seen, clock.now()));
    let revision = vault.commit(change.raise_to(beyond)).await?;
    vault.take_as_whole().await?;
    // Before the store is in its place: an authority whose anchor is missing would take itself for one that was put back.
    anchor.write(vault, revision).await?;
    anchor.ensure(vault).await?;
    Ok(Report {
        backup: header.id.clone(),
        taken_at: header.taken_at,
        rows: header.rows,
        revision: vault.store().revision().await?,
        same_hsm,
        keys,
        lost,
        admin_token,
    })
}

/// A store beside the place where it belongs.
struct Aside {
    path: PathBuf,
    place: PathBuf,
    store: Arc<RedbStore>,
}

impl Aside {
    async fn create(place: &Path) -> Result<Self, StartError> {
        let path = place.with_extension("restoring");
        let failed = |error| StartError::Io {
            what: format!("`{}`", path.display()),
            error,
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(Self {
            store: open_store(&path).await?,
            place: place.to_owned(),
            path,
        })
    }

    /// Puts it in its place, where the next start finds it: durable when this returns. A crash before leaves nothing to start.
    fn finish(self) -> Result<(), StartError> {
        if let Some(store) = Arc::into_inner(self.store) {
            store.close();
        }
        let directory = self.place.parent().unwrap_or(Path::new("."));
        std::fs::rename(&self.path, &self.place)
            .and_then(|()| std::fs::File::open(directory)?.sync_all())
            .map_err(|error| StartError::Io {
                what: format!("`{}`", self.place.display()),
                error,
            })
    }

    fn discard(self) {
        if let Some(store) = Arc::into_inner(self.store) {
            store.close();
        }
        // It is removed by the next try otherwise.
        let _ = std::fs::remove_file(&self.path);
    }
}
