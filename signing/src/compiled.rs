//! Machine code of a plugin that the authority compiled for its edges: what it says of that code, and what makes it believed.
//!
//! Whoever can have an edge load machine code runs code in it. So the authority endorses what its own compiler made, by a key that
//! signs nothing else, whose certificate stands under the root of nodes: the one that every edge has had since it enrolled. A
//! node's own certificate has another name and another purpose, and endorses nothing.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use webpki::{EndEntityCert, KeyUsage, aws_lc_rs as schemes};
use x509_cert::ext::pkix::name::GeneralName;

use crate::algorithm::Algorithm;
use crate::certificate::{
    Certificate, CertificateError, Constraint, Issuer, Prepared, Serial, Template, Validity, name_error, oid,
};
use crate::encoding::{base64url, from_base64url, from_hex, hex};
use crate::key::{KeyError, PublicKey, SigningKey};

/// First part of what is signed, so that no signature over anything else is one of these.
const DOMAIN: &[u8] = b"signet compiled plugin v1";
/// The value octets of codeSigning (RFC 5280, 4.2.1.12).
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// Most bytes of an endorsement as it is sent and kept.
pub const MAX_ENDORSEMENT: usize = 16 << 10;

/// What is said of one piece of machine code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// SHA-256 of the component that it was made of.
    #[serde(with = "digest")]
    pub component: [u8; 32],
    /// What processor it is for, such as `x86-64-v3`.
    pub target: String,
    /// What else the engine that loads it must agree on, SHA-256 in hex.
    pub compatibility: String,
    /// SHA-256 of the machine code.
    #[serde(with = "digest")]
    pub artifact: [u8; 32],
    /// Its bytes.
    pub size: u64,
}

/// A statement, with who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// What is said.
    pub statement: Statement,
    /// ES256, in JOSE's fixed form.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
    /// Of the key that signed, DER.
    #[serde(with = "base64")]
    pub certificate: Vec<u8>,
}

/// A statement that was verified. Only [`Endorsement::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsed {
    statement: Statement,
    not_after: u64,
}

/// Why an endorsement is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// It does not read.
    #[error("the endorsement is malformed")]
    Malformed,
    /// The signer's certificate.
    #[error("the endorsement's signer: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate is not under the root of nodes.
    #[error("the endorsement's signer is not certified by this authority")]
    Path,
    /// The certificate does not count at this time.
    #[error("the certificate of the endorsement's signer is not valid now")]
    Time,
    /// A certificate for something else: a node's, for example.
    #[error("the endorsement was signed by a key that is not for endorsements")]
    Purpose,
    /// Not signed by its signer, or for another trust domain.
    #[error("the endorsement's signature does not verify")]
    Signature,
}

/// The name of those who endorse.
pub fn signer_id(trust_domain: &str) -> String {
    format!("spiffe://{trust_domain}/plugin-compiler")
}

/// Prepares the certificate of a key that endorses (`spki`: DER, P-256), under the root of nodes.
///
/// # Errors
/// [`CertificateError`] for a key, name or validity that will not do.
pub fn prepare_signer(
    trust_domain: &str,
    spki: &[u8],
    validity: Validity,
    serial: Serial,
    issuer: &Certificate,
) -> Result<Prepared, CertificateError> {
    let public_key = PublicKey::from_spki_der(spki)?;
    let id = signer_id(trust_domain);
    let uri = der::asn1::Ia5String::new(&id).map_err(|_| name_error("the trust domain", trust_domain, "ASCII"))?;
    let template = Template {
        common_name: "Signet plugin compiler",
        organization: None,
        public_key: &public_key,
        validity,
        serial,
        issuer: Issuer::Ca(issuer),
        constraint: Constraint::Leaf,
        purposes: &[oid::CODE_SIGNING],
        alt_names: vec![GeneralName::UniformResourceIdentifier(uri)],
        private: Vec::new(),
    };
    template.prepare()
}

impl Statement {
    /// The bytes that are signed: `signet compiled plugin v1`, the trust domain and the fields in the order of the struct (the size
    /// in decimal), each behind its length as 4 bytes, big-endian.
    fn message(&self, trust_domain: &str) -> Vec<u8> {
        let size = self.size.to_string();
        let parts: [&[u8]; 7] = [
            DOMAIN,
            trust_domain.as_bytes(),
            &self.component,
            self.target.as_bytes(),
            self.compatibility.as_bytes(),
            &self.artifact,
            size.as_bytes(),
        ];
        let mut message = Vec::with_capacity(256);
        for part in parts {
            message.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }
}

impl Endorsement {
    /// Signs a statement with a key whose certificate [`prepare_signer`] prepared.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot sign.
    pub fn sign(
        statement: Statement,
        trust_domain: &str,
        key: &SigningKey,
        certificate: &Certificate,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            signature: key.sign(&statement.message(trust_domain))?,
            certificate: certificate.der().to_vec(),
            statement,
        })
    }

    /// As it is sent and kept: one line of JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Texts and numbers only: it can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads [`Endorsement::encode`].
    ///
    /// # Errors
    /// [`EndorsementError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EndorsementError> {
        if bytes.len() > MAX_ENDORSEMENT {
            return Err(EndorsementError::Malformed);
        }
        serde_json::from_slice(bytes).map_err(|_| EndorsementError::Malformed)
    }

    /// Whether an authority of this trust domain says so, as of `now` (Unix seconds). `roots` are DER certificates of the roots of
    /// nodes, from enrolment: never from whoever sent the endorsement.
    ///
    /// # Errors
    /// [`EndorsementError`].
    pub fn verify(
        &self,
        roots: &[impl AsRef<[u8]>],
        trust_domain: &str,
        now: u64,
    ) -> Result<Endorsed, EndorsementError> {
        let certificate = Certificate::from_der(&self.certificate)?;
        verify_path(&certificate, roots, now)?;
        let key = certificate.public_key()?;
        let is_named = certificate.alt_names()? == [Some(signer_id(trust_domain))];
        if !is_named || !certificate.signs_data_only() || key.algorithm() != Algorithm::Es256 {
            return Err(EndorsementError::Purpose);
        }
        key.verify(&self.statement.message(trust_domain), &self.signature)
            .map_err(|_| EndorsementError::Signature)?;
        Ok(Endorsed {
            statement: self.statement.clone(),
            not_after: certificate.not_after(),
        })
    }
}

impl Endorsed {
    /// What is said.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The last second at which it counts, Unix seconds.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }
}

/// Checks that a root issued the certificate, for signing code, and that both count now.
fn verify_path(certificate: &Certificate, roots: &[impl AsRef<[u8]>], now: u64) -> Result<(), EndorsementError> {
    let mut valid = Vec::with_capacity(roots.len());
    for root in roots {
        let root = Certificate::from_der(root.as_ref())?;
        if (root.not_before()..=root.not_after()).contains(&now) {
            valid.push(root);
        }
    }
    let ders: Vec<CertificateDer<'_>> = valid.iter().map(|root| CertificateDer::from(root.der())).collect();
    let anchors: Result<Vec<_>, _> = ders.iter().map(webpki::anchor_from_trusted_cert).collect();
    let anchors = anchors.map_err(|_| EndorsementError::Path)?;
    let der = CertificateDer::from(certificate.der());
    let leaf = EndEntityCert::try_from(&der).map_err(|_| EndorsementError::Malformed)?;
    let path = leaf.verify_for_usage(
        &[schemes::ECDSA_P256_SHA256, schemes::ECDSA_P384_SHA384],
        &anchors,
        &[],
        UnixTime::since_unix_epoch(Duration::from_secs(now)),
        KeyUsage::required(CODE_SIGNING),
        None,
        None,
    );
    path.map(drop).map_err(|error| match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => EndorsementError::Time,
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => EndorsementError::Purpose,
        _ => EndorsementError::Path,
    })
}

/// A digest as hex.
mod digest {
    use super::{from_hex, hex};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let bytes = from_hex(&String::deserialize(deserializer)?);
        let digest = bytes.and_then(|bytes| bytes.try_into().ok());
        digest.ok_or_else(|| D::Error::custom("expected a SHA-256 in hex"))
    }
}

/// Bytes as base64url.
mod base64 {
    use super::{base64url, from_base64url};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let bytes = from_base64url(&String::deserialize(deserializer)?);
        bytes.ok_or_else(|| D::Error::custom("expected base64url"))
    }
}

#[cfg(test)]
mod tests;
