//! Certificate signing requests (PKCS#10, RFC 2986): how a node proves that it holds the key it wants certified.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode, Encode, Sequence};
use x509_cert::attr::Attributes;
use x509_cert::name::Name;
use x509_cert::request::{CertReqInfo, Version};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoOwned};

use crate::algorithm::Algorithm;
use crate::certificate::oid::{ECDSA_SHA256, ECDSA_SHA384};
use crate::key::{ED25519_OID, KeyError, PublicKey, SigningKey};
use crate::signature::{der_to_fixed, fixed_to_der};

/// The largest request that is looked at, in bytes.
const MAX_LEN: usize = 8 * 1024;

/// Why a request was not made or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not a PKCS#10 request in DER.
    #[error("not a DER certificate signing request")]
    Malformed,
    /// The signature is of another type than the key.
    #[error("the request is signed with another algorithm than its key is for")]
    Algorithm,
    /// It was not signed with the key it names.
    #[error("the request is not signed with the key it names")]
    Signature,
    /// The key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[derive(Sequence)]
struct Request<'a> {
    info: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

/// Makes a request for this key, DER, with an empty subject: the issuer decides every name.
///
/// # Errors
/// [`CsrError::Key`] for HS256, which has no public key.
pub fn create(key: &SigningKey) -> Result<Vec<u8>, CsrError> {
    let algorithm = key.algorithm();
    let operation = "be certified: it has no public key";
    let public = key.public().ok_or(KeyError::Operation { algorithm, operation })?;
    let info = CertReqInfo {
        version: Version::V1,
        subject: Name::default(),
        public_key: SubjectPublicKeyInfoOwned::from_der(public.to_spki_der()).map_err(|_| CsrError::Malformed)?,
        attributes: Attributes::default(),
    };
    let info = info.to_der().map_err(|_| CsrError::Malformed)?;
    let mut signature = key.sign(&info)?;
    if algorithm.is_ecdsa() {
        signature = fixed_to_der(algorithm, &signature).map_err(|_| CsrError::Signature)?;
    }
    let request = Request {
        info: AnyRef::from_der(&info).map_err(|_| CsrError::Malformed)?,
        algorithm: AlgorithmIdentifierRef {
            oid: signature_oid(algorithm)?,
            parameters: None,
        },
        signature: BitStringRef::from_bytes(&signature).map_err(|_| CsrError::Malformed)?,
    };
    request.to_der().map_err(|_| CsrError::Malformed)
}

/// Checks that a request is signed with the key it names and gives that key. Names and extensions that the request
/// asks for are ignored.
///
/// # Errors
/// [`CsrError`], the requester's fault.
pub fn verify(der: &[u8]) -> Result<PublicKey, CsrError> {
    if der.len() > MAX_LEN {
        return Err(CsrError::Malformed);
    }
    let request = Request::from_der(der).map_err(|_| CsrError::Malformed)?;
    let signed = request.info.to_der().map_err(|_| CsrError::Malformed)?;
    let info = CertReqInfo::from_der(&signed).map_err(|_| CsrError::Malformed)?;
    let spki = info.public_key.to_der().map_err(|_| CsrError::Malformed)?;
    let key = PublicKey::from_spki_der(&spki)?;
    let algorithm = key.algorithm();
    if request.algorithm.oid != signature_oid(algorithm)? || request.algorithm.parameters.is_some() {
        return Err(CsrError::Algorithm);
    }
    let mut signature = request.signature.as_bytes().ok_or(CsrError::Malformed)?.to_vec();
    if algorithm.is_ecdsa() {
        signature = der_to_fixed(algorithm, &signature).map_err(|_| CsrError::Signature)?;
    }
    key.verify(&signed, &signature).map_err(|_| CsrError::Signature)?;
    Ok(key)
}

fn signature_oid(algorithm: Algorithm) -> Result<ObjectIdentifier, CsrError> {
    match algorithm {
        Algorithm::EdDsa => Ok(ED25519_OID),
        Algorithm::Es256 => Ok(ECDSA_SHA256),
        Algorithm::Es384 => Ok(ECDSA_SHA384),
        _ => Err(CsrError::Algorithm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gives_its_key() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
            let key = SigningKey::generate(algorithm).unwrap();
            assert_eq!(&verify(&create(&key).unwrap()).unwrap(), key.public().unwrap());
        }
    }

    #[test]
    fn a_secret_makes_no_request() {
        let key = SigningKey::generate(Algorithm::Hs256).unwrap();
        assert!(matches!(create(&key), Err(CsrError::Key(KeyError::Operation { .. }))));
    }

    #[test]
    fn every_changed_byte_refuses_it() {
        let request = create(&SigningKey::generate(Algorithm::Es256).unwrap()).unwrap();
        for at in 0..request.len() {
            let mut changed = request.clone();
            changed[at] ^= 1;
            assert!(verify(&changed).is_err(), "byte {at}");
        }
        for len in 0..request.len() {
            assert!(verify(&request[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(verify(&vec![0x30; MAX_LEN + 1]), Err(CsrError::Malformed));
    }

    #[test]
    fn a_request_signed_with_another_key_is_refused() {
        let (one, other) = (
            SigningKey::generate(Algorithm::EdDsa).unwrap(),
            SigningKey::generate(Algorithm::EdDsa).unwrap(),
        );
        let (a, b) = (create(&one).unwrap(), create(&other).unwrap());
        // Ed25519 requests differ in key and signature only, so that the last 64 bytes can be swapped.
        let swapped = [&a[..a.len() - 64], &b[b.len() - 64..]].concat();
        assert_eq!(verify(&swapped), Err(CsrError::Signature));
    }
}
