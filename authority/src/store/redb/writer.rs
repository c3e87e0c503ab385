//! The one thread that writes.

use std::sync::{Arc, OnceLock};

use redb::{Database, Durability, ReadableTable, Table, WriteTransaction};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::super::{Committed, Compare, StoreError, Transaction, Write};
use super::{ALL_ROWS, META, REVISION, ROWS, SUMS, classify, unavailable};

/// Most transactions under one flush: bounds what one redb transaction holds in memory.
const GROUP: usize = 64;

/// A checked transaction and who waits for it.
pub(super) struct Commit {
    pub(super) transaction: Transaction,
    pub(super) answered: oneshot::Sender<Result<u64, StoreError>>,
}

/// Who is told what was committed.
type Announced = (watch::Sender<u64>, broadcast::Sender<Committed>);

/// Takes commits from the queue until it closes.
pub(super) struct Writer {
    database: Arc<Database>,
    queue: mpsc::Receiver<Commit>,
    announced: Announced,
    /// Set by the first failed write: the file's state is unknown, and it is not written again (R30).
    failure: Arc<OnceLock<StoreError>>,
}

/// Makes the tables in a new file; answers the revision.
pub(super) fn prepare(database: &Database) -> Result<u64, StoreError> {
    let prepare = || -> Result<u64, redb::Error> {
        let transaction = begin(database)?;
        transaction.open_table(ROWS)?;
        transaction.open_table(SUMS)?;
        let revision = revision(&transaction.open_table(META)?)?;
        transaction.commit()?;
        Ok(revision)
    };
    prepare().map_err(classify)
}

impl Writer {
    pub(super) fn new(
        database: Arc<Database>,
        queue: mpsc::Receiver<Commit>,
        announced: Announced,
        failure: Arc<OnceLock<StoreError>>,
    ) -> Self {
        Self {
            database,
            queue,
            announced,
            failure,
        }
    }

    /// Until the store is dropped.
    pub(super) fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        while self.queue.blocking_recv_many(&mut group, GROUP) > 0 {
            let outcomes = match self.failure.get() {
                Some(failure) => Err(failure.clone()),
                None => self.write(&group).map_err(classify),
            };
            match outcomes {
                Ok(outcomes) => {
                    for (commit, outcome) in group.drain(..).zip(outcomes) {
                        // The caller may have gone; what it asked has happened.
                        let _ = commit.answered.send(outcome);
                    }
                }
                Err(failure) => {
                    tracing::error!(%failure, "the store cannot write and refuses until it is opened anew");
                    // Before anyone is answered: who was told so finds it said by the store.
                    self.failure.get_or_init(|| failure.clone());
                    for commit in group.drain(..) {
                        let _ = commit.answered.send(Err(failure.clone()));
                    }
                }
            }
        }
    }

    /// Applies the group in order, each transaction on what those before it left, and flushes once. An error means none of it counts.
    fn write(&self, group: &[Commit]) -> Result<Vec<Result<u64, StoreError>>, redb::Error> {
        let transaction = begin(&self.database)?;
        let mut outcomes = Vec::with_capacity(group.len());
        let (before, mut newest);
        {
            let mut rows = transaction.open_table(ROWS)?;
            let mut meta = transaction.open_table(META)?;
            let mut sums = transaction.open_table(SUMS)?;
            let mut sealed = sums
                .get(ALL_ROWS)?
                .map_or_else(Vec::new, |sealed| sealed.value().to_vec());
            before = revision(&meta)?;
            newest = before;
            for commit in group {
                let outcome = apply(&mut rows, &commit.transaction, newest, &mut sealed)?;
                newest = outcome.as_ref().map_or(newest, |revision| *revision);
                outcomes.push(outcome);
            }
            if newest != before {
                meta.insert(REVISION, newest)?;
                sums.insert(ALL_ROWS, sealed.as_slice())?;
            }
        }
        if newest == before {
            transaction.abort()?;
        } else {
            transaction.commit()?;
            self.announce(before, newest, group.iter().zip(&outcomes));
        }
        Ok(outcomes)
    }

    fn announce<'a>(
        &self,
        mut before: u64,
        newest: u64,
        group: impl Iterator<Item = (&'a Commit, &'a Result<u64, StoreError>)>,
    ) {
        for (commit, outcome) in group {
            let writes = &commit.transaction.writes;
            if let (Ok(revision), false) = (outcome, writes.is_empty()) {
                // Nobody listening is fine: who begins to reads everything.
                let _ = self.announced.1.send(Committed {
                    before,
                    revision: *revision,
                    paths: writes.iter().map(|write| write.path().to_owned()).collect(),
                });
                before = *revision;
            }
        }
        self.announced.0.send_replace(newest);
    }
}

/// Two phases: with one, redb tells a torn commit by a checksum that is no match for values chosen by an adversary.
fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn revision(meta: &Table<'_, &'static str, u64>) -> Result<u64, redb::Error> {
    Ok(meta.get(REVISION)?.map_or(0, |revision| revision.value()))
}

/// The inner error is the caller's; the outer one is the disk's.
fn apply(
    rows: &mut Table<'_, &'static str, (u64, &'static [u8])>,
    transaction: &Transaction,
    revision: u64,
    sealed: &mut Vec<u8>,
) -> Result<Result<u64, StoreError>, redb::Error> {
    for Compare { path, revision } in &transaction.compares {
        let found = rows.get(path.as_str())?.map(|row| row.value().0);
        if found != *revision {
            return Ok(Err(StoreError::Conflict { path: path.clone() }));
        }
    }
    if transaction.writes.is_empty() {
        return Ok(Ok(revision));
    }
    let Some(next) = revision.checked_add(1) else {
        return Ok(Err(unavailable(&"its revisions are used up")));
    };
    if let Some(Err(conflict)) = transaction.summing.as_ref().map(|summing| summing.demand(revision)) {
        return Ok(Err(conflict));
    }
    let mut sums = transaction.summing.as_ref().and_then(|summing| {
        let before = summing.before(revision, sealed)?;
        Some((&*summing.key, before))
    });
    let revision = next.max(transaction.at_least);
    for write in &transaction.writes {
        let path = write.path();
        let old = match write {
            Write::Put { value, .. } => rows.insert(path, (revision, value.as_slice()))?,
            Write::Delete { .. } => rows.remove(path)?,
        };
        if let Some((key, sums)) = &mut sums {
            old.iter().for_each(|old| sums.toggle(key, path, old.value()));
            if let Write::Put { value, .. } = write {
                sums.toggle(key, path, (revision, value));
            }
        }
    }
    if let Some((key, sums)) = sums {
        // Some rows are changed already: what cannot be sealed must not be committed, nor what is grouped with it.
        *sealed = key
            .seal(revision, &sums)
            .map_err(|error| redb::Error::Io(std::io::Error::other(error)))?;
    }
    Ok(Ok(revision))
}
