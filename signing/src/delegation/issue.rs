use der::asn1::{Ia5String, ObjectIdentifier};
use x509_cert::ext::pkix::name::GeneralName;

use super::{DELEGATION_PURPOSE, DelegationName, KeyName, SCOPE_EXTENSION, Scope};
use crate::certificate::{
    Certificate, CertificateError, Constraint, Issuer, Prepared, Serial, Template, Validity, name_error, oid,
};
use crate::key::PublicKey;

/// Prepares the self-signed delegation root; below it stand the keys' CAs, and nothing below those but leaves.
///
/// `spki` is the root key's DER SubjectPublicKeyInfo, P-256 or P-384.
///
/// # Errors
/// [`CertificateError`] for a name, key, validity or serial that will not do.
pub fn prepare_root(
    common_name: &str,
    spki: &[u8],
    validity: Validity,
    serial: Serial,
) -> Result<Prepared, CertificateError> {
    let public_key = PublicKey::from_spki_der(spki)?;
    let template = Template {
        common_name,
        organization: None,
        public_key: &public_key,
        validity,
        serial,
        issuer: Issuer::Itself,
        constraint: Constraint::Ca(1),
        purposes: &[],
        alt_names: Vec::new(),
        private: Vec::new(),
    };
    template.prepare()
}

/// Prepares the CA of one logical key, under the delegation root. It issues delegations of that key and nothing else.
///
/// `code_signing` lets its leaves carry that purpose too: for keys of the artifact family.
///
/// # Errors
/// [`CertificateError`]; the CA's key must be P-256 or P-384, and it may not outlive the root.
pub fn prepare_key_ca(
    name: &KeyName,
    spki: &[u8],
    validity: Validity,
    serial: Serial,
    root: &Certificate,
    code_signing: bool,
) -> Result<Prepared, CertificateError> {
    let public_key = PublicKey::from_spki_der(spki)?;
    if !public_key.algorithm().is_ecdsa() {
        return Err(CertificateError::NotAnIssuer);
    }
    let template = Template {
        common_name: &format!("Signet key {}", name.key),
        organization: Some(&name.tenant),
        public_key: &public_key,
        validity,
        serial,
        issuer: Issuer::Ca(root),
        constraint: Constraint::Ca(0),
        purposes: purposes(code_signing),
        alt_names: vec![uri_name(&name.uri().map_err(bad_name)?)?],
        private: Vec::new(),
    };
    template.prepare()
}

/// Prepares one delegation, under its key's CA: `spki` is the key the edge made and has proven to hold.
///
/// # Errors
/// [`CertificateError`]; [`CertificateError::NotAnIssuer`] when `ca` is the CA of another key, and
/// [`CertificateError::Validity`] when it would outlive the CA.
pub fn prepare_leaf(
    name: &DelegationName,
    scope: &Scope,
    spki: &[u8],
    validity: Validity,
    serial: Serial,
    ca: &Certificate,
    code_signing: bool,
) -> Result<Prepared, CertificateError> {
    let public_key = PublicKey::from_spki_der(spki)?;
    let uri = name.uri().map_err(bad_name)?;
    if ca.uris()? != [name.key_name().uri().map_err(bad_name)?] {
        return Err(CertificateError::NotAnIssuer);
    }
    if purposes(code_signing).iter().any(|purpose| !ca.has_purpose(*purpose)) {
        return Err(CertificateError::NotAnIssuer);
    }
    let scope = scope
        .to_der()
        .map_err(|error| name_error("the scope", &error.to_string(), "within its bounds"))?;
    let template = Template {
        common_name: &format!("Signet edge {}", name.edge.chars().take(52).collect::<String>()),
        organization: Some(&name.tenant),
        public_key: &public_key,
        validity,
        serial,
        issuer: Issuer::Ca(ca),
        constraint: Constraint::Leaf,
        purposes: purposes(code_signing),
        alt_names: vec![uri_name(&uri)?],
        private: vec![(SCOPE_EXTENSION, scope)],
    };
    template.prepare()
}

fn purposes(code_signing: bool) -> &'static [ObjectIdentifier] {
    if code_signing {
        &[DELEGATION_PURPOSE, oid::CODE_SIGNING]
    } else {
        &[DELEGATION_PURPOSE]
    }
}

fn bad_name(error: super::NameError) -> CertificateError {
    name_error("the delegation", &error.to_string(), "a valid name")
}

fn uri_name(uri: &str) -> Result<GeneralName, CertificateError> {
    let uri = Ia5String::new(uri).map_err(|_| name_error("the URI", uri, "ASCII"))?;
    Ok(GeneralName::UniformResourceIdentifier(uri))
}
