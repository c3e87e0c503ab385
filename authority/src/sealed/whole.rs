//! Whether every row is the one that this authority wrote last (R29): the rows added up against what each commit has kept
//! ([`crate::store::sums`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Change, Vault};
use crate::fault::Fault;
use crate::paths::{self, Scope};
use crate::store::sums::{Kept, SumKey, Summed, Summing, Sums};

/// What the sums say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// Every row is as it was written last, and none is missing or one too many.
    Yes,
    /// No sums were kept yet: a new store, or one of an authority that did not keep them.
    Unknown,
    /// Rows of these kinds are not; without kinds, the sums themselves were altered, or something else wrote to the store.
    No(Vec<String>),
}

/// The row that says from where on the sums were kept: what was before, they say nothing about.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    /// The store's revision whose rows were taken as they were.
    revision: u64,
}

impl Vault {
    /// Adds up all rows: reads the whole store once.
    ///
    /// # Errors
    /// The store's and the HSM's.
    pub(crate) async fn is_whole(&self) -> Result<Whole, Fault> {
        let (_, summed) = self.add_up().await?;
        Ok(match summed.kept {
            Kept::Never => Whole::Unknown,
            Kept::Unreadable => Whole::No(Vec::new()),
            Kept::Sums(kept) => match summed.found.differing(&kept) {
                none if none.is_empty() => Whole::Yes,
                kinds => Whole::No(kinds),
            },
        })
    }

    /// Takes all rows as they are, and keeps the sums over them from now on.
    ///
    /// # Errors
    /// The store's and the HSM's.
    pub(crate) async fn take_as_whole(&self) -> Result<(), Fault> {
        self.retry(async || {
            let seen = self.get::<Since>(paths::SUMS).await?.map(|held| held.stamp);
            let (revision, summed) = self.add_up().await?;
            let change = Change::new().set(paths::SUMS, &Since { revision }, seen);
            self.commit(change.begin_sums(revision, summed.found)).await?;
            tracing::info!(revision, "the sums over all rows are kept from this revision on");
            Ok(())
        })
        .await
    }

    /// As [`Vault::take_as_whole`], where none are kept yet.
    ///
    /// # Errors
    /// The store's and the HSM's.
    pub(crate) async fn ensure_sums(&self) -> Result<(), Fault> {
        match self.is_whole().await? {
            Whole::Unknown => self.take_as_whole().await,
            Whole::Yes | Whole::No(_) => Ok(()),
        }
    }

    async fn add_up(&self) -> Result<(u64, Summed), Fault> {
        let no_key = || Fault::internal("this authority is not initialised; run `signet authority init`");
        let key = self.sum_key().await?.ok_or_else(no_key)?;
        let snapshot = self.store.snapshot().await?;
        Ok((snapshot.revision(), snapshot.sums(&key).await?))
    }

    /// What a commit keeps the sums with; none as long as the store has no key-encryption key.
    pub(super) async fn summing(&self, begin: Option<(u64, Sums)>) -> Result<Option<Summing>, Fault> {
        let key = self.sum_key().await?;
        Ok(key.map(|key| Summing { key, begin }))
    }

    async fn sum_key(&self) -> Result<Option<Arc<SumKey>>, Fault> {
        if self.sums.get().is_none() && self.has_kek(&Scope::System).await? {
            self.kek_of(paths::SUMS).await?;
        }
        Ok(self.sums.get().cloned())
    }
}
