//! The rules about whose tokens are believed, checked when they are made (R7).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::algorithm::Algorithm;
use super::claims::{AttributeMap, Registered};
use super::jwks::KeyCache;
use super::source::Source;
use super::token::Token;
use crate::identity::{AuthCode, AuthError, Caller, CallerKind, TrustRuleError, Verified, Window, is_tenant, quoted};

const MAX_TEXT: usize = 512;

/// One `[[callers.oidc]]` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The exact `iss`.
    pub issuer: String,
    /// A token must name at least one of these in `aud`. At least one.
    pub audiences: Vec<String>,
    /// The exact `sub`, or a prefix followed by `*`. Never `*` alone.
    pub subject: String,
    /// JOSE names of the algorithms that the issuer's keys may be for. At least one; no HMAC.
    pub algorithms: Vec<String>,
    /// The tenant (12 digits) that these callers belong to.
    pub tenant: String,
    /// Claim → attribute. A claim that begins with `/` is a JSON pointer into nested claims.
    pub attributes: BTreeMap<String, String>,
    /// Where the issuer's keys are.
    pub jwks: JwksSource,
}

/// Where an issuer's JWKS document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// The document itself.
    Inline(Vec<u8>),
    /// A file, read again every five minutes.
    File(PathBuf),
    /// Fetched over HTTPS (HTTP only from this machine itself) and kept.
    Url {
        /// The address.
        url: String,
        /// The CA certificates that its server must chain to, DER; the machine's own roots if there are none.
        roots: Vec<CertificateDer<'static>>,
    },
}

/// The rules of one issuer, and its keys.
#[derive(Debug)]
pub(super) struct Issuer {
    name: String,
    algorithms: Vec<Algorithm>,
    jwks: JwksSource,
    rules: Vec<Rule>,
    pub(super) keys: Arc<KeyCache>,
}

#[derive(Debug)]
struct Rule {
    audiences: Vec<String>,
    subject: SubjectPin,
    tenant: String,
    attributes: AttributeMap,
}

#[derive(Debug, PartialEq, Eq)]
enum SubjectPin {
    Exact(String),
    Prefix(String),
}

/// Groups the rules by issuer. An issuer of `former` with the same key source lends its keys.
pub(super) fn compile(
    configs: Vec<IssuerConfig>,
    former: &HashMap<String, Arc<Issuer>>,
) -> Result<HashMap<String, Arc<Issuer>>, TrustRuleError> {
    let mut issuers: HashMap<String, Issuer> = HashMap::new();
    for config in configs {
        let label = format!("callers.oidc {}", quoted(&config.issuer));
        let wrong = |field, detail: String| TrustRuleError::new(&label, field, detail);
        check_issuer(&config.issuer).map_err(|detail| wrong("issuer", detail))?;
        let algorithms = algorithms(&config.algorithms).map_err(|detail| wrong("algorithms", detail))?;
        let rule = Rule::compile(&config).map_err(|(field, detail)| wrong(field, detail))?;
        match issuers.get_mut(&config.issuer) {
            None => {
                let keys = keys(&config, &algorithms, former).map_err(|detail| wrong("jwks", detail))?;
                let IssuerConfig { issuer: name, jwks, .. } = config;
                issuers.insert(
                    name.clone(),
                    Issuer {
                        name,
                        algorithms,
                        jwks,
                        rules: vec![rule],
                        keys,
                    },
                );
            }
            Some(issuer) if issuer.algorithms != algorithms => {
                return Err(wrong(
                    "algorithms",
                    "another rule of this issuer has other ones; they must agree".into(),
                ));
            }
            Some(issuer) if issuer.jwks != config.jwks => {
                return Err(wrong(
                    "jwks",
                    "another rule of this issuer has another source; they must agree".into(),
                ));
            }
            Some(issuer) if issuer.rules.iter().any(|other| other.overlaps(&rule)) => {
                let detail = "another rule of this issuer takes some of the same subjects for the same audience; \
                              make them disjoint, or the tenant would hang on their order";
                return Err(wrong("subject", detail.into()));
            }
            Some(issuer) => issuer.rules.push(rule),
        }
    }
    Ok(issuers
        .into_iter()
        .map(|(name, issuer)| (name, Arc::new(issuer)))
        .collect())
}

impl Issuer {
    /// Refuses `none`, HMAC and everything else that no rule of this issuer allows, before any key is looked at.
    pub(super) fn check_algorithm(&self, name: &str) -> Result<(), AuthError> {
        if name.parse().is_ok_and(|algorithm| self.algorithms.contains(&algorithm)) {
            return Ok(());
        }
        let detail = format!("the algorithm {} is not allowed for this issuer", quoted(name));
        Err(AuthError::new(AuthCode::BadAlgorithm, detail))
    }

    /// What a token with a good signature says about its bearer, and when it says so.
    pub(super) fn caller(&self, token: &Token<'_>, now: u64) -> Result<(Caller, Window), AuthError> {
        let claims = Registered::read(token.claims())?;
        claims.check_time(now)?;
        let mut meant = self
            .rules
            .iter()
            .filter(|rule| rule.hears(&claims.audiences))
            .peekable();
        if meant.peek().is_none() {
            let detail = "the token is for another audience; ask its issuer for one that names this service";
            return Err(AuthError::new(AuthCode::WrongAudience, detail));
        }
        let rule = meant.find(|rule| rule.subject.matches(claims.subject)).ok_or_else(|| {
            let detail = format!("no rule allows the subject {}", quoted(claims.subject));
            AuthError::new(AuthCode::SubjectNotAllowed, detail)
        })?;
        let caller = Caller::verified(Verified {
            kind: CallerKind::Oidc,
            tenant: rule.tenant.clone(),
            issuer: self.name.clone(),
            subject: claims.subject.to_owned(),
            attributes: rule.attributes.read(token.claims())?,
            expires_at: claims.window.not_after,
        });
        Ok((caller, claims.window))
    }
}

impl Rule {
    fn compile(config: &IssuerConfig) -> Result<Self, (&'static str, String)> {
        if config.audiences.is_empty() {
            return Err((
                "audiences",
                "is empty; name the audience that this service's callers ask for".into(),
            ));
        }
        if let Some(bad) = config
            .audiences
            .iter()
            .find(|text| text.is_empty() || text.contains('*'))
        {
            return Err(("audiences", format!("{} is not an exact audience", quoted(bad))));
        }
        if !is_tenant(&config.tenant) {
            return Err(("tenant", format!("{} is not 12 digits", quoted(&config.tenant))));
        }
        Ok(Self {
            audiences: config.audiences.clone(),
            subject: SubjectPin::parse(&config.subject).map_err(|detail| ("subject", detail))?,
            tenant: config.tenant.clone(),
            attributes: attributes(&config.attributes).map_err(|detail| ("attributes", detail))?,
        })
    }

    fn hears(&self, audiences: &[&str]) -> bool {
        self.audiences
            .iter()
            .any(|audience| audiences.contains(&audience.as_str()))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.audiences.iter().any(|audience| other.audiences.contains(audience))
            && self.subject.overlaps(&other.subject)
    }
}

impl SubjectPin {
    fn parse(text: &str) -> Result<Self, String> {
        let (stem, prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if stem.is_empty() {
            return Err("pins no subject; write the exact `sub`, or a prefix followed by `*`".into());
        }
        if stem.contains('*') || stem.len() > MAX_TEXT || stem.chars().any(char::is_control) {
            return Err(format!(
                "{} may hold `*` only at its end, and at most {MAX_TEXT} bytes",
                quoted(text)
            ));
        }
        match prefix {
            true => Ok(Self::Prefix(stem.to_owned())),
            false => Ok(Self::Exact(stem.to_owned())),
        }
    }

    fn matches(&self, subject: &str) -> bool {
        match self {
            Self::Exact(exact) => subject == exact,
            Self::Prefix(prefix) => subject.starts_with(prefix),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(one), Self::Prefix(two)) => one.starts_with(two) || two.starts_with(one),
            (Self::Exact(exact), pin) | (pin, Self::Exact(exact)) => pin.matches(exact),
        }
    }
}

fn keys(
    config: &IssuerConfig,
    algorithms: &[Algorithm],
    former: &HashMap<String, Arc<Issuer>>,
) -> Result<Arc<KeyCache>, String> {
    match former.get(&config.issuer) {
        Some(same) if same.jwks == config.jwks && same.algorithms == algorithms => Ok(Arc::clone(&same.keys)),
        _ => KeyCache::new(config.issuer.clone(), Source::open(&config.jwks)?, algorithms.to_vec()).map(Arc::new),
    }
}

/// A `#` would make [`Caller::id`] ambiguous; a `*` would be a wildcard that is taken literally.
fn check_issuer(issuer: &str) -> Result<(), String> {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '*' && c != '#';
    match !issuer.is_empty() && issuer.len() <= MAX_TEXT && issuer.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!("{} is not the exact `iss` of one issuer", quoted(issuer))),
    }
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    let parse = |name: &String| name.parse().map_err(|error| format!("{} is {error}", quoted(name)));
    let mut algorithms: Vec<Algorithm> = names.iter().map(parse).collect::<Result<_, _>>()?;
    if algorithms.is_empty() {
        return Err("is empty; name the algorithms of the issuer's keys, such as ES256".into());
    }
    algorithms.sort_by_key(|algorithm| algorithm.as_str());
    algorithms.dedup();
    Ok(algorithms)
}

fn attributes(map: &BTreeMap<String, String>) -> Result<AttributeMap, String> {
    let mut seen = HashSet::new();
    for (claim, attribute) in map {
        if claim.is_empty() {
            return Err("has an empty claim name".into());
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if attribute.len() > 64
            || !attribute.starts_with(|c: char| c.is_ascii_alphabetic())
            || !attribute.chars().all(word)
        {
            return Err(format!(
                "{} is not a name for an attribute: a letter, then `a-z A-Z 0-9 _`",
                quoted(attribute)
            ));
        }
        if !seen.insert(attribute) {
            return Err(format!("two claims are mapped to {}", quoted(attribute)));
        }
    }
    Ok(AttributeMap(
        map.iter()
            .map(|(claim, attribute)| (claim.clone(), attribute.clone()))
            .collect(),
    ))
}
