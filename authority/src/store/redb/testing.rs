//! What somebody does who can write the file: no authority has it open, no commit is made, no revision changes.

use std::path::Path;

use redb::{Database, ReadableDatabase};

use super::{ALL_ROWS, META, REVISION, ROWS, SUMS, row};
use crate::store::Row;

/// A row as the file has it, its revision too.
pub(crate) fn row_of(file: &Path, path: &str) -> Option<Row> {
    let database = Database::open(file).unwrap();
    let rows = database.begin_read().unwrap().open_table(ROWS).unwrap();
    rows.get(path).unwrap().map(|found| row(found.value()))
}

/// Puts a row where it is, with the revision it says, or takes one away.
pub(crate) fn put_row(file: &Path, path: &str, row: Option<&Row>) {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut rows = transaction.open_table(ROWS).unwrap();
        match row {
            Some(row) => rows.insert(path, (row.revision, row.value.as_slice())).unwrap(),
            None => rows.remove(path).unwrap(),
        };
    }
    transaction.commit().unwrap();
}

/// The sealed sums; none where none were kept.
pub(crate) fn sums_of(file: &Path) -> Option<Vec<u8>> {
    let database = Database::open(file).unwrap();
    let sums = database.begin_read().unwrap().open_table(SUMS).unwrap();
    sums.get(ALL_ROWS).unwrap().map(|sealed| sealed.value().to_vec())
}

/// Puts sealed sums, or takes them away.
pub(crate) fn put_sums(file: &Path, sealed: Option<&[u8]>) {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut sums = transaction.open_table(SUMS).unwrap();
        match sealed {
            Some(sealed) => sums.insert(ALL_ROWS, sealed).unwrap(),
            None => sums.remove(ALL_ROWS).unwrap(),
        };
    }
    transaction.commit().unwrap();
}

/// Sets the store's revision.
pub(crate) fn put_revision(file: &Path, revision: u64) {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert(REVISION, revision)
        .unwrap();
    transaction.commit().unwrap();
}
