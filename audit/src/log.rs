//! The log: batches of every edge's records, as leaves of one Merkle tree in tiles (c2sp.org/tlog-tiles) under signed
//! checkpoints.
//!
//! [`Log::take`] makes records durable, [`Log::publish`] puts them under a checkpoint. What a crash leaves:
//!
//! 1. before a pack is whole: nothing; whoever shipped has no receipt and ships again;
//! 2. after it, before its leaves are in tiles: [`Log::open`] reads the pack and appends its leaves;
//! 3. after tiles, before the checkpoint: the same; the tiles come out as they were, since a pack says its leaves and order;
//! 4. after the checkpoint: everything.
//!
//! One process writes. Where a storage cannot keep others out, that rests on what is written only if nobody else wrote: each pack
//! is created, never replaced, so that the packs are one row whoever wrote them, and everything else follows from them; the
//! checkpoint replaces what this process knows. Whoever opens the log puts a claim into the row, and so stops whoever had it.
//!
//! A checkpoint is signed only after the stored leaves, and the records under them, were read back and hashed (R32).

mod chains;
pub mod copy;
pub mod objects;
mod open;
pub mod proof;
mod publish;
pub mod read;
pub mod reconcile;
mod right;
#[cfg(test)]
mod tests;
mod tiles;
pub mod verify;

use std::collections::BTreeMap;
use std::io;

use self::chains::{Chains, Judged};
use self::objects::{Objects, PutError};
use self::right::RightEdge;
use self::tiles::Stored;
use crate::batch::{Batch, ChainError, Filled, Links, MAX_RECORDS, pack, unpack};
use crate::note::{Checkpoint, NoteError, NoteKey, VerifierKey};
use crate::record::Hash;
use crate::tree;

/// The object with the newest signed checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The object with the ends of the chains, to start from.
const CHAINS: &str = "chains";
/// Leaves between two writings of it.
const CHAINS_EVERY: u64 = 1024;
/// Bytes of records in one pack at most; what is more waits for the next.
pub const MAX_PACK: usize = 8 << 20;

/// Records that somebody ships: of one chain, each number once, in order. None at all asks how far the chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// The edge, as its certificate names it.
    pub edge: String,
    /// Its process.
    pub incarnation: String,
    /// Encoded.
    pub records: Vec<Vec<u8>>,
}

/// The log holds every record of a chain below `next` that it was ever shown, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The number that comes next, from 1.
    pub next: u64,
    /// Numbers, first and last, that were passed over to get here.
    pub gap: Option<(u64, u64)>,
}

/// Why a shipment was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The records are no part of a chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The log holds another record of that number: one of the two was made up.
    #[error("record {sequence} of `{edge}` `{incarnation}` is another one than the log holds")]
    Conflict {
        /// The edge.
        edge: String,
        /// Its process.
        incarnation: String,
        /// Where they differ, at the latest.
        sequence: u64,
    },
    /// Processes of one edge beyond what the log can remember.
    #[error(
        "the log has {} processes of `{edge}` and takes no more: give the edge another name",
        chains::MOST_PROCESSES
    )]
    Processes {
        /// The edge.
        edge: String,
    },
    /// Records from before what the log still compares with.
    #[error("record {0} is too old to be compared with what the log holds")]
    Old(u64),
}

/// Why the log is not what it was, or cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The storage failed; the same may be tried again.
    #[error("the audit log's storage: {0}")]
    Io(#[from] io::Error),
    /// A sync failed: the process has to end (R30).
    #[error("the audit log could not be made durable: {0}")]
    Lost(io::Error),
    /// What is stored is not what was written.
    #[error("the audit log is damaged: {0}; `signet audit verify` says where")]
    Damaged(String),
    /// The checkpoint is missing or another log's.
    #[error("the audit log's checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The key cannot sign.
    #[error("the audit log's key: {0}")]
    Key(#[from] signing::key::KeyError),
    /// Another process writes the log: this one must not.
    #[error("the audit log has another writer: {0}; configure one authority for each place of a log")]
    Taken(String),
}

impl LogError {
    /// As whoever writes the log has it: what is missing or altered of what it wrote itself is damage, and not to be tried again.
    fn of_stored(self) -> LogError {
        match self {
            LogError::Io(error) if error.kind() == io::ErrorKind::InvalidData => LogError::Damaged(error.to_string()),
            other => other,
        }
    }
}

impl From<PutError> for LogError {
    fn from(error: PutError) -> LogError {
        match error {
            PutError::Write(error) => LogError::Io(error),
            PutError::Sync(error) => LogError::Lost(error),
            PutError::Taken => LogError::Taken("it wrote where this one was about to".into()),
        }
    }
}

/// The log, open for writing by one thread.
pub struct Log {
    objects: Box<dyn Objects>,
    key: NoteKey,
    right: RightEdge,
    chains: Chains,
    signed: Checkpoint,
    note: String,
    next_pack: u64,
    /// A pack that could not be written yet.
    unwritten: Option<Vec<Filled>>,
    /// Objects of leaves that no checkpoint covers.
    dirty: BTreeMap<String, Vec<u8>>,
    /// Leaves at the last writing of the chains' ends.
    chains_at: u64,
}

impl Log {
    fn append(&mut self, batches: &[Filled]) {
        for filled in batches {
            self.right.push(&filled.batch.leaf(), &mut self.dirty);
        }
        self.next_pack = self.next_pack.saturating_add(1);
    }

    /// Takes shipments: verifies each chain, stores what is new, and answers one by one, when all of it is durable.
    ///
    /// # Errors
    /// [`LogError`]: nothing was promised. After [`LogError::Io`] the same shipments may be brought again.
    pub fn take(&mut self, shipments: Vec<Shipment>) -> Result<Vec<Result<Receipt, Refusal>>, LogError> {
        self.write_pack()?;
        let mut staged: Vec<Filled> = Vec::new();
        let mut answers = Vec::with_capacity(shipments.len());
        let mut failed = None;
        for shipment in shipments {
            match self.stage(shipment, &mut staged) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // Also where one failed: the chains are as far as what was staged before it, which would be taken for held.
        if !staged.is_empty() {
            self.unwritten = Some(staged);
            self.write_pack()?;
        }
        match failed {
            Some(error) => Err(LogError::of_stored(error.into())),
            None => Ok(answers),
        }
    }

    /// Durable on return: step 1 of a crash before, step 2 after.
    fn write_pack(&mut self) -> Result<(), LogError> {
        if let Some(batches) = self.unwritten.take() {
            let name = tiles::pack(self.next_pack);
            if let Err(error) = self.objects.create(&name, &pack(&batches)) {
                self.unwritten = Some(batches);
                return Err(match error {
                    PutError::Taken => open::taken(self.objects.as_ref(), &name),
                    error => error.into(),
                });
            }
            self.append(&batches);
        }
        Ok(())
    }

    fn stage(&mut self, shipment: Shipment, staged: &mut Vec<Filled>) -> io::Result<Result<Receipt, Refusal>> {
        let Shipment {
            edge,
            incarnation,
            mut records,
        } = shipment;
        let receipt = |next, gap| Ok(Ok(Receipt { next, gap }));
        if records.is_empty() {
            return receipt(self.chains.next(&edge, &incarnation), None);
        }
        let mut links = match Links::check(&edge, &incarnation, &records) {
            Ok(links) => links,
            Err(error) => return Ok(Err(error.into())),
        };
        if !self.chains.has_room(&edge, &incarnation) {
            return Ok(Err(Refusal::Processes { edge }));
        }
        let conflict = |sequence| {
            Ok(Err(Refusal::Conflict {
                edge: edge.clone(),
                incarnation: incarnation.clone(),
                sequence,
            }))
        };
        let (skip, gap) = match self.chains.judge(&edge, &incarnation, &links) {
            Judged::New { skip, gap } => (skip, gap),
            Judged::Conflict(sequence) => return conflict(sequence),
            Judged::Held => {
                return match self.hash_of(&edge, &incarnation, links.last, staged)? {
                    Some(hash) if hash == links.hash() => receipt(self.chains.next(&edge, &incarnation), None),
                    Some(_) => conflict(links.last),
                    None => Ok(Err(Refusal::Old(links.last))),
                };
            }
        };
        records.drain(..skip.min(records.len()));
        links.skip(skip);
        let batch = self.put_into(staged, (&edge, &incarnation), links, records);
        self.chains.advance(&batch);
        receipt(self.chains.next(&edge, &incarnation), gap)
    }

    /// Adds records to the staged batch that they follow, or begins one.
    fn put_into(&self, staged: &mut Vec<Filled>, chain: (&str, &str), links: Links, records: Vec<Vec<u8>>) -> Batch {
        let follows = |filled: &&mut Filled| {
            let room = MAX_RECORDS.saturating_sub(filled.records.len());
            let same = (filled.batch.edge.as_str(), filled.batch.incarnation.as_str()) == chain;
            same && filled.batch.hash == links.previous
                && filled.batch.last.saturating_add(1) == links.first
                && records.len() <= room
        };
        if let Some(filled) = staged.iter_mut().rev().find(follows) {
            filled.extend(&links, records);
            return filled.batch.clone();
        }
        let place = u32::try_from(staged.len()).unwrap_or(u32::MAX);
        let filled = Filled::new(chain.0, chain.1, &links, records, (self.next_pack, place));
        let batch = filled.batch.clone();
        staged.push(filled);
        batch
    }

    /// The hash of a record that was taken before.
    fn hash_of(&self, edge: &str, incarnation: &str, sequence: u64, staged: &[Filled]) -> io::Result<Option<Hash>> {
        let Some((number, place)) = self.chains.place(edge, incarnation, sequence) else {
            return Ok(None);
        };
        let stored;
        let batches = if number == self.next_pack {
            staged
        } else {
            let bytes = self.objects.get(&tiles::pack(number))?.unwrap_or_default();
            let damaged = |_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("pack {number} is missing or damaged"),
                )
            };
            stored = unpack(&bytes).map_err(damaged)?;
            &stored
        };
        let filled = batches.get(usize::try_from(place).unwrap_or(usize::MAX));
        let record = filled.and_then(|filled| filled.record(sequence));
        Ok(record.map(crate::record::hash_encoded))
    }

    /// The newest checkpoint, signed.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.signed
    }

    /// What checks its checkpoints.
    pub fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// Whether the log has grown from this checkpoint, which somebody has seen; none where the checkpoint is not this
    /// log's. False says that the log was rolled back, or forked.
    ///
    /// # Errors
    /// The storage's.
    pub fn grew_from(&self, seen: &str) -> Result<Option<bool>, LogError> {
        let Ok(seen) = self.key.verifier().checkpoint(seen) else {
            return Ok(None);
        };
        if seen.size > self.signed.size {
            return Ok(Some(false));
        }
        let mut stored = Stored::new(self.objects.as_ref(), self.signed.size);
        let root = tree::root(&mut stored, seen.size).map_err(|error| LogError::of_stored(error.into()))?;
        Ok(Some(root == seen.root))
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Log")
            .field("signed", &self.signed)
            .finish_non_exhaustive()
    }
}
