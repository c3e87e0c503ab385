//! The authority's state: a map from paths to small values, changed in transactions.
//!
//! [`RedbStore`] is the embedded store, [`EtcdStore`] the one of several authorities. Every implementation passes
//! `store/contract_tests.rs`.

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::broadcast;

#[cfg(test)]
mod contract_tests;
pub mod etcd;
pub mod redb;
pub mod sums;

pub use self::etcd::EtcdStore;
pub use self::redb::RedbStore;
use self::sums::{SumKey, Summed, Summing};

/// Longest path, in bytes.
pub const MAX_PATH_LEN: usize = 512;
/// Longest value, in bytes.
pub const MAX_VALUE_LEN: usize = 16 * 1024 * 1024;
/// Most compares and writes in one transaction, together.
pub const MAX_OPERATIONS: usize = 1024;
/// Most rows one scan answers; a larger limit is taken as this.
pub const MAX_SCAN: usize = 1000;
/// Commits that a slow reader of [`Store::commits`] may fall behind before it has to read everything anew.
pub(crate) const COMMITS_KEPT: usize = 1024;
/// Bytes of values after which a page of a [`Snapshot`] ends.
pub const SNAPSHOT_PAGE: usize = 4 * 1024 * 1024;

/// A transactional map from UTF-8 paths (`keys/000000000001/…`) to values.
///
/// Contract:
///
/// - **Revisions**: one counter for the whole store, raised by one with each committed transaction that writes, or further where
///   [`Transaction::at_least`] says so. A row carries the revision of the transaction that last put it; a deleted and re-made row never shows an old revision. Revisions are never reused.
/// - **Atomic, linearizable**: a commit takes effect wholly or not at all, and is seen by every read that starts after it returned.
/// - **Durable**: a commit that returned survives `kill -9` and a power cut (R36). One that failed with `Conflict` or `Invalid` left
///   nothing. One that failed with `Unavailable` may or may not have happened: read before retrying.
/// - **Failed flushes**: an implementation on local disk refuses all further writes after a failed write or sync, until it is opened anew (R30).
/// - **Watching is a hint**: the receivers show what is known here, may skip some, and must not be what safety rests on.
#[async_trait]
pub trait Store: Send + Sync {
    /// The row at `path`, or none.
    async fn get(&self, path: &str) -> Result<Option<Row>, StoreError>;

    /// Rows whose path begins with `prefix` and is greater than `after`, in byte order of paths, at most `limit` (≤ [`MAX_SCAN`])
    /// of them, all from one snapshot. To page, pass the last path of the page before; pages are of different snapshots.
    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, StoreError>;

    /// Applies all writes if all compares hold, and answers the store's new revision. A transaction without writes only checks
    /// its compares and answers the revision that there is. Two writes to one path are `Invalid`; deleting an absent row is no error.
    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError>;

    /// The newest revision known here, now and as it grows.
    fn watch(&self) -> tokio::sync::watch::Receiver<u64>;

    /// All commits from now on, whoever made them, in order. Where some are missing, `before` of the next is not the revision
    /// of the last: then only reading everything tells what happened.
    fn commits(&self) -> broadcast::Receiver<Committed>;

    /// Why it will not write any more until it is opened anew, where that is so. What it holds can be read still.
    fn cannot_write(&self) -> Option<StoreError> {
        None
    }

    /// Whether other processes may write to it at the same time.
    fn is_shared(&self) -> bool;

    /// The store's revision: 0 when nothing was ever written. A linearizable read.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// The whole store as it is now, to be read page by page while it goes on being written. Holds on to what it shows, which
    /// costs space on disk: drop it soon.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;
}

/// Which rows a commit touched, or several that became known together.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The store's revision before.
    pub before: u64,
    /// The store's revision after.
    pub revision: u64,
    /// The rows, in any order; deleted ones that were absent may be left out.
    pub paths: Arc<[String]>,
}

/// One state of a whole store.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// The store's revision in it.
    fn revision(&self) -> u64;

    /// How many rows it has.
    fn rows(&self) -> u64;

    /// As [`Store::scan`] of every path, of this state. A page ends early after the row that takes it beyond
    /// [`SNAPSHOT_PAGE`] bytes; an empty one is the end.
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, StoreError>;

    /// Adds up all rows; see [`sums`].
    async fn sums(&self, key: &Arc<SumKey>) -> Result<Summed, StoreError>;
}

/// A value and the revision that put it.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The bytes that were put.
    pub value: Vec<u8>,
    /// The revision of the transaction that put them, for a [`Compare`].
    pub revision: u64,
}

/// Values may hold sealed secrets, and they are long: only the size is printed.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("len", &self.value.len())
            .field("revision", &self.revision)
            .finish()
    }
}

/// Compares and writes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// All must hold, at the moment of the commit.
    pub compares: Vec<Compare>,
    /// Done in any order: paths are distinct.
    pub writes: Vec<Write>,
    /// The least revision that it becomes: 0 leaves it at the next one.
    pub at_least: u64,
    /// What the sums over all rows are kept with; without it they stay as they are, and do not open from then on.
    pub summing: Option<Summing>,
}

impl Transaction {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that `path` is absent.
    #[must_use]
    pub fn absent(mut self, path: impl Into<String>) -> Self {
        self.compares.push(Compare {
            path: path.into(),
            revision: None,
        });
        self
    }

    /// Demands that `path` was last put at `revision`.
    #[must_use]
    pub fn unchanged(mut self, path: impl Into<String>, revision: u64) -> Self {
        self.compares.push(Compare {
            path: path.into(),
            revision: Some(revision),
        });
        self
    }

    /// Puts `value` at `path`.
    #[must_use]
    pub fn put(mut self, path: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put {
            path: path.into(),
            value: value.into(),
        });
        self
    }

    /// Deletes `path`.
    #[must_use]
    pub fn delete(mut self, path: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { path: path.into() });
        self
    }

    /// Raises the store's revision to `revision` at least: beyond all that another state of this store may have had.
    #[must_use]
    pub fn raise_to(mut self, revision: u64) -> Self {
        self.at_least = revision;
        self
    }
}

/// A condition on one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The row's path.
    pub path: String,
    /// The revision it must have; `None`: it must be absent.
    pub revision: Option<u64>,
}

/// A change of one row.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Makes or replaces the row.
    Put {
        /// 1 ..= [`MAX_PATH_LEN`] bytes without control characters.
        path: String,
        /// At most [`MAX_VALUE_LEN`] bytes.
        value: Vec<u8>,
    },
    /// Removes the row if there is one.
    Delete {
        /// The row's path.
        path: String,
    },
}

impl Write {
    /// The path it changes.
    pub fn path(&self) -> &str {
        match self {
            Self::Put { path, .. } | Self::Delete { path } => path,
        }
    }
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put { path, value } => f
                .debug_struct("Put")
                .field("path", path)
                .field("len", &value.len())
                .finish(),
            Self::Delete { path } => f.debug_struct("Delete").field("path", path).finish(),
        }
    }
}

/// Why a store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Someone else changed the row first. Read it again and decide again.
    #[error("`{path}` was changed by someone else; read it again")]
    Conflict {
        /// The first compare that did not hold.
        path: String,
    },
    /// The caller's fault: a path or a transaction outside the bounds.
    #[error("invalid store request: {detail}")]
    Invalid {
        /// What is out of bounds.
        detail: String,
    },
    /// The store's fault, or its disk's. The operation may or may not have happened.
    #[error("the store is unavailable: {detail}")]
    Unavailable {
        /// For the log.
        detail: String,
    },
    /// The store's file is damaged, or not a store of ours.
    #[error("the store is damaged: {detail}; restore a backup")]
    Corrupt {
        /// For the log.
        detail: String,
    },
}

/// Refuses what no implementation takes, so that all refuse the same.
pub(crate) fn check(transaction: &Transaction) -> Result<(), StoreError> {
    let operations = transaction.compares.len().saturating_add(transaction.writes.len());
    if operations > MAX_OPERATIONS {
        return Err(invalid(format!(
            "{operations} operations in one transaction; at most {MAX_OPERATIONS}"
        )));
    }
    let mut written = std::collections::HashSet::new();
    for compare in &transaction.compares {
        check_path(&compare.path)?;
    }
    for write in &transaction.writes {
        check_path(write.path())?;
        if !written.insert(write.path()) {
            return Err(invalid(format!(
                "`{}` is written twice in one transaction",
                write.path()
            )));
        }
        if let Write::Put { path, value } = write
            && value.len() > MAX_VALUE_LEN
        {
            return Err(invalid(format!(
                "the value of `{path}` has {} bytes; at most {MAX_VALUE_LEN}",
                value.len()
            )));
        }
    }
    Ok(())
}

/// 1 ..= [`MAX_PATH_LEN`] bytes, no control characters.
pub(crate) fn check_path(path: &str) -> Result<(), StoreError> {
    if path.is_empty() || path.len() > MAX_PATH_LEN {
        return Err(invalid(format!(
            "a path has 1 to {MAX_PATH_LEN} bytes, not {}",
            path.len()
        )));
    }
    if path.chars().any(char::is_control) {
        return Err(invalid(format!(
            "the path `{}` has a control character",
            path.escape_debug()
        )));
    }
    Ok(())
}

/// Of what could not be written, and was not.
fn unwritten(detail: &str) -> StoreError {
    StoreError::Unavailable {
        detail: detail.to_owned(),
    }
}

fn invalid(detail: String) -> StoreError {
    StoreError::Invalid { detail }
}
