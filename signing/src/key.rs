//! Private keys, public keys, verifiers, and what a verifier's key is bound to.

mod public;
mod secret;
mod signing;
mod trusted;
mod verifier;

pub use public::PublicKey;
pub(crate) use public::{ED25519_OID, Raw};
pub use secret::Secret;
pub use signing::SigningKey;
pub use trusted::{Family, TrustedKey};
pub use verifier::Verifier;

use crate::algorithm::{Algorithm, DigestAlgorithm};

/// Why a key could not be made, read or used. Says nothing about the key's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no key of this algorithm. The fault of whoever supplied them.
    #[error("not a usable {algorithm} key: {reason}")]
    Malformed {
        /// What the key was to be.
        algorithm: Algorithm,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The encoding names a key type that is not supported, or does not determine the algorithm.
    #[error("{0}")]
    Unsupported(&'static str),
    /// This algorithm cannot do what was asked, e.g. sign a digest with Ed25519, or sign with RSA.
    #[error("{algorithm} cannot {operation}")]
    Operation {
        /// The key's algorithm.
        algorithm: Algorithm,
        /// What was asked.
        operation: &'static str,
    },
    /// A digest of the wrong hash for this key.
    #[error("{algorithm} signs {expected} digests, this one is {actual}")]
    WrongDigest {
        /// The key's algorithm.
        algorithm: Algorithm,
        /// The hash it goes with.
        expected: DigestAlgorithm,
        /// The hash that came.
        actual: DigestAlgorithm,
    },
    /// A key id that is empty, too long or has characters other than `A–Z a–z 0–9 - _ . : ~`.
    #[error("a key id has 1 to 128 characters of A-Z a-z 0-9 - _ . : ~")]
    KeyId,
    /// A new key pair failed its own test, or a signature just made did not verify: the hardware or the library is
    /// broken and the process must not go on using this key (R24).
    #[error("the {0} key failed its self-test")]
    SelfTest(Algorithm),
    /// The kernel gave no randomness, or the library could not use it. Fatal to the caller (R24).
    #[error("the random source failed")]
    Random,
    /// The library refused an operation that cannot fail on valid input.
    #[error("the cryptographic library failed to {0}")]
    Library(&'static str),
}

/// A signature that does not verify. Deliberately without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

pub(crate) fn check_kid(kid: &str) -> Result<(), KeyError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '~');
    if kid.is_empty() || kid.len() > 128 || !kid.chars().all(fits) {
        return Err(KeyError::KeyId);
    }
    Ok(())
}

/// `len` bytes from the kernel.
///
/// # Errors
/// [`KeyError::Random`]: treat it as fatal (R24).
pub fn random_bytes<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}
