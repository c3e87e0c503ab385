//! Private key material of one spec, and what it does.
//!
//! A key does what its spec can, whatever its `KeyUsage`: that is the caller's to check.

use std::fmt;

use signing::key::Secret;
use zeroize::Zeroizing;

use super::algorithm::{EncryptionAlgorithm, MacAlgorithm, Message, SigningAlgorithm};
use super::public::{PublicKey, demand_signing};
use super::spec::{KeySpec, KeyUsage, Kind};
use super::{CryptoError, ec, ed25519, encoding, hmac, ml_dsa, ml_kem, rsa};

/// Bytes of the secret of a `SYMMETRIC_DEFAULT` key.
pub const SYMMETRIC_LEN: usize = 32;
const SELF_TEST_MESSAGE: &[u8] = b"signet pairwise consistency test";

/// Private key material. Not cloned, not serialized, printed as `[redacted]`, wiped when dropped. The public key is always
/// derived from the private one (R26).
pub struct Material {
    spec: KeySpec,
    key: Key,
    spki: Option<Vec<u8>>,
}

enum Key {
    Symmetric(Secret),
    Hmac(hmac::Key),
    Rsa(rsa::Pair),
    Ec(ec::Pair),
    Ed25519(ed25519::Pair),
    MlDsa(ml_dsa::Pair),
    MlKem(ml_kem::Pair),
}

impl Material {
    /// Fresh material, key pairs self-tested before they are returned (R24). An RSA key takes from a fraction of a second
    /// to several: keep it off threads that serve others.
    ///
    /// # Errors
    /// [`CryptoError::Random`], [`CryptoError::SelfTest`] and [`CryptoError::Library`], none of them the caller's fault.
    pub fn generate(spec: KeySpec) -> Result<Self, CryptoError> {
        let key = match spec.kind() {
            Kind::Symmetric => Key::Symmetric(Secret::random(SYMMETRIC_LEN)?),
            Kind::Hmac(algorithm) => Key::Hmac(hmac::Key::generate(spec, algorithm)?),
            Kind::Rsa(size) => Key::Rsa(rsa::Pair::generate(spec, size)?),
            Kind::Ec(curve) => Key::Ec(ec::Pair::generate(curve)?),
            Kind::Ed25519 => Key::Ed25519(ed25519::Pair::generate(spec)?),
            Kind::MlDsa(set) => Key::MlDsa(ml_dsa::Pair::generate(spec, set)?),
            Kind::MlKem(set) => Key::MlKem(ml_kem::Pair::generate(spec, set)?),
        };
        Self::assemble(spec, key)?.tested()
    }

    /// Reads what [`Material::export`] wrote. Parts are checked against each other; the self-test was when the key was
    /// new.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`].
    pub fn import(spec: KeySpec, stored: &Secret) -> Result<Self, CryptoError> {
        let bytes = stored.expose();
        let key = match spec.kind() {
            Kind::MlDsa(set) => Key::MlDsa(ml_dsa::Pair::from_seed(spec, set, bytes)?),
            Kind::MlKem(set) => Key::MlKem(ml_kem::Pair::from_seed(spec, set, bytes)?),
            _ => return Self::read(spec, bytes),
        };
        Self::assemble(spec, key)
    }

    /// Reads material that somebody brought (`ImportKeyMaterial`, unwrapped), and self-tests key pairs: DER PKCS#8
    /// (RFC 5208; version 2 of RFC 5958 too), post-quantum ones with their seed; for `SYMMETRIC_DEFAULT` 32 bytes, for
    /// HMAC as many as the hash has.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] for anything but one key of this spec, with the public key that is its own;
    /// [`CryptoError::SelfTest`] for one that does not work.
    pub fn from_pkcs8_upload(spec: KeySpec, plaintext: &[u8]) -> Result<Self, CryptoError> {
        Self::read(spec, plaintext)?.tested()
    }

    /// The form to store: PKCS#8 version 1 in DER for RSA, EC and Ed25519, the seed for ML-DSA (32 bytes) and ML-KEM
    /// (64), the secret for the others.
    ///
    /// # Errors
    /// [`CryptoError::Library`] when the library cannot encode its own key.
    pub fn export(&self) -> Result<Secret, CryptoError> {
        match &self.key {
            Key::Symmetric(secret) => Ok(copy(secret)),
            Key::Hmac(key) => Ok(copy(key.secret())),
            Key::Rsa(pair) => pair.pkcs8(),
            Key::Ec(pair) => pair.pkcs8(),
            Key::Ed25519(pair) => pair.pkcs8(),
            Key::MlDsa(pair) => Ok(copy(pair.seed())),
            Key::MlKem(pair) => Ok(copy(pair.seed())),
        }
    }

    /// What kind of key.
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The DER SubjectPublicKeyInfo, in the forms that [`PublicKey::from_spki_der`] reads; none for symmetric and HMAC
    /// keys.
    pub fn public_spki_der(&self) -> Option<&[u8]> {
        self.spki.as_deref()
    }

    /// The public key.
    ///
    /// # Errors
    /// [`CryptoError::Operation`] for symmetric and HMAC keys.
    pub fn public_key(&self) -> Result<PublicKey, CryptoError> {
        match &self.spki {
            Some(spki) => PublicKey::from_spki_der(self.spec, spki),
            None => Err(self.cannot("have a public key")),
        }
    }

    /// The private key as `GenerateDataKeyPair` hands it out: DER PKCS#8 (RFC 5958), version 1, post-quantum ones in seed
    /// form.
    ///
    /// # Errors
    /// [`CryptoError::Operation`] for symmetric and HMAC keys.
    pub fn private_pkcs8_der(&self) -> Result<Secret, CryptoError> {
        let seed = match &self.key {
            Key::Symmetric(_) | Key::Hmac(_) => return Err(self.cannot("have a PKCS#8 form")),
            Key::Rsa(_) | Key::Ec(_) | Key::Ed25519(_) => return self.export(),
            Key::MlDsa(pair) => pair.seed(),
            Key::MlKem(pair) => pair.seed(),
        };
        encoding::write_pkcs8(self.spec, &encoding::write_seed(seed.expose())?)
    }

    /// Signs: DER for ECDSA, 64 bytes for Ed25519, as many bytes as the modulus for RSA, FIPS 204's encoding for ML-DSA.
    ///
    /// # Errors
    /// [`CryptoError::Algorithm`] for an algorithm that is not the spec's, and the errors of [`SigningAlgorithm::check`].
    pub fn sign(&self, algorithm: SigningAlgorithm, message: Message<'_>) -> Result<Vec<u8>, CryptoError> {
        demand_signing(self.spec, algorithm)?;
        algorithm.check(&message)?;
        match &self.key {
            Key::Rsa(pair) => pair.sign(algorithm, message),
            Key::Ec(pair) => pair.sign(message),
            Key::Ed25519(pair) => pair.sign(message),
            Key::MlDsa(pair) => pair.sign(message),
            Key::Symmetric(_) | Key::Hmac(_) | Key::MlKem(_) => Err(self.cannot("sign")),
        }
    }

    /// Decrypts what [`PublicKey::encrypt`] made. Symmetric keys decrypt through [`super::blob::open`].
    ///
    /// # Errors
    /// [`CryptoError::BadCiphertext`] for a ciphertext of another length, key, algorithm or form, always the same;
    /// [`CryptoError::Algorithm`] or [`CryptoError::Operation`] before it is looked at.
    pub fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let Key::Rsa(pair) = &self.key else {
            return Err(self.cannot("decrypt with RSA"));
        };
        let known = self.spec.encryption_algorithms(KeyUsage::EncryptDecrypt);
        if !known.contains(&algorithm) {
            let (spec, algorithm) = (self.spec, algorithm.as_str());
            return Err(CryptoError::Algorithm { spec, algorithm });
        }
        Ok(pair.decrypt(algorithm, ciphertext)?)
    }

    /// The HMAC of a message of at most 4,096 bytes, whole.
    ///
    /// # Errors
    /// [`CryptoError::Algorithm`], [`CryptoError::Operation`] or [`CryptoError::MessageLength`].
    pub fn mac(&self, algorithm: MacAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.key {
            Key::Hmac(key) => key.mac(self.spec, algorithm, message),
            _ => Err(self.cannot("make MACs")),
        }
    }

    /// Checks an HMAC, in constant time. Truncated ones are refused.
    ///
    /// # Errors
    /// [`CryptoError::BadMac`], and those of [`Material::mac`].
    pub fn verify_mac(&self, algorithm: MacAlgorithm, message: &[u8], mac: &[u8]) -> Result<(), CryptoError> {
        match &self.key {
            Key::Hmac(key) => key.verify(self.spec, algorithm, message, mac),
            _ => Err(self.cannot("make MACs")),
        }
    }

    /// ECDH with a peer's public key, a DER SubjectPublicKeyInfo of the same NIST curve: the x coordinate, with leading
    /// zeros.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] for a peer's key of another curve or off the curve; [`CryptoError::Operation`] for
    /// keys that are not of a NIST curve.
    pub fn derive_shared_secret(&self, peer_spki: &[u8]) -> Result<Secret, CryptoError> {
        match &self.key {
            Key::Ec(pair) => pair.derive_shared_secret(self.spec, peer_spki),
            _ => Err(self.cannot("derive shared secrets")),
        }
    }

    /// The shared secret in an ML-KEM ciphertext, 32 bytes: random ones where the ciphertext is another key's or altered.
    ///
    /// # Errors
    /// [`CryptoError::BadCiphertext`] for a ciphertext of another length; [`CryptoError::Operation`] for other keys.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, CryptoError> {
        match &self.key {
            Key::MlKem(pair) => Ok(pair.decapsulate(ciphertext)?),
            _ => Err(self.cannot("decapsulate")),
        }
    }

    pub(super) fn symmetric(&self) -> Option<&Secret> {
        match &self.key {
            Key::Symmetric(secret) => Some(secret),
            _ => None,
        }
    }

    fn read(spec: KeySpec, bytes: &[u8]) -> Result<Self, CryptoError> {
        let key = match spec.kind() {
            Kind::Symmetric if bytes.len() == SYMMETRIC_LEN => Key::Symmetric(Secret::new(bytes.to_vec())),
            Kind::Symmetric => {
                let reason = "it must have 32 bytes";
                return Err(CryptoError::MalformedKey { spec, reason });
            }
            Kind::Hmac(algorithm) => Key::Hmac(hmac::Key::read(spec, algorithm, bytes)?),
            Kind::Rsa(size) => Key::Rsa(rsa::Pair::read(spec, size, bytes)?),
            Kind::Ec(curve) => Key::Ec(ec::Pair::read(spec, curve, bytes)?),
            Kind::Ed25519 => Key::Ed25519(ed25519::Pair::read(spec, bytes)?),
            Kind::MlDsa(set) => Key::MlDsa(ml_dsa::Pair::read(spec, set, bytes)?),
            Kind::MlKem(set) => Key::MlKem(ml_kem::Pair::read(spec, set, bytes)?),
        };
        Self::assemble(spec, key)
    }

    fn assemble(spec: KeySpec, key: Key) -> Result<Self, CryptoError> {
        let bits = match &key {
            Key::Symmetric(_) | Key::Hmac(_) => None,
            Key::Rsa(pair) => Some(pair.public_bits()),
            Key::Ec(pair) => Some(pair.public_bits()),
            Key::Ed25519(pair) => Some(pair.public_bits()),
            Key::MlDsa(pair) => Some(pair.public_bits()),
            Key::MlKem(pair) => Some(pair.public_bits()),
        };
        let spki = bits.map(|bits| encoding::write_spki(spec, bits)).transpose()?;
        Ok(Self { spec, key, spki })
    }

    /// The key, if its private half and the public half as others will read it work together (R24).
    fn tested(self) -> Result<Self, CryptoError> {
        if let Some(spki) = &self.spki {
            let public = PublicKey::from_spki_der(self.spec, spki);
            let passed = public.and_then(|public| self.works_with(&public));
            if passed != Ok(true) {
                return Err(CryptoError::SelfTest(self.spec));
            }
        }
        Ok(self)
    }

    /// Every algorithm of every usage once, except that of RSA's the first and last of each list do.
    pub(super) fn works_with(&self, public: &PublicKey) -> Result<bool, CryptoError> {
        let algorithms = self.spec.signing_algorithms(KeyUsage::SignVerify);
        for algorithm in algorithms.first().into_iter().chain(algorithms.last()) {
            for message in test_messages(*algorithm) {
                let signature = self.sign(*algorithm, message)?;
                if public.verify(*algorithm, message, &signature).is_err() {
                    return Ok(false);
                }
            }
        }
        if self.spec.encryption_algorithms(KeyUsage::EncryptDecrypt).is_empty() {
            return match self.key {
                Key::MlKem(_) => {
                    let (secret, ciphertext) = public.encapsulate()?;
                    Ok(self.decapsulate(&ciphertext)?.matches(secret.expose()))
                }
                _ => Ok(true),
            };
        }
        let algorithm = EncryptionAlgorithm::RsaesOaepSha256;
        let ciphertext = public.encrypt(algorithm, SELF_TEST_MESSAGE)?;
        Ok(*self.decrypt(algorithm, &ciphertext)? == SELF_TEST_MESSAGE)
    }

    fn cannot(&self, operation: &'static str) -> CryptoError {
        let spec = self.spec;
        CryptoError::Operation { spec, operation }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({} [redacted])", self.spec)
    }
}

/// A message in the forms whose paths through the libraries differ.
fn test_messages(algorithm: SigningAlgorithm) -> Vec<Message<'static>> {
    const MU: &[u8] = &[0x5a; super::algorithm::MU_LEN];
    match algorithm {
        SigningAlgorithm::Ed25519PhSha512 => vec![Message::Digest(MU)],
        SigningAlgorithm::MlDsaShake256 => vec![Message::Raw(SELF_TEST_MESSAGE), Message::ExternalMu(MU)],
        _ => vec![Message::Raw(SELF_TEST_MESSAGE)],
    }
}

fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_vec())
}
