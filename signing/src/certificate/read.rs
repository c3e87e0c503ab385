use std::fmt;

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::name::Name;

use super::{CertificateError, pem_decode, pem_encode};
use crate::digest::sha256;
use crate::encoding::hex;
use crate::key::PublicKey;

/// The largest certificate that is looked at, in bytes.
const MAX_LEN: usize = 16 * 1024;

/// A certificate, parsed and unchanged. Reading one verifies nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: Box<x509_cert::Certificate>,
}

impl Certificate {
    /// Reads one DER certificate with nothing behind it.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_LEN {
            return Err(CertificateError::Malformed("it is larger than 16 KiB"));
        }
        let parsed =
            x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::Malformed("it is not DER X.509"))?;
        Ok(Self {
            der: der.to_vec(),
            parsed: Box::new(parsed),
        })
    }

    /// Reads every certificate of a PEM text, in order; at least one.
    ///
    /// # Errors
    /// [`CertificateError::Pem`] or [`CertificateError::Malformed`].
    pub fn from_pem_chain(text: &str) -> Result<Vec<Self>, CertificateError> {
        let blocks = pem_decode("CERTIFICATE", text)?;
        if blocks.is_empty() {
            return Err(CertificateError::Pem("there is no certificate in it"));
        }
        blocks.iter().map(|der| Self::from_der(der)).collect()
    }

    /// The bytes as they came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The bytes as they came, owned.
    pub fn into_der(self) -> Vec<u8> {
        self.der
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem_encode("CERTIFICATE", &self.der)
    }

    /// The subject's public key.
    ///
    /// # Errors
    /// [`CertificateError::Key`] for RSA and other types that certificates here do not have.
    pub fn public_key(&self) -> Result<PublicKey, CertificateError> {
        let spki = self.tbs().subject_public_key_info().to_der();
        let spki = spki.map_err(|_| CertificateError::Malformed("its public key cannot be read"))?;
        Ok(PublicKey::from_spki_der(&spki)?)
    }

    /// First second of its validity, Unix seconds.
    pub fn not_before(&self) -> u64 {
        self.tbs().validity().not_before.to_unix_duration().as_secs()
    }

    /// Last second of its validity, Unix seconds.
    pub fn not_after(&self) -> u64 {
        self.tbs().validity().not_after.to_unix_duration().as_secs()
    }

    /// The serial number in lowercase hex, without leading zeros bytes.
    pub fn serial(&self) -> String {
        hex(self.tbs().serial_number().as_bytes())
    }

    /// SHA-256 of the whole certificate, lowercase hex.
    pub fn fingerprint(&self) -> String {
        hex(&sha256(&self.der))
    }

    /// The URIs of its subject alternative name.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`] when the extension is there twice or cannot be read.
    pub fn uris(&self) -> Result<Vec<String>, CertificateError> {
        Ok(self.alt_names()?.into_iter().flatten().collect())
    }

    /// Whether it is a CA's.
    pub fn is_ca(&self) -> bool {
        self.path_len().is_some()
    }

    /// Every subject alternative name: the text of those that are URIs, none for the others.
    pub(crate) fn alt_names(&self) -> Result<Vec<Option<String>>, CertificateError> {
        let names: Option<(bool, SubjectAltName)> = self.extension("its alternative names cannot be read")?;
        let names = names.into_iter().flat_map(|(_, names)| names.0).map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
            _ => None,
        });
        Ok(names.collect())
    }

    pub(crate) fn subject(&self) -> &Name {
        self.tbs().subject()
    }

    /// None unless it is a CA that may sign certificates; then how many CAs may stand below it, where that is bounded.
    pub(crate) fn path_len(&self) -> Option<Option<u8>> {
        let constraints: Option<(bool, BasicConstraints)> = self.tbs().get_extension().ok()?;
        let (_, constraints) = constraints.filter(|(_, constraints)| constraints.ca)?;
        let signs = self.usage().ok()?.is_some_and(|usage| usage.key_cert_sign());
        signs.then_some(constraints.path_len_constraint)
    }

    /// Whether its key usage is `digitalSignature` and nothing else.
    pub(crate) fn signs_data_only(&self) -> bool {
        let usage = self.usage().ok().flatten();
        usage.is_some_and(|usage| usage.0 == KeyUsages::DigitalSignature)
    }

    /// Whether its extended key usage names this purpose.
    pub(crate) fn has_purpose(&self, purpose: ObjectIdentifier) -> bool {
        let purposes: Result<Option<(bool, ExtendedKeyUsage)>, _> = self.tbs().get_extension();
        purposes
            .ok()
            .flatten()
            .is_some_and(|(_, purposes)| purposes.0.contains(&purpose))
    }

    /// The value of a private extension.
    pub(crate) fn private_extension(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>, CertificateError> {
        let mut found = self
            .tbs()
            .extensions()
            .into_iter()
            .flatten()
            .filter(|extension| extension.extn_id == oid);
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|extension| extension.extn_value.as_bytes())),
            _ => Err(CertificateError::Malformed("an extension is there twice")),
        }
    }

    fn usage(&self) -> Result<Option<KeyUsage>, CertificateError> {
        Ok(self.extension("its key usage cannot be read")?.map(|(_, usage)| usage))
    }

    fn extension<'a, T>(&'a self, problem: &'static str) -> Result<Option<(bool, T)>, CertificateError>
    where
        T: Decode<'a> + der::oid::AssociatedOid,
    {
        self.tbs()
            .get_extension()
            .map_err(|_| CertificateError::Malformed(problem))
    }

    fn tbs(&self) -> &x509_cert::TbsCertificate {
        self.parsed.tbs_certificate()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, serial {})", self.subject(), self.serial())
    }
}
