//! Ed25519 by AWS-LC, and Ed25519ph by ed25519-dalek (RFC 8032 section 5.1).
//!
//! KMS's `ED25519_PH_SHA_512` takes what it calls a digest, 64 bytes, and does all of Ed25519ph with that as its message: it
//! is hashed again (the API's `Sign`, on `MessageType`).

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::signature::{self as aws, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use ed25519_dalek::{Digest, Sha512, Signature, SigningKey, VerifyingKey};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::algorithm::Message;
use super::spec::KeySpec;
use super::{CryptoError, encoding};

pub(super) struct Pair {
    pure: Ed25519KeyPair,
    prehashing: Box<SigningKey>,
}

impl Pair {
    pub fn generate(spec: KeySpec) -> Result<Self, CryptoError> {
        Self::from_pair(spec, Ed25519KeyPair::generate().map_err(|_| CryptoError::Random)?)
    }

    /// Reads PKCS#8 (RFC 8410 section 7).
    pub fn read(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let info = encoding::read_pkcs8(spec, pkcs8)?;
        let document = info.version_1(spec)?;
        let reason = "it is no Ed25519 private key";
        let pair =
            Ed25519KeyPair::from_pkcs8(document.expose()).map_err(|_| CryptoError::MalformedKey { spec, reason })?;
        info.demand_public(spec, pair.public_key().as_ref())?;
        Self::from_pair(spec, pair)
    }

    pub fn pkcs8(&self) -> Result<Secret, CryptoError> {
        let pkcs8 = self
            .pure
            .to_pkcs8v1()
            .map_err(|_| CryptoError::Library("encode an Ed25519 key"))?;
        Ok(Secret::new(pkcs8.as_ref().to_vec()))
    }

    pub fn public_bits(&self) -> &[u8] {
        self.pure.public_key().as_ref()
    }

    /// A message is signed as it is, a digest through Ed25519ph: the caller has checked which the algorithm takes.
    pub fn sign(&self, message: Message<'_>) -> Result<Vec<u8>, CryptoError> {
        match message {
            Message::Raw(message) => {
                let signature = self.pure.try_sign(message);
                let signature = signature.map_err(|_| CryptoError::Library("sign with Ed25519"))?;
                Ok(signature.as_ref().to_vec())
            }
            Message::Digest(bytes) | Message::ExternalMu(bytes) => self.sign_prehashing(bytes),
        }
    }

    /// Ed25519ph of a message, with an empty context.
    fn sign_prehashing(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature = self.prehashing.sign_prehashed(Sha512::new_with_prefix(message), None);
        let signature = signature.map_err(|_| CryptoError::Library("sign with Ed25519ph"))?;
        Ok(signature.to_bytes().to_vec())
    }

    /// Both libraries must derive the same public key from the seed.
    fn from_pair(spec: KeySpec, pure: Ed25519KeyPair) -> Result<Self, CryptoError> {
        let failed = CryptoError::Library("read an Ed25519 seed");
        let seed = pure.seed().map_err(|_| failed.clone())?;
        let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| failed.clone())?;
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(seed.as_ref().try_into().map_err(|_| failed)?);
        let prehashing = Box::new(SigningKey::from_bytes(&bytes));
        if prehashing.verifying_key().as_bytes() != pure.public_key().as_ref() {
            return Err(CryptoError::SelfTest(spec));
        }
        Ok(Self { pure, prehashing })
    }
}

pub(super) struct Public {
    pure: ParsedPublicKey,
    prehashing: VerifyingKey,
}

impl Public {
    /// Points of small order are refused: for them a signature can verify under many messages.
    pub fn read(spec: KeySpec, spki: &[u8]) -> Result<Self, CryptoError> {
        let malformed = |reason| CryptoError::MalformedKey { spec, reason };
        let bits = encoding::read_spki(spec, spki)?;
        let bytes: &[u8; 32] = bits.try_into().map_err(|_| malformed("it must have 32 bytes"))?;
        let prehashing = VerifyingKey::from_bytes(bytes).map_err(|_| malformed("it is not on the curve"))?;
        if prehashing.is_weak() {
            return Err(malformed("it is a point of small order"));
        }
        let pure = ParsedPublicKey::new(&aws::ED25519, bits).map_err(|_| malformed("it is not on the curve"))?;
        Ok(Self { pure, prehashing })
    }

    pub fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<(), CryptoError> {
        let verified = match message {
            Message::Raw(message) => self.pure.verify_sig(message, signature).is_ok(),
            Message::Digest(bytes) | Message::ExternalMu(bytes) => self.verifies_prehashing(bytes, signature),
        };
        if verified {
            Ok(())
        } else {
            Err(CryptoError::BadSignature)
        }
    }

    fn verifies_prehashing(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else {
            return false;
        };
        let hasher = Sha512::new_with_prefix(message);
        self.prehashing
            .verify_prehashed_strict(hasher, None, &signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8032 section 7.3.
    #[test]
    fn the_rfcs_prehashed_signature() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let seed = hex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42");
        let public = hex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf");
        let expected = hex(concat!(
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41",
            "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
        ));
        let spec = KeySpec::EccNistEdwards25519;
        let pair = Pair::from_pair(spec, Ed25519KeyPair::from_seed_and_public_key(&seed, &public).unwrap()).unwrap();
        assert_eq!(pair.sign(Message::Digest(b"abc")).unwrap(), expected);
        let public = Public::read(spec, &encoding::write_spki(spec, pair.public_bits()).unwrap()).unwrap();
        assert!(public.verifies_prehashing(b"abc", &expected));
        assert!(!public.verifies_prehashing(b"abd", &expected));
    }
}
