//! The embedded store: redb, one file, one process.
//!
//! One thread writes. It takes what has queued up, applies each transaction whose compares hold, and commits them together: one
//! flush for all (group commit). An answer is given only once that flush has returned.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::sums::{Kept, SumKey, Summed, Sums};
use super::{
    COMMITS_KEPT, Committed, MAX_SCAN, Row, SNAPSHOT_PAGE, Snapshot, Store, StoreError, Transaction, check, check_path,
};
use backend::Guarded;
use writer::{Commit, Writer};

mod backend;
#[cfg(test)]
mod durability_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

/// Path → (revision, value).
const ROWS: TableDefinition<'static, &str, (u64, &[u8])> = TableDefinition::new("signet rows v1");
/// `revision` → the store's revision.
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("signet meta v1");
const REVISION: &str = "revision";
/// `rows` → the sealed sums over all rows, see [`super::sums`].
const SUMS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("signet sums v1");
const ALL_ROWS: &str = "rows";

/// Transactions that wait for the writer; more wait in their callers.
const QUEUE: usize = 256;

/// What is done when the disk could not flush: the data's state on it is unknown from then on (R30).
pub type OnFailedFlush = Arc<dyn Fn(&str) + Send + Sync>;

/// A [`Store`] in one file, opened by one process at a time.
pub struct RedbStore {
    database: Arc<Database>,
    commits: mpsc::Sender<Commit>,
    revisions: watch::Receiver<u64>,
    committed: broadcast::Sender<Committed>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    failure: Arc<OnceLock<StoreError>>,
}

impl RedbStore {
    /// Opens or makes the file at `path`. After a crash this repairs it, which takes time in proportion to its size.
    /// A failed flush ends the process (R30): what it held in memory is then all there is to trust.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(
            path,
            Arc::new(|detail| {
                tracing::error!(
                    detail,
                    "the store's disk could not flush; ending before anything is built on it"
                );
                std::process::abort();
            }),
        )
    }

    /// As [`Self::open`], with another way to end than `abort`. If it returns, the store refuses everything from then on.
    pub fn open_with(path: impl Into<PathBuf>, on_failed_flush: OnFailedFlush) -> Result<Self, StoreError> {
        let path = path.into();
        let file = backend::open_file(&path)?;
        let store = Self::on_backend(file, on_failed_flush)?;
        sync_directory(&path)?;
        Ok(store)
    }

    fn on_backend(backend: impl StorageBackend, on_failed_flush: OnFailedFlush) -> Result<Self, StoreError> {
        let guarded = Guarded::new(backend, on_failed_flush);
        let database = Database::builder()
            .create_with_backend(guarded)
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => unavailable(&backend::IN_USE),
                other => unavailable(&other),
            })?;
        let database = Arc::new(database);
        let revision = writer::prepare(&database)?;
        let (announce, revisions) = watch::channel(revision);
        let (commits, queue) = mpsc::channel(QUEUE);
        let committed = broadcast::channel(COMMITS_KEPT).0;
        let failure = Arc::default();
        let announced = (announce, committed.clone());
        let writer = Writer::new(Arc::clone(&database), queue, announced, Arc::clone(&failure));
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| unavailable(&error))?;
        Ok(Self {
            database,
            commits,
            revisions,
            committed,
            writer: Mutex::new(Some(writer)),
            failure,
        })
    }

    /// Waits for the writer and closes the file, so that another process may open it. Dropping does the same in the background.
    pub fn close(self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self);
        if let Some(writer) = writer {
            // A panic in the writer has been printed, and there is nobody left to serve.
            let _ = writer.join();
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || {
            let transaction = database.begin_read().map_err(|error| classify(error.into()))?;
            read(&transaction).map_err(classify)
        })
        .await
        .map_err(|_| unavailable(&"the process is stopping"))?
    }
}

#[async_trait]
impl Store for RedbStore {
    /// On the caller's thread: one row is a few pages that redb's cache holds, which takes microseconds, and handing that to
    /// another thread and back takes longer. Bounded by the depth of the tree and the largest row (a bundle's file, which
    /// requests do not read); a page that is not in the cache costs one read of a local disk, and no read waits for a
    /// commit's flush. Scans and snapshots, which have no such bound, and the writer have threads of their own.
    async fn get(&self, path: &str) -> Result<Option<Row>, StoreError> {
        check_path(path)?;
        let read = || -> Result<Option<Row>, redb::Error> {
            let rows = self.database.begin_read()?.open_table(ROWS)?;
            Ok(rows.get(path)?.map(|found| row(found.value())))
        };
        read().map_err(classify)
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, StoreError> {
        let prefix = prefix.to_owned();
        let after = after.map(str::to_owned);
        self.read(move |transaction| {
            let rows = transaction.open_table(ROWS)?;
            let start = after
                .as_deref()
                .filter(|after| *after > prefix.as_str())
                .unwrap_or(&prefix);
            let mut found = Vec::new();
            for entry in rows.range(start..)? {
                let (path, value) = entry?;
                let path = path.value();
                if !path.starts_with(&prefix) || found.len() >= limit.min(MAX_SCAN) {
                    break;
                }
                if after.as_deref() != Some(path) {
                    found.push((path.to_owned(), row(value.value())));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        check(&transaction)?;
        let (answered, answer) = oneshot::channel();
        let stopped = || unavailable(&"its writer has stopped");
        self.commits
            .send(Commit { transaction, answered })
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Its file is locked.
    fn cannot_write(&self) -> Option<StoreError> {
        self.failure.get().cloned()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.revisions.clone()
    }

    fn commits(&self) -> broadcast::Receiver<Committed> {
        self.committed.subscribe()
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(meta.get(REVISION)?.map_or(0, |revision| revision.value()))
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let database = Arc::clone(&self.database);
        let opened = tokio::task::spawn_blocking(move || -> Result<RedbSnapshot, redb::Error> {
            let transaction = database.begin_read()?;
            let revision = transaction.open_table(META)?.get(REVISION)?;
            Ok(RedbSnapshot {
                revision: revision.map_or(0, |revision| revision.value()),
                rows: transaction.open_table(ROWS)?.len()?,
                transaction: Arc::new(transaction),
            })
        });
        let opened = opened.await.map_err(|_| unavailable(&"the process is stopping"))?;
        Ok(Box::new(opened.map_err(classify)?))
    }
}

/// One read transaction: redb keeps the pages it shows until it is dropped.
struct RedbSnapshot {
    revision: u64,
    rows: u64,
    transaction: Arc<ReadTransaction>,
}

#[async_trait]
impl Snapshot for RedbSnapshot {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, StoreError> {
        let (transaction, after) = (Arc::clone(&self.transaction), after.map(str::to_owned));
        let read = tokio::task::spawn_blocking(move || -> Result<Vec<(String, Row)>, redb::Error> {
            let rows = transaction.open_table(ROWS)?;
            let (mut found, mut bytes) = (Vec::new(), 0_usize);
            for entry in rows.range(after.as_deref().unwrap_or_default()..)? {
                let (path, value) = entry?;
                if found.len() >= limit.min(MAX_SCAN) || bytes > SNAPSHOT_PAGE {
                    break;
                }
                if after.as_deref() != Some(path.value()) {
                    let row = row(value.value());
                    bytes = bytes.saturating_add(row.value.len());
                    found.push((path.value().to_owned(), row));
                }
            }
            Ok(found)
        });
        let read = read.await.map_err(|_| unavailable(&"the process is stopping"))?;
        read.map_err(classify)
    }

    async fn sums(&self, key: &Arc<SumKey>) -> Result<Summed, StoreError> {
        let (transaction, key, revision) = (Arc::clone(&self.transaction), Arc::clone(key), self.revision);
        let added = tokio::task::spawn_blocking(move || -> Result<Summed, redb::Error> {
            let mut found = Sums::default();
            for entry in transaction.open_table(ROWS)?.iter()? {
                let (path, row) = entry?;
                found.toggle(&key, path.value(), row.value());
            }
            let sealed = transaction.open_table(SUMS)?;
            let sealed = sealed.get(ALL_ROWS)?;
            let sealed = sealed.as_ref().map_or(&[][..], |sealed| sealed.value());
            let kept = Kept::of(&key, revision, sealed);
            Ok(Summed { found, kept })
        });
        let added = added.await.map_err(|_| unavailable(&"the process is stopping"))?;
        added.map_err(classify)
    }
}

fn row((revision, value): (u64, &[u8])) -> Row {
    Row {
        value: value.to_vec(),
        revision,
    }
}

/// A new file is durable only once its directory is.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| unavailable(&error))
}

fn classify(error: redb::Error) -> StoreError {
    match error {
        redb::Error::Corrupted(detail) => StoreError::Corrupt { detail },
        redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => StoreError::Corrupt {
            detail: "the file was written by another version of signet".to_owned(),
        },
        other => unavailable(&other),
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable {
        detail: error.to_string(),
    }
}
