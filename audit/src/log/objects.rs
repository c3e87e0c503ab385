//! Where a log lies: named objects, each written whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes of an object at most.
pub const MAX_OBJECT: u64 = 64 << 20;

/// Why an object was not written.
#[derive(Debug)]
pub enum PutError {
    /// Nothing was promised; the same may be tried again.
    Write(io::Error),
    /// What was written may be gone: never again (R30).
    Sync(io::Error),
    /// Nothing was written: what is there is another writer's.
    Taken,
}

/// Named objects. Names are paths of `a-z 0-9 . /`, made by this crate.
///
/// Contract: after a write returned `Ok` the object is there, whole, after a power cut too, for every reader. Until then a reader
/// finds the old content or the new, never a part. After [`PutError::Write`] it may be there as well, or come to be: whoever
/// writes the same again does no harm. Any number read. One process writes: a storage that cannot keep others out, as a lock
/// does, tells a [`Objects::claim`], and then [`Objects::create`] and [`Objects::swap`] hold between processes too.
pub trait Objects: Send {
    /// The content; none where there is no such object.
    ///
    /// # Errors
    /// The storage's.
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes an object, in place of what had the name.
    ///
    /// # Errors
    /// [`PutError`].
    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), PutError>;
    /// Writes an object that is never replaced. That it is there with this very content is fine: the answer was lost.
    ///
    /// # Errors
    /// [`PutError`]; [`PutError::Taken`] where it is there with another content.
    fn create(&mut self, name: &str, content: &[u8]) -> Result<(), PutError> {
        match self.get(name).map_err(PutError::Write)? {
            Some(there) if there != content => Err(PutError::Taken),
            // Also where it is there: whether it was made durable is not known.
            _ => self.put(name, content),
        }
    }
    /// Replaces `before`, or nothing where that is none. That the new content is there already is fine.
    ///
    /// # Errors
    /// [`PutError`]; [`PutError::Taken`] where something else is there.
    fn swap(&mut self, name: &str, before: Option<&[u8]>, content: &[u8]) -> Result<(), PutError> {
        let there = self.get(name).map_err(PutError::Write)?;
        match there.as_deref() == before || there.as_deref() == Some(content) {
            true => self.put(name, content),
            false => Err(PutError::Taken),
        }
    }
    /// Removes objects; gone already is fine. They may be back after a power cut.
    ///
    /// # Errors
    /// The storage's; some may be gone.
    fn remove(&mut self, names: &[String]) -> io::Result<()>;
    /// Where other processes cannot be kept from writing: what this one calls itself, which no other one ever does. At most 200
    /// characters, on one line.
    fn claim(&self) -> Option<&str> {
        None
    }
}

/// Objects as files of a directory that only this user can read.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: Option<File>,
}

impl Directory {
    /// To write: makes the directory where needed and locks it. `Ok(None)` says that another process holds it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Option<Directory>> {
        private(path)?;
        let mut lock = OpenOptions::new();
        let lock = lock.create(true).truncate(false).write(true).mode(0o600);
        let lock = lock.open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Directory {
                path: path.to_owned(),
                _lock: Some(lock),
            })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// To read only, also while another process writes.
    pub fn read_only(path: &Path) -> Directory {
        Directory {
            path: path.to_owned(),
            _lock: None,
        }
    }
}

impl Objects for Directory {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_OBJECT => Err(io::Error::other("an object of the log is too large")),
            Ok(_) => match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                read => read.map(Some),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), PutError> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path);
        let fresh = self.make(parent).map_err(PutError::Write)?;
        let aside = self.path.join("new");
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(&aside).map_err(PutError::Write)?;
        file.write_all(content).map_err(PutError::Write)?;
        file.sync_data().map_err(PutError::Sync)?;
        fs::rename(&aside, &path).map_err(PutError::Write)?;
        let sync = |directory: &Path| File::open(directory)?.sync_all();
        sync(parent).map_err(PutError::Sync)?;
        for made in fresh.iter().filter_map(|made| made.parent()) {
            sync(made).map_err(PutError::Sync)?;
        }
        Ok(())
    }

    fn remove(&mut self, names: &[String]) -> io::Result<()> {
        for name in names {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Directory {
    /// Makes what is missing of a directory below this one, and answers which.
    fn make(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut missing = Vec::new();
        let mut at = directory;
        while at != self.path && !at.exists() {
            missing.push(at.to_owned());
            at = at.parent().unwrap_or(&self.path);
        }
        private(directory)?;
        Ok(missing)
    }
}

fn private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
