//! Public keys as PKCS#11 gives them (CKA_EC_PARAMS, CKA_EC_POINT) and as the rest of the world takes them (RFC 5480).

use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use der::asn1::{BitString, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode};
use x509_cert::spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::super::{EcCurve, HsmError, HsmErrorKind};
use super::failure::Failure;

/// id-ecPublicKey, RFC 5480 section 2.1.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1, RFC 5480 section 2.1.1.1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// secp384r1, RFC 5480 section 2.1.1.1.
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// The value of CKA_EC_PARAMS: the named curve as a DER object identifier.
pub(super) fn curve_parameters(curve: EcCurve) -> Vec<u8> {
    let body = object_identifier(curve);
    let mut der = vec![0x06, u8::try_from(body.as_bytes().len()).unwrap_or(u8::MAX)];
    der.extend_from_slice(body.as_bytes());
    der
}

/// The curve and the DER `SubjectPublicKeyInfo` of a public key object.
pub(super) fn read(session: &Session, public: ObjectHandle) -> Result<(EcCurve, Vec<u8>), Failure> {
    let attributes = session.get_attributes(public, &[AttributeType::EcParams, AttributeType::EcPoint])?;
    let mut curve = None;
    let mut point = None;
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(der) => {
                curve = [EcCurve::P256, EcCurve::P384]
                    .into_iter()
                    .find(|known| curve_parameters(*known) == der);
            }
            Attribute::EcPoint(der) => point = Some(der),
            _ => {}
        }
    }
    let curve = curve.ok_or_else(|| HsmErrorKind::Unsupported.because("a key's curve is neither P-256 nor P-384"))?;
    let point = point.ok_or_else(|| HsmErrorKind::Token.because("a public key object shows no point"))?;
    Ok((curve, spki(curve, &point)?))
}

/// `point` is a DER octet string as the standard has it, or the bare uncompressed point as some tokens do.
fn spki(curve: EcCurve, point: &[u8]) -> Result<Vec<u8>, HsmError> {
    let len = curve.field_len().saturating_mul(2).saturating_add(1);
    let is_point = |bytes: &[u8]| bytes.len() == len && bytes.first() == Some(&0x04);
    let inner = match <&OctetStringRef>::from_der(point) {
        Ok(octets) if is_point(octets.as_bytes()) => octets.as_bytes(),
        _ if is_point(point) => point,
        _ => return Err(HsmErrorKind::Token.because("a public key object shows a malformed point")),
    };
    let encode = || -> der::Result<Vec<u8>> {
        SubjectPublicKeyInfo {
            algorithm: AlgorithmIdentifier {
                oid: EC_PUBLIC_KEY,
                parameters: Some(object_identifier(curve)),
            },
            subject_public_key: BitString::from_bytes(inner)?,
        }
        .to_der()
    };
    encode().map_err(|error| HsmErrorKind::Token.because(format!("cannot encode a public key: {error}")))
}

fn object_identifier(curve: EcCurve) -> ObjectIdentifier {
    match curve {
        EcCurve::P256 => P256,
        EcCurve::P384 => P384,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_of_a_point_give_one_spki_and_others_are_refused() {
        let mut raw = vec![0x04];
        raw.extend(1..=64);
        let mut der = vec![0x04, 65];
        der.extend_from_slice(&raw);
        let spki_der = spki(EcCurve::P256, &raw).unwrap();
        assert_eq!(spki(EcCurve::P256, &der).unwrap(), spki_der);
        assert_eq!(spki_der.len(), 91);
        for bad in [&raw[..64], &der[..66], &[], &[0x02; 33]] {
            assert!(spki(EcCurve::P256, bad).is_err());
        }
        assert!(spki(EcCurve::P384, &raw).is_err());
    }

    #[test]
    fn curve_parameters_are_those_of_the_standard() {
        assert_eq!(
            curve_parameters(EcCurve::P256),
            [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]
        );
        assert_eq!(curve_parameters(EcCurve::P384), [0x06, 5, 0x2b, 0x81, 4, 0, 0x22]);
    }
}
