//! Messages hashed for a curve, and the check of what an HSM made of them.

use aws_lc_rs::digest::{Algorithm, Digest, SHA256, SHA384, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{EcCurve, HsmError, HsmErrorKind};

/// A digest of the one length that its curve signs: SHA-256 for P-256, SHA-384 for P-384. Not secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prehashed {
    curve: EcCurve,
    bytes: Vec<u8>,
}

impl Prehashed {
    /// The curve's digest of `message`.
    pub fn of(curve: EcCurve, message: &[u8]) -> Self {
        Self {
            curve,
            bytes: digest(algorithm(curve), message).as_ref().to_vec(),
        }
    }

    /// A digest made elsewhere; `BadRequest` when its length is not the curve's.
    pub fn from_bytes(curve: EcCurve, bytes: &[u8]) -> Result<Self, HsmError> {
        if bytes.len() != curve.field_len() {
            return Err(HsmErrorKind::BadRequest.because(format!(
                "a digest for this key has {} bytes, not {}",
                curve.field_len(),
                bytes.len()
            )));
        }
        Ok(Self {
            curve,
            bytes: bytes.to_vec(),
        })
    }

    /// The curve it was made for.
    pub fn curve(&self) -> EcCurve {
        self.curve
    }

    /// 32 bytes for P-256, 48 for P-384.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Verifies a DER signature over this digest by the key in `spki_der` (SEC 1 section 4.1.4); `WrongSignature` when it is not one.
    pub fn verify(&self, spki_der: &[u8], signature_der: &[u8]) -> Result<(), HsmError> {
        let algorithm = match self.curve {
            EcCurve::P256 => &ECDSA_P256_SHA256_ASN1,
            EcCurve::P384 => &ECDSA_P384_SHA384_ASN1,
        };
        self.import()
            .and_then(|digest| UnparsedPublicKey::new(algorithm, spki_der).verify_digest(&digest, signature_der))
            .map_err(|_| {
                HsmErrorKind::WrongSignature
                    .because("its signature does not verify under the public key; it was withheld")
            })
    }

    /// The digest as aws-lc-rs takes it; fails when a peer sent one of the wrong length.
    pub(crate) fn import(&self) -> Result<Digest, aws_lc_rs::error::Unspecified> {
        Digest::import_less_safe(&self.bytes, algorithm(self.curve))
    }
}

fn algorithm(curve: EcCurve) -> &'static Algorithm {
    match curve {
        EcCurve::P256 => &SHA256,
        EcCurve::P384 => &SHA384,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_another_length_is_the_callers_fault() {
        for (curve, len) in [
            (EcCurve::P256, 48),
            (EcCurve::P256, 0),
            (EcCurve::P384, 32),
            (EcCurve::P384, 64),
        ] {
            let error = Prehashed::from_bytes(curve, &vec![0; len]).unwrap_err();
            assert_eq!(error.kind, HsmErrorKind::BadRequest);
        }
        let made = Prehashed::of(EcCurve::P256, b"abc");
        assert_eq!(Prehashed::from_bytes(EcCurve::P256, made.as_bytes()).unwrap(), made);
    }
}
