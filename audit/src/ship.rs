//! What goes from a spool to the authority: chunks of records that are durable here, in order, and what may be removed when
//! they have arrived.

use std::collections::VecDeque;
use std::path::Path;

use crate::batch::MAX_RECORDS;
use crate::read::{ReadError, Tail, tail_from};
use crate::record::Encoded;

/// Bytes of a chunk's records at most, but for a single one: a message has room for it.
pub const MAX_CHUNK: usize = 40 << 10;

/// Records of one chain that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The process whose records they are.
    pub incarnation: String,
    /// The number of the last.
    pub last: u64,
    /// Encoded.
    pub records: Vec<Vec<u8>>,
    /// When the authority has these and all before, it has everything in segments with lower numbers.
    pub segment: u64,
}

/// Reads a spool's directory, also while it grows.
#[derive(Debug)]
pub struct Outbox {
    tail: Tail<Encoded>,
    /// Read and not given yet, with its segment.
    ahead: VecDeque<(Encoded, u64)>,
    /// Met behind records that were given first.
    damage: Option<ReadError>,
}

impl Outbox {
    /// From the segment with this number on.
    ///
    /// # Errors
    /// [`ReadError`] where the directory cannot be read.
    pub fn open(directory: &Path, segment: u64) -> Result<Outbox, ReadError> {
        Ok(Outbox {
            tail: tail_from(directory, false, segment)?,
            ahead: VecDeque::new(),
            damage: None,
        })
    }

    /// The next process whose records there are; none where there is nothing new. What the process `own` has beyond
    /// `durable` is not there yet: the disk may lose it still.
    ///
    /// # Errors
    /// [`ReadError`]; reading on is possible after [`ReadError::Damaged`].
    pub fn incarnation(&mut self, own: &str, durable: u64) -> Result<Option<&str>, ReadError> {
        Ok(self.peek(own, durable)?.map(|(record, _)| record.incarnation.as_str()))
    }

    fn peek(&mut self, own: &str, durable: u64) -> Result<Option<&(Encoded, u64)>, ReadError> {
        if let Some(damage) = self.damage.take() {
            return Err(damage);
        }
        if self.ahead.is_empty() {
            match self.tail.poll().transpose()? {
                Some(record) => self.ahead.push_back((record, self.tail.segment())),
                None => return Ok(None),
            }
        }
        let is_durable = |record: &Encoded| record.incarnation != own || record.sequence <= durable;
        Ok(self.ahead.front().filter(|(record, _)| is_durable(record)))
    }

    /// The next chunk of the process `of`; none where it has nothing new before the next process. Its records below `from`
    /// are passed over.
    ///
    /// # Errors
    /// As [`Outbox::incarnation`].
    pub fn chunk(&mut self, (own, durable): (&str, u64), of: &str, from: u64) -> Result<Option<Chunk>, ReadError> {
        let mut chunk: Option<Chunk> = None;
        let mut bytes = 0_usize;
        loop {
            let read = match self.peek(own, durable) {
                Err(error @ ReadError::Io { .. }) => return Err(error),
                Err(error) if chunk.is_none() => return Err(error),
                // What was read before the damage goes first. Whoever ships it must hear of the damage, or the segment is removed.
                Err(error) => {
                    self.damage = Some(error);
                    return Ok(chunk);
                }
                Ok(read) => read,
            };
            let Some((record, segment)) = read else {
                return Ok(chunk);
            };
            let (sequence, segment) = (record.sequence, *segment);
            match &chunk {
                None if record.incarnation != of => return Ok(None),
                None => {}
                Some(chunk) => {
                    bytes = bytes.saturating_add(record.bytes.len());
                    let follows = record.incarnation == chunk.incarnation && sequence == chunk.last.saturating_add(1);
                    if !follows || bytes > MAX_CHUNK || chunk.records.len() >= MAX_RECORDS {
                        break;
                    }
                }
            }
            let Some((record, _)) = self.ahead.pop_front() else {
                break;
            };
            match &mut chunk {
                None if sequence < from => {}
                None => {
                    bytes = record.bytes.len();
                    chunk = Some(Chunk {
                        incarnation: record.incarnation,
                        last: sequence,
                        records: vec![record.bytes],
                        segment,
                    });
                }
                Some(chunk) => {
                    (chunk.last, chunk.segment) = (sequence, segment);
                    chunk.records.push(record.bytes);
                }
            }
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Links;
    use crate::record::tests::draft;
    use crate::spool::{Settings, Spool};

    fn spool(directory: &Path, incarnation: &str, records: u64) -> Spool {
        let settings = Settings {
            segment_bytes: 8 << 10,
            max_bytes: 1 << 20,
            keep_shipped: 16 << 10,
            ..Settings::default()
        };
        let (spool, _) = Spool::open(directory, "edge-1", incarnation, settings).unwrap();
        for at in 0..records {
            let _recorded = spool.append(&draft()).unwrap();
            if at.is_multiple_of(10) {
                spool.flush().unwrap();
            }
        }
        spool.flush().unwrap();
        spool
    }

    fn all(outbox: &mut Outbox, own: &str, durable: u64) -> Vec<Chunk> {
        let mut next = || {
            let of = outbox.incarnation(own, durable).unwrap()?.to_owned();
            outbox.chunk((own, durable), &of, 0).unwrap()
        };
        std::iter::from_fn(&mut next).collect()
    }

    #[test]
    fn a_spool_goes_out_in_chunks_that_are_chains() {
        let directory = tempfile::tempdir().unwrap();
        drop(spool(directory.path(), "i1", 300));
        let second = spool(directory.path(), "i2", 20);
        let mut outbox = Outbox::open(directory.path(), 0).unwrap();
        let chunks = all(&mut outbox, "i2", second.status().durable);
        let mut next = std::collections::BTreeMap::new();
        for chunk in &chunks {
            let links = Links::check("edge-1", &chunk.incarnation, &chunk.records).unwrap();
            let expected = next.insert(chunk.incarnation.clone(), links.last + 1).unwrap_or(1);
            assert_eq!((links.first, links.last), (expected, chunk.last));
            assert!(chunk.records.iter().map(Vec::len).sum::<usize>() <= MAX_CHUNK);
        }
        assert_eq!((next["i1"], next["i2"]), (303, 22));
        assert!(all(&mut outbox, "i2", u64::MAX).is_empty(), "nothing new");
        let _recorded = second.append(&draft()).unwrap();
        second.flush().unwrap();
        assert_eq!(all(&mut outbox, "i2", 22)[0].last, 22);
    }

    #[test]
    fn what_is_not_durable_stays_and_what_the_authority_has_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let spool = spool(directory.path(), "i1", 30);
        let mut outbox = Outbox::open(directory.path(), 0).unwrap();
        assert_eq!(outbox.incarnation("i1", 31).unwrap(), Some("i1"));
        let chunk = outbox.chunk(("i1", 9), "i1", 4).unwrap().unwrap();
        assert_eq!((chunk.records.len(), chunk.last), (6, 9));
        assert_eq!(outbox.chunk(("i1", 9), "i1", 4).unwrap(), None);
        assert_eq!(outbox.chunk(("i1", 31), "i1", 4).unwrap().unwrap().last, 31);
        drop(spool);
        let after = outbox.chunk(("i1", 99), "i2", 0);
        assert_eq!(after.unwrap(), None, "another process's are another matter");
    }

    #[test]
    fn shipped_segments_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let spool = spool(directory.path(), "i1", 300);
        let before = spool.status().disk_bytes;
        assert!(before > 60 << 10);
        let mut outbox = Outbox::open(directory.path(), 0).unwrap();
        let chunks = all(&mut outbox, "i1", u64::MAX);
        // What is not shipped is never removed: the first chunks alone.
        spool.shipped(chunks[0].segment);
        // Removing follows the next batch, whose end the flush after it waits for: nobody reads what is being removed.
        for _ in 0..2 {
            let _recorded = spool.append(&draft()).unwrap();
            spool.flush().unwrap();
        }
        let mut left = Outbox::open(directory.path(), 0).unwrap();
        let left = left.chunk(("i1", u64::MAX), "i1", 0).unwrap().unwrap();
        assert!(left.last <= chunks[1].last && spool.status().disk_bytes > 32 << 10);
        spool.shipped(chunks.last().unwrap().segment);
        for _ in 0..2 {
            let _recorded = spool.append(&draft()).unwrap();
            spool.flush().unwrap();
        }
        assert!(spool.status().disk_bytes <= 40 << 10, "{}", spool.status().disk_bytes);
        assert!(crate::verify::directory(directory.path()).unwrap().holds());
    }
}
