//! Algorithms, keys, token and artifact formats, and delegation certificates.
//!
//! Pure: no files, no sockets, no clock. Time is passed in as Unix seconds; randomness comes from the kernel.
//! `aws-lc-rs` signs and verifies; the tests check it against the RustCrypto crates and against the vectors in
//! `signing/vectors/`.
//!
//! | to | call |
//! | --- | --- |
//! | make, import or export a key | [`key::SigningKey`] |
//! | mint or verify a JWT | [`format::jwt`] |
//! | sign an artifact's digest or a message | [`format::raw`] |
//! | publish keys | [`jwk::Jwks::publish`] |
//! | issue a delegation and verify one | [`delegation`] |
//! | make and check the list of what is revoked | [`revocation`] |
//! | issue node, server and client certificates | [`node_certificate`] |
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

pub mod algorithm;
pub mod approval;
pub mod certificate;
pub mod claims;
pub mod compiled;
pub mod csr;
pub mod delegation;
pub mod digest;
pub mod encoding;
pub mod format;
pub mod json;
pub mod jwk;
pub mod key;
pub mod node_certificate;
pub mod revocation;
pub mod signature;

#[cfg(test)]
mod vectors;

pub use algorithm::{Algorithm, DigestAlgorithm};
pub use digest::Digest;
