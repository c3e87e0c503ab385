//! The cryptography of KMS key specs: key material, what it does, and the ciphertexts of symmetric keys.
//!
//! Pure: no I/O, no clock. Randomness is the kernel's ([`signing::key::random_bytes`]) or AWS-LC's own generator (ECDSA
//! nonces, PSS salts, OAEP seeds, encapsulations, RSA primes), except where a caller passes it in ([`blob::seal`]).

pub mod algorithm;
pub mod blob;
mod ec;
mod ed25519;
mod encoding;
pub mod envelope;
mod hmac;
pub mod material;
mod ml_dsa;
mod ml_kem;
pub mod public;
mod rsa;
pub mod spec;

use signing::key::KeyError;

pub use self::algorithm::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, MacAlgorithm, Message, MessageType,
    SigningAlgorithm,
};
pub use self::envelope::{WrappingAlgorithm, WrappingKeySpec};
pub use self::material::Material;
pub use self::public::PublicKey;
pub use self::spec::{KeySpec, KeyUsage, NameError};

/// Why something could not be done. Says nothing about key bytes, plaintexts or messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The algorithm is none of this key spec's. The caller's fault.
    #[error("{algorithm} is not an algorithm of {spec} keys")]
    Algorithm {
        /// The key's spec.
        spec: KeySpec,
        /// What was asked for.
        algorithm: &'static str,
    },
    /// Keys of this spec do not do this at all. The caller's fault.
    #[error("{spec} keys do not {operation}")]
    Operation {
        /// The key's spec.
        spec: KeySpec,
        /// What was asked for.
        operation: &'static str,
    },
    /// The message comes in a form that the algorithm does not take. The caller's fault.
    #[error("{algorithm} does not take messages of type {message_type}")]
    MessageType {
        /// The algorithm.
        algorithm: SigningAlgorithm,
        /// How the message came.
        message_type: MessageType,
    },
    /// A message or plaintext out of bounds, in bytes. The caller's fault.
    #[error("a message here has {min} to {max} bytes, not {actual}")]
    MessageLength {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
        /// How many came.
        actual: usize,
    },
    /// A digest (or ML-DSA's μ) of the wrong length, in bytes. The caller's fault.
    #[error("the digest has {actual} bytes, and this algorithm's have {expected}")]
    DigestLength {
        /// What the algorithm takes.
        expected: usize,
        /// How many came.
        actual: usize,
    },
    /// The bytes are no key of this spec. The fault of whoever supplied them.
    #[error("not a usable {spec} key: {reason}")]
    MalformedKey {
        /// What the key was to be.
        spec: KeySpec,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A signature that does not verify. Deliberately without a reason.
    #[error("the signature does not verify")]
    BadSignature,
    /// A MAC that does not verify. Deliberately without a reason.
    #[error("the MAC does not verify")]
    BadMac,
    /// A ciphertext that does not decrypt. Deliberately without a reason.
    #[error(transparent)]
    BadCiphertext(#[from] BadCiphertext),
    /// Known to KMS, not to this service.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A new key pair does not work: the hardware or the library is broken, and the key must not be used (R24).
    #[error("the new {0} key failed its self-test")]
    SelfTest(KeySpec),
    /// The kernel gave no randomness. Fatal to the request (R24).
    #[error("the random source failed")]
    Random,
    /// The library refused what cannot fail on valid input.
    #[error("the cryptographic library failed to {0}")]
    Library(&'static str),
}

/// A ciphertext that does not decrypt: whatever the reason, the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not decrypt")]
pub struct BadCiphertext;

impl From<KeyError> for CryptoError {
    /// Only what drawing random bytes can give.
    fn from(_: KeyError) -> Self {
        Self::Random
    }
}

#[cfg(test)]
mod tests;
