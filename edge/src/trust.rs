//! Who calls: the bundle's trust rules, held against a bearer token or a client certificate.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use node::identity::spiffe::{SpiffeRule, TrustDomains};
use node::identity::{self, AuthError, Caller, TrustRuleError};
use node::listen::Protocol;
use node::oidc::{IssuerConfig, Issuers, JwksSource};
use node::problem::Problem;
use policies::bundle::{Bundle, OidcCaller, SpiffeCaller, SubjectPin, TrustedKeys};
use policies::engine::{Attribute, CallerFacts, Principal, RequestFacts};

use rustls::pki_types::CertificateDer;
use signing::certificate::pem_decode;

use crate::receive::Received;
use crate::world::World;

/// Principals of the callers seen last: beyond so many they are made anew.
const PRINCIPALS: usize = 8_192;

/// The caller of a request: by its bearer token if it sent one, else by its client certificate. Asked at every request,
/// whatever the connection has seen before (R19).
pub async fn authenticate(world: &World, received: &Received, now: u64) -> Result<Arc<Caller>, Problem> {
    let refused = |error| refused(error, received);
    let token = identity::bearer_token(received.headers()).map_err(refused)?;
    let caller = match token {
        Some(token) => world.trust().oidc.authenticate(token, now).await,
        None => world.trust().spiffe.authenticate(&received.peer().certificates, now),
    };
    caller.map_err(refused)
}

fn refused(error: AuthError, received: &Received) -> Problem {
    tracing::info!(
        request = %received.id(),
        address = %received.address(),
        code = error.code(),
        detail = error.detail(),
        internal = error.internal(),
        "a caller is not believed"
    );
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{}\"", error.code());
    Problem::new(error.code(), error.detail().to_owned()).with_header(http::header::WWW_AUTHENTICATE, challenge)
}

/// The trust rules of one bundle. The issuers' keys and verified tokens outlive it: a change of rules works while an
/// issuer is down.
#[derive(Debug)]
pub struct Trust {
    oidc: Arc<Issuers>,
    spiffe: TrustDomains,
    principals: Mutex<HashMap<usize, Kept>>,
}

/// A principal, and the caller it was made of.
type Kept = (Weak<Caller>, Arc<Principal>);

impl Trust {
    /// Nobody is believed.
    pub fn nobody() -> Result<Trust, TrustRuleError> {
        let (oidc, spiffe) = (Arc::new(Issuers::new(Vec::new())?), TrustDomains::new(Vec::new())?);
        Ok(Trust {
            oidc,
            spiffe,
            principals: Mutex::default(),
        })
    }

    /// The rules of a bundle, in place of the ones before; each is refused here if it does not bind issuer, audience and
    /// subject (R7), and then nothing has changed.
    pub fn replace(&self, bundle: &Bundle) -> Result<Trust, String> {
        let oidc = bundle
            .callers
            .oidc
            .iter()
            .map(oidc_rule)
            .collect::<Result<Vec<_>, String>>()?;
        let spiffe = bundle
            .callers
            .spiffe
            .iter()
            .map(spiffe_rule)
            .collect::<Result<Vec<_>, String>>()?;
        let spiffe = TrustDomains::new(spiffe).map_err(|error| error.to_string())?;
        self.oidc.replace(oidc).map_err(|error| error.to_string())?;
        Ok(Trust {
            oidc: self.oidc.clone(),
            spiffe,
            principals: Mutex::default(),
        })
    }

    /// Fetches the keys of issuers that have none yet.
    pub async fn warm(&self, now: u64) {
        self.oidc.warm(now).await;
    }

    /// The caller as policies see it. Kept as long as the verified caller is, because making one costs more than deciding.
    pub fn principal(&self, caller: &Arc<Caller>) -> Arc<Principal> {
        let key = Arc::as_ptr(caller).addr();
        let mut principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, principal)) = principals.get(&key)
            && seen.upgrade().is_some_and(|seen| Arc::ptr_eq(&seen, caller))
        {
            return principal.clone();
        }
        if principals.len() >= PRINCIPALS {
            principals.retain(|_, (seen, _)| seen.strong_count() > 0);
            if principals.len() >= PRINCIPALS {
                principals.clear();
            }
        }
        let principal = Arc::new(Principal::new(facts_of(caller)));
        principals.insert(key, (Arc::downgrade(caller), principal.clone()));
        principal
    }
}

fn oidc_rule(rule: &OidcCaller) -> Result<IssuerConfig, String> {
    let jwks = match &rule.keys {
        TrustedKeys::Inline(jwks) => JwksSource::Inline(jwks.as_bytes().to_vec()),
        TrustedKeys::Url { url, ca_pem } => JwksSource::Url {
            url: url.clone(),
            roots: ca_pem.as_deref().map(roots).transpose()?.unwrap_or_default(),
        },
    };
    Ok(IssuerConfig {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        subject: pattern(&rule.subject),
        algorithms: rule
            .algorithms
            .iter()
            .map(|algorithm| algorithm.as_str().to_owned())
            .collect(),
        tenant: rule.tenant.clone(),
        attributes: rule.attributes.clone(),
        jwks,
    })
}

fn spiffe_rule(rule: &SpiffeCaller) -> Result<SpiffeRule, String> {
    Ok(SpiffeRule {
        trust_domain: rule.trust_domain.clone(),
        path: pattern(&rule.path),
        tenant: rule.tenant.clone(),
        roots: roots(&rule.ca_pem)?,
        crls: Vec::new(),
    })
}

fn roots(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = pem_decode("CERTIFICATE", pem).map_err(|error| error.to_string())?;
    Ok(blocks.into_iter().map(CertificateDer::from).collect())
}

fn pattern(pin: &SubjectPin) -> String {
    match pin {
        SubjectPin::Exact(exact) => exact.clone(),
        SubjectPin::Prefix(prefix) => format!("{prefix}*"),
    }
}

fn facts_of(caller: &Caller) -> CallerFacts {
    let attributes = caller.attributes().iter().map(|(name, value)| {
        let value = match value {
            identity::Attribute::Text(text) => Attribute::Text(text.clone()),
            identity::Attribute::Int(int) => Attribute::Int(*int),
            identity::Attribute::Bool(bool) => Attribute::Bool(*bool),
            identity::Attribute::Texts(texts) => Attribute::Texts(texts.clone()),
        };
        (name.clone(), value)
    });
    CallerFacts {
        id: caller.id().to_owned(),
        kind: caller.kind().as_str().to_owned(),
        tenant: caller.tenant().to_owned(),
        issuer: caller.issuer().to_owned(),
        subject: caller.subject().to_owned(),
        attributes: attributes.collect::<BTreeMap<_, _>>(),
    }
}

/// Where and when a request came, as policies see it.
pub fn facts(received: &Received, now: u64) -> RequestFacts {
    let protocol = match received.protocol() {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
        Protocol::Http3 => "http3",
    };
    RequestFacts {
        now,
        source_ip: received.address(),
        protocol,
    }
}
