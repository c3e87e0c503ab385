//! What an earlier process left in the directory.

use std::io;

use super::Recovered;
use super::segments::Held;
use crate::frame::{Item, Items, filled};
use crate::record::{Event, Hash, Predecessor, Record};
use crate::volume::Volume;

/// How the newest chain of a directory ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tip {
    pub(super) edge: String,
    pub(super) incarnation: String,
    /// Of the last record that could be read; 0 where there is none.
    pub(super) sequence: u64,
    pub(super) hash: Hash,
    reserved_end: u64,
    stopped: bool,
    damaged: bool,
}

/// A directory ready for its next segment.
#[derive(Default)]
pub(super) struct Found {
    pub(super) tip: Option<Tip>,
    pub(super) held: Vec<Held>,
    /// The next segment's number.
    pub(super) next_number: u64,
    torn_bytes: u64,
}

/// Reads the newest segment, cuts its torn end off and the room behind its records, and removes segments in which nothing was ever
/// acknowledged, as the one that was made ready. Doing it again, after a crash in the middle, changes nothing.
pub(super) fn recover(volume: &dyn Volume) -> io::Result<Found> {
    let mut found = Found {
        next_number: 1,
        ..Found::default()
    };
    let mut numbers = volume.list()?;
    while let Some((number, length)) = numbers.pop() {
        let bytes = volume.read(number)?;
        let scan = scan(&bytes);
        if !scan.acknowledged {
            volume.remove(number)?;
            found.torn_bytes = found.torn_bytes.saturating_add(length_u64(filled(&bytes)));
            found.next_number = number;
            continue;
        }
        let kept = length_u64(scan.end);
        if kept < length {
            volume.truncate(number, kept)?;
            let torn = filled(&bytes).saturating_sub(scan.end);
            found.torn_bytes = found.torn_bytes.saturating_add(length_u64(torn));
        }
        found.tip = Some(scan.tip);
        found.next_number = number.saturating_add(1);
        found.held = numbers
            .into_iter()
            .map(|(number, bytes)| Held::unread(number, bytes))
            .collect();
        found.held.push(Held::unread(number, kept));
        break;
    }
    Ok(found)
}

impl Found {
    pub(super) fn summary(&self) -> Recovered {
        Recovered {
            predecessor: self.tip.as_ref().map(Tip::predecessor),
            torn_bytes: self.torn_bytes,
            segments: self.held.len(),
            bytes: self.held.iter().fold(0, |sum, held| held.bytes.saturating_add(sum)),
        }
    }
}

impl Tip {
    /// How the next chain's first record speaks of this one.
    pub(super) fn predecessor(&self) -> Predecessor {
        let first = self.sequence.saturating_add(1);
        let open = !self.stopped && self.reserved_end > first;
        Predecessor {
            edge: self.edge.clone(),
            incarnation: self.incarnation.clone(),
            sequence: self.sequence,
            hash: self.hash,
            unaccounted: open.then(|| (first, self.reserved_end.saturating_sub(1))),
            damaged: self.damaged,
        }
    }

    /// The sequence number and the previous hash of the next record, where the same incarnation goes on.
    pub(super) fn resume(&self) -> (u64, Hash) {
        let after = self.predecessor().unaccounted.map_or(self.sequence, |(_, last)| last);
        (after.saturating_add(1), self.hash)
    }
}

/// A whole segment, read.
pub(super) struct Scan {
    pub(super) tip: Tip,
    /// The sequence number of the first record.
    pub(super) first: u64,
    /// Whether anything in it can ever have been relied on.
    acknowledged: bool,
    /// Where the last whole frame ends.
    end: usize,
}

pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut tip = Tip::default();
    let (mut first, mut acknowledged) = (None, false);
    let mut items = Items::<Record>::new(bytes, 0);
    for item in items.by_ref() {
        match item {
            Item::Head(head) => {
                first = Some(head.first);
                tip.sequence = head.first.saturating_sub(1);
                tip.hash = head.previous;
                (tip.edge, tip.incarnation) = (head.edge, head.incarnation);
            }
            Item::Mark { reserved_end } => {
                acknowledged = true;
                tip.reserved_end = tip.reserved_end.max(reserved_end);
            }
            Item::Record { record, hash } => {
                first.get_or_insert(record.sequence);
                tip.sequence = record.sequence;
                tip.hash = hash;
                tip.stopped = matches!(record.event, Event::Stopped { .. });
                (tip.edge, tip.incarnation) = (record.edge, record.incarnation);
            }
            Item::Damage { .. } => {
                tip.damaged = true;
                tip.stopped = false;
            }
        }
    }
    let end = items.end();
    Scan {
        tip,
        first: first.unwrap_or_default(),
        acknowledged,
        end,
    }
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
