//! The numbered segment files of one spool directory, as a trait, so that tests can make the disk fail.

#[cfg(test)]
pub(crate) mod faulty;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::frame::filled;

/// Where segments are kept. Segments are named by number and never written again once a higher one exists.
///
/// Contract: what [`SegmentFile::sync`] and [`Volume::sync_names`] acknowledged survives a power cut. Everything else may be lost or torn. One process writes; any number read.
/// Of its threads one writes records, and another one makes the segment behind them ready.
pub(crate) trait Volume: Send + Sync {
    /// The numbers and lengths in bytes, by ascending number.
    fn list(&self) -> io::Result<Vec<(u64, u64)>>;
    /// The whole content.
    fn read(&self, number: u64) -> io::Result<Vec<u8>>;
    /// A new empty segment, replacing what an earlier failed attempt may have left.
    fn create(&self, number: u64) -> io::Result<Box<dyn SegmentFile>>;
    /// Makes the names of created segments durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Cuts a segment to `length` bytes, durable on return.
    fn truncate(&self, number: u64, length: u64) -> io::Result<()>;
    /// Removes a segment; gone already is fine. It may be back after a power cut.
    fn remove(&self, number: u64) -> io::Result<()>;
    /// How many bytes more the disk takes, as far as it knows.
    fn free(&self) -> io::Result<u64>;
}

/// An open segment.
pub(crate) trait SegmentFile: Send {
    /// Writes all of `bytes` at `offset`, or fails with any part of them written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable. After a failure the content is unknown and no retry may be trusted (R30).
    fn sync(&mut self) -> io::Result<()>;
}

/// Segments as files `NUMBER.spool` in a directory that only this user can read.
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

const SUFFIX: &str = ".spool";

impl Directory {
    /// Makes the directory where needed and locks it: two writers would tear each other's segments.
    /// `Ok(None)` says that another process holds it.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Directory>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Directory {
                path: path.to_owned(),
                _lock: lock,
            })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Volume for Directory {
    fn list(&self) -> io::Result<Vec<(u64, u64)>> {
        list(&self.path)
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        fs::read(segment_path(&self.path, number))
    }

    fn create(&self, number: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = segment_path(&self.path, number);
        Ok(Box::new(
            OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(path)?,
        ))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn truncate(&self, number: u64, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(segment_path(&self.path, number))?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        match fs::remove_file(segment_path(&self.path, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl SegmentFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The file of segment `number`.
pub(crate) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:012}{SUFFIX}"))
}

/// The segments of a directory, by ascending number, with their lengths in bytes. Other files are left alone.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(number) = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .and_then(|n| n.parse().ok())
        else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) => found.push((number, metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The numbers of the segments that have been begun, ascending. One that is only made ready, behind them, is full of zeros and holds
/// nothing: whoever takes it for the next one would take the one before it for complete.
pub(crate) fn begun(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = list(directory)?.into_iter().map(|(number, _)| number).collect();
    while let Some(last) = numbers.last()
        && !is_begun(&segment_path(directory, *last))?
    {
        numbers.pop();
    }
    Ok(numbers)
}

/// A segment begins with its head, whose length is not 0. A whole block is looked at, since its first bytes may be damaged.
fn is_begun(path: &Path) -> io::Result<bool> {
    let mut block = Vec::new();
    match File::open(path).and_then(|file| file.take(4096).read_to_end(&mut block)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        read => read.map(|_| filled(&block) > 0),
    }
}
