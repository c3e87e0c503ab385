//! How far the log is with each chain, and what that makes of records that come. Pure.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Links};
use crate::record::Hash;

/// Batches of a chain that records which come again are compared with, while it is the newest of its edge; of the others
/// the last one is.
const RECENT: usize = 64;
/// Chains of one edge: a restart each hour for almost two years.
pub(super) const MOST_PROCESSES: usize = 16_384;
const VERSION: u8 = 1;

/// Every chain's end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chains {
    /// Of how many leaves this was read.
    size: u64,
    /// The last pack that is in here.
    packs: u64,
    ends: BTreeMap<(String, String), End>,
    edges: BTreeMap<String, Edge>,
}

/// What is known of an edge's processes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edge {
    processes: usize,
    newest: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    last: u64,
    hash: Hash,
    recent: VecDeque<Place>,
}

/// Where some of a chain's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    first: u64,
    last: u64,
    pack: u64,
    place: u32,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u8,
    size: u64,
    packs: u64,
    ends: Vec<(String, String, End)>,
}

/// What records that come are to the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// New, but for the first `skip`; some numbers may have been passed over.
    New { skip: usize, gap: Option<(u64, u64)> },
    /// All of these numbers were taken before.
    Held,
    /// A number at or before this one was taken with another record.
    Conflict(u64),
}

impl Chains {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn packs(&self) -> u64 {
        self.packs
    }

    fn end(&self, edge: &str, incarnation: &str) -> Option<&End> {
        self.ends.get(&(edge.to_owned(), incarnation.to_owned()))
    }

    /// The number that comes next in a chain.
    pub(super) fn next(&self, edge: &str, incarnation: &str) -> u64 {
        self.end(edge, incarnation).map_or(1, |end| end.last.saturating_add(1))
    }

    /// Whether a chain is known, or may be.
    pub(super) fn has_room(&self, edge: &str, incarnation: &str) -> bool {
        self.end(edge, incarnation).is_some()
            || self
                .edges
                .get(edge)
                .is_none_or(|known| known.processes < MOST_PROCESSES)
    }

    /// Where a record is, if that is remembered: pack and place.
    pub(super) fn place(&self, edge: &str, incarnation: &str, sequence: u64) -> Option<(u64, u32)> {
        let recent = &self.end(edge, incarnation)?.recent;
        let at = recent
            .iter()
            .find(|place| (place.first..=place.last).contains(&sequence))?;
        Some((at.pack, at.place))
    }

    /// Because each record holds the hash of the one before it, one that is the same proves all before it.
    pub(super) fn judge(&self, edge: &str, incarnation: &str, links: &Links) -> Judged {
        let none = End::default();
        let end = self.end(edge, incarnation).unwrap_or(&none);
        let next = end.last.saturating_add(1);
        if links.last < next {
            return Judged::Held;
        }
        if links.first > next {
            return Judged::New {
                skip: 0,
                gap: Some((next, links.first.saturating_sub(1))),
            };
        }
        let before = match links.first == next {
            true => Some(links.previous),
            false => links.hash_at(end.last),
        };
        match before == Some(end.hash) {
            true => Judged::New {
                skip: usize::try_from(next.saturating_sub(links.first)).unwrap_or(usize::MAX),
                gap: None,
            },
            false => Judged::Conflict(end.last.max(1)),
        }
    }

    /// A batch is in the log, or about to be.
    pub(super) fn advance(&mut self, batch: &Batch) {
        let chain = (batch.edge.clone(), batch.incarnation.clone());
        if !self.ends.contains_key(&chain) {
            self.begin(&chain);
        }
        let is_newest = self.edges.get(&chain.0).is_some_and(|known| known.newest == chain.1);
        let end = self.ends.entry(chain).or_default();
        (end.last, end.hash) = (batch.last, batch.hash);
        // A batch that grows before it is written is the last one here already.
        end.recent
            .pop_back_if(|last| (last.pack, last.place) == (batch.pack, batch.place));
        end.recent.push_back(Place {
            first: batch.first,
            last: batch.last,
            pack: batch.pack,
            place: batch.place,
        });
        let kept = if is_newest { RECENT } else { 1 };
        end.recent.drain(..end.recent.len().saturating_sub(kept));
        self.packs = self.packs.max(batch.pack);
    }

    /// A process of an edge that was not known.
    fn begin(&mut self, chain: &(String, String)) {
        let known = self.edges.entry(chain.0.clone()).or_default();
        known.processes = known.processes.saturating_add(1);
        let before = std::mem::replace(&mut known.newest, chain.1.clone());
        if let Some(end) = self.ends.get_mut(&(chain.0.clone(), before)) {
            end.recent.drain(..end.recent.len().saturating_sub(1));
        }
    }

    /// As bytes, for a log of `size` leaves.
    pub(super) fn save(&self, size: u64) -> Vec<u8> {
        let ends = self.ends.iter();
        let ends = ends.map(|((edge, incarnation), end)| (edge.clone(), incarnation.clone(), end.clone()));
        let saved = Saved {
            version: VERSION,
            size,
            packs: self.packs,
            ends: ends.collect(),
        };
        postcard::to_stdvec(&saved).unwrap_or_default()
    }

    /// Reads what [`Chains::save`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Option<Chains> {
        let saved: Saved = postcard::from_bytes(bytes)
            .ok()
            .filter(|saved: &Saved| saved.version == VERSION)?;
        let mut chains = Chains {
            size: saved.size,
            packs: saved.packs,
            ..Chains::default()
        };
        let mut ends = saved.ends;
        ends.sort_by_key(|(_, _, end)| end.recent.back().map(|place| (place.pack, place.place)));
        for (edge, incarnation, end) in ends {
            let chain = (edge, incarnation);
            chains.begin(&chain);
            chains.ends.insert(chain, end);
        }
        Some(chains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Filled, tests::chain};

    fn links(range: (u64, u64), previous: Hash) -> (Links, Vec<Vec<u8>>) {
        let records = chain("e", "i", range, previous);
        (Links::check("e", "i", &records).unwrap(), records)
    }

    #[test]
    fn records_are_new_held_conflicting_or_behind_a_gap() {
        let mut chains = Chains::default();
        let (whole, records) = links((1, 10), [0; 32]);
        assert_eq!(chains.judge("e", "i", &whole), Judged::New { skip: 0, gap: None });
        let first = Links::check("e", "i", &records[..4]).unwrap();
        chains.advance(&Filled::new("e", "i", &first, records[..4].to_vec(), (1, 0)).batch);
        assert_eq!(chains.next("e", "i"), 5);
        assert_eq!(chains.judge("e", "i", &first), Judged::Held);
        assert_eq!(chains.place("e", "i", 3), Some((1, 0)));
        assert_eq!(chains.judge("e", "i", &whole), Judged::New { skip: 4, gap: None });
        let rest = Links::check("e", "i", &records[4..]).unwrap();
        assert_eq!(chains.judge("e", "i", &rest), Judged::New { skip: 0, gap: None });
        let (forked, _) = links((5, 6), [1; 32]);
        assert_eq!(chains.judge("e", "i", &forked), Judged::Conflict(4));
        let (other, _) = links((1, 10), [7; 32]);
        assert_eq!(chains.judge("e", "i", &other), Judged::Conflict(4));
        let later = Links::check("e", "i", &records[7..]).unwrap();
        let gap = Some((5, 7));
        assert_eq!(chains.judge("e", "i", &later), Judged::New { skip: 0, gap });
        assert_eq!(chains.next("e", "other"), 1);
        chains.size = 1;
        assert_eq!(Chains::read(&chains.save(1)).unwrap(), chains);
        assert_eq!(Chains::read(b"x"), None);
    }
}
