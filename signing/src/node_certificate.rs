//! Certificates for TLS: nodes with a SPIFFE ID, and the servers and clients of a development CA.
//!
//! They stand under a root of their own, never under the delegation root, and carry no delegation purpose.

use std::net::IpAddr;

use der::asn1::{Ia5String, ObjectIdentifier};
use x509_cert::ext::pkix::name::GeneralName;

use crate::certificate::{
    Certificate, CertificateError, Constraint, Issuer, Prepared, Serial, Template, Validity, name_error, oid,
};
use crate::key::PublicKey;

/// Whom a TLS certificate is for. At least one of `spiffe_id`, `dns` and `ips` must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsNames {
    /// The subject's common name, 1 to 64 visible ASCII characters; for people only.
    pub common_name: String,
    /// `spiffe://TRUST-DOMAIN/PATH`.
    pub spiffe_id: Option<String>,
    /// DNS names, lowercase; `*.` in front makes a wildcard.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
}

/// What a TLS certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// As a server.
    pub server: bool,
    /// As a client.
    pub client: bool,
}

impl Usage {
    /// Nodes are both.
    pub const NODE: Usage = Usage {
        server: true,
        client: true,
    };
    /// A server only.
    pub const SERVER: Usage = Usage {
        server: true,
        client: false,
    };
    /// A client only.
    pub const CLIENT: Usage = Usage {
        server: false,
        client: true,
    };
}

/// Prepares a self-signed root for TLS certificates; it issues leaves only.
///
/// `spki` is the root key's DER SubjectPublicKeyInfo, P-256 or P-384.
///
/// # Errors
/// [`CertificateError`] for a name, key, validity or serial that will not do.
pub fn prepare_node_root(
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
        constraint: Constraint::Ca(0),
        purposes: &[],
        alt_names: Vec::new(),
        private: Vec::new(),
    };
    template.prepare()
}

/// Prepares a TLS certificate under `issuer`: for a node ([`Usage::NODE`]), a server or a client.
///
/// # Errors
/// [`CertificateError`]; [`CertificateError::Name`] for a SPIFFE ID, DNS name or common name that is none, and
/// [`CertificateError::Validity`] when it would outlive its issuer.
pub fn prepare_node(
    names: &TlsNames,
    usage: Usage,
    spki: &[u8],
    validity: Validity,
    serial: Serial,
    issuer: &Certificate,
) -> Result<Prepared, CertificateError> {
    let public_key = PublicKey::from_spki_der(spki)?;
    let purposes: Vec<ObjectIdentifier> = [(usage.server, oid::SERVER_AUTH), (usage.client, oid::CLIENT_AUTH)]
        .into_iter()
        .filter_map(|(wanted, purpose)| wanted.then_some(purpose))
        .collect();
    if purposes.is_empty() {
        return Err(CertificateError::Malformed("it must be for servers, clients or both"));
    }
    let template = Template {
        common_name: &names.common_name,
        organization: None,
        public_key: &public_key,
        validity,
        serial,
        issuer: Issuer::Ca(issuer),
        constraint: Constraint::Leaf,
        purposes: &purposes,
        alt_names: alt_names(names)?,
        private: Vec::new(),
    };
    template.prepare()
}

fn alt_names(names: &TlsNames) -> Result<Vec<GeneralName>, CertificateError> {
    let mut list = Vec::new();
    if let Some(id) = &names.spiffe_id {
        check_spiffe_id(id)?;
        list.push(GeneralName::UniformResourceIdentifier(ia5(id)?));
    }
    for name in &names.dns {
        check_dns(name)?;
        list.push(GeneralName::DnsName(ia5(name)?));
    }
    list.extend(names.ips.iter().map(|ip| GeneralName::from(*ip)));
    if list.is_empty() || list.len() > 64 {
        return Err(CertificateError::Malformed("it must have 1 to 64 names"));
    }
    Ok(list)
}

/// The SPIFFE ID rules (SPIFFE-ID section 2): lowercase trust domain, a path of non-empty segments, neither `.` nor
/// `..`, no query, no fragment, 2,048 bytes at most.
fn check_spiffe_id(id: &str) -> Result<(), CertificateError> {
    let error = || name_error("the SPIFFE ID", id, "spiffe://TRUST-DOMAIN/PATH");
    let (domain, path) = id
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(error)?;
    let in_domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let in_segment = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let segment = |text: &str| !matches!(text, "" | "." | "..") && text.chars().all(in_segment);
    let fits = (1..=255).contains(&domain.len())
        && id.len() <= 2048
        && domain.chars().all(in_domain)
        && path.split('/').all(segment);
    if fits { Ok(()) } else { Err(error()) }
}

fn check_dns(name: &str) -> Result<(), CertificateError> {
    let label = |text: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&text.len()) && text.chars().all(inside) && !text.starts_with('-') && !text.ends_with('-')
    };
    let plain = name.strip_prefix("*.").unwrap_or(name);
    if plain.len() <= 253 && plain.split('.').all(label) {
        return Ok(());
    }
    Err(name_error("the DNS name", name, "lowercase labels with dots between"))
}

fn ia5(text: &str) -> Result<Ia5String, CertificateError> {
    Ia5String::new(text).map_err(|_| name_error("the name", text, "ASCII"))
}

#[cfg(test)]
mod tests;
