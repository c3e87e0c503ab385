use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::build::signature_algorithm;
use super::{Certificate, CertificateError};
use crate::algorithm::Algorithm;
use crate::key::{PublicKey, SigningKey};
use crate::signature::{der_to_fixed, fixed_to_der};

/// A certificate that lacks its signature.
#[derive(Clone, Debug)]
#[must_use = "a prepared certificate is nothing until it is finished with the issuer's signature"]
pub struct Prepared {
    tbs: Vec<u8>,
    issuer_key: PublicKey,
}

#[derive(Sequence)]
struct Signed<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitStringRef<'a>,
}

impl Prepared {
    pub(super) fn new(tbs: Vec<u8>, issuer_key: PublicKey) -> Self {
        Self { tbs, issuer_key }
    }

    /// The bytes the issuer signs: a DER TBSCertificate.
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// How: ES256 is ECDSA on P-256 with SHA-256, ES384 on P-384 with SHA-384. Fixed by the issuer's key.
    pub fn algorithm(&self) -> Algorithm {
        self.issuer_key.algorithm()
    }

    /// The key whose signature [`Prepared::finish`] takes.
    pub fn issuer_key(&self) -> &PublicKey {
        &self.issuer_key
    }

    /// Adds the issuer's signature, a DER ECDSA signature over [`Prepared::tbs`], after verifying it (R27).
    ///
    /// # Errors
    /// [`CertificateError::Signature`] when it does not verify under the issuer's key.
    pub fn finish(self, der_signature: &[u8]) -> Result<Certificate, CertificateError> {
        let fixed = der_to_fixed(self.algorithm(), der_signature).map_err(|_| CertificateError::Signature)?;
        self.issuer_key
            .verify(&self.tbs, &fixed)
            .map_err(|_| CertificateError::Signature)?;
        let encoding = |_| CertificateError::Malformed("it cannot be encoded");
        let signed = Signed {
            tbs: AnyRef::from_der(&self.tbs).map_err(encoding)?,
            algorithm: signature_algorithm(self.algorithm())?,
            signature: BitStringRef::from_bytes(der_signature).map_err(encoding)?,
        };
        Certificate::from_der(&signed.to_der().map_err(encoding)?)
    }

    /// Signs with an issuer's key that is in this process: development CAs and tests.
    ///
    /// # Errors
    /// As [`Prepared::finish`]; [`CertificateError::Signature`] too when it is not the issuer's key.
    pub fn sign_with(self, issuer: &SigningKey) -> Result<Certificate, CertificateError> {
        let fixed = issuer.sign(&self.tbs)?;
        let signature = fixed_to_der(issuer.algorithm(), &fixed).map_err(|_| CertificateError::Signature)?;
        self.finish(&signature)
    }
}
