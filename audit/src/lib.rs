//! The audit trail of an edge: what was signed or refused, for whom, with which key, under which policies.
//!
//! - [`record`]: the schema, an allow-list, its encoding and its hash.
//! - [`spool`]: the local log: durable reservations, a writer thread, recovery after a crash.
//! - [`read`]: the log as a stream of records, for `signet audit tail`.
//! - [`export`]: records in the forms that other systems take in.
//! - [`verify`]: every hash chain of a directory, checked.
//! - [`read`]: the spool as a stream of records, for `signet audit tail` and for shipping.
//! - [`ship`]: the spool in chunks, as they go to the authority.
//! - [`verify`]: every hash chain of a spool's directory, checked.
//! - [`log`]: what the authority makes of everybody's records: batches ([`batch`]) in a Merkle tree ([`tree`]) under signed
//!   checkpoints ([`note`]); proofs, verification, reconciliation.
//! - [`witness`]: who cosigns those checkpoints, elsewhere, if the log only grew.
//!
//! The promise (mode `reserve`): a sequence number is inside a durable reservation before an answer that carries its
//! signature leaves, and its record is on disk within a second. A crash leaves at most one reservation of unknown
//! content, and the next process puts that on record. What the crate cannot show alone is the removal of the newest
//! records with everything after them: that takes an anchor outside this directory.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        missing_docs
    )
)]

pub mod batch;
pub mod export;
pub mod filter;
mod frame;
pub mod log;
pub mod note;
pub mod read;
pub mod record;
pub mod ship;
pub mod spool;
pub mod tree;
pub mod verify;
mod volume;
pub mod witness;
