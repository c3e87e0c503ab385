//! The HSM that roots every key: what the authority asks of it, and the things that answer.
//!
//! - [`worker::Worker`]: a PKCS#11 module in a process of its own (`signet hsm-worker`), killed and restarted when it hangs or crashes;
//! - [`software::Software`]: no HSM at all, a file sealed under a passphrase, for machines without one;
//! - [`verified::Verified`]: around either, and what the rest of the authority should hold: it verifies each signature before it is used;
//! - [`queue::Queued`]: around that, turns that are fair to tenants;
//! - `pkcs11` runs inside the worker and is never loaded into the authority.
//!
//! Objects that live in the token, and nothing else does: two roots (EC, sign only), a sealing master (AES-256, encrypt and
//! decrypt only) and a wrapping master (AES-256, wrap and unwrap only), all sensitive and never extractable.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use signing::key::Secret;

use crate::crypto::MacAlgorithm;

pub mod digest;
pub mod error;
mod pkcs11;
mod protocol;
pub mod provision;
pub mod queue;
pub mod software;
pub mod verified;
pub mod worker;

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use digest::Prehashed;
pub use error::{HsmError, HsmErrorKind};
pub use queue::Queued;
pub use verified::Verified;

/// Longest `random` request and longest sealed plaintext, in bytes: what an HSM is asked to hold is keys, not files.
pub const MAX_SECRET_LEN: usize = 4096;

/// Bytes of a data key, and of the AES key that wraps it.
pub const DATA_KEY_LEN: usize = 32;

/// Bytes of a wrapped data key: 8 more (RFC 3394).
pub const WRAPPED_DATA_KEY_LEN: usize = DATA_KEY_LEN + 8;

/// Longest associated data of a sealed secret, in bytes: a row's path and version.
pub const MAX_ASSOCIATED_LEN: usize = 4096;

/// Refuses messages that are too long for a MAC.
fn check_mac_message(message: &[u8]) -> Result<(), HsmError> {
    if message.len() <= MAX_SECRET_LEN {
        return Ok(());
    }
    let detail = format!("a MAC of {} bytes; at most {MAX_SECRET_LEN}", message.len());
    Err(HsmErrorKind::BadRequest.because(detail))
}

/// A hardware security module, or what stands in for one.
///
/// Contract, which `hsm/contract_tests.rs` holds every implementation to:
///
/// - **Bounded**: each call ends within twice the configured deadline (5 s by default), hung token or not.
/// - **Concurrent**: calls may overlap; implementations queue, and refuse with `Unavailable` rather than grow without bound.
/// - **Retries**: implementations reconnect by themselves; a caller need not retry, and may when the kind is `Unavailable`
///   (signing, sealing and `random` have no effect that a second try would double; a retried `generate_…` only discards a key).
/// - **Cancellation**: dropping a call's future abandons its answer and harms no other call.
/// - **Failures that would be vulnerabilities**: a signature that does not verify (hold the HSM inside [`Verified`]), a secret
///   unsealed under other associated data than it was sealed with, a root or master that is extractable. All are refused.
#[async_trait]
pub trait Hsm: Send + Sync {
    /// What this HSM is, for logs, `/readyz` and `signet` output. Never blocks.
    fn info(&self) -> HsmInfo;

    /// Answers the root of `role`, made now when there is none, with both masters. Idempotent; the root is durable in the
    /// token before this returns. Meant for `signet authority init`: in a running authority a root that has
    /// vanished is an accident that [`Hsm::root`] reports and this would hide.
    async fn ensure_root(&self, role: RootRole) -> Result<RootKey, HsmError>;

    /// The root of `role`; `NotFound` when it does not exist.
    async fn root(&self, role: RootRole) -> Result<RootKey, HsmError>;

    /// Signs `message` (a certificate's to-be-signed bytes) with the root: hashed as [`Prehashed::of`] does, answered as a DER
    /// `ECDSA-Sig-Value` (RFC 3279 section 2.2.3).
    async fn sign_root(&self, role: RootRole, message: &[u8]) -> Result<Vec<u8>, HsmError>;

    /// Makes a key of custody `token`: the private half never leaves the HSM but wrapped under its wrapping master. It has
    /// passed a pairwise test (R24). Nothing is stored in the token: losing the answer loses the key.
    async fn generate_wrapped(&self, curve: EcCurve) -> Result<WrappedKey, HsmError>;

    /// Signs `message` with a wrapped key: hashed with the curve's digest, answered as DER. `Tampered` when the blob was not made by this HSM.
    async fn sign_wrapped(&self, key: &WrappedKey, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.sign_wrapped_digest(key, &Prehashed::of(key.curve, message)).await
    }

    /// As [`Hsm::sign_wrapped`] over a digest made elsewhere (KMS `MessageType=DIGEST`). `BadRequest` when the digest is not the curve's own.
    async fn sign_wrapped_digest(&self, key: &WrappedKey, digest: &Prehashed) -> Result<Vec<u8>, HsmError>;

    /// Makes an AES-256 key of custody `token`, which wraps data keys: it never leaves the HSM but wrapped under its wrapping
    /// master, and has passed a test (R24). Nothing is stored in the token: losing the answer loses the key. `Unsupported`
    /// when the HSM has no AES key wrap (RFC 3394).
    async fn generate_aes(&self) -> Result<WrappedAes, HsmError>;

    /// A fresh data key, in the clear and wrapped under `key` in the HSM: AES key wrap, so that no nonce bounds how many there
    /// can be, and every altered bit is found. `Tampered` when `key` was not made by this HSM.
    async fn generate_data_key(&self, key: &WrappedAes) -> Result<DataKey, HsmError>;

    /// Opens what [`Hsm::generate_data_key`] wrapped under `key`; none for anything else. `Tampered` when `key` was not made by
    /// this HSM.
    async fn unwrap_data_key(&self, key: &WrappedAes, wrapped: &[u8]) -> Result<Option<Secret>, HsmError>;

    /// Makes an HMAC key of custody `token`, as long as the hash, which has passed a test (R24). As with
    /// [`Hsm::generate_aes`] nothing is stored in the token. `Unsupported` when the HSM does not make such MACs.
    async fn generate_mac_key(&self, algorithm: MacAlgorithm) -> Result<WrappedMac, HsmError>;

    /// The MAC of a message of at most [`MAX_SECRET_LEN`] bytes, made in the HSM. `Tampered` when `key` was not made by this HSM.
    async fn mac(&self, key: &WrappedMac, message: &[u8]) -> Result<Vec<u8>, HsmError>;

    /// Seals up to [`MAX_SECRET_LEN`] bytes under the sealing master (AES-256-GCM, random nonce). `associated` (the row's
    /// path and version, R29) is authenticated, not stored. For key-encryption keys, of which there is one a tenant: random
    /// 96-bit nonces bound one master to 2³² sealings.
    async fn seal(&self, plaintext: &Secret, associated: &[u8]) -> Result<Vec<u8>, HsmError>;

    /// Opens what [`Hsm::seal`] made; `Tampered` when `blob` or `associated` differ in any bit.
    async fn unseal(&self, blob: &[u8], associated: &[u8]) -> Result<Secret, HsmError>;

    /// `len` random bytes (1 ..= [`MAX_SECRET_LEN`]) from the HSM's generator. A failed source is an error, never weaker bytes (R24).
    async fn random(&self, len: usize) -> Result<Secret, HsmError>;

    /// A round trip to the token that uses its session. `Ok` means that the next call would have worked a moment ago.
    async fn healthy(&self) -> Result<(), HsmError>;
}

/// What an HSM says about itself. No field is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsmInfo {
    /// `pkcs11` or `software`.
    pub kind: String,
    /// Token label, or the file of the software HSM.
    pub label: String,
    /// Manufacturer, model and firmware as the token states them; empty until it has been opened.
    pub model: String,
}

/// The roots that an HSM holds. They are distinct keys, so that no node certificate can pass for a delegation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RootRole {
    /// Issues node identities (SPIFFE certificates of edges).
    Nodes,
    /// Issues the CAs of logical keys.
    Delegations,
}

impl RootRole {
    /// All roots, in the order they are made.
    pub const ALL: [Self; 2] = [Self::Nodes, Self::Delegations];

    /// The name in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Delegations => "delegations",
        }
    }
}

/// The curves a token-custody key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EcCurve {
    /// NIST P-256 with SHA-256.
    P256,
    /// NIST P-384 with SHA-384.
    P384,
}

impl EcCurve {
    /// The JOSE algorithm of a key on this curve.
    pub fn algorithm(self) -> signing::algorithm::Algorithm {
        match self {
            Self::P256 => signing::algorithm::Algorithm::Es256,
            Self::P384 => signing::algorithm::Algorithm::Es384,
        }
    }

    /// Bytes in one coordinate, and in the curve's digest.
    pub fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// A root's public half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKey {
    /// P-384 where the token can, else P-256.
    pub curve: EcCurve,
    /// DER `SubjectPublicKeyInfo` (RFC 5480).
    pub spki_der: Vec<u8>,
}

impl RootKey {
    /// ES384 or ES256.
    pub fn algorithm(&self) -> signing::algorithm::Algorithm {
        self.curve.algorithm()
    }
}

/// A key of custody `token` as the store keeps it: useless without the HSM that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The key's curve.
    pub curve: EcCurve,
    /// DER `SubjectPublicKeyInfo` (RFC 5480).
    pub spki_der: Vec<u8>,
    /// The private key under the wrapping master. Opaque; its format belongs to the HSM that made it.
    pub blob: Vec<u8>,
}

/// An AES-256 key of custody `token` as the store keeps it: useless without the HSM that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedAes {
    /// The key under the wrapping master. Opaque; its format belongs to the HSM that made it.
    pub blob: Vec<u8>,
}

/// An HMAC key of custody `token` as the store keeps it: useless without the HSM that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedMac {
    /// What it makes, for the key's whole life (R1).
    pub algorithm: MacAlgorithm,
    /// The key under the wrapping master. Opaque; its format belongs to the HSM that made it.
    pub blob: Vec<u8>,
}

/// A data key, and what only the HSM makes it of again.
#[derive(Debug)]
pub struct DataKey {
    /// [`DATA_KEY_LEN`] bytes.
    pub secret: Secret,
    /// [`WRAPPED_DATA_KEY_LEN`] bytes.
    pub wrapped: Vec<u8>,
}
