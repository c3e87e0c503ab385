use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, aws_lc_rs as schemes};

use super::{DELEGATION_PURPOSE_VALUE, DelegationName, KeyName, NameError, SCOPE_EXTENSION, Scope, ScopeError};
use crate::certificate::{Certificate, CertificateError, oid};
use crate::key::PublicKey;

/// The most certificates a chain may have: leaf, CA, root, and one to spare.
const MAX_CHAIN: usize = 4;
/// The most roots.
const MAX_ROOTS: usize = 16;

/// A delegation whose chain, times, names and scope were all checked. Only [`verify_chain`] makes one.
///
/// It says nothing about whether the key was stopped since: a lease or `not_after` does that (design section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedDelegation {
    /// Which key was delegated to whom.
    pub name: DelegationName,
    /// What it may sign.
    pub scope: Scope,
    /// The delegated key.
    pub public_key: PublicKey,
    /// First second at which it counts, Unix seconds.
    pub not_before: u64,
    /// Last second at which it counts, Unix seconds: the earliest end of leaf, CA and root.
    pub not_after: u64,
    /// Whether it also has the purpose codeSigning.
    pub code_signing: bool,
}

/// Why a chain is no delegation. The fault of whoever sent the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// No certificate, or more than can be.
    #[error("a delegation chain has 1 to 4 certificates and is checked against 1 to 16 roots")]
    Length,
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Not valid yet at the time asked for.
    #[error("the delegation chain is not valid yet")]
    NotYetValid,
    /// No longer valid at the time asked for.
    #[error("the delegation chain has expired")]
    Expired,
    /// Not made for delegations: a node's certificate, for example.
    #[error("the certificate is not for delegations")]
    Purpose,
    /// No path to any of the roots, or a signature or constraint on it does not hold.
    #[error("the delegation chain does not lead to a known root")]
    Path,
    /// The path is not root, CA, leaf.
    #[error("a delegation is issued by its key's own CA, under the root")]
    Depth,
    /// The leaf may do more than sign data, or the CA may not issue.
    #[error("the key usage of the delegation chain is not what it must be")]
    Usage,
    /// There is no scope extension.
    #[error("the certificate has no scope extension, so it delegates nothing")]
    NoScope,
    /// The scope extension cannot be read.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The leaf or CA does not have exactly one name, and that a `signet:` one.
    #[error("the certificate must have one URI: {0}")]
    Name(NameError),
    /// The leaf is of one key, its issuer the CA of another.
    #[error("the certificate is for one key and was issued by the CA of another")]
    OtherKey,
}

/// Verifies a delegation chain as of `now` (Unix seconds).
///
/// `chain` is DER, the leaf first; the root may stand in it and is not trusted for that. `roots` are DER certificates
/// of delegation roots only: never the roots of nodes.
///
/// Checked: the path and its signatures, validity of leaf, CA and root, that both are for delegations, that the path is
/// exactly root → CA → leaf, `digitalSignature` and nothing else on the leaf, the scope extension, and that leaf and
/// CA name the same trust domain, tenant and key (R5).
///
/// # Errors
/// [`DelegationError`].
pub fn verify_chain(
    chain: &[impl AsRef<[u8]>],
    roots: &[impl AsRef<[u8]>],
    now: u64,
) -> Result<VerifiedDelegation, DelegationError> {
    if chain.is_empty() || chain.len() > MAX_CHAIN || roots.is_empty() || roots.len() > MAX_ROOTS {
        return Err(DelegationError::Length);
    }
    let certificates = chain
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let leaf = certificates.first().ok_or(DelegationError::Length)?;
    let (ca, path_end) = verify_path(&certificates, roots, now)?;
    if !leaf.signs_data_only() || ca.path_len() != Some(Some(0)) {
        return Err(DelegationError::Usage);
    }
    let scope = leaf
        .private_extension(SCOPE_EXTENSION)?
        .ok_or(DelegationError::NoScope)?;
    let name: DelegationName = only_uri(leaf)?.parse().map_err(DelegationError::Name)?;
    let ca_name: KeyName = only_uri(&ca)?.parse().map_err(DelegationError::Name)?;
    if name.key_name() != ca_name {
        return Err(DelegationError::OtherKey);
    }
    Ok(VerifiedDelegation {
        scope: Scope::from_der(scope)?,
        name,
        public_key: leaf.public_key()?,
        not_before: leaf.not_before(),
        not_after: leaf.not_after().min(path_end),
        code_signing: leaf.has_purpose(oid::CODE_SIGNING),
    })
}

/// Checks the path; gives the CA that issued the leaf on the path that held, and when CA or root end.
fn verify_path(
    chain: &[Certificate],
    roots: &[impl AsRef<[u8]>],
    now: u64,
) -> Result<(Certificate, u64), DelegationError> {
    let ders: Vec<CertificateDer<'_>> = chain.iter().map(|one| CertificateDer::from(one.der())).collect();
    let (leaf, others) = ders.split_first().ok_or(DelegationError::Length)?;
    let roots = valid_roots(roots, now)?;
    let root_ders: Vec<CertificateDer<'_>> = roots.iter().map(|root| CertificateDer::from(root.der())).collect();
    let anchors = root_ders
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<Vec<_>, _>>();
    let anchors = anchors.map_err(|_| CertificateError::Malformed("a root is not a certificate"))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(path_error)?;
    let path = leaf
        .verify_for_usage(
            &[schemes::ECDSA_P256_SHA256, schemes::ECDSA_P384_SHA384],
            &anchors,
            others,
            UnixTime::since_unix_epoch(Duration::from_secs(now)),
            KeyUsage::required(DELEGATION_PURPOSE_VALUE),
            None,
            None,
        )
        .map_err(path_error)?;
    let mut issuers = path.intermediate_certificates();
    let (Some(ca), None) = (issuers.next(), issuers.next()) else {
        return Err(DelegationError::Depth);
    };
    let ca = Certificate::from_der(&ca.der())?;
    let at = anchors.iter().position(|anchor| anchor == path.anchor());
    let root = at.and_then(|at| roots.get(at)).ok_or(DelegationError::Path)?;
    let end = ca.not_after().min(root.not_after());
    Ok((ca, end))
}

/// Path checking takes a trust anchor's name and key only, so that the roots' own validity is checked here.
fn valid_roots(roots: &[impl AsRef<[u8]>], now: u64) -> Result<Vec<Certificate>, DelegationError> {
    let roots = roots
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let all_ended = roots.iter().all(|root| root.not_after() < now);
    let valid: Vec<_> = roots
        .into_iter()
        .filter(|root| (root.not_before()..=root.not_after()).contains(&now))
        .collect();
    match (valid.is_empty(), all_ended) {
        (false, _) => Ok(valid),
        (true, true) => Err(DelegationError::Expired),
        (true, false) => Err(DelegationError::NotYetValid),
    }
}

fn path_error(error: webpki::Error) -> DelegationError {
    match error {
        webpki::Error::CertExpired { .. } => DelegationError::Expired,
        webpki::Error::CertNotValidYet { .. } => DelegationError::NotYetValid,
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => DelegationError::Purpose,
        _ => DelegationError::Path,
    }
}

fn only_uri(certificate: &Certificate) -> Result<String, DelegationError> {
    match certificate.alt_names()?.as_slice() {
        [one] => one.clone().ok_or(DelegationError::Name(NameError::Shape)),
        _ => Err(DelegationError::Name(NameError::Shape)),
    }
}
