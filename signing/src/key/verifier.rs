use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;

use super::{BadSignature, KeyError, PublicKey, Secret, check_kid};
use crate::algorithm::Algorithm;

/// The shortest HMAC secret: the hash's own length (RFC 7518 section 3.2).
pub(crate) const HMAC_MIN_LEN: usize = 32;
/// The longest: SHA-256 hashes longer ones down anyway beyond its block, so nothing is gained by more.
pub(crate) const HMAC_MAX_LEN: usize = 1024;

/// Whatever checks a signature: a public key, or the shared HMAC secret. It knows its own algorithm (R1).
#[derive(Clone)]
pub enum Verifier {
    /// A public key.
    Public(PublicKey),
    /// A shared secret, HS256.
    Hmac(Arc<HmacVerifier>),
}

/// The verifying half of an HS256 key.
pub struct HmacVerifier {
    key: hmac::Key,
    kid: String,
}

impl Verifier {
    /// An HS256 verifier.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] below 32 or above 1,024 bytes, [`KeyError::KeyId`] for an unusable `kid`.
    pub fn hmac(kid: &str, secret: &Secret) -> Result<Self, KeyError> {
        check_kid(kid)?;
        Ok(Self::from_hmac(&hmac_key(secret)?, kid))
    }

    pub(super) fn from_hmac(key: &hmac::Key, kid: &str) -> Self {
        Self::Hmac(Arc::new(HmacVerifier {
            key: key.clone(),
            kid: kid.to_owned(),
        }))
    }

    /// The algorithm, which no header can change (R1).
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Public(key) => key.algorithm(),
            Self::Hmac(_) => Algorithm::Hs256,
        }
    }

    /// The key's id: a thumbprint for public keys, random for secrets.
    pub fn kid(&self) -> &str {
        match self {
            Self::Public(key) => key.thumbprint(),
            Self::Hmac(key) => &key.kid,
        }
    }

    /// The public key, where there is one.
    pub fn public_key(&self) -> Option<&PublicKey> {
        match self {
            Self::Public(key) => Some(key),
            Self::Hmac(_) => None,
        }
    }

    /// Checks a signature in JOSE's form: fixed-length r‖s for ECDSA (RFC 7518 section 3.4). HMAC tags are compared
    /// in constant time.
    ///
    /// # Errors
    /// [`BadSignature`], whatever the reason.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match self {
            Self::Public(key) => key.verify(message, signature),
            Self::Hmac(key) => hmac::verify(&key.key, message, signature).map_err(|_| BadSignature),
        }
    }
}

impl From<PublicKey> for Verifier {
    fn from(key: PublicKey) -> Self {
        Self::Public(key)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} `{}`)", self.algorithm(), self.kid())
    }
}

impl fmt::Debug for HmacVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

pub(super) fn hmac_key(secret: &Secret) -> Result<hmac::Key, KeyError> {
    if secret.len() < HMAC_MIN_LEN || secret.len() > HMAC_MAX_LEN {
        let reason = "the secret must have 32 to 1024 bytes";
        return Err(KeyError::Malformed {
            algorithm: Algorithm::Hs256,
            reason,
        });
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_huge_secrets_are_refused() {
        for len in [0, 16, 31, 1025] {
            assert!(Verifier::hmac("k", &Secret::new(vec![7; len])).is_err(), "{len}");
        }
        assert!(Verifier::hmac("k", &Secret::new(vec![7; 32])).is_ok());
    }

    #[test]
    fn truncated_tags_are_refused() {
        let verifier = Verifier::hmac("k", &Secret::new(vec![7; 32])).unwrap();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), b"m");
        assert!(verifier.verify(b"m", tag.as_ref()).is_ok());
        assert_eq!(verifier.verify(b"m", &tag.as_ref()[..31]), Err(BadSignature));
        assert_eq!(verifier.verify(b"m", b""), Err(BadSignature));
    }

    #[test]
    fn debug_shows_no_secret() {
        let verifier = Verifier::hmac("k-1", &Secret::new(b"canary".repeat(8))).unwrap();
        assert_eq!(format!("{verifier:?}"), "Verifier(HS256 `k-1`)");
    }
}
