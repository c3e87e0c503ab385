//! The local log of an edge.
//!
//! [`Spool::append`] is what a request pays: it encodes the draft, takes a sequence number inside a reservation that is
//! durable already, and queues the bytes in memory. One writer thread chains, writes and syncs them several times a
//! second, and extends the reservation in the same sync. When the disk fails, appending fails: an edge that cannot
//! record does not sign (R30). [`Spool::commit`] waits for the sync instead.

mod ahead;
mod queue;
mod recover;
mod segments;
mod settings;
mod worker;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::record::{self, Breaker, Draft, Event, Predecessor};
use crate::volume::{Directory, Volume};
use queue::Queue;

pub use self::settings::{Retention, Settings};

/// What [`Spool::open`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The chain before this one and how it ended; the first record of this chain says the same.
    pub predecessor: Option<Predecessor>,
    /// Bytes of a write that was never acknowledged, cut off.
    pub torn_bytes: u64,
    /// How many segments were there.
    pub segments: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Proof that a record has its place: its sequence number is inside a durable reservation. Only [`Spool::append`] makes
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "only a recorded signature may leave"]
pub struct Recorded {
    sequence: u64,
}

impl Recorded {
    /// The record's number in its chain.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Why a draft was not recorded: the signature it speaks of must not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// The draft does not fit into a record; the caller's names are too long.
    #[error("an audit record takes at most {} bytes", record::MAX_BYTES)]
    TooLong,
    /// More is asked for than the disk takes; trying again is right after [`Spool::progress`].
    #[error("the audit spool is behind: its disk is slower than its callers")]
    Behind,
    /// The directory reached its size.
    #[error(
        "the audit spool holds {bytes} of {limit} bytes: remove shipped segments, raise `max_bytes`, or allow `drop_oldest`"
    )]
    Full {
        /// In the directory.
        bytes: u64,
        /// `max_bytes`.
        limit: u64,
    },
    /// A write failed; it is tried again every second.
    #[error("the audit spool cannot be written: {detail}")]
    Disk {
        /// The system's words.
        detail: String,
    },
    /// A sync failed, and the process is about to end.
    #[error("the audit spool could not be made durable: {detail}")]
    Lost {
        /// The system's words.
        detail: String,
    },
    /// The spool was closed.
    #[error("the audit spool is closed")]
    Closed,
}

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory could not be read or written.
    #[error("audit spool `{}`: {what}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Which step.
        what: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("audit spool `{}` is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// An edge id is `[a-z0-9-]{{1,63}}`, an incarnation `[A-Za-z0-9-]{{1,64}}`.
    #[error("`{name}` is no {what}")]
    Name {
        /// What was given.
        name: String,
        /// What it should have been.
        what: &'static str,
    },
    /// A setting is outside its bounds.
    #[error("audit setting `{field}` {problem}")]
    Setting {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// How the spool is doing, for `/readyz` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Why appending is refused at present.
    pub refusing: Option<SpoolError>,
    /// Records that were appended.
    pub appended: u64,
    /// The highest sequence number whose record is durable.
    pub durable: u64,
    /// Encoded bytes waiting in memory.
    pub waiting_bytes: usize,
    /// The first sequence number beyond the durable reservation.
    pub reserved_end: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// An open spool: shared by reference (`Arc<Spool>`) between all requests.
pub struct Spool {
    queue: Arc<Queue>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    /// Opens the spool in `directory` for this process: recovers what an earlier one left, and returns when the first
    /// record and the first reservation are durable.
    ///
    /// `edge` is `[a-z0-9-]{1,63}`; `incarnation` is `[A-Za-z0-9-]{1,64}`, best a fresh one for each process.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was promised then.
    pub fn open(
        directory: &Path,
        edge: &str,
        incarnation: &str,
        settings: Settings,
    ) -> Result<(Spool, Recovered), OpenError> {
        settings.check()?;
        check_name(
            edge,
            "edge id",
            63,
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'),
        )?;
        check_name(incarnation, "incarnation", 64, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'-'
        })?;
        let io = |what| {
            move |source| OpenError::Io {
                path: directory.to_owned(),
                what,
                source,
            }
        };
        let volume = Directory::open(directory)
            .map_err(io("open"))?
            .ok_or_else(|| OpenError::Locked {
                path: directory.to_owned(),
            })?;
        Spool::start(Box::new(volume), edge, incarnation, settings).map_err(|(what, source)| io(what)(source))
    }

    fn start(
        volume: Box<dyn Volume>,
        edge: &str,
        incarnation: &str,
        settings: Settings,
    ) -> Result<(Spool, Recovered), (&'static str, std::io::Error)> {
        let found = recover::recover(volume.as_ref()).map_err(|error| ("recover", error))?;
        let recovered = found.summary();
        let queue = Arc::new(Queue::new(&settings));
        let writer = writer::Writer::open(volume, edge, incarnation, &settings, found)
            .map_err(|error| ("write the first record", error.into_source()))?;
        queue.published(&writer, settings.reserve);
        let worker = worker::Worker::new(writer, Arc::clone(&queue), settings);
        let handle = std::thread::Builder::new()
            .name("audit-spool".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| ("start its thread", error))?;
        Ok((
            Spool {
                queue,
                worker: Mutex::new(Some(handle)),
            },
            recovered,
        ))
    }

    /// Records what `draft` says. No I/O and no waiting: about a microsecond.
    ///
    /// # Errors
    /// [`SpoolError`]; the signature must not leave then.
    pub fn append(&self, draft: &Draft<'_>) -> Result<Recorded, SpoolError> {
        let event = record::encode_use(draft).map_err(|_| SpoolError::TooLong)?;
        Ok(Recorded {
            sequence: self.queue.push(&event, false)?,
        })
    }

    /// Records that a plugin is not called for a while, or is again. As [`Spool::append`] otherwise.
    ///
    /// # Errors
    /// [`SpoolError`]; it is not on record then.
    pub fn append_breaker(&self, breaker: Breaker) -> Result<Recorded, SpoolError> {
        let event = record::encode(&Event::Breaker(breaker)).map_err(|_| SpoolError::TooLong)?;
        Ok(Recorded {
            sequence: self.queue.push(&event, false)?,
        })
    }

    /// Records what `draft` says and ends when that is durable: one sync for all that come together (mode `commit`).
    /// Whoever stops waiting has a record nevertheless.
    ///
    /// # Errors
    /// [`SpoolError`]; the signature must not leave then.
    pub async fn commit(&self, draft: &Draft<'_>) -> Result<Recorded, SpoolError> {
        let event = record::encode_use(draft).map_err(|_| SpoolError::TooLong)?;
        let sequence = self.queue.push(&event, true)?;
        self.queue.durable(sequence).await?;
        Ok(Recorded { sequence })
    }

    /// Says that the authority holds every record in segments with lower numbers than `segment`: they are removed as far as
    /// they exceed `keep_shipped`, or the directory's size.
    pub fn shipped(&self, segment: u64) {
        self.queue.shipped(segment);
    }

    /// Ends when the disk has caught up some, or has failed, after this call: what to wait for before a draft that came
    /// to [`SpoolError::Behind`] is tried again. Take it before the try, so that nothing is missed in between.
    pub fn progress(&self) -> impl Future<Output = ()> {
        self.queue.progress()
    }

    /// Waits until everything appended so far is durable. Blocks on the disk: not for the request path.
    ///
    /// # Errors
    /// [`SpoolError`] where that cannot be had at present.
    pub fn flush(&self) -> Result<(), SpoolError> {
        self.queue.flush()
    }

    /// Writes what is queued and a last record, and lets go of the directory. Appending is refused from now on; closing
    /// twice is fine. Dropping the spool does the same. Blocks on the disk.
    pub fn close(&self) {
        self.queue.close();
        let handle = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if handle.is_some_and(|handle| handle.join().is_err()) {
            tracing::error!("the audit spool's thread ended in a panic");
        }
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        self.queue.status()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Spool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

fn check_name(name: &str, what: &'static str, longest: usize, allowed: fn(u8) -> bool) -> Result<(), OpenError> {
    if (1..=longest).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(OpenError::Name {
            name: name.to_owned(),
            what,
        })
    }
}

#[cfg(test)]
mod tests;
