use std::time::Duration;

use der::asn1::{Any, BitString, ObjectIdentifier, OctetString};
use der::flagset::FlagSet;
use der::{DateTime, Decode, Encode, Sequence, Tag};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::Time;

use super::prepared::Prepared;
use super::{Certificate, CertificateError, Serial, Validity, name_error};
use crate::algorithm::Algorithm;
use crate::digest::sha256;
use crate::key::PublicKey;

/// Object identifiers used here and by the readers of what is built here.
pub(crate) mod oid {
    use der::asn1::ObjectIdentifier;

    pub(crate) const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
    pub(crate) const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
    pub(crate) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    pub(crate) const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
    pub(crate) const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
    pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
    pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
    pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
    pub(crate) const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
    pub(crate) const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
    pub(crate) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
    pub(crate) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
    pub(crate) const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
}

/// What a certificate will say.
pub(crate) struct Template<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) organization: Option<&'a str>,
    pub(crate) public_key: &'a PublicKey,
    pub(crate) validity: Validity,
    pub(crate) serial: Serial,
    pub(crate) issuer: Issuer<'a>,
    pub(crate) constraint: Constraint,
    pub(crate) purposes: &'a [ObjectIdentifier],
    pub(crate) alt_names: Vec<GeneralName>,
    /// Private extensions: object identifier and DER. Never critical.
    pub(crate) private: Vec<(ObjectIdentifier, Vec<u8>)>,
}

pub(crate) enum Issuer<'a> {
    Itself,
    Ca(&'a Certificate),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constraint {
    /// A CA with at most this many CAs below it.
    Ca(u8),
    /// Signs nothing but data: key usage `digitalSignature` alone.
    Leaf,
}

/// RFC 5280 section 4.1. Ours, since the one of `x509-cert` can be read but not made without its builder.
#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: x509_cert::time::Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_unique_id: Option<BitString>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_unique_id: Option<BitString>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

impl Template<'_> {
    /// Checks what must hold for every certificate and lays out what is to be signed.
    pub(crate) fn prepare(self) -> Result<Prepared, CertificateError> {
        if self.serial == [0; 16] {
            return Err(CertificateError::Serial);
        }
        let subject = distinguished_name(self.common_name, self.organization)?;
        let (issuer, issuer_key) = self.issuer_of(&subject)?;
        let algorithm = issuer_key.algorithm();
        let encoding = |_| CertificateError::Malformed("it cannot be encoded");
        let tbs = Tbs {
            version: Version::V3,
            serial_number: SerialNumber::new(&self.serial).map_err(encoding)?,
            signature: signature_algorithm(algorithm)?,
            issuer,
            validity: encode_validity(self.validity)?,
            subject,
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(self.public_key.to_spki_der())
                .map_err(encoding)?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(self.extensions(&issuer_key).map_err(encoding)?),
        };
        Ok(Prepared::new(tbs.to_der().map_err(encoding)?, issuer_key))
    }

    fn issuer_of(&self, subject: &Name) -> Result<(Name, PublicKey), CertificateError> {
        match self.issuer {
            Issuer::Itself => Ok((subject.clone(), self.public_key.clone())),
            Issuer::Ca(ca) => {
                let path_len = ca.path_len().ok_or(CertificateError::NotAnIssuer)?;
                if matches!(self.constraint, Constraint::Ca(below) if path_len.is_some_and(|len| len <= below)) {
                    return Err(CertificateError::NotAnIssuer);
                }
                if self.validity.not_after > ca.not_after() {
                    return Err(CertificateError::Validity);
                }
                Ok((ca.subject().clone(), ca.public_key()?))
            }
        }
    }

    fn extensions(&self, issuer_key: &PublicKey) -> der::Result<Extensions> {
        let own_id = key_identifier(self.public_key)?;
        let mut list = vec![extension(oid::SUBJECT_KEY_ID, false, &SubjectKeyIdentifier(own_id))?];
        if let Issuer::Ca(_) = self.issuer {
            let id = AuthorityKeyIdentifier {
                key_identifier: Some(key_identifier(issuer_key)?),
                ..Default::default()
            };
            list.push(extension(oid::AUTHORITY_KEY_ID, false, &id)?);
        }
        let usages: FlagSet<KeyUsages> = match self.constraint {
            Constraint::Ca(_) => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            Constraint::Leaf => KeyUsages::DigitalSignature.into(),
        };
        list.push(extension(oid::KEY_USAGE, true, &KeyUsage(usages))?);
        let constraints = match self.constraint {
            Constraint::Ca(below) => BasicConstraints {
                ca: true,
                path_len_constraint: Some(below),
            },
            Constraint::Leaf => BasicConstraints {
                ca: false,
                path_len_constraint: None,
            },
        };
        list.push(extension(oid::BASIC_CONSTRAINTS, true, &constraints)?);
        if !self.purposes.is_empty() {
            list.push(extension(
                oid::EXTENDED_KEY_USAGE,
                false,
                &ExtendedKeyUsage(self.purposes.to_vec()),
            )?);
        }
        if !self.alt_names.is_empty() {
            let names: &GeneralNames = &self.alt_names;
            list.push(extension(oid::SUBJECT_ALT_NAME, false, names)?);
        }
        for (extn_id, value) in &self.private {
            let extn_value = OctetString::new(value.as_slice())?;
            list.push(Extension {
                extn_id: *extn_id,
                critical: false,
                extn_value,
            });
        }
        Ok(list)
    }
}

/// The signature algorithm a CA key of this kind issues with: CAs are P-256 or P-384 (design section 4).
pub(super) fn signature_algorithm(algorithm: Algorithm) -> Result<AlgorithmIdentifierOwned, CertificateError> {
    let oid = match algorithm {
        Algorithm::Es256 => oid::ECDSA_SHA256,
        Algorithm::Es384 => oid::ECDSA_SHA384,
        _ => return Err(CertificateError::NotAnIssuer),
    };
    Ok(AlgorithmIdentifierOwned { oid, parameters: None })
}

/// RFC 7093 section 2, method 1: the leftmost 160 bits of SHA-256 over the key's bits.
fn key_identifier(key: &PublicKey) -> der::Result<OctetString> {
    let info = SubjectPublicKeyInfoOwned::from_der(key.to_spki_der())?;
    let hash = sha256(info.subject_public_key.raw_bytes());
    OctetString::new(hash.get(..20).unwrap_or_default())
}

fn extension(extn_id: ObjectIdentifier, critical: bool, value: &impl Encode) -> der::Result<Extension> {
    Ok(Extension {
        extn_id,
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> Result<Name, CertificateError> {
    let mut sequence = RdnSequence::default();
    let organization = organization.map(|value| (oid::ORGANIZATION, value));
    for (oid, value) in organization.into_iter().chain([(oid::COMMON_NAME, common_name)]) {
        let visible = value.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if value.is_empty() || value.len() > 64 || !visible {
            return Err(name_error("the subject", value, "1 to 64 visible ASCII characters"));
        }
        let encoding = |_| CertificateError::Malformed("it cannot be encoded");
        let value = Any::new(Tag::Utf8String, value.as_bytes()).map_err(encoding)?;
        let mut part = RelativeDistinguishedName::default();
        part.insert(AttributeTypeAndValue { oid, value }).map_err(encoding)?;
        sequence.push(part);
    }
    let encoded = sequence.to_der().and_then(|der| Name::from_der(&der));
    encoded.map_err(|_| CertificateError::Malformed("it cannot be encoded"))
}

fn encode_validity(validity: Validity) -> Result<x509_cert::time::Validity, CertificateError> {
    if validity.not_before >= validity.not_after {
        return Err(CertificateError::Validity);
    }
    let time = |seconds| {
        let date = DateTime::from_unix_duration(Duration::from_secs(seconds));
        date.map(Time::from).map_err(|_| CertificateError::Validity)
    };
    Ok(x509_cert::time::Validity::new(
        time(validity.not_before)?,
        time(validity.not_after)?,
    ))
}
