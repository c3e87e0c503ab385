//! A batch: records of one chain that follow each other, under one Merkle root. Its head is a leaf of the log; its records
//! lie in a pack beside it, so that a record is proven under its batch without another one being shown.
//!
//! ```text
//! leaf = "signet audit batch v1\n" ‖ postcard of Batch
//! pack = "signet audit pack v1\n" ‖ (leaf ‖ records)…      each leaf and record behind its length (u32, little endian),
//!                                                          the records behind their count (u32)
//! ```

use serde::{Deserialize, Serialize};

use crate::record::{self, Hash, MAX_BYTES, Record, hash_encoded};
use crate::tree::{self, Outside, leaf_hash};

/// Records of one batch at most.
pub const MAX_RECORDS: usize = 4096;
/// Bytes of a leaf at most; the tlog-tiles format allows 65,535.
pub const MAX_LEAF: usize = 1024;
/// Bytes of an edge's and of a process's name at most.
pub const MAX_NAME: usize = 64;
const LEAF: &[u8] = b"signet audit batch v1\n";
const PACK: &[u8] = b"signet audit pack v1\n";

/// What a leaf of the log says: which records, and where they are. No caller, no tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The edge's id; `authority` for the authority's own.
    pub edge: String,
    /// The process's id.
    pub incarnation: String,
    /// The sequence number of the first record.
    pub first: u64,
    /// That of the last.
    pub last: u64,
    /// The hash of the record before the first, as the first one carries it.
    pub previous: Hash,
    /// The hash of the last record.
    pub hash: Hash,
    /// The root of the Merkle tree whose leaves are the encoded records.
    pub root: Hash,
    /// The number of the pack with the records, from 1.
    pub pack: u64,
    /// Its place in the pack, from 0.
    pub place: u32,
}

/// A batch with its records, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The head.
    pub batch: Batch,
    /// In the order of their numbers.
    pub records: Vec<Vec<u8>>,
}

/// Why records are no part of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No records, or more than [`MAX_RECORDS`].
    #[error("a batch has 1 to {MAX_RECORDS} records")]
    Count,
    /// Bytes that are no record, or more than a record has.
    #[error("record {0} of a batch cannot be read")]
    Record(usize),
    /// A name that no edge and no process has: it would not fit into a leaf.
    #[error("the names of an edge and its process have 1 to {MAX_NAME} of a-z A-Z 0-9 -")]
    Name,
    /// A record of another chain.
    #[error("record {sequence} is of `{edge}` `{incarnation}`")]
    Stranger {
        /// Its number.
        sequence: u64,
        /// Its edge.
        edge: String,
        /// Its process.
        incarnation: String,
    },
    /// A number is missing, or comes twice.
    #[error("record {expected} should come, and record {found} is there")]
    Sequence {
        /// What should have come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A record does not carry the hash of the one before it.
    #[error("record {0} does not follow from the one before it")]
    Hash(u64),
}

/// Why bytes are not a leaf or a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {0} of this version")]
pub struct Malformed(&'static str);

/// Records whose hash chain was verified. Only [`Links::check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// The hash that the first one carries.
    pub previous: Hash,
    /// The hash of each.
    pub hashes: Vec<Hash>,
}

impl Links {
    /// Checks that encoded records follow each other in the chain of this edge and process.
    ///
    /// # Errors
    /// [`ChainError`]: the first thing that is wrong.
    pub fn check<R: AsRef<[u8]>>(edge: &str, incarnation: &str, records: &[R]) -> Result<Links, ChainError> {
        if records.is_empty() || records.len() > MAX_RECORDS {
            return Err(ChainError::Count);
        }
        if ![edge, incarnation].into_iter().all(is_name) {
            return Err(ChainError::Name);
        }
        let mut links: Option<Links> = None;
        for (place, encoded) in records.iter().enumerate() {
            let encoded = encoded.as_ref();
            let record = Some(encoded).filter(|encoded| encoded.len() <= MAX_BYTES);
            let record = record.and_then(|encoded| Record::decode(encoded).ok());
            let record = record.ok_or(ChainError::Record(place))?;
            if record.edge != edge || record.incarnation != incarnation {
                return Err(ChainError::Stranger {
                    sequence: record.sequence,
                    edge: record.edge.chars().take(64).collect(),
                    incarnation: record.incarnation.chars().take(64).collect(),
                });
            }
            let hash = hash_encoded(encoded);
            let links = links.get_or_insert_with(|| Links {
                first: record.sequence,
                last: record.sequence.saturating_sub(1),
                previous: record.previous,
                hashes: Vec::with_capacity(records.len()),
            });
            let expected = links.last.saturating_add(1);
            if record.sequence != expected {
                let found = record.sequence;
                return Err(ChainError::Sequence { expected, found });
            }
            if links.hashes.last().is_some_and(|before| *before != record.previous) {
                return Err(ChainError::Hash(record.sequence));
            }
            links.last = record.sequence;
            links.hashes.push(hash);
        }
        links.ok_or(ChainError::Count)
    }

    /// The last one's hash.
    pub fn hash(&self) -> Hash {
        self.hashes.last().copied().unwrap_or(self.previous)
    }

    /// Leaves out the first `count`.
    pub fn skip(&mut self, count: usize) {
        let count = count.min(self.hashes.len().saturating_sub(1));
        if let Some(last) = self.hashes.drain(..count).next_back() {
            self.previous = last;
        }
        self.first = self.first.saturating_add(u64::try_from(count).unwrap_or_default());
    }

    /// That of the record with this number.
    pub fn hash_at(&self, sequence: u64) -> Option<Hash> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.hashes.get(at).copied()
    }
}

impl Batch {
    /// The bytes of the leaf.
    pub fn leaf(&self) -> Vec<u8> {
        // Postcard fails on what has no length, and everything here has one.
        postcard::to_extend(self, LEAF.to_vec()).unwrap_or_default()
    }

    /// Reads a leaf: exactly the bytes that [`Batch::leaf`] writes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(leaf: &[u8]) -> Result<Batch, Malformed> {
        let encoded = leaf.strip_prefix(LEAF).filter(|_| leaf.len() <= MAX_LEAF);
        let batch = encoded.and_then(|encoded| postcard::from_bytes::<Batch>(encoded).ok());
        let batch = batch.filter(|batch| batch.leaf() == leaf && batch.first <= batch.last);
        batch.ok_or(Malformed("a batch"))
    }

    /// How many records.
    pub fn len(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// A batch has at least one record.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether these are its records: each in the chain, the chain from its first to its last hash, all under its root.
    ///
    /// # Errors
    /// [`ChainError`]; [`ChainError::Hash`] where range, hashes or root differ.
    pub fn holds<R: AsRef<[u8]>>(&self, records: &[R]) -> Result<(), ChainError> {
        let links = Links::check(&self.edge, &self.incarnation, records)?;
        if (links.first, links.last) != (self.first, self.last) {
            return Err(ChainError::Sequence {
                expected: self.first,
                found: links.first,
            });
        }
        let same = links.previous == self.previous && links.hash() == self.hash && root_of(records) == self.root;
        same.then_some(()).ok_or(ChainError::Hash(self.first))
    }
}

impl Filled {
    /// The batch of records whose chain was verified, at this place of a pack.
    pub fn new(edge: &str, incarnation: &str, links: &Links, records: Vec<Vec<u8>>, at: (u64, u32)) -> Filled {
        let batch = Batch {
            edge: edge.to_owned(),
            incarnation: incarnation.to_owned(),
            first: links.first,
            last: links.last,
            previous: links.previous,
            hash: links.hash(),
            root: root_of(&records),
            pack: at.0,
            place: at.1,
        };
        Filled { batch, records }
    }

    /// Adds records that follow the last one.
    pub fn extend(&mut self, links: &Links, records: Vec<Vec<u8>>) {
        self.records.extend(records);
        (self.batch.last, self.batch.hash) = (links.last, links.hash());
        self.batch.root = root_of(&self.records);
    }

    /// The records.
    pub fn decoded(&self) -> impl Iterator<Item = Record> {
        self.records.iter().filter_map(|record| Record::decode(record).ok())
    }

    /// The record with this number.
    pub fn record(&self, sequence: u64) -> Option<&[u8]> {
        let at = usize::try_from(sequence.checked_sub(self.batch.first)?).ok()?;
        self.records.get(at).map(Vec::as_slice)
    }

    /// That a record is in the batch; none where it is not.
    pub fn inclusion(&self, sequence: u64) -> Option<Vec<Hash>> {
        let leaves = leaves(&self.records);
        let index = sequence
            .checked_sub(self.batch.first)
            .filter(|index| *index < self.batch.len())?;
        tree::inclusion(&mut leaves.as_slice(), index, self.batch.len()).ok()
    }
}

/// A pack's bytes.
pub fn pack(batches: &[Filled]) -> Vec<u8> {
    let mut out = PACK.to_vec();
    let number = |of: usize| u32::try_from(of).unwrap_or(u32::MAX).to_le_bytes();
    for filled in batches {
        let leaf = filled.batch.leaf();
        out.extend(number(leaf.len()));
        out.extend(leaf);
        out.extend(number(filled.records.len()));
        for record in &filled.records {
            out.extend(number(record.len()));
            out.extend(record);
        }
    }
    out
}

/// Reads a pack. Whether its records are what the leaves say is another question: [`Batch::holds`].
///
/// # Errors
/// [`Malformed`].
pub fn unpack(bytes: &[u8]) -> Result<Vec<Filled>, Malformed> {
    let mut rest = bytes.strip_prefix(PACK).ok_or(Malformed("a pack"))?;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        batches.push(next(&mut rest).ok_or(Malformed("a pack"))?);
    }
    Ok(batches)
}

fn next(rest: &mut &[u8]) -> Option<Filled> {
    let batch = Batch::parse(sized(rest, MAX_LEAF)?).ok()?;
    let count = take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)?;
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_RECORDS)?;
    let records: Option<Vec<_>> = (0..count).map(|_| sized(rest, MAX_BYTES).map(<[u8]>::to_vec)).collect();
    Some(Filled {
        batch,
        records: records?,
    })
}

fn sized<'b>(rest: &mut &'b [u8], most: usize) -> Option<&'b [u8]> {
    let length = take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)?;
    take(rest, usize::try_from(length).ok().filter(|length| *length <= most)?)
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn leaves<R: AsRef<[u8]>>(records: &[R]) -> Vec<Hash> {
    records.iter().map(|record| leaf_hash(record.as_ref())).collect()
}

fn root_of<R: AsRef<[u8]>>(records: &[R]) -> Hash {
    let leaves = leaves(records);
    let size = u64::try_from(leaves.len()).unwrap_or_default();
    tree::root(&mut leaves.as_slice(), size).unwrap_or_else(|Outside| record::Hash::default())
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::{Event, tests::draft};

    /// Encoded records `first..=last` of a chain, behind the hash `previous`.
    pub(crate) fn chain(edge: &str, incarnation: &str, range: (u64, u64), mut previous: Hash) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for sequence in range.0..=range.1 {
            let mut draft = draft();
            draft.request_id = uuid::Uuid::from_u128(u128::from(sequence));
            let record = Record {
                version: record::VERSION,
                edge: edge.into(),
                incarnation: incarnation.into(),
                sequence,
                previous,
                event: Event::Use(draft),
            };
            let encoded = record.encode().unwrap();
            previous = hash_encoded(&encoded);
            records.push(encoded);
        }
        records
    }

    /// A record's bytes, however many they are.
    pub(crate) fn encoded(record: &Record) -> Vec<u8> {
        postcard::to_stdvec(record).unwrap()
    }

    fn filled(count: u64) -> Filled {
        let records = chain("edge-1", "i1", (1, count), [0; 32]);
        let links = Links::check("edge-1", "i1", &records).unwrap();
        Filled::new("edge-1", "i1", &links, records, (3, 0))
    }

    #[test]
    fn packs_and_leaves_are_read_as_written() {
        let batches = [filled(1), filled(5)];
        assert_eq!(unpack(&pack(&batches)).unwrap(), batches);
        let leaf = batches[1].batch.leaf();
        assert_eq!(Batch::parse(&leaf).unwrap(), batches[1].batch);
        assert!(
            Batch::parse(&[leaf.as_slice(), &[0]].concat()).is_err(),
            "bytes behind it"
        );
        let bytes = pack(&batches);
        for cut in 0..bytes.len() {
            // A cut between two batches is a shorter pack; the leaf that is missing is the log's to miss.
            assert!(
                unpack(&bytes[..cut]).is_err() || unpack(&bytes[..cut]).unwrap().len() < 2,
                "{cut}"
            );
        }
    }

    #[test]
    fn a_batch_holds_its_own_records_and_no_others() {
        let filled = filled(4);
        assert_eq!(filled.batch.holds(&filled.records), Ok(()));
        let mut swapped = filled.records.clone();
        swapped.swap(1, 2);
        assert!(filled.batch.holds(&swapped).is_err());
        assert!(filled.batch.holds(&filled.records[..3]).is_err());
        let others = chain("edge-2", "i1", (1, 4), [0; 32]);
        assert!(matches!(filled.batch.holds(&others), Err(ChainError::Stranger { .. })));
        for at in 0..filled.records[2].len() {
            let mut tampered = filled.records.clone();
            tampered[2][at] ^= 1;
            assert!(filled.batch.holds(&tampered).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_record_is_proven_under_its_batch() {
        let filled = filled(7);
        for sequence in 1..=7 {
            let path = filled.inclusion(sequence).unwrap();
            let leaf = leaf_hash(filled.record(sequence).unwrap());
            assert!(tree::includes(&filled.batch.root, 7, sequence - 1, &leaf, &path));
        }
        assert_eq!((filled.inclusion(0), filled.inclusion(8)), (None, None));
    }

    #[test]
    fn a_chain_has_every_number_once_and_every_hash() {
        let records = chain("e", "i", (3, 6), [9; 32]);
        let links = Links::check("e", "i", &records).unwrap();
        assert_eq!((links.first, links.last, links.previous), (3, 6, [9; 32]));
        assert_eq!(links.hash_at(6), Some(links.hash()));
        let mut rest = links.clone();
        rest.skip(2);
        assert_eq!(rest, Links::check("e", "i", &records[2..]).unwrap());
        let gap = [records[0].clone(), records[2].clone()];
        assert_eq!(
            Links::check("e", "i", &gap),
            Err(ChainError::Sequence { expected: 4, found: 5 })
        );
        let forked = [records[0].clone(), chain("e", "i", (4, 4), [1; 32]).remove(0)];
        assert_eq!(Links::check("e", "i", &forked), Err(ChainError::Hash(4)));
        assert_eq!(Links::check("e", "i", &Vec::<Vec<u8>>::new()), Err(ChainError::Count));
        assert_eq!(Links::check("e", "i", &[b"x"]), Err(ChainError::Record(0)));
    }
}
