//! The spool as a stream of records.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::frame::{Item, Items, filled};
use crate::record::{Parse, Record};
use crate::volume::{begun, list, segment_path};

/// How often a following reader looks for more.
const POLL: Duration = Duration::from_millis(200);
/// Bytes read at once: many records, and no whole segment in memory.
const PIECE: u64 = 1 << 20;
/// And of the segment that is being written: behind its records are zeros, which every look reads.
const LOOK: u64 = 128 << 10;

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory or a segment could not be read.
    #[error("audit spool `{}`: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Bytes that are no frame, between ones that are: the file was changed after it was written.
    #[error("audit segment `{}` is damaged: {length} bytes at offset {offset} are not records", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The first bad byte.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
}

/// Every record of the spool in `directory`, oldest first; with `follow`, the ones to come as well.
///
/// The chain is not checked here: that is [`crate::verify`]'s. Records appear when they are written, which may be a
/// moment before they are durable.
///
/// # Errors
/// [`ReadError::Io`] where the directory cannot be listed.
pub fn tail(directory: &Path, follow: bool) -> Result<Tail, ReadError> {
    tail_from(directory, follow, 0)
}

/// Whether a directory holds a spool: a process that opens one makes a segment at once.
///
/// # Errors
/// The system's.
pub fn is_spool(directory: &Path) -> io::Result<bool> {
    list(directory).map(|segments| !segments.is_empty())
}

/// As [`tail`], from the segment with this number on, or the first one behind it.
///
/// # Errors
/// As [`tail`].
pub fn tail_from<R: Parse>(directory: &Path, follow: bool, segment: u64) -> Result<Tail<R>, ReadError> {
    list(directory).map_err(|source| ReadError::Io {
        path: directory.to_owned(),
        source,
    })?;
    Ok(Tail {
        directory: directory.to_owned(),
        follow,
        at: Position { segment, offset: 0 },
        ready: VecDeque::new(),
        piece: Vec::new(),
    })
}

/// Iterates over records. Following, it blocks and never ends.
#[derive(Debug)]
pub struct Tail<R = Record> {
    directory: PathBuf,
    follow: bool,
    at: Position,
    ready: VecDeque<Result<R, ReadError>>,
    /// What was read last. Kept: a new one each time would be zeroed by the kernel each time.
    piece: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    segment: u64,
    offset: u64,
}

impl<R: Parse> Tail<R> {
    /// What can be read now, without waiting: `None` where there is nothing new.
    ///
    /// # Errors
    /// [`ReadError`]; reading on is possible after [`ReadError::Damaged`].
    pub fn poll(&mut self) -> Option<Result<R, ReadError>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(source) => {
                    return Some(Err(ReadError::Io {
                        path: self.directory.clone(),
                        source,
                    }));
                }
            }
        }
    }

    /// The number of the segment that the records given last were in; everything in earlier ones has been given.
    pub fn segment(&self) -> u64 {
        self.at.segment
    }

    /// Reads what the present segment has more, or moves on to the next. Returns whether either happened.
    fn fill(&mut self) -> io::Result<bool> {
        // Listed before it is read: where a later segment was begun, this one grows no more.
        let numbers = begun(&self.directory)?;
        let later = numbers.iter().copied().find(|number| *number > self.at.segment);
        let advanced = if numbers.contains(&self.at.segment) {
            self.read_more(later.is_some())?
        } else {
            false
        };
        match later {
            Some(segment) if !advanced => self.at = Position { segment, offset: 0 },
            _ => return Ok(advanced),
        }
        Ok(true)
    }

    fn read_more(&mut self, complete: bool) -> io::Result<bool> {
        let found = if complete {
            self.piece(PIECE)?
        } else {
            self.piece_beside_writer()?
        };
        let Some(mut piece) = found else { return Ok(false) };
        let path = segment_path(&self.directory, self.at.segment);
        let end = self.at.offset.saturating_add(length_u64(piece.end));
        if complete && piece.is_stuck() && !is_unwritten(&path, end)? {
            let left = piece.length.saturating_sub(piece.end);
            piece.items.push(Err((end, length_u64(left))));
            piece.end = piece.length;
        }
        let items = piece.items.into_iter();
        self.ready.extend(items.map(|item| {
            item.map_err(|(offset, length)| ReadError::Damaged {
                path: path.clone(),
                offset,
                length,
            })
        }));
        self.at.offset = self.at.offset.saturating_add(length_u64(piece.end));
        Ok(piece.end > 0)
    }

    /// A frame that is not whole may be about to be. What a mark shows to be damage is damage when it is found again: all that is
    /// before the mark had been written by then, which a reader that was overtaken need not have seen.
    fn piece_beside_writer(&mut self) -> io::Result<Option<Piece<R>>> {
        let mut most = LOOK;
        let mut found = self.piece(most)?;
        if found.as_ref().is_some_and(|piece| piece.end == 0 && !piece.is_zero) {
            most = PIECE;
            found = self.piece(most)?;
        }
        let damage: Vec<(u64, u64)> = found.iter().flat_map(Piece::damage).collect();
        if damage.is_empty() {
            return Ok(found);
        }
        let again = self.piece(most)?;
        Ok(again.filter(|again| again.damage().eq(damage)))
    }

    /// Up to `most` bytes from the present position on; none where the segment is gone.
    fn piece(&mut self, most: u64) -> io::Result<Option<Piece<R>>> {
        let path = segment_path(&self.directory, self.at.segment);
        match read_from(&path, self.at.offset, most, &mut self.piece) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        }
        let mut found = Vec::new();
        let mut items = Items::new(&self.piece, self.at.offset);
        for item in items.by_ref() {
            match item {
                Item::Record { record, .. } => found.push(Ok(record)),
                Item::Damage { offset, length } => {
                    let offset = self.at.offset.saturating_add(length_u64(offset));
                    found.push(Err((offset, length_u64(length))));
                }
                Item::Head(_) | Item::Mark { .. } => {}
            }
        }
        Ok(Some(Piece {
            items: found,
            end: items.end(),
            length: self.piece.len(),
            is_zero: filled(&self.piece) == 0,
        }))
    }
}

/// What one look at a segment found.
struct Piece<R> {
    /// Records, and where damaged bytes are in the segment and how many.
    items: Vec<Result<R, (u64, u64)>>,
    /// Behind the last whole frame.
    end: usize,
    /// What was read.
    length: usize,
    is_zero: bool,
}

impl<R> Piece<R> {
    /// Nothing more comes of it. A frame is shorter than a piece by far: a whole piece has one.
    fn is_stuck(&self) -> bool {
        let is_last = length_u64(self.length) < PIECE;
        self.end < self.length && (is_last || self.end == 0)
    }

    fn damage(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.items.iter().filter_map(|item| item.as_ref().err().copied())
    }
}

impl<R: Parse> Iterator for Tail<R> {
    type Item = Result<R, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.poll() {
                None if self.follow => std::thread::sleep(POLL),
                other => return other,
            }
        }
    }
}

fn read_from(path: &Path, offset: u64, most: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.take(most).read_to_end(into).map(drop)
}

/// Whether there are only zeros from `offset` to the segment's end: room that its records did not need.
fn is_unwritten(path: &Path, mut offset: u64) -> io::Result<bool> {
    let mut piece = Vec::new();
    loop {
        read_from(path, offset, PIECE, &mut piece)?;
        if piece.is_empty() || filled(&piece) > 0 {
            return Ok(piece.is_empty());
        }
        offset = offset.saturating_add(length_u64(piece.len()));
    }
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
