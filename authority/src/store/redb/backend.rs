//! The file beneath redb, and what happens when it cannot flush.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::super::StoreError;
use super::{OnFailedFlush, unavailable};

/// Of a file that another process has open.
pub(super) const IN_USE: &str = "another process uses it; stop the authority first";

/// Opens or makes the file, readable by its owner only.
pub(super) fn open_file(path: &Path) -> Result<FileBackend, StoreError> {
    let failed = |error: &dyn std::fmt::Display| unavailable(&format!("`{}`: {error}", path.display()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(&error))?;
    FileBackend::new(file).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => failed(&IN_USE),
        other => failed(&other),
    })
}

/// A backend that never flushes again once a flush has failed: the kernel may have dropped the dirty pages and would report
/// success the second time (R30).
pub(super) struct Guarded<B> {
    inner: B,
    failed: AtomicBool,
    on_failed_flush: OnFailedFlush,
}

impl<B> Guarded<B> {
    pub(super) fn new(inner: B, on_failed_flush: OnFailedFlush) -> Self {
        Self {
            inner,
            failed: AtomicBool::new(false),
            on_failed_flush,
        }
    }

    fn usable(&self) -> io::Result<&B> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier flush failed"));
        }
        Ok(&self.inner)
    }
}

impl<B: std::fmt::Debug> std::fmt::Debug for Guarded<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl<B: StorageBackend> StorageBackend for Guarded<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.usable()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.usable()?.sync_data().inspect_err(|error| {
            self.failed.store(true, Ordering::Release);
            (self.on_failed_flush)(&error.to_string());
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.usable()?.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
