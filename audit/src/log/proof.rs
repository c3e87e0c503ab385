//! A proof that a record is in the log, as a file: the record, its path to its batch, the batch's path to a checkpoint.
//! It holds no other record, and of the batch only how many there are.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::read::View;
use super::{LogError, Refusal};
use crate::batch::{Batch, Filled};
use crate::note::{self, Checkpoint, NoteError, VerifierKey};
use crate::record::{Hash, Record};
use crate::tree;

/// The version of the file.
const FORMAT: &str = "signet-audit-proof-v1";
/// The longest path of a tree with 2⁶⁴ leaves.
const LONGEST: usize = 64;
/// Bytes of a proof at most: a record and a note in base64, and what else there is.
pub const MAX_PROOF: usize = 64 << 10;

/// The file: JSON. Binary values are base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    format: String,
    /// The encoded record.
    record: String,
    /// From the record to the batch's root.
    record_path: Vec<String>,
    /// The batch: a leaf of the log.
    leaf: String,
    /// The leaf's index.
    leaf_index: u64,
    /// From the leaf to the checkpoint's root.
    leaf_path: Vec<String>,
    /// The checkpoint, a signed note.
    checkpoint: String,
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The record.
    pub record: Record,
    /// What it is under.
    pub checkpoint: Checkpoint,
    /// The leaf's index.
    pub leaf_index: u64,
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the form of a proof.
    #[error("it is no proof of this version")]
    Malformed,
    /// The checkpoint.
    #[error("its checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The record is not under the batch.
    #[error("the record is not in the batch")]
    Record,
    /// The batch is not under the checkpoint.
    #[error("the batch is not under the checkpoint")]
    Leaf,
}

impl Proof {
    /// Of the record with this number in a batch of the log, under the note of its checkpoint.
    ///
    /// # Errors
    /// [`LogError`]; [`Refusal::Old`] as an I/O error where the batch has no such record.
    pub fn make(view: &View, leaf_index: u64, filled: &Filled, sequence: u64) -> Result<Proof, LogError> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, Refusal::Old(sequence).to_string());
        let record = filled.record(sequence).ok_or_else(missing)?;
        let record_path = filled.inclusion(sequence).ok_or_else(missing)?;
        let leaf_path = tree::inclusion(&mut view.stored(), leaf_index, view.checkpoint().size)?;
        let encoded = |path: Vec<Hash>| path.iter().map(|hash| STANDARD.encode(hash)).collect();
        Ok(Proof {
            format: FORMAT.to_owned(),
            record: STANDARD.encode(record),
            record_path: encoded(record_path),
            leaf: STANDARD.encode(filled.batch.leaf()),
            leaf_index,
            leaf_path: encoded(leaf_path),
            checkpoint: view.note().to_owned(),
        })
    }

    /// Its checkpoint with the signatures that these notes of the same text have more, those of witnesses.
    #[must_use]
    pub fn cosigned<'n>(mut self, notes: impl IntoIterator<Item = &'n String>) -> Proof {
        for note in notes {
            note::merge(&mut self.checkpoint, note);
        }
        self
    }

    /// Its checkpoint, a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Checks it with nothing but the log's verifier key.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check(&self, key: &VerifierKey) -> Result<Proven, ProofError> {
        let checkpoint = key.checkpoint(&self.checkpoint)?;
        self.check_under(checkpoint)
    }

    /// Checks all but who signed the checkpoint: enough for whoever has it from the log itself, and for nobody else.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check_unsigned(&self) -> Result<Proven, ProofError> {
        self.check_under(self.checkpoint.parse()?)
    }

    fn check_under(&self, checkpoint: Checkpoint) -> Result<Proven, ProofError> {
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| ProofError::Malformed);
        if self.format != FORMAT {
            return Err(ProofError::Malformed);
        }
        let (encoded, leaf) = (bytes(&self.record)?, bytes(&self.leaf)?);
        let (record_path, leaf_path) = (path(&self.record_path)?, path(&self.leaf_path)?);
        let record = Record::decode(&encoded).map_err(|_| ProofError::Malformed)?;
        let batch = Batch::parse(&leaf).map_err(|_| ProofError::Malformed)?;
        let hash = tree::leaf_hash(&leaf);
        if !tree::includes(&checkpoint.root, checkpoint.size, self.leaf_index, &hash, &leaf_path) {
            return Err(ProofError::Leaf);
        }
        let own = (record.edge.as_str(), record.incarnation.as_str()) == (&batch.edge, &batch.incarnation);
        let index = record
            .sequence
            .checked_sub(batch.first)
            .filter(|_| own)
            .ok_or(ProofError::Record)?;
        let hash = tree::leaf_hash(&encoded);
        if !tree::includes(&batch.root, batch.len(), index, &hash, &record_path) {
            return Err(ProofError::Record);
        }
        Ok(Proven {
            record,
            checkpoint,
            leaf_index: self.leaf_index,
        })
    }
}

fn path(encoded: &[String]) -> Result<Vec<Hash>, ProofError> {
    let hash = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
    let hashes: Option<Vec<Hash>> = encoded.iter().take(LONGEST).map(hash).collect();
    hashes.filter(|_| encoded.len() <= LONGEST).ok_or(ProofError::Malformed)
}
