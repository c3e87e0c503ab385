//! SubjectPublicKeyInfo (RFC 5280) and PKCS#8 (RFC 5208, RFC 5958) of the key specs: which identifiers mean which.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Sequence};
use ed25519_dalek::pkcs8::PrivateKeyInfoRef;
use signing::key::Secret;
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use super::CryptoError;
use super::ec::Curve;
use super::spec::{KeySpec, Kind};
use super::{ml_dsa, ml_kem};

/// The longest encodings looked at: ML-DSA-87's public key takes 2,614 bytes; its private key in both forms 4,970.
const MAX_LEN: usize = 6144;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");
const ML_KEM_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1");
const ML_KEM_768: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2");
const ML_KEM_1024: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3");

/// First byte of a seed among the three forms of a post-quantum private key: `[0] IMPLICIT OCTET STRING`.
const SEED_TAG: u8 = 0x80;

/// What an AlgorithmIdentifier of a spec says behind its object identifier.
enum Parameters {
    Absent,
    Null,
    Curve(ObjectIdentifier),
}

/// What is in a PKCS#8 document of one spec.
pub(super) struct PrivateKeyInfo<'a> {
    /// The key in the form of its algorithm.
    pub key: &'a [u8],
    /// The public key that version 2 may carry, in the form of a SubjectPublicKeyInfo's bits.
    pub public: Option<&'a [u8]>,
}

impl PrivateKeyInfo<'_> {
    /// The same key as version 1, without attributes: the form that the library reads for every algorithm.
    pub fn version_1(&self, spec: KeySpec) -> Result<Secret, CryptoError> {
        write_pkcs8(spec, self.key)
    }

    /// Refuses a public key beside the private one that is not its own (R26).
    pub fn demand_public(&self, spec: KeySpec, derived: &[u8]) -> Result<(), CryptoError> {
        if self.public.is_some_and(|public| public != derived) {
            let reason = "the public key in it is another key's";
            return Err(CryptoError::MalformedKey { spec, reason });
        }
        Ok(())
    }
}

/// A post-quantum private key, in one of the forms of RFC 9881 section 6 and RFC 9935 section 6.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seed<'a> {
    pub seed: &'a [u8],
    /// The expanded key beside it, which has to be the seed's.
    pub expanded: Option<&'a [u8]>,
}

#[derive(Sequence)]
struct BothForms<'a> {
    seed: &'a OctetStringRef,
    expanded: &'a OctetStringRef,
}

/// The key bits of a DER SubjectPublicKeyInfo, which must be of this spec's algorithm and curve.
pub(super) fn read_spki(spec: KeySpec, spki: &[u8]) -> Result<&[u8], CryptoError> {
    let malformed = |reason| CryptoError::MalformedKey { spec, reason };
    if spki.len() > MAX_LEN {
        return Err(malformed("it is too large"));
    }
    let info =
        SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| malformed("it is not a DER SubjectPublicKeyInfo"))?;
    demand(spec, &info.algorithm)?;
    let bits = info.subject_public_key.as_bytes();
    bits.ok_or(malformed("the public key is not whole bytes"))
}

/// A DER SubjectPublicKeyInfo around key bits.
pub(super) fn write_spki(spec: KeySpec, bits: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let failed = |_| CryptoError::Library("encode a public key");
    let (oid, parameters) = identifier(spec)?;
    let info = SubjectPublicKeyInfoRef {
        algorithm: algorithm(oid, &parameters),
        subject_public_key: BitStringRef::from_bytes(bits).map_err(failed)?,
    };
    info.to_der().map_err(failed)
}

/// Reads a DER PKCS#8 document, version 1 or 2, with nothing behind it, which must be of this spec's algorithm and
/// curve. What is inside the private key is its module's to check.
pub(super) fn read_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<PrivateKeyInfo<'_>, CryptoError> {
    let malformed = |reason| CryptoError::MalformedKey { spec, reason };
    if pkcs8.len() > MAX_LEN {
        return Err(malformed("it is too large"));
    }
    let info = PrivateKeyInfoRef::from_der(pkcs8).map_err(|_| malformed("it is not a DER PKCS#8 private key"))?;
    demand(spec, &info.algorithm)?;
    let public = match info.public_key {
        Some(bits) => Some(bits.as_bytes().ok_or(malformed("its public key is not whole bytes"))?),
        None => None,
    };
    Ok(PrivateKeyInfo {
        key: info.private_key.as_bytes(),
        public,
    })
}

/// A DER PKCS#8 document, version 1, around a private key in the form of its algorithm.
pub(super) fn write_pkcs8(spec: KeySpec, key: &[u8]) -> Result<Secret, CryptoError> {
    let failed = |_| CryptoError::Library("encode a private key");
    let (oid, parameters) = identifier(spec)?;
    let key = OctetStringRef::new(key).map_err(failed)?;
    let info = PrivateKeyInfoRef::new(algorithm(oid, &parameters), key);
    info.to_der().map(Secret::new).map_err(failed)
}

/// Reads a post-quantum private key. The expanded form alone is refused: it does not say its seed, and a seed is what is
/// kept and exported here.
pub(super) fn read_seed(spec: KeySpec, key: &[u8]) -> Result<Seed<'_>, CryptoError> {
    let malformed = |reason| CryptoError::MalformedKey { spec, reason };
    match key.first() {
        Some(&SEED_TAG) => {
            let seed = AnyRef::from_der(key).map_err(|_| malformed("the seed is not DER"))?;
            Ok(Seed {
                seed: seed.value(),
                expanded: None,
            })
        }
        Some(0x30) => {
            let both = BothForms::from_der(key).map_err(|_| malformed("the seed and expanded key are not DER"))?;
            Ok(Seed {
                seed: both.seed.as_bytes(),
                expanded: Some(both.expanded.as_bytes()),
            })
        }
        Some(0x04) => Err(malformed("it has no seed: export it in the form that has")),
        _ => Err(malformed("the private key is in no known form")),
    }
}

/// The form of a post-quantum private key that is the seed alone.
pub(super) fn write_seed(seed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let failed = CryptoError::Library("encode a seed");
    // Seeds have 32 or 64 bytes: the short form of a length.
    let len = u8::try_from(seed.len()).ok().filter(|len| *len < 0x80).ok_or(failed)?;
    Ok(Zeroizing::new([&[SEED_TAG, len], seed].concat()))
}

fn demand(spec: KeySpec, found: &AlgorithmIdentifierRef<'_>) -> Result<(), CryptoError> {
    let (oid, parameters) = identifier(spec)?;
    let fits = match (&parameters, found.parameters) {
        (Parameters::Absent, None) => true,
        (Parameters::Null, Some(any)) => any.is_null(),
        (Parameters::Curve(curve), Some(any)) => any.decode_as::<ObjectIdentifier>().is_ok_and(|oid| oid == *curve),
        _ => false,
    };
    if found.oid == oid && fits {
        return Ok(());
    }
    let reason = "it is of another algorithm, size or curve";
    Err(CryptoError::MalformedKey { spec, reason })
}

fn identifier(spec: KeySpec) -> Result<(ObjectIdentifier, Parameters), CryptoError> {
    Ok(match spec.kind() {
        Kind::Rsa(_) => (RSA, Parameters::Null),
        Kind::Ec(Curve::P256) => (EC, Parameters::Curve(P256)),
        Kind::Ec(Curve::P384) => (EC, Parameters::Curve(P384)),
        Kind::Ec(Curve::P521) => (EC, Parameters::Curve(P521)),
        Kind::Ec(Curve::Secp256k1) => (EC, Parameters::Curve(SECP256K1)),
        Kind::Ed25519 => (ED25519, Parameters::Absent),
        Kind::MlDsa(ml_dsa::Set::MlDsa44) => (ML_DSA_44, Parameters::Absent),
        Kind::MlDsa(ml_dsa::Set::MlDsa65) => (ML_DSA_65, Parameters::Absent),
        Kind::MlDsa(ml_dsa::Set::MlDsa87) => (ML_DSA_87, Parameters::Absent),
        Kind::MlKem(ml_kem::Set::MlKem512) => (ML_KEM_512, Parameters::Absent),
        Kind::MlKem(ml_kem::Set::MlKem768) => (ML_KEM_768, Parameters::Absent),
        Kind::MlKem(ml_kem::Set::MlKem1024) => (ML_KEM_1024, Parameters::Absent),
        Kind::Symmetric | Kind::Hmac(_) => {
            let operation = "have a public key";
            return Err(CryptoError::Operation { spec, operation });
        }
    })
}

fn algorithm(oid: ObjectIdentifier, parameters: &Parameters) -> AlgorithmIdentifierRef<'_> {
    let parameters = match parameters {
        Parameters::Absent => None,
        Parameters::Null => Some(AnyRef::NULL),
        Parameters::Curve(curve) => Some(AnyRef::from(curve)),
    };
    AlgorithmIdentifierRef { oid, parameters }
}
