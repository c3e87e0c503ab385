//! The authority's state, sealed: every row under its owner's key-encryption key, every such key under the HSM.
//!
//! A row is JSON (or secret bytes), sealed with AES-256-GCM with its path and version as associated data, so that a row
//! moved to another path, another tenant or another version does not open (R29). A whole store put back to an older state
//! opens: that is detected against the revision the edges last saw ([`crate::watch`]). A single row put back to an older state
//! opens, too: the sums over all rows, which each commit keeps, do not match it ([`Whole`]).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::de::DeserializeOwned;
use signing::key::Secret;
use tokio::sync::broadcast;
use zeroize::Zeroizing;

use self::change::Pending;
pub use self::change::{Change, Stamp};
pub(crate) use self::fence::fenced;
pub use self::row::Kek;
use self::seen::Seen;
pub(crate) use self::whole::Whole;
use crate::fault::Fault;
use crate::hsm::Hsm;
use crate::paths::{self, Scope};
pub use crate::store::Committed;
use crate::store::sums::SumKey;
use crate::store::{Row, Store, Transaction, Write};

mod change;
mod fence;
mod row;
mod seen;
#[cfg(test)]
mod tests;
mod whole;

/// Rows read at once.
const PAGE: usize = 500;
/// Tries of a change that somebody else's change kept overtaking.
const TRIES: usize = 8;

/// A row as read, and what a change of it is conditional on.
#[derive(Clone, Debug)]
pub struct Held<T> {
    /// The row's content.
    pub value: T,
    /// Its state when read.
    pub stamp: Stamp,
}

/// Store and HSM together: what the rest of the authority reads and writes. An answered commit is durable (R36).
pub struct Vault {
    store: Arc<dyn Store>,
    hsm: Arc<dyn Hsm>,
    keks: RwLock<HashMap<Scope, Arc<Kek>>>,
    sums: OnceLock<Arc<SumKey>>,
    seen: Seen,
}

impl Vault {
    /// Opens nothing yet: key-encryption keys are unsealed when first needed and kept.
    pub fn new(store: Arc<dyn Store>, hsm: Arc<dyn Hsm>) -> Self {
        Self {
            store,
            hsm,
            keks: RwLock::default(),
            sums: OnceLock::new(),
            seen: Seen::default(),
        }
    }

    /// The HSM that seals the key-encryption keys.
    pub fn hsm(&self) -> &Arc<dyn Hsm> {
        &self.hsm
    }

    /// The store under the seals.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What is committed from now on, by whomever: see [`Store::commits`].
    pub fn commits(&self) -> broadcast::Receiver<Committed> {
        self.store.commits()
    }

    /// Reads a row.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<Held<T>>, Fault> {
        match self.read(path).await? {
            Some(row) => Ok(Some(self.decode(path, &row).await?)),
            None => Ok(None),
        }
    }

    /// Reads a row of secret bytes.
    pub async fn get_secret(&self, path: &str) -> Result<Option<Secret>, Fault> {
        let Some(row) = self.read(path).await? else {
            return Ok(None);
        };
        let (_, mut plain) = self.kek_of(path).await?.open(path, &row.value)?;
        Ok(Some(Secret::new(std::mem::take(&mut *plain))))
    }

    /// Up to `limit` rows under `prefix` after the path `after`, in order of their paths.
    pub async fn page<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Held<T>)>, Fault> {
        let rows = self.store.scan(prefix, after, limit).await?;
        let mut page = Vec::with_capacity(rows.len());
        for (path, row) in rows {
            let held = self.decode(&path, &row).await?;
            page.push((path, held));
        }
        Ok(page)
    }

    /// Every row under `prefix`. Pages are of different snapshots.
    pub async fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, Held<T>)>, Fault> {
        let mut all: Vec<(String, Held<T>)> = Vec::new();
        loop {
            let after = all.last().map(|(path, _)| path.clone());
            let page = self.page(prefix, after.as_deref(), PAGE).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Seals bytes that leave this process, under the key of the path's owner. They open for the same path only.
    ///
    /// # Errors
    /// [`Fault`] when the owner has no key, or the random source fails.
    pub async fn seal_for(&self, path: &str, plaintext: &[u8]) -> Result<Vec<u8>, Fault> {
        self.kek_of(path).await?.seal(path, 1, plaintext)
    }

    /// Opens what [`Vault::seal_for`] made for this path; none for anything else.
    ///
    /// # Errors
    /// [`Fault`] when the owner has no key.
    pub async fn open_for(&self, path: &str, sealed: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let opened = self.kek_of(path).await?.open(path, sealed);
        Ok(opened.ok().map(|(_, plaintext)| plaintext))
    }

    /// Commits all of a change or nothing; answers the store's revision, durable. `Raced` when a condition no longer holds.
    pub async fn commit(&self, change: Change) -> Result<u64, Fault> {
        if let Some(fault) = change.failed {
            return Err(fault);
        }
        let mut transaction = Transaction {
            compares: fence::with_fence(change.compares),
            writes: Vec::new(),
            at_least: change.at_least,
            summing: self.summing(change.begin).await?,
        };
        for write in change.writes {
            transaction = match write {
                Pending::Put {
                    path,
                    version,
                    plaintext,
                } => {
                    let sealed = self.kek_of(&path).await?.seal(&path, version, &plaintext)?;
                    transaction.put(path, sealed)
                }
                Pending::Raw { path, value } => transaction.put(path, value),
                Pending::Delete { path } => transaction.delete(path),
            };
        }
        let put = |write: &Write| matches!(write, Write::Put { .. }).then(|| write.path().to_owned());
        let put: Vec<String> = transaction.writes.iter().filter_map(put).collect();
        let revision = self.store.commit(transaction).await?;
        put.iter().for_each(|path| self.seen.note(path, revision));
        Ok(revision)
    }

    /// Runs `attempt` (read, decide, commit) until no other change overtakes it, a few times at most.
    pub async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut result = attempt().await;
        for _ in 1..TRIES {
            if !matches!(result, Err(Fault::Raced { .. })) {
                break;
            }
            result = attempt().await;
        }
        result
    }

    /// A fresh key-encryption key for a scope that has none, stored when alone: rows of the scope can be sealed only after it returned.
    pub async fn new_kek(&self, scope: &Scope) -> Result<(), Fault> {
        let path = paths::kek(scope);
        let secret = self.hsm.random(Kek::LEN).await?;
        let blob = self.hsm.seal(&secret, &kek_associated(&path)).await?;
        self.commit(Change::new().create_raw(path, blob)).await.map(drop)
    }

    /// A key-encryption key in the clear, for a backup that wraps it anew: of its row's path and value.
    pub(crate) async fn unseal_kek(&self, path: &str, row: &[u8]) -> Result<Secret, Fault> {
        Ok(self.hsm.unseal(row, &kek_associated(path)).await?)
    }

    /// A key-encryption key as the row at `path` holds it under this HSM.
    pub(crate) async fn seal_kek(&self, path: &str, secret: &Secret) -> Result<Vec<u8>, Fault> {
        Ok(self.hsm.seal(secret, &kek_associated(path)).await?)
    }

    /// Whether a scope has a key-encryption key.
    pub async fn has_kek(&self, scope: &Scope) -> Result<bool, Fault> {
        Ok(self.store.get(&paths::kek(scope)).await?.is_some())
    }

    /// A row that is not older than what this process knows of it.
    async fn read(&self, path: &str) -> Result<Option<Row>, Fault> {
        let least = self.seen.least(path);
        let row = self.store.get(path).await?;
        if let Some(row) = &row {
            self.seen.demand(path, least, row.revision)?;
        }
        Ok(row)
    }

    async fn decode<T: DeserializeOwned>(&self, path: &str, row: &Row) -> Result<Held<T>, Fault> {
        let (version, plain) = self.kek_of(path).await?.open(path, &row.value)?;
        let value = serde_json::from_slice(&plain).map_err(|error| Fault::Corrupt {
            detail: format!("`{path}` does not read: {error}"),
        })?;
        Ok(Held {
            value,
            stamp: Stamp {
                version,
                revision: row.revision,
            },
        })
    }

    async fn kek_of(&self, path: &str) -> Result<Arc<Kek>, Fault> {
        let scope = Scope::of(path).ok_or_else(|| Fault::internal(format!("`{path}` has no owner")))?;
        let known = self
            .keks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&scope)
            .cloned();
        if let Some(kek) = known {
            return Ok(kek);
        }
        let path = paths::kek(&scope);
        let row = self.store.get(&path).await?;
        let row = row.ok_or_else(|| match &scope {
            Scope::System => Fault::internal("this authority is not initialised; run `signet authority init`"),
            Scope::Tenant(tenant) => Fault::not_found(format!("there is no tenant `{tenant}`")),
        })?;
        let secret = self.hsm.unseal(&row.value, &kek_associated(&path)).await?;
        let kek = Arc::new(Kek::new(&secret)?);
        if scope == Scope::System
            && let Some(key) = SumKey::derive(&secret)
        {
            let _ = self.sums.set(Arc::new(key));
        }
        self.keks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(scope, kek.clone());
        Ok(kek)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

fn kek_associated(path: &str) -> Vec<u8> {
    [b"signet key-encryption key v1\0", path.as_bytes()].concat()
}
