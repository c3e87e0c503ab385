//! From queued events to durable frames: the chain, the segments, the order of writes and syncs.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Settings;
use super::ahead::Ahead;
use super::recover::Found;
use super::segments::{Content, Held, Segments};
use crate::frame::{self, Head, MARK_FRAME};
use crate::record::{self, Event, Hash, Record, Started};
use crate::volume::{SegmentFile, Volume};

/// Which part of the open segment is written when the next one is made ready: 64 KiB of 16 MiB.
const AHEAD_FROM: u64 = 256;
/// After which part more it is asked for again, if it could not be had.
const AHEAD_AGAIN: u64 = 16;

/// What a failure means for what comes next.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Nothing was promised; the same may be tried again.
    Write(io::Error),
    /// What was written before may be gone: never again (R30).
    Sync(io::Error),
}

/// Frames of records that belong together, not yet placed in a segment, behind room for the mark that does so. Storing
/// it twice writes the same bytes.
pub(super) struct Batch {
    bytes: Vec<u8>,
    first: u64,
    previous: Hash,
}

/// Owns the open segment and the chain.
pub(super) struct Writer {
    volume: Arc<dyn Volume>,
    edge: String,
    incarnation: String,
    segment_bytes: u64,
    segments: Segments,
    open: Option<Open>,
    ahead: Ahead,
    /// Where in the open segment the next one is made ready.
    ahead_at: u64,
    next_number: u64,
    /// The chain's end, with what is encoded and not yet stored.
    next: u64,
    hash: Hash,
    durable: u64,
    reserved_end: u64,
    scratch: Vec<u8>,
    /// The memory of a batch that is stored, for the next one.
    spare: Vec<u8>,
}

/// The segment that is being written.
struct Open {
    file: Box<dyn SegmentFile>,
    number: u64,
    /// Of the file that was made ready; 0 where it grows.
    room: u64,
    /// A part of the next batch may be behind `offset`: it has to be written here and nowhere else.
    torn: bool,
    first: u64,
    /// Every byte before it is durable.
    offset: u64,
    /// Behind the head.
    begun_at: u64,
    last: u64,
    last_hash: Hash,
}

impl Writer {
    /// Begins a segment, and stores the chain's first record with the first reservation.
    pub(super) fn open(
        volume: Box<dyn Volume>,
        edge: &str,
        incarnation: &str,
        settings: &Settings,
        found: Found,
    ) -> Result<Writer, WriteError> {
        let volume: Arc<dyn Volume> = volume.into();
        let same = found
            .tip
            .as_ref()
            .filter(|tip| tip.incarnation == incarnation && tip.edge == edge);
        let (next, hash) = same.map_or((1, [0; 32]), |tip| tip.resume());
        let predecessor = found.tip.as_ref().map(|tip| tip.predecessor());
        let mut writer = Writer {
            ahead: Ahead::new(Arc::clone(&volume), settings.segment_bytes),
            ahead_at: settings.segment_bytes / AHEAD_FROM,
            volume,
            edge: edge.to_owned(),
            incarnation: incarnation.to_owned(),
            segment_bytes: settings.segment_bytes,
            segments: Segments::new(found.held),
            open: None,
            next_number: found.next_number,
            next,
            hash,
            durable: next.saturating_sub(1),
            reserved_end: next,
            scratch: Vec::new(),
            spare: Vec::new(),
        };
        let mut batch = writer.batch();
        writer.push_own(
            &mut batch,
            Event::Started(Started {
                time_ms: now_ms(),
                predecessor,
            }),
        )?;
        let reserve_to = writer.next.saturating_add(settings.reserve);
        writer.store(&mut batch, reserve_to)?;
        Ok(writer)
    }

    /// An empty batch at the chain's end.
    pub(super) fn batch(&mut self) -> Batch {
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        bytes.resize(MARK_FRAME, 0);
        Batch {
            bytes,
            first: self.next,
            previous: self.hash,
        }
    }

    /// Chains queued events, length (u32, little endian) and encoding each, until the batch is a segment's worth; answers those
    /// that are left. A batch is in one segment, and the segment that is open cannot be removed: one that was as large as the
    /// directory may be would fill it for good.
    pub(super) fn push_events<'a>(&mut self, batch: &mut Batch, mut events: &'a [u8]) -> Result<&'a [u8], WriteError> {
        let full = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
        while batch.bytes.len() < full
            && let Some((length, rest)) = events.split_first_chunk::<4>()
        {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let (event, rest) = rest.split_at_checked(length).ok_or_else(|| unwritable("a cut event"))?;
            events = rest;
            self.push(batch, event)?;
        }
        Ok(events)
    }

    /// Chains an event of the spool's own.
    pub(super) fn push_own(&mut self, batch: &mut Batch, event: Event) -> Result<(), WriteError> {
        let record = Record {
            version: record::VERSION,
            edge: self.edge.clone(),
            incarnation: self.incarnation.clone(),
            sequence: self.next,
            previous: self.hash,
            event,
        };
        let encoded = record.encode().map_err(unwritable)?;
        self.hash = frame::push_record(&mut batch.bytes, &encoded);
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    fn push(&mut self, batch: &mut Batch, event: &[u8]) -> Result<(), WriteError> {
        self.scratch.clear();
        record::encode_head(&mut self.scratch, &self.edge, &self.incarnation, self.next, &self.hash)
            .map_err(unwritable)?;
        self.scratch.extend_from_slice(event);
        self.hash = frame::push_record(&mut batch.bytes, &self.scratch);
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    /// Makes a batch durable together with a reservation of every number below `reserve_to`. It must be the newest
    /// batch. A crash before the sync leaves a torn end, which was acknowledged to nobody; after it, all of the batch.
    pub(super) fn store(&mut self, batch: &mut Batch, reserve_to: u64) -> Result<(), WriteError> {
        let ready = self.ahead.is_ready()?;
        let needed = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        if self.is_full_for(needed, ready) {
            self.rotate(batch)?;
        }
        let reserve_to = reserve_to.max(self.reserved_end).max(self.next);
        let Some(open) = &mut self.open else {
            return Err(unwritable("no open segment"));
        };
        let mark = frame::mark(open.offset, reserve_to);
        let room = batch.bytes.get_mut(..mark.len());
        room.ok_or_else(|| unwritable("a batch without room for its mark"))?
            .copy_from_slice(&mark);
        open.torn = true;
        open.file
            .write_at(&batch.bytes, open.offset)
            .map_err(WriteError::Write)?;
        open.file.sync().map_err(WriteError::Sync)?;
        open.torn = false;
        open.offset = open.offset.saturating_add(needed);
        open.last = self.next.saturating_sub(1);
        open.last_hash = self.hash;
        self.durable = open.last;
        self.reserved_end = reserve_to;
        Ok(())
    }

    /// Takes back a batch that is stored.
    pub(super) fn done_with(&mut self, batch: Batch) {
        self.spare = batch.bytes;
    }

    /// Whether `needed` bytes more are to go into a new segment. One that grows is left as soon as another is `ready`.
    fn is_full_for(&self, needed: u64, ready: bool) -> bool {
        self.open.as_ref().is_none_or(|open| {
            let fits = open.offset.saturating_add(needed) <= self.segment_bytes;
            let better = ready && open.room == 0;
            (better || !fits) && !open.torn && open.offset > open.begun_at
        })
    }

    /// Begins a new segment: the one that was made ready, or one that grows. The head is durable before anything follows it, so that
    /// a mark anywhere proves that a bad head is damage.
    fn rotate(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let head = Head {
            version: record::VERSION,
            edge: self.edge.clone(),
            incarnation: self.incarnation.clone(),
            first: batch.first,
            previous: batch.previous,
        };
        let mut bytes = Vec::new();
        frame::push_head(&mut bytes, &head).map_err(unwritable)?;
        let number = self.next_number;
        let ready = self.ahead.take()?;
        let room = ready.as_ref().map_or(0, |_| self.segment_bytes);
        let mut file = match ready {
            Some(ready) => ready,
            None => self.volume.create(number).map_err(WriteError::Write)?,
        };
        file.write_at(&bytes, 0).map_err(WriteError::Write)?;
        file.sync().map_err(WriteError::Sync)?;
        if room == 0 {
            self.volume.sync_names().map_err(WriteError::Sync)?;
        }
        self.next_number = number.saturating_add(1);
        self.ahead_at = self.segment_bytes / AHEAD_FROM;
        let begun_at = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (last, last_hash) = (batch.first.saturating_sub(1), batch.previous);
        let open = Open {
            file,
            number,
            room,
            torn: false,
            first: batch.first,
            offset: begun_at,
            begun_at,
            last,
            last_hash,
        };
        if let Some(closed) = self.open.replace(open) {
            let range = (closed.first, closed.last);
            let content = Content {
                incarnation: self.incarnation.clone(),
                range,
                hash: closed.last_hash,
            };
            // Not cut to its records: less than a batch is left, and cutting would wait for the file system's journal.
            self.segments
                .push(Held::written(closed.number, closed.bytes(), content));
        }
        Ok(())
    }

    /// Has the next segment made ready, once this one has shown that it will be needed: a spool that takes a few records a day
    /// stays small.
    pub(super) fn look_ahead(&mut self) {
        if let Some(open) = &self.open
            && open.offset >= self.ahead_at
        {
            // Where the disk has no room for it, it is asked again before long.
            self.ahead_at = open.offset.saturating_add(self.segment_bytes / AHEAD_AGAIN);
            self.ahead.begin(self.next_number);
        }
    }

    /// Until the next segment is ready, or cannot be had.
    pub(super) fn wait_ahead(&mut self) -> Result<(), WriteError> {
        self.ahead.wait()
    }

    /// Gives back what was made ready and not written. Without it the next process does the same.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.ahead.bytes() > 0 {
            self.wait_ahead().map_err(WriteError::into_source)?;
            self.volume.remove(self.next_number)?;
        }
        match &self.open {
            Some(open) if open.room > open.offset => self.volume.truncate(open.number, open.offset),
            _ => Ok(()),
        }
    }

    /// The highest sequence number whose record is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// The first sequence number without a record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The first sequence number beyond the durable reservation.
    pub(super) fn reserved_end(&self) -> u64 {
        self.reserved_end
    }

    /// What the directory holds, in bytes; what was made ready counts whole.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.bytes_with(self.ahead.bytes())
    }

    /// What it holds, with the next segment whole whether it is there or not: room for that one has to be kept.
    pub(super) fn bytes_with_next(&self) -> u64 {
        self.bytes_with(self.segment_bytes)
    }

    fn bytes_with(&self, next: u64) -> u64 {
        let open = self.open.as_ref().map_or(0, Open::bytes);
        self.segments.bytes().saturating_add(open).saturating_add(next)
    }

    /// Looks again what the directory holds.
    pub(super) fn measure(&mut self) -> io::Result<()> {
        self.segments.measure(self.volume.as_ref())
    }

    /// What is in the oldest closed segment.
    pub(super) fn oldest(&self) -> io::Result<Option<Content>> {
        Ok(self.segments.oldest(self.volume.as_ref())?.map(|(_, content)| content))
    }

    /// Removes the oldest closed segments with numbers below `below` until no more than `keep` bytes of records are left, and the
    /// directory with its next segment is inside `most`.
    pub(super) fn remove_shipped(&mut self, below: u64, keep: u64, most: u64) -> io::Result<()> {
        let written = |writer: &Writer| {
            let open = writer.open.as_ref().map_or(0, |open| open.offset);
            writer.segments.bytes().saturating_add(open)
        };
        while (written(self) > keep || self.bytes_with_next() > most)
            && self.segments.first().is_some_and(|first| first < below)
        {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Removes the oldest closed segment.
    pub(super) fn remove_oldest(&mut self) -> io::Result<()> {
        self.segments.remove_oldest(self.volume.as_ref())
    }
}

impl Open {
    /// What its file takes.
    fn bytes(&self) -> u64 {
        self.room.max(self.offset)
    }
}

impl WriteError {
    pub(super) fn into_source(self) -> io::Error {
        match self {
            WriteError::Write(source) | WriteError::Sync(source) => source,
        }
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn unwritable(reason: impl ToString) -> WriteError {
    WriteError::Write(io::Error::other(reason.to_string()))
}
