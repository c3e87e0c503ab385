//! Samples of requests that edges sealed, kept for whoever has the sampling key: a bounded directory that edges share ([`held`]).
//!
//! The bundle in force says whether any are kept, how many and for how long; without a word of it nothing is taken, and what is there
//! is removed. A file is a batch as an edge sent it, which nobody here can open. None of it is needed for anything else: it may be
//! lost, is in no backup, and each of several authorities on a store has its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use node::contract::SampleBatch;
use node::sampling::{KEY_LEN, MAX_BATCH, MAX_IN_BATCH, TAG_LEN};
use policies::bundle::{MAX_SAMPLES, Sampling};
use serde::{Deserialize, Serialize};
use signing::encoding::base64url;

use self::held::{Entry, Held};
use crate::bundle::Bundles;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::files;

mod held;

/// Bytes of one answer to an operator, roughly.
const PAGE: u64 = 4 << 20;

/// A batch as it is kept and handed out. The binary fields are base64url.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Later ones have higher ones.
    pub sequence: u64,
    /// The edge that sent it: a part of what it is sealed as.
    pub edge: String,
    /// When it came, Unix seconds.
    pub time: u64,
    /// How many samples the edge says are in it.
    pub samples: u32,
    /// The key that it is sealed to.
    pub key: String,
    /// HPKE's encapsulated key.
    pub encapsulated: String,
    /// The samples, encrypted.
    pub ciphertext: String,
}

/// Why a batch is not kept. The edge goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The bundle in force wants none, or none like this.
    #[error("{0}")]
    Unwanted(&'static str),
    /// It is not what an edge sends.
    #[error("a batch of samples has a key, an encapsulated key, at most 48 KiB sealed, and 1 to 256 samples")]
    Malformed,
    /// The directory cannot be written.
    #[error("samples cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl From<NotKept> for Fault {
    fn from(error: NotKept) -> Self {
        match error {
            NotKept::Unwanted(why) => Self::state("conflict", why),
            NotKept::Malformed => Self::invalid("bad_request", error.to_string()),
            NotKept::Io(error) => Self::Unavailable {
                part: "directory for samples",
                detail: error.to_string(),
            },
        }
    }
}

/// All that are kept.
pub struct Samples {
    directory: PathBuf,
    bundles: Arc<Bundles>,
    clock: Clock,
    held: Mutex<Held>,
}

impl Samples {
    /// What is in this directory, which is made when the first batch comes. Blocks on the disk. What cannot be read there is left.
    pub fn open(directory: PathBuf, bundles: Arc<Bundles>, clock: Clock) -> Arc<Self> {
        let held = read(&directory).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(directory = %directory.display(), %error, "samples that were kept before are not found");
            }
            Held::default()
        });
        Arc::new(Self {
            directory,
            bundles,
            clock,
            held: Mutex::new(held),
        })
    }

    /// Keeps a batch of this edge, if the bundle in force wants it. Blocks on the disk.
    ///
    /// # Errors
    /// [`NotKept`].
    pub fn take(&self, edge: &str, batch: &SampleBatch) -> Result<(), NotKept> {
        let in_force = self.bundles.in_force();
        let sampling = in_force.bundle.sampling.as_deref();
        let sampling = sampling.ok_or(NotKept::Unwanted("the bundle in force asks for no samples"))?;
        check(batch, sampling)?;
        let mut held = self.held();
        let time = self.clock.now();
        let sequence = held.next();
        let kept = Kept {
            sequence,
            edge: edge.to_owned(),
            time,
            samples: batch.samples,
            key: base64url(&batch.key),
            encapsulated: base64url(&batch.encapsulated),
            ciphertext: base64url(&batch.ciphertext),
        };
        let text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
        let entry = Entry {
            sequence,
            time,
            samples: batch.samples,
            bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
            edge: edge.to_owned(),
        };
        files::write(&self.directory.join(entry.name()), &[&text])?;
        held.put(entry);
        self.remove(&mut held, Some(sampling));
        Ok(())
    }

    /// The batches from this sequence on, as many as make a page; and from where to go on, if there are more. Blocks on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn page(&self, from: u64) -> io::Result<(Vec<Kept>, Option<u64>)> {
        let wanted = self.held().since(from);
        let (mut page, mut bytes) = (Vec::new(), 0_u64);
        for entry in wanted {
            bytes = bytes.saturating_add(entry.bytes);
            if bytes > PAGE && !page.is_empty() {
                return Ok((page, Some(entry.sequence)));
            }
            match fs::read(self.directory.join(entry.name())) {
                Ok(text) => match serde_json::from_slice(&text) {
                    Ok(kept) => page.push(kept),
                    // Written when the machine stopped.
                    Err(error) => tracing::warn!(sequence = entry.sequence, %error, "a batch of samples is damaged"),
                },
                // Removed in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok((page, None))
    }

    /// Removes what is too old, and everything where the bundle in force asks for no samples. Blocks on the disk.
    pub fn trim(&self) {
        let in_force = self.bundles.in_force();
        self.remove(&mut self.held(), in_force.bundle.sampling.as_deref());
    }

    fn remove(&self, held: &mut Held, sampling: Option<&Sampling>) {
        for entry in held.surplus(self.clock.now(), sampling) {
            let path = self.directory.join(entry.name());
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(file = %path.display(), %error, "old samples of requests are not removed; remove them");
                }
                _ => {}
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(directory: &Path) -> io::Result<Held> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let bytes = entry.metadata()?.len();
        let name = entry.file_name();
        match name.to_str().and_then(|name| Entry::of(name, bytes)) {
            Some(known) => entries.push(known),
            // Half of a batch, from a process that ended while it wrote.
            None if Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == files::UNFINISHED) =>
            {
                fs::remove_file(entry.path())?
            }
            None => {}
        }
    }
    entries.sort_unstable();
    let mut held = Held::default();
    entries.into_iter().for_each(|entry| held.put(entry));
    Ok(held)
}

fn check(batch: &SampleBatch, sampling: &Sampling) -> Result<(), NotKept> {
    if batch.key != sampling.key {
        return Err(NotKept::Unwanted(
            "the samples are sealed to another key than the bundle in force has",
        ));
    }
    let most = sampling.keep.min(u32::try_from(MAX_IN_BATCH).unwrap_or(MAX_SAMPLES));
    let is_whole = batch.encapsulated.len() == KEY_LEN
        && (TAG_LEN..=MAX_BATCH.saturating_add(TAG_LEN)).contains(&batch.ciphertext.len())
        && (1..=most).contains(&batch.samples);
    is_whole.then_some(()).ok_or(NotKept::Malformed)
}

#[cfg(test)]
mod tests;
