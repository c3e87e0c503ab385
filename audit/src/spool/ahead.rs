//! The segment behind the one that is being written, made ready by a thread of its own: full of zeros, durable, and its name too.
//!
//! A record that goes into it overwrites what is there, so that its sync writes the record and nothing else. The sync of a file that
//! grows waits for the file system's journal, and with it for what everybody else has written there.
//!
//! Nothing depends on it: where it cannot be had, the next segment grows. Only its failed sync does not pass, as no other does (R30).

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::writer::WriteError;
use crate::volume::{SegmentFile, Volume};

/// Bytes between two syncs of what is made ready: a record's own sync waits for one such piece at most, not for all of it.
const PIECE: usize = 1 << 20;

/// At most one segment, the next.
pub(super) struct Ahead {
    volume: Arc<dyn Volume>,
    /// Of a segment.
    bytes: u64,
    state: State,
}

/// None where the disk has no room for it.
type Made = Result<Option<Box<dyn SegmentFile>>, WriteError>;

enum State {
    Nothing,
    Making(JoinHandle<Made>),
    Ready(Box<dyn SegmentFile>),
}

impl Ahead {
    pub(super) fn new(volume: Arc<dyn Volume>, bytes: u64) -> Ahead {
        Ahead {
            volume,
            bytes,
            state: State::Nothing,
        }
    }

    /// Begins to make segment `number` ready, unless that was begun already.
    pub(super) fn begin(&mut self, number: u64) {
        if !matches!(self.state, State::Nothing) {
            return;
        }
        let (volume, bytes) = (Arc::clone(&self.volume), self.bytes);
        let thread = Builder::new().name("audit-ahead".to_owned());
        match thread.spawn(move || make(volume.as_ref(), number, bytes)) {
            Ok(thread) => self.state = State::Making(thread),
            Err(error) => tracing::warn!(%error, "the next audit segment is not made ready; it grows"),
        }
    }

    /// Whether it is ready.
    ///
    /// # Errors
    /// [`WriteError::Sync`] where its sync failed.
    pub(super) fn is_ready(&mut self) -> Result<bool, WriteError> {
        if matches!(&self.state, State::Making(thread) if thread.is_finished()) {
            self.wait()?;
        }
        Ok(matches!(self.state, State::Ready(_)))
    }

    /// Gives it away; waits for it where it is being made. None: the next segment is to grow.
    ///
    /// # Errors
    /// As [`Ahead::is_ready`].
    pub(super) fn take(&mut self) -> Result<Option<Box<dyn SegmentFile>>, WriteError> {
        self.wait()?;
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Ready(file) => Ok(Some(file)),
            State::Nothing | State::Making(_) => Ok(None),
        }
    }

    /// Until it is ready, or cannot be had.
    pub(super) fn wait(&mut self) -> Result<(), WriteError> {
        let thread = match std::mem::replace(&mut self.state, State::Nothing) {
            State::Making(thread) => thread,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        match thread.join() {
            Ok(Ok(Some(file))) => self.state = State::Ready(file),
            Ok(Ok(None)) => tracing::warn!("the disk has no room to make the next audit segment ready; it grows"),
            Ok(Err(WriteError::Write(error))) => {
                tracing::warn!(%error, "the next audit segment could not be made ready; it grows");
            }
            Ok(Err(error @ WriteError::Sync(_))) => return Err(error),
            Err(_) => tracing::error!("the thread that makes audit segments ready ended in a panic"),
        }
        Ok(())
    }

    /// What it takes on the disk, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self.state {
            State::Nothing => 0,
            State::Making(_) | State::Ready(_) => self.bytes,
        }
    }
}

/// What is being made is written to: whoever has closed the spool finds nobody at its directory.
impl Drop for Ahead {
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            tracing::error!(
                ?error,
                "what was made ready of the audit spool could not be made durable"
            );
        }
    }
}

/// Only where there is room for as much again: records must not find the disk full because of it.
fn make(volume: &dyn Volume, number: u64, bytes: u64) -> Made {
    if volume.free().map_err(WriteError::Write)? < bytes.saturating_mul(2) {
        return Ok(None);
    }
    let mut file = volume.create(number).map_err(WriteError::Write)?;
    let made = fill(file.as_mut(), bytes).and_then(|()| volume.sync_names().map_err(WriteError::Sync));
    if let Err(WriteError::Write(_)) = &made
        && let Err(error) = volume.remove(number)
    {
        tracing::warn!(%error, number, "an audit segment that could not be made ready is left behind; it is written anew");
    }
    made.map(|()| Some(file))
}

/// Written, not only allocated: a file system notes in its journal which allocated blocks have been written.
fn fill(file: &mut dyn SegmentFile, bytes: u64) -> Result<(), WriteError> {
    let zeros = vec![0; PIECE];
    let mut at = 0_u64;
    while at < bytes {
        let left = usize::try_from(bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let piece = zeros.get(..left).unwrap_or(&zeros);
        file.write_at(piece, at).map_err(WriteError::Write)?;
        file.sync().map_err(WriteError::Sync)?;
        at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}
