//! The spool as a stream of records.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::frame::{Item, Items};
use crate::record::{Parse, Record};
use crate::volume::{list, segment_path};

/// How often a following reader looks for more.
const POLL: Duration = Duration::from_millis(200);
/// Bytes read at once: many records, and no whole segment in memory.
const PIECE: u64 = 1 << 20;

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
        // Listed before it is read: where a later segment exists, this one grows no more.
        let numbers: Vec<u64> = list(&self.directory)?.into_iter().map(|(number, _)| number).collect();
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
        let path = segment_path(&self.directory, self.at.segment);
        match read_from(&path, self.at.offset, &mut self.piece) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        }
        let bytes = self.piece.as_slice();
        let mut items = Items::new(bytes, self.at.offset);
        let base = self.at.offset;
        let damaged = |offset: usize, length: usize| {
            let offset = base.saturating_add(length_u64(offset));
            Err(ReadError::Damaged {
                path: path.clone(),
                offset,
                length: length_u64(length),
            })
        };
        for item in items.by_ref() {
            match item {
                Item::Record { record, .. } => self.ready.push_back(Ok(record)),
                Item::Damage { offset, length } => self.ready.push_back(damaged(offset, length)),
                Item::Head(_) | Item::Mark { .. } => {}
            }
        }
        let end = items.end();
        let left = bytes.len().saturating_sub(end);
        // A frame is shorter than a piece by far: a whole piece without one is damage.
        let is_last = length_u64(bytes.len()) < PIECE;
        if (complete && is_last && left > 0) || (!is_last && end == 0) {
            self.ready.push_back(damaged(end, left));
            self.at.offset = base.saturating_add(length_u64(bytes.len()));
            return Ok(true);
        }
        self.at.offset = base.saturating_add(length_u64(end));
        Ok(end > 0)
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

fn read_from(path: &Path, offset: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.take(PIECE).read_to_end(into).map(drop)
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
