use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as aws, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use der::Decode;
use der::asn1::AnyRef;

use super::public::PublicKey;
use super::verifier::hmac_key;
use super::{BadSignature, KeyError, Secret, Verifier, check_kid, random_bytes};
use crate::algorithm::Algorithm;
use crate::digest::Digest;
use crate::encoding::base64url;

/// Bytes of a fresh HS256 secret.
const HMAC_FRESH_LEN: usize = 32;
const SELF_TEST_MESSAGE: &[u8] = b"signet pairwise consistency test";

/// A private key or HMAC secret, with its algorithm, id and public half.
///
/// Not cloned, not serialized, printed as `[redacted]`; the library wipes the material when the key is dropped.
/// ECDSA nonces are hedged: AWS-LC mixes the private key and the digest into its random generator for each (R23).
/// The public half is always derived from the private one; nothing takes both side by side (R26).
pub struct SigningKey {
    material: Material,
    verifier: Verifier,
}

enum Material {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Hmac { key: Box<hmac::Key>, secret: Secret },
}

impl SigningKey {
    /// A fresh key, self-tested before it is returned (R24). HS256 gets 32 random bytes and a random `kid`.
    ///
    /// # Errors
    /// [`KeyError::Operation`] for RSA, [`KeyError::Random`] and [`KeyError::SelfTest`], both fatal.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let material = match algorithm {
            Algorithm::EdDsa => Material::Ed25519(Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?),
            Algorithm::Es256 | Algorithm::Es384 => {
                Material::Ecdsa(EcdsaKeyPair::generate(ecdsa_scheme(algorithm)?).map_err(|_| KeyError::Random)?)
            }
            Algorithm::Hs256 => hmac_material(Secret::random(HMAC_FRESH_LEN)?)?,
            Algorithm::Rs256 | Algorithm::Ps256 => return Err(cannot_sign(algorithm)),
        };
        Self::from_material(algorithm, material)
    }

    /// Reads a key: PKCS#8 version 1 or 2 (RFC 5958) for Ed25519 and ECDSA, the raw secret of 32 to 1,024 bytes for
    /// HS256, which gets a random `kid` (see [`SigningKey::with_kid`]).
    ///
    /// A public key inside a PKCS#8 document is compared with the one derived from the private key (R26), and the
    /// pair is self-tested.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] for anything that is not exactly such a key of this algorithm.
    pub fn import(algorithm: Algorithm, secret: &Secret) -> Result<Self, KeyError> {
        let reason = "expected a PKCS#8 private key in DER, with no other public key in it";
        let malformed = |_| KeyError::Malformed { algorithm, reason };
        // AWS-LC ignores what follows the document; nothing may.
        if !algorithm.is_symmetric() && AnyRef::from_der(secret.expose()).is_err() {
            return Err(KeyError::Malformed { algorithm, reason });
        }
        let material = match algorithm {
            Algorithm::EdDsa => Material::Ed25519(Ed25519KeyPair::from_pkcs8(secret.expose()).map_err(malformed)?),
            Algorithm::Es256 | Algorithm::Es384 => {
                let scheme = ecdsa_scheme(algorithm)?;
                Material::Ecdsa(EcdsaKeyPair::from_pkcs8(scheme, secret.expose()).map_err(malformed)?)
            }
            Algorithm::Hs256 => hmac_material(Secret::new(secret.expose().to_vec()))?,
            Algorithm::Rs256 | Algorithm::Ps256 => return Err(cannot_sign(algorithm)),
        };
        Self::from_material(algorithm, material)
    }

    /// Writes the key in the form [`SigningKey::import`] reads: PKCS#8 version 1, or the raw HS256 secret.
    ///
    /// # Errors
    /// [`KeyError::Library`] when the library cannot encode its own key.
    pub fn export(&self) -> Result<Secret, KeyError> {
        let failed = |_| KeyError::Library("encode a private key");
        match &self.material {
            Material::Ed25519(pair) => Ok(Secret::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())),
            Material::Ecdsa(pair) => Ok(Secret::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())),
            Material::Hmac { secret, .. } => Ok(Secret::new(secret.expose().to_vec())),
        }
    }

    /// The same HS256 key under another id. Public keys are named by their thumbprint and nothing else.
    ///
    /// # Errors
    /// [`KeyError::Operation`] for asymmetric keys, [`KeyError::KeyId`] for an unusable id.
    pub fn with_kid(self, kid: &str) -> Result<Self, KeyError> {
        check_kid(kid)?;
        let Material::Hmac { key, .. } = &self.material else {
            let operation = "take a chosen key id: it is named by its thumbprint";
            return Err(KeyError::Operation {
                algorithm: self.algorithm(),
                operation,
            });
        };
        let verifier = Verifier::from_hmac(key, kid);
        Ok(Self { verifier, ..self })
    }

    /// The algorithm, fixed for the key's life.
    pub fn algorithm(&self) -> Algorithm {
        self.verifier.algorithm()
    }

    /// RFC 7638 thumbprint in base64url; for HS256 a random 128-bit id.
    pub fn kid(&self) -> &str {
        self.verifier.kid()
    }

    /// The public key; none for HS256.
    pub fn public(&self) -> Option<&PublicKey> {
        self.verifier.public_key()
    }

    /// What checks this key's signatures.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Signs `message`; the answer is in JOSE's form: 64 bytes for Ed25519 and ES256 (r‖s), 96 for ES384, 32 for HS256.
    ///
    /// # Errors
    /// [`KeyError::Library`]: nothing in a message makes this fail.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Library("sign");
        match &self.material {
            Material::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
            Material::Ecdsa(pair) => Ok(pair
                .sign(&SystemRandom::new(), message)
                .map_err(failed)?
                .as_ref()
                .to_vec()),
            Material::Hmac { key, .. } => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// Signs a digest made elsewhere, as [`SigningKey::sign`] signs the message it is the digest of.
    ///
    /// # Errors
    /// [`KeyError::WrongDigest`] unless the hash is the key's own (SHA-256 for ES256, SHA-384 for ES384);
    /// [`KeyError::Operation`] for Ed25519 and HS256, which take messages only.
    pub fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, KeyError> {
        let Material::Ecdsa(pair) = &self.material else {
            return Err(KeyError::Operation {
                algorithm: self.algorithm(),
                operation: "sign a digest",
            });
        };
        let digest = super::public::to_aws_digest(self.algorithm(), digest)?;
        let signature = pair
            .sign_digest(&digest)
            .map_err(|_| KeyError::Library("sign a digest"))?;
        Ok(signature.as_ref().to_vec())
    }

    fn from_material(algorithm: Algorithm, material: Material) -> Result<Self, KeyError> {
        let verifier = match &material {
            Material::Ed25519(pair) => PublicKey::from_raw(algorithm, pair.public_key().as_ref())?.into(),
            Material::Ecdsa(pair) => PublicKey::from_raw(algorithm, pair.public_key().as_ref())?.into(),
            Material::Hmac { key, .. } => Verifier::from_hmac(key, &base64url(&random_bytes::<16>()?)),
        };
        let key = Self { material, verifier };
        key.self_test()?;
        Ok(key)
    }

    /// Pairwise consistency: what the private half signs, the public half, parsed anew from its own encoding, accepts.
    fn self_test(&self) -> Result<(), KeyError> {
        let broken = |_: BadSignature| KeyError::SelfTest(self.algorithm());
        let signature = self.sign(SELF_TEST_MESSAGE)?;
        self.verifier.verify(SELF_TEST_MESSAGE, &signature).map_err(broken)?;
        if self.verifier.verify(b"another message", &signature).is_ok() {
            return Err(KeyError::SelfTest(self.algorithm()));
        }
        Ok(())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} `{}` [redacted])", self.algorithm(), self.kid())
    }
}

fn ecdsa_scheme(algorithm: Algorithm) -> Result<&'static aws::EcdsaSigningAlgorithm, KeyError> {
    match algorithm {
        Algorithm::Es256 => Ok(&aws::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => Ok(&aws::ECDSA_P384_SHA384_FIXED_SIGNING),
        other => Err(cannot_sign(other)),
    }
}

fn hmac_material(secret: Secret) -> Result<Material, KeyError> {
    Ok(Material::Hmac {
        key: Box::new(hmac_key(&secret)?),
        secret,
    })
}

fn cannot_sign(algorithm: Algorithm) -> KeyError {
    KeyError::Operation {
        algorithm,
        operation: "sign here: it is for verifying only",
    }
}

#[cfg(test)]
mod tests;
