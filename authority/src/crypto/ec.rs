//! ECDSA (FIPS 186-5) and ECDH (SP 800-56A) on the NIST curves, ECDSA on secp256k1, by AWS-LC.
//!
//! ECDSA nonces are hedged: AWS-LC mixes the private key and the digest into its random generator for each (R23).

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey, agree};
use aws_lc_rs::digest::{self, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as aws, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, ParsedPublicKey};
use signing::key::Secret;

use super::algorithm::Message;
use super::spec::KeySpec;
use super::{CryptoError, encoding};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
    Secp256k1,
}

impl Curve {
    fn scheme(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &aws::ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &aws::ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &aws::ECDSA_P521_SHA512_ASN1_SIGNING,
            Self::Secp256k1 => &aws::ECDSA_P256K1_SHA256_ASN1_SIGNING,
        }
    }

    fn verifier(self) -> &'static dyn aws::VerificationAlgorithm {
        match self {
            Self::P256 => &aws::ECDSA_P256_SHA256_ASN1,
            Self::P384 => &aws::ECDSA_P384_SHA384_ASN1,
            Self::P521 => &aws::ECDSA_P521_SHA512_ASN1,
            Self::Secp256k1 => &aws::ECDSA_P256K1_SHA256_ASN1,
        }
    }

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::P256 | Self::Secp256k1 => &SHA256,
            Self::P384 => &SHA384,
            Self::P521 => &SHA512,
        }
    }

    fn agreement(self) -> Option<&'static agreement::Algorithm> {
        match self {
            Self::P256 => Some(&ECDH_P256),
            Self::P384 => Some(&ECDH_P384),
            Self::P521 => Some(&ECDH_P521),
            Self::Secp256k1 => None,
        }
    }

    /// Bytes of an uncompressed point, `04 ‖ x ‖ y` (SEC 1).
    const fn point_len(self) -> usize {
        match self {
            Self::P256 | Self::Secp256k1 => 65,
            Self::P384 => 97,
            Self::P521 => 133,
        }
    }
}

pub(super) struct Pair {
    curve: Curve,
    pair: EcdsaKeyPair,
}

impl Pair {
    pub fn generate(curve: Curve) -> Result<Self, CryptoError> {
        let pair = EcdsaKeyPair::generate(curve.scheme()).map_err(|_| CryptoError::Library("generate an EC key"))?;
        Ok(Self { curve, pair })
    }

    /// Reads PKCS#8 with a named curve. The library checks the scalar's range and a public key inside against it.
    pub fn read(spec: KeySpec, curve: Curve, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let info = encoding::read_pkcs8(spec, pkcs8)?;
        let document = info.version_1(spec)?;
        let reason = "it is no private key of this curve";
        let pair = EcdsaKeyPair::from_pkcs8(curve.scheme(), document.expose())
            .map_err(|_| CryptoError::MalformedKey { spec, reason })?;
        info.demand_public(spec, pair.public_key().as_ref())?;
        Ok(Self { curve, pair })
    }

    pub fn pkcs8(&self) -> Result<Secret, CryptoError> {
        let pkcs8 = self
            .pair
            .to_pkcs8v1()
            .map_err(|_| CryptoError::Library("encode an EC key"))?;
        Ok(Secret::new(pkcs8.as_ref().to_vec()))
    }

    /// The uncompressed point.
    pub fn public_bits(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn sign(&self, message: Message<'_>) -> Result<Vec<u8>, CryptoError> {
        let failed = |_| CryptoError::Library("sign with ECDSA");
        let signature = match message {
            Message::Raw(message) => self.pair.sign(&SystemRandom::new(), message).map_err(failed)?,
            Message::Digest(bytes) | Message::ExternalMu(bytes) => {
                let digest = Digest::import_less_safe(bytes, self.curve.hash()).map_err(failed)?;
                self.pair.sign_digest(&digest).map_err(failed)?
            }
        };
        Ok(signature.as_ref().to_vec())
    }

    /// The x coordinate, with leading zeros, of this key's scalar times the peer's point. The cofactor of these curves
    /// is 1.
    pub fn derive_shared_secret(&self, spec: KeySpec, peer_spki: &[u8]) -> Result<Secret, CryptoError> {
        let failed = |_| CryptoError::Library("agree on a secret");
        let operation = "derive shared secrets";
        let algorithm = self
            .curve
            .agreement()
            .ok_or(CryptoError::Operation { spec, operation })?;
        let point = read_point(spec, self.curve, peer_spki)?;
        let scalar: EcPrivateKeyBin<'_> = self.pair.private_key().as_be_bytes().map_err(failed)?;
        let own = agreement::PrivateKey::from_private_key(algorithm, scalar.as_ref())
            .map_err(|_| CryptoError::Library("read an EC key"))?;
        let reason = "the point is not on the curve";
        let refused = CryptoError::MalformedKey { spec, reason };
        let peer = UnparsedPublicKey::new(algorithm, point);
        agree(&own, peer, refused, |secret| Ok(Secret::new(secret.to_vec())))
    }
}

pub(super) struct Public {
    curve: Curve,
    parsed: ParsedPublicKey,
}

impl Public {
    pub fn read(spec: KeySpec, curve: Curve, spki: &[u8]) -> Result<Self, CryptoError> {
        let point = read_point(spec, curve, spki)?;
        let reason = "the point is not on the curve";
        let parsed =
            ParsedPublicKey::new(curve.verifier(), point).map_err(|_| CryptoError::MalformedKey { spec, reason })?;
        Ok(Self { curve, parsed })
    }

    /// DER signatures only; r or s of 0 or from n up are refused (R4, CVE-2022-21449).
    pub fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<(), CryptoError> {
        let verified = match message {
            Message::Raw(message) => self.parsed.verify_sig(message, signature),
            Message::Digest(bytes) | Message::ExternalMu(bytes) => Digest::import_less_safe(bytes, self.curve.hash())
                .and_then(|digest| self.parsed.verify_digest_sig(&digest, signature)),
        };
        verified.map_err(|_| CryptoError::BadSignature)
    }
}

/// An uncompressed point in a SubjectPublicKeyInfo of this curve (RFC 5480). Whether it is on the curve is the library's
/// to check.
fn read_point(spec: KeySpec, curve: Curve, spki: &[u8]) -> Result<&[u8], CryptoError> {
    let point = encoding::read_spki(spec, spki)?;
    if point.len() != curve.point_len() || point.first() != Some(&4) {
        let reason = "it must be an uncompressed point";
        return Err(CryptoError::MalformedKey { spec, reason });
    }
    Ok(point)
}
