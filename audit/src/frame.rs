//! The bytes of a segment: frames, and how a reader finds its feet again after damage.
//!
//! Frame: length of the payload (u32, little endian), kind (u8), payload, the first 8 bytes of SHA-256 over the kind's
//! domain and the payload. A segment is one head and then batches, each a mark followed by records. A mark says that
//! every byte before it was durable when it was written. So a bad frame with a valid mark after it is damage, and a bad
//! frame without one is the torn end of a write that was never acknowledged.
//!
//! Behind the last batch there may be zeros up to the file's end: room that was made ready and not written. No frame begins
//! with a zero length and a zero kind, so zeros are no frame, and zeros with a mark behind them are damage as anything else is.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::record::{self, Hash, MAX_BYTES, Parse, Record};

const HEAD: u8 = 1;
const MARK: u8 = 2;
const RECORD: u8 = 3;
const PREFIX: usize = 5;
const CHECK: usize = 8;
const MARK_PAYLOAD: usize = 16;
/// The length of a whole mark frame.
pub(crate) const MARK_FRAME: usize = PREFIX + MARK_PAYLOAD + CHECK;
/// Compared as a whole: a segment's worth of zeros is looked through in a millisecond.
const ZEROS: [u8; 4096] = [0; 4096];

/// The first frame of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Of the segment format.
    pub(crate) version: u8,
    pub(crate) edge: String,
    pub(crate) incarnation: String,
    /// The sequence number of the first record in the segment.
    pub(crate) first: u64,
    /// The hash of the record before it in the chain.
    pub(crate) previous: Hash,
}

/// What a segment holds, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<R> {
    Head(Head),
    /// Sequence numbers below `reserved_end` may have been used.
    Mark {
        reserved_end: u64,
    },
    Record {
        record: R,
        hash: Hash,
    },
    /// Bytes that had been durable and are not a frame any more.
    Damage {
        offset: usize,
        length: usize,
    },
}

/// Appends a head frame.
pub(crate) fn push_head(out: &mut Vec<u8>, head: &Head) -> Result<(), record::RecordError> {
    let payload = postcard::to_stdvec(head).map_err(|_| record::RecordError::TooLong)?;
    push(out, HEAD, &payload, &check(HEAD, &payload));
    Ok(())
}

/// A mark frame for `offset`, its own place in the segment.
pub(crate) fn mark(offset: u64, reserved_end: u64) -> Vec<u8> {
    let payload = [offset.to_le_bytes(), reserved_end.to_le_bytes()].concat();
    let mut out = Vec::with_capacity(MARK_FRAME);
    push(&mut out, MARK, &payload, &check(MARK, &payload));
    out
}

/// Appends a frame with an encoded record, and returns the record's hash.
pub(crate) fn push_record(out: &mut Vec<u8>, encoded: &[u8]) -> Hash {
    let hash = record::hash_encoded(encoded);
    push(out, RECORD, encoded, &hash);
    hash
}

/// The length of `bytes` without the zeros at its end: 0 where nothing was ever written.
pub(crate) fn filled(bytes: &[u8]) -> usize {
    let zeros = bytes.rchunks(ZEROS.len()).take_while(|chunk| ZEROS.starts_with(chunk));
    let zeros = zeros.fold(0_usize, |sum, chunk| sum.saturating_add(chunk.len()));
    let rest = bytes.get(..bytes.len().saturating_sub(zeros)).unwrap_or_default();
    rest.iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last.saturating_add(1))
}

/// The items of a segment from `offset`; [`Items::end`] is where the last whole one ended.
pub(crate) struct Items<'a, R = Record> {
    bytes: &'a [u8],
    /// The place of `bytes[0]` in the segment.
    base: u64,
    at: usize,
    parsed: PhantomData<R>,
}

impl<'a, R: Parse> Items<'a, R> {
    /// `bytes` start at `base` in their segment, at a frame's beginning.
    pub(crate) fn new(bytes: &'a [u8], base: u64) -> Items<'a, R> {
        Items {
            bytes,
            base,
            at: 0,
            parsed: PhantomData,
        }
    }

    /// The offset in `bytes` behind the last item that was returned.
    pub(crate) fn end(&self) -> usize {
        self.at
    }

    fn frame(&self, at: usize) -> Option<(Item<R>, usize)> {
        let (kind, payload, stored, end) = split(self.bytes.get(at..)?)?;
        let item = match kind {
            HEAD if check(HEAD, payload).get(..CHECK)? == stored => Item::Head(postcard::from_bytes(payload).ok()?),
            MARK if check(MARK, payload).get(..CHECK)? == stored => {
                let (offset, reserved_end) = payload.split_first_chunk::<8>()?;
                let own = self.base.saturating_add(u64::try_from(at).ok()?);
                let reserved_end = u64::from_le_bytes(reserved_end.try_into().ok()?);
                (u64::from_le_bytes(*offset) == own).then_some(Item::Mark { reserved_end })?
            }
            RECORD => {
                let hash = record::hash_encoded(payload);
                let record = (hash.get(..CHECK)? == stored).then(|| R::parse(payload))??;
                Item::Record { record, hash }
            }
            _ => return None,
        };
        Some((item, at.saturating_add(end)))
    }

    fn next_mark(&self, from: usize) -> Option<usize> {
        let is_mark = |at: &usize| matches!(self.frame(*at), Some((Item::Mark { .. }, _)));
        let last = filled(self.bytes).saturating_sub(4);
        let candidates = (from..last).filter(|at| self.bytes.get(at.saturating_add(4)) == Some(&MARK));
        candidates.into_iter().find(is_mark)
    }
}

impl<R: Parse> Iterator for Items<'_, R> {
    type Item = Item<R>;

    fn next(&mut self) -> Option<Item<R>> {
        if let Some((item, end)) = self.frame(self.at) {
            self.at = end;
            return Some(item);
        }
        let offset = self.at;
        self.at = self.next_mark(offset.saturating_add(1))?;
        Some(Item::Damage {
            offset,
            length: self.at.saturating_sub(offset),
        })
    }
}

/// Kind, payload, check and the frame's length.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length))
        .ok()
        .filter(|length| *length <= MAX_BYTES)?;
    let (kind, rest) = rest.split_first()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (stored, _) = rest.split_at_checked(CHECK)?;
    Some((*kind, payload, stored, length.saturating_add(PREFIX + CHECK)))
}

fn push(out: &mut Vec<u8>, kind: u8, payload: &[u8], check: &Hash) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
    out.extend(check.iter().take(CHECK));
}

fn check(kind: u8, payload: &[u8]) -> Hash {
    let domain: &[u8] = if kind == HEAD {
        b"signet audit segment v1\n"
    } else {
        b"signet audit mark v1\n"
    };
    Sha256::new()
        .chain_update(domain)
        .chain_update(payload)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Event;
    use crate::record::tests::{draft, record};

    fn segment(batches: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let head = Head {
            version: 1,
            edge: "e".into(),
            incarnation: "i".into(),
            first: 1,
            previous: [0; 32],
        };
        push_head(&mut out, &head).unwrap();
        for batch in 0..batches {
            let mark = mark(out.len() as u64, batch * 100);
            out.extend(mark);
            push_record(&mut out, &record(Event::Use(draft())).encode().unwrap());
        }
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = segment(3);
        let mut items = Items::<Record>::new(&bytes, 0);
        assert!(matches!(items.next(), Some(Item::Head(head)) if head.edge == "e"));
        for batch in 0..3 {
            assert_eq!(
                items.next(),
                Some(Item::Mark {
                    reserved_end: batch * 100
                })
            );
            assert!(matches!(items.next(), Some(Item::Record { .. })));
        }
        assert_eq!(items.next(), None);
        assert_eq!(items.end(), bytes.len());
    }

    #[test]
    fn every_cut_is_a_torn_end_and_never_damage() {
        let bytes = segment(2);
        for cut in 0..bytes.len() {
            let mut items = Items::<Record>::new(&bytes[..cut], 0);
            assert!(
                items.by_ref().all(|item| !matches!(item, Item::Damage { .. })),
                "cut at {cut}"
            );
            assert!(items.end() <= cut);
        }
    }

    #[test]
    fn every_flipped_byte_before_the_last_batch_is_damage() {
        let bytes = segment(3);
        let last_batch = segment(2).len();
        for zeros in [0, 5000] {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x10;
                damaged.resize(bytes.len() + zeros, 0);
                let mut items = Items::<Record>::new(&damaged, 0);
                let found = items.by_ref().any(|item| matches!(item, Item::Damage { .. }));
                assert_eq!(found, at < last_batch, "flipped at {at}, {zeros} behind");
                assert!(found || items.end() < bytes.len(), "flipped at {at} and nobody noticed");
            }
        }
    }

    // R36: the sectors of a write over zeros reach the disk in any order, and the last ones may not.
    #[test]
    fn every_torn_sector_over_zeros_is_a_torn_end_and_never_damage() {
        const SECTOR: usize = 128;
        let (before, whole) = (segment(2), segment(3));
        let items = |bytes: &[u8]| Items::<Record>::new(bytes, 0).collect::<Vec<_>>();
        let all = items(&whole);
        let first = before.len() / SECTOR;
        let sectors = whole.len().div_ceil(SECTOR) - first;
        assert!((3..12).contains(&sectors), "{sectors}");
        for written in 0..1_u32 << sectors {
            let mut bytes = before.clone();
            bytes.resize(whole.len() + 3 * SECTOR, 0);
            for sector in (0..sectors).filter(|sector| written & 1 << sector != 0) {
                let at = (first + sector) * SECTOR;
                let end = whole.len().min(at + SECTOR);
                bytes[at..end].copy_from_slice(&whole[at..end]);
            }
            let read = items(&bytes);
            assert!(all.starts_with(&read), "sectors {written:b}");
            assert!(read.len() >= items(&before).len(), "sectors {written:b}");
            assert_eq!(
                read.len() == all.len(),
                bytes.starts_with(&whole),
                "sectors {written:b}"
            );
        }
    }

    #[test]
    fn zeros_behind_the_records_are_no_records_and_no_damage() {
        let bytes = segment(2);
        for cut in 0..=bytes.len() {
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(bytes.len() + 10_000, 0);
            let mut items = Items::<Record>::new(&zeros, 0);
            assert!(
                items.by_ref().all(|item| !matches!(item, Item::Damage { .. })),
                "cut at {cut}"
            );
            assert!(items.end() <= cut || bytes[cut..items.end()].iter().all(|byte| *byte == 0));
        }
        assert_eq!(filled(&[]), 0);
        for length in [1, 4095, 4096, 4097, 9000] {
            assert_eq!(filled(&vec![0; length]), 0);
            for at in [0, length / 2, length - 1] {
                let mut bytes = vec![0; length];
                bytes[at] = 1;
                assert_eq!(filled(&bytes), at + 1);
            }
        }
    }

    #[test]
    fn a_mark_that_was_copied_elsewhere_is_no_mark() {
        let bytes = mark(40, 7);
        assert_eq!(Items::<Record>::new(&bytes, 0).next(), None);
        assert_eq!(
            Items::<Record>::new(&bytes, 40).next(),
            Some(Item::Mark { reserved_end: 7 })
        );
    }
}
