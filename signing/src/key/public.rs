use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest as aws_digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{self as aws, ParsedPublicKey, RsaPublicKeyComponents};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Sequence};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::{BadSignature, KeyError};
use crate::algorithm::Algorithm;
use crate::digest::Digest;
use crate::jwk::Jwk;

pub(crate) const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// The longest encoding looked at: RSA of 8,192 bits takes 1,062 bytes.
const SPKI_MAX_LEN: usize = 2048;
/// RSA moduli, in bytes: 2,048 to 8,192 bits.
const RSA_LEN: std::ops::RangeInclusive<usize> = 256..=1024;
/// RSA exponents of at most 4 bytes: larger ones only make verifying slow.
const RSA_EXPONENT_MAX_LEN: usize = 4;

/// A public key with its algorithm, checked and parsed once. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
    parts: Arc<Parts>,
}

struct Parts {
    spki: Vec<u8>,
    raw: Raw,
    thumbprint: String,
}

/// The key as its standard writes it.
pub(crate) enum Raw {
    /// 32 bytes (RFC 8032).
    Ed25519(Vec<u8>),
    /// An uncompressed point, `04 ‖ x ‖ y` (SEC 1).
    Point(Vec<u8>),
    /// Modulus and exponent, big-endian, no leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    n: UintRef<'a>,
    e: UintRef<'a>,
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) of a P-256, P-384 or Ed25519 key: the curve
    /// determines the algorithm.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for RSA, whose encoding does not say RS256 or PS256 (use
    /// [`PublicKey::from_spki_der_as`]), and for anything else; [`KeyError::Malformed`] for a bad key.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        let info = parse_spki(spki)?;
        match key_type(&info)? {
            KeyType::Fixed(algorithm) => Self::from_raw(algorithm, raw_bits(algorithm, &info)?),
            KeyType::Rsa => Err(KeyError::Unsupported(
                "an RSA key does not say whether it is for RS256 or PS256",
            )),
        }
    }

    /// Reads a DER SubjectPublicKeyInfo that must be of this algorithm.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] when it is of another, or a bad key; HS256 has no public keys.
    pub fn from_spki_der_as(algorithm: Algorithm, spki: &[u8]) -> Result<Self, KeyError> {
        let info = parse_spki(spki)?;
        match (key_type(&info)?, algorithm) {
            (KeyType::Fixed(found), _) if found == algorithm => Self::from_raw(algorithm, raw_bits(algorithm, &info)?),
            (KeyType::Rsa, Algorithm::Rs256 | Algorithm::Ps256) => {
                let reason = "the RSA public key is not DER";
                let key = RsaPublicKey::from_der(raw_bits(algorithm, &info)?)
                    .map_err(|_| KeyError::Malformed { algorithm, reason })?;
                Self::from_rsa(algorithm, key.n.as_bytes(), key.e.as_bytes())
            }
            _ => Err(KeyError::Malformed {
                algorithm,
                reason: "the key is of another type",
            }),
        }
    }

    /// Reads a JWK (RFC 7517). Secrets (`oct`) and private keys are refused, and `alg`, where present, must fit the
    /// key (R1).
    ///
    /// # Errors
    /// [`KeyError::Malformed`] or [`KeyError::Unsupported`], saying which member is wrong.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        crate::jwk::to_public_key(jwk)
    }

    /// The DER SubjectPublicKeyInfo, with named curve and uncompressed point.
    pub fn to_spki_der(&self) -> &[u8] {
        &self.parts.spki
    }

    /// The JWK, with `kid`, `alg` and `use`; no certificates (design section 4).
    pub fn to_jwk(&self) -> Jwk {
        Jwk::from_public(self)
    }

    /// The algorithm this key is for, and no other (R1).
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// RFC 7638 thumbprint with SHA-256, base64url, 43 characters.
    pub fn thumbprint(&self) -> &str {
        &self.parts.thumbprint
    }

    /// Checks a signature in JOSE's form: 64 bytes for Ed25519 and ES256, 96 for ES384. ECDSA r or s of 0 or ≥ n is
    /// refused (R4, CVE-2022-21449).
    ///
    /// # Errors
    /// [`BadSignature`], whatever the reason.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.parsed.verify_sig(message, signature).map_err(|_| BadSignature)
    }

    /// Checks a signature over a digest made elsewhere.
    ///
    /// # Errors
    /// [`BadSignature`], also where the hash is not the key's own or the key takes messages only (Ed25519).
    pub fn verify_digest(&self, digest: &Digest, signature: &[u8]) -> Result<(), BadSignature> {
        let digest = to_aws_digest(self.algorithm, digest).map_err(|_| BadSignature)?;
        self.parsed
            .verify_digest_sig(&digest, signature)
            .map_err(|_| BadSignature)
    }

    pub(crate) fn raw(&self) -> &Raw {
        &self.parts.raw
    }

    /// From 32 Ed25519 bytes or an uncompressed point.
    pub(crate) fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Result<Self, KeyError> {
        let malformed = |reason| KeyError::Malformed { algorithm, reason };
        let (scheme, oid, curve): (&'static dyn aws::VerificationAlgorithm, _, _) = match algorithm {
            Algorithm::EdDsa => (&aws::ED25519, ED25519_OID, None),
            Algorithm::Es256 => (&aws::ECDSA_P256_SHA256_FIXED, EC_OID, Some(P256_OID)),
            Algorithm::Es384 => (&aws::ECDSA_P384_SHA384_FIXED, EC_OID, Some(P384_OID)),
            _ => return Err(malformed("the key is of another type")),
        };
        let raw = match algorithm {
            Algorithm::EdDsa => Raw::Ed25519(checked_ed25519(raw)?),
            Algorithm::Es256 => Raw::Point(checked_point(algorithm, raw, 65)?),
            _ => Raw::Point(checked_point(algorithm, raw, 97)?),
        };
        let (Raw::Ed25519(bytes) | Raw::Point(bytes)) = &raw else {
            return Err(malformed("the key is of another type"));
        };
        let parsed = ParsedPublicKey::new(scheme, bytes).map_err(|_| malformed("it is not on the curve"))?;
        let spki = encode_spki(oid, curve, bytes).map_err(|_| KeyError::Library("encode a public key"))?;
        Ok(Self::assemble(algorithm, parsed, spki, raw))
    }

    /// From modulus and exponent without leading zeros.
    pub(crate) fn from_rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let malformed = |reason| KeyError::Malformed { algorithm, reason };
        let scheme = match algorithm {
            Algorithm::Rs256 => &aws::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ps256 => &aws::RSA_PSS_2048_8192_SHA256,
            _ => return Err(malformed("the key is of another type")),
        };
        if !RSA_LEN.contains(&n.len()) || n.first().is_none_or(|byte| *byte < 0x80 && n.len() == *RSA_LEN.start()) {
            return Err(malformed("an RSA modulus must have 2048 to 8192 bits"));
        }
        if n.last().is_none_or(|byte| byte.is_multiple_of(2)) {
            return Err(malformed("an RSA modulus is odd"));
        }
        let odd_and_above_1 = e.last().is_some_and(|byte| !byte.is_multiple_of(2)) && e != [1];
        if e.len() > RSA_EXPONENT_MAX_LEN || !odd_and_above_1 {
            return Err(malformed("an RSA exponent is odd, above 1 and below 2^32"));
        }
        let components = RsaPublicKeyComponents { n, e };
        let parsed = components
            .to_parsed_public_key(scheme)
            .map_err(|_| malformed("the RSA key is inconsistent"))?;
        let spki: PublicKeyX509Der<'_> = components
            .as_der()
            .map_err(|_| KeyError::Library("encode a public key"))?;
        let raw = Raw::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        };
        Ok(Self::assemble(algorithm, parsed, spki.as_ref().to_vec(), raw))
    }

    fn assemble(algorithm: Algorithm, parsed: ParsedPublicKey, spki: Vec<u8>, raw: Raw) -> Self {
        let thumbprint = crate::jwk::thumbprint(algorithm, &raw);
        Self {
            algorithm,
            parsed,
            parts: Arc::new(Parts { spki, raw, thumbprint }),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} `{}`)", self.algorithm, self.thumbprint())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.parts.spki == other.parts.spki
    }
}

impl Eq for PublicKey {}

pub(super) fn to_aws_digest(algorithm: Algorithm, digest: &Digest) -> Result<aws_digest::Digest, KeyError> {
    let expected = algorithm.digest().ok_or(KeyError::Operation {
        algorithm,
        operation: "work on a digest: it takes messages",
    })?;
    if digest.algorithm() != expected {
        return Err(KeyError::WrongDigest {
            algorithm,
            expected,
            actual: digest.algorithm(),
        });
    }
    aws_digest::Digest::import_less_safe(digest.as_bytes(), expected.aws())
        .map_err(|_| KeyError::Library("read a digest"))
}

enum KeyType {
    Fixed(Algorithm),
    Rsa,
}

fn parse_spki(spki: &[u8]) -> Result<SubjectPublicKeyInfoRef<'_>, KeyError> {
    if spki.len() > SPKI_MAX_LEN {
        return Err(KeyError::Unsupported("the public key is too large"));
    }
    SubjectPublicKeyInfoRef::from_der(spki)
        .map_err(|_| KeyError::Unsupported("the public key is not a DER SubjectPublicKeyInfo"))
}

fn key_type(info: &SubjectPublicKeyInfoRef<'_>) -> Result<KeyType, KeyError> {
    let parameters = info.algorithm.parameters;
    let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match info.algorithm.oid {
        ED25519_OID if parameters.is_none() => Ok(KeyType::Fixed(Algorithm::EdDsa)),
        EC_OID if curve == Some(P256_OID) => Ok(KeyType::Fixed(Algorithm::Es256)),
        EC_OID if curve == Some(P384_OID) => Ok(KeyType::Fixed(Algorithm::Es384)),
        RSA_OID if parameters.is_some_and(AnyRef::is_null) => Ok(KeyType::Rsa),
        _ => Err(KeyError::Unsupported(
            "the public key must be Ed25519, P-256, P-384 or RSA",
        )),
    }
}

fn raw_bits<'a>(algorithm: Algorithm, info: &SubjectPublicKeyInfoRef<'a>) -> Result<&'a [u8], KeyError> {
    let reason = "the key is not whole bytes";
    info.subject_public_key
        .as_bytes()
        .ok_or(KeyError::Malformed { algorithm, reason })
}

/// Points of small order are refused: for them a signature can verify under many messages.
fn checked_ed25519(raw: &[u8]) -> Result<Vec<u8>, KeyError> {
    let malformed = |reason| KeyError::Malformed {
        algorithm: Algorithm::EdDsa,
        reason,
    };
    let bytes: &[u8; 32] = raw.try_into().map_err(|_| malformed("it must have 32 bytes"))?;
    let point = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| malformed("it is not on the curve"))?;
    if point.is_weak() {
        return Err(malformed("it is a point of small order"));
    }
    Ok(raw.to_vec())
}

fn checked_point(algorithm: Algorithm, raw: &[u8], len: usize) -> Result<Vec<u8>, KeyError> {
    if raw.len() != len || raw.first() != Some(&4) {
        return Err(KeyError::Malformed {
            algorithm,
            reason: "it must be an uncompressed point",
        });
    }
    Ok(raw.to_vec())
}

fn encode_spki(oid: ObjectIdentifier, curve: Option<ObjectIdentifier>, key: &[u8]) -> der::Result<Vec<u8>> {
    let parameters = curve.as_ref().map(AnyRef::from);
    SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        subject_public_key: BitStringRef::from_bytes(key)?,
    }
    .to_der()
}

#[cfg(test)]
mod tests;
