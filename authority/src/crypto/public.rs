//! Public keys: verifying, encrypting, encapsulating.

use std::fmt;

use signing::key::Secret;

use super::algorithm::{EncryptionAlgorithm, Message, SigningAlgorithm};
use super::spec::{KeySpec, KeyUsage, Kind};
use super::{CryptoError, ec, ed25519, ml_dsa, ml_kem, rsa};

/// A public key of one spec, read and checked once.
pub struct PublicKey {
    spec: KeySpec,
    key: Key,
    spki: Vec<u8>,
}

enum Key {
    Rsa(rsa::Public),
    Ec(ec::Public),
    Ed25519(ed25519::Public),
    MlDsa(ml_dsa::Public),
    MlKem(ml_kem::Public),
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo (RFC 5280) that must be of this spec: RFC 3279 for RSA, RFC 5480 with a named
    /// curve and an uncompressed point for EC, RFC 8410 for Ed25519, RFC 9881 for ML-DSA, RFC 9935 for ML-KEM.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] for any other key, and for points off the curve or (Ed25519) of small order;
    /// [`CryptoError::Operation`] for specs without public keys.
    pub fn from_spki_der(spec: KeySpec, spki: &[u8]) -> Result<Self, CryptoError> {
        let key = match spec.kind() {
            Kind::Rsa(size) => Key::Rsa(rsa::Public::read(spec, size, spki)?),
            Kind::Ec(curve) => Key::Ec(ec::Public::read(spec, curve, spki)?),
            Kind::Ed25519 => Key::Ed25519(ed25519::Public::read(spec, spki)?),
            Kind::MlDsa(set) => Key::MlDsa(ml_dsa::Public::read(spec, set, spki)?),
            Kind::MlKem(set) => Key::MlKem(ml_kem::Public::read(spec, set, spki)?),
            Kind::Symmetric | Kind::Hmac(_) => {
                let operation = "have a public key";
                return Err(CryptoError::Operation { spec, operation });
            }
        };
        let spki = spki.to_vec();
        Ok(Self { spec, key, spki })
    }

    /// What kind of key.
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The DER SubjectPublicKeyInfo it was read from.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Checks a signature as [`Material::sign`](super::Material::sign) makes them.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`] for a signature that is not this key's over this message, whatever the reason;
    /// the errors of [`SigningAlgorithm::check`] and [`CryptoError::Algorithm`] before it is looked at.
    pub fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        demand_signing(self.spec, algorithm)?;
        algorithm.check(&message)?;
        match &self.key {
            Key::Rsa(key) => key.verify(algorithm, message, signature),
            Key::Ec(key) => key.verify(message, signature),
            Key::Ed25519(key) => key.verify(message, signature),
            Key::MlDsa(key) => key.verify(message, signature),
            Key::MlKem(_) => Err(CryptoError::BadSignature),
        }
    }

    /// Encrypts at most [`KeySpec::max_plaintext`] bytes with RSAES-OAEP.
    ///
    /// # Errors
    /// [`CryptoError::Algorithm`], [`CryptoError::Operation`] or [`CryptoError::MessageLength`].
    pub fn encrypt(&self, algorithm: EncryptionAlgorithm, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.key {
            Key::Rsa(key) => key.encrypt(algorithm, plaintext),
            _ => Err(self.cannot("encrypt")),
        }
    }

    /// A fresh shared secret of 32 bytes and its ciphertext, by ML-KEM.
    ///
    /// # Errors
    /// [`CryptoError::Operation`] for other keys.
    pub fn encapsulate(&self) -> Result<(Secret, Vec<u8>), CryptoError> {
        match &self.key {
            Key::MlKem(key) => key.encapsulate(),
            _ => Err(self.cannot("encapsulate")),
        }
    }

    fn cannot(&self, operation: &'static str) -> CryptoError {
        let spec = self.spec;
        CryptoError::Operation { spec, operation }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.spec)
    }
}

/// Refuses signing algorithms that are not the spec's (R1).
pub(super) fn demand_signing(spec: KeySpec, algorithm: SigningAlgorithm) -> Result<(), CryptoError> {
    if spec.signing_algorithms(KeyUsage::SignVerify).contains(&algorithm) {
        return Ok(());
    }
    let algorithm = algorithm.as_str();
    Err(CryptoError::Algorithm { spec, algorithm })
}
