//! Client certificates with SPIFFE IDs (X509-SVIDs) as proof of identity.
//!
//! The TLS layer lets in any client certificate that chains to any configured root, and proves that the peer holds its
//! key. That is not enough: a root of one trust domain could issue IDs of another. So the chain is checked here a
//! second time, against the roots of the very rule that its SPIFFE ID falls under (R18), at the time of each request
//! (R19).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use der::Decode;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage as KeyUsageExtension, SubjectAltName};

use super::spiffe_id::check_trust_domain;
use super::{
    Attribute, AuthCode, AuthError, Caller, CallerKind, PathPattern, ProofCache, SpiffeId, TrustRuleError, Verified,
    Window, is_tenant, quoted,
};

/// Certificates that a peer may send, the leaf included. Path building is quadratic in them.
const MAX_CHAIN: usize = 8;
const CACHED_CHAINS: usize = 4096;

/// One `[[callers.spiffe]]` rule: whom a trust domain's roots may speak for.
#[derive(Debug, Clone)]
pub struct SpiffeRule {
    /// The trust domain, such as `example.org`.
    pub trust_domain: String,
    /// An exact path (`/ci/build`), or everything below one (`/ci/*`). `/*` is the whole trust domain.
    pub path: String,
    /// The tenant (12 digits) that these callers belong to.
    pub tenant: String,
    /// CA certificates, DER. At least one.
    pub roots: Vec<CertificateDer<'static>>,
    /// Revocation lists, DER. If there is one, a certificate whose status is unknown is refused, and so is every
    /// certificate once a list is past its `nextUpdate` (R18). Such a chain is verified anew at each request,
    /// since a verdict that hangs on a list's own times is not kept.
    pub crls: Vec<Vec<u8>>,
}

/// All SPIFFE rules. Immutable: make a new one when the rules change.
#[derive(Debug)]
pub struct TrustDomains {
    rules: Vec<Rule>,
    cache: ProofCache<Arc<Caller>>,
}

#[derive(Debug)]
struct Rule {
    trust_domain: String,
    path: PathPattern,
    tenant: String,
    roots: Vec<Root>,
    crls: Vec<CertRevocationList<'static>>,
}

#[derive(Debug)]
struct Root {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    window: Window,
}

impl TrustDomains {
    /// Checks the rules and compiles them.
    ///
    /// # Errors
    ///
    /// The first rule with a malformed trust domain, path, tenant, root or revocation list; with no roots; or with
    /// paths that an earlier rule of the trust domain covers too, for then the tenant would hang on their order.
    pub fn new(rules: Vec<SpiffeRule>) -> Result<Self, TrustRuleError> {
        let mut compiled: Vec<Rule> = Vec::with_capacity(rules.len());
        for rule in rules {
            let rule = Rule::compile(rule)?;
            let clash = |other: &Rule| other.trust_domain == rule.trust_domain && other.path.overlaps(&rule.path);
            if compiled.iter().any(clash) {
                let detail = "another rule of this trust domain covers some of the same paths; make them disjoint";
                return Err(TrustRuleError::new(rule.label(), "path", detail));
            }
            compiled.push(rule);
        }
        let cache = ProofCache::new(CACHED_CHAINS)
            .map_err(|failed| TrustRuleError::new("callers.spiffe", "cache", failed.to_string()))?;
        Ok(Self { rules: compiled, cache })
    }

    /// Every root of every rule: what the TLS layer accepts client certificates under.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.rules
            .iter()
            .flat_map(|rule| &rule.roots)
            .map(|root| &root.certificate)
    }

    /// Whether there is no rule at all, so that no client certificate proves anything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The caller that `chain` (leaf first, from a finished TLS handshake) proves at `now` (Unix seconds).
    ///
    /// # Errors
    ///
    /// `missing_credentials` for an empty chain, `unknown_issuer` for a trust domain without a rule,
    /// `subject_not_allowed` for a path without one, `bad_client_certificate` for everything else.
    pub fn authenticate(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<Arc<Caller>, AuthError> {
        let (leaf, intermediates) = chain.split_first().ok_or_else(AuthError::missing_credentials)?;
        if chain.len() > MAX_CHAIN {
            return Err(refused(format!("sent more than {MAX_CHAIN} certificates")));
        }
        let key = self.cache.key(chain.iter().map(AsRef::as_ref));
        if let Some(caller) = self.cache.get(&key, now, |_| true) {
            return Ok(caller);
        }
        let id = spiffe_id(leaf)?;
        let rule = self.rule(&id)?;
        let window = rule.verify(leaf, intermediates, now)?;
        let caller = Arc::new(rule.caller(&id, window));
        if rule.crls.is_empty() {
            self.cache.insert(key, window, Arc::clone(&caller), now);
        }
        Ok(caller)
    }

    fn rule(&self, id: &SpiffeId) -> Result<&Rule, AuthError> {
        let mut domain = self
            .rules
            .iter()
            .filter(|rule| rule.trust_domain == id.trust_domain())
            .peekable();
        if domain.peek().is_none() {
            let detail = format!("the trust domain {} is not trusted here", quoted(id.trust_domain()));
            return Err(AuthError::new(AuthCode::UnknownIssuer, detail));
        }
        domain.find(|rule| rule.path.matches(id.path())).ok_or_else(|| {
            AuthError::new(
                AuthCode::SubjectNotAllowed,
                format!("no rule allows {}", quoted(id.as_str())),
            )
        })
    }
}

impl Rule {
    fn compile(rule: SpiffeRule) -> Result<Self, TrustRuleError> {
        let label = format!("callers.spiffe {}", quoted(&rule.trust_domain));
        let wrong = |field, detail: String| TrustRuleError::new(&label, field, detail);
        check_trust_domain(&rule.trust_domain).map_err(|error| wrong("trust_domain", error.to_string()))?;
        let path = rule
            .path
            .parse()
            .map_err(|error| wrong("path", format!("{} {error}", quoted(&rule.path))))?;
        if !is_tenant(&rule.tenant) {
            return Err(wrong("tenant", format!("{} is not 12 digits", quoted(&rule.tenant))));
        }
        if rule.roots.is_empty() {
            return Err(wrong(
                "ca_file",
                "holds no certificate; add the trust domain's CA".into(),
            ));
        }
        let root = |certificate| Root::read(certificate).map_err(|detail| wrong("ca_file", detail));
        let roots = rule.roots.into_iter().map(root).collect::<Result<_, _>>()?;
        let crl = |der: &Vec<u8>| {
            let list = BorrowedCertRevocationList::from_der(der).and_then(|list| list.to_owned());
            list.map(CertRevocationList::from)
                .map_err(|error| wrong("crls", format!("not a revocation list: {error}")))
        };
        let crls = rule.crls.iter().map(crl).collect::<Result<_, _>>()?;
        Ok(Self {
            trust_domain: rule.trust_domain,
            path,
            tenant: rule.tenant,
            roots,
            crls,
        })
    }

    fn label(&self) -> String {
        format!("callers.spiffe {}", quoted(&self.trust_domain))
    }

    /// Checks the path to this rule's roots at `now` and answers when the whole of it is valid.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: u64,
    ) -> Result<Window, AuthError> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all;
        let valid = || self.roots.iter().filter(|root| root.window.holds(now));
        let anchors: Vec<TrustAnchor<'_>> = valid().map(|root| root.anchor.clone()).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let end_entity = EndEntityCert::try_from(leaf).map_err(untrusted)?;
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let usage = KeyUsage::client_auth();
        let path = end_entity
            .verify_for_usage(algorithms, &anchors, intermediates, time, usage, revocation, None)
            .map_err(untrusted)?;

        let root = valid()
            .filter(|root| root.anchor == *path.anchor())
            .max_by_key(|root| root.window.not_after);
        let mut window = root
            .ok_or_else(|| refused("no root of the rule issued it".into()))?
            .window;
        let parsed = path
            .intermediate_certificates()
            .map(|certificate| Certificate::from_der(&certificate.der()));
        for certificate in parsed.chain([Certificate::from_der(leaf)]) {
            let one = validity(&certificate.map_err(|error| refused(error.to_string()))?);
            window.not_before = window.not_before.max(one.not_before);
            window.not_after = window.not_after.min(one.not_after);
        }
        match window.holds(now) {
            true => Ok(window),
            false => Err(refused("not valid now".into())),
        }
    }

    fn caller(&self, id: &SpiffeId, window: Window) -> Caller {
        let text = |text: &str| Attribute::Text(text.to_owned());
        Caller::verified(Verified {
            kind: CallerKind::Spiffe,
            tenant: self.tenant.clone(),
            issuer: format!("spiffe://{}", id.trust_domain()),
            subject: id.path().to_owned(),
            attributes: BTreeMap::from([
                ("trust_domain".to_owned(), text(id.trust_domain())),
                ("path".to_owned(), text(id.path())),
            ]),
            expires_at: window.not_after,
        })
    }
}

impl Root {
    fn read(certificate: CertificateDer<'static>) -> Result<Self, String> {
        let bad = |error: &dyn std::fmt::Display| format!("not a CA certificate: {error}");
        let window = validity(&Certificate::from_der(&certificate).map_err(|error| bad(&error))?);
        let anchor = anchor_from_trusted_cert(&certificate)
            .map_err(|error| bad(&error))?
            .to_owned();
        Ok(Self {
            certificate,
            anchor,
            window,
        })
    }
}

/// The one SPIFFE ID of a leaf certificate, in form only: whether it may be believed is for [`TrustDomains`] to say.
///
/// Exactly one URI SAN (X509-SVID section 2), and a key that signs nothing but handshakes (section 5.2).
///
/// # Errors
///
/// `bad_client_certificate`.
pub fn spiffe_id(leaf: &CertificateDer<'_>) -> Result<SpiffeId, AuthError> {
    let certificate = Certificate::from_der(leaf).map_err(|error| refused(error.to_string()))?;
    let extensions = certificate.tbs_certificate();
    if let Some((_, usage)) = extension::<KeyUsageExtension>(extensions)?
        && (usage.key_cert_sign() || usage.crl_sign() || !usage.digital_signature())
    {
        return Err(refused(
            "its key usage lacks digitalSignature, or has keyCertSign or cRLSign".into(),
        ));
    }
    let names = extension::<SubjectAltName>(extensions)?
        .map(|(_, names)| names.0)
        .unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(refused("it does not have exactly one URI SAN".into()));
    };
    uri.parse().map_err(|error| {
        let detail = format!("the client certificate's URI {} {error}", quoted(uri));
        AuthError::new(AuthCode::BadClientCertificate, detail)
    })
}

fn extension<'a, T: Decode<'a> + der::oid::AssociatedOid>(
    certificate: &'a x509_cert::TbsCertificate,
) -> Result<Option<(bool, T)>, AuthError> {
    certificate
        .get_extension::<T>()
        .map_err(|_| refused("it has a malformed or repeated extension".into()))
}

/// `notAfter` is inclusive in X.509, a [`Window`] ends before its end.
fn validity(certificate: &Certificate) -> Window {
    let validity = certificate.tbs_certificate().validity();
    Window {
        not_before: validity.not_before.to_unix_duration().as_secs(),
        not_after: validity.not_after.to_unix_duration().as_secs().saturating_add(1),
    }
}

fn refused(why: String) -> AuthError {
    AuthError::new(
        AuthCode::BadClientCertificate,
        format!("the client certificate is refused: {why}"),
    )
}

fn untrusted(error: webpki::Error) -> AuthError {
    let detail = "the client certificate has no valid path to a root of its trust domain";
    AuthError::new(AuthCode::BadClientCertificate, detail).with_internal(error.to_string())
}

#[cfg(test)]
mod tests;
