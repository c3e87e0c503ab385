//! Enrolment of edges that come and go by themselves: a rule says whose OIDC tokens (a Kubernetes projected service-account
//! token is one) make an edge. A token enrolls one edge, once; a rule bounds how many, and all of its edges are revoked as one.
//!
//! A rule pins issuer, audience and subject (R7). It is made by an operator, never by a bundle: who may be a node is not for
//! whoever may publish profiles.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use node::identity::Caller;
use node::oidc::{IssuerConfig, Issuers, JwksSource};
use policies::bundle::SubjectPin;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use signing::certificate::pem_decode;
use signing::digest::sha256;
use signing::encoding::hex;

use crate::clock::Clock;
use crate::edges::{Admission, EdgeRecord, TokenRecord, check_labels};
use crate::fault::Fault;
use crate::kms::demand_no_recorder;
use crate::names::{EdgeId, shown};
use crate::paths;
use crate::sealed::{Change, Held, Stamp, Vault};

/// Rules of one authority.
const MAX_RULES: usize = 64;
/// Bytes of a JWKS or of CA certificates.
const MAX_KEYS: usize = 64 << 10;
/// Audiences of a rule.
const MAX_AUDIENCES: usize = 16;
/// Bytes of what an edge's id begins with; a dash and 16 hexadecimal digits follow.
const MAX_PREFIX: usize = 40;
/// Seconds over which enrolments are counted.
const MINUTE: u64 = 60;
/// What the verifier of tokens wants to know of a caller and an edge has not: a tenant.
const NO_TENANT: &str = "000000000000";

/// Whose tokens make edges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRule {
    /// Its name, as an edge id is written.
    pub name: EdgeId,
    /// What it trusts, and how far.
    pub terms: Terms,
    /// Unix seconds.
    pub created_at: u64,
    /// When its edges were revoked, Unix seconds: it enrolls nobody since.
    pub stopped_at: Option<u64>,
}

/// What a rule trusts, and how far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The exact `iss`.
    pub issuer: String,
    /// A token must name at least one of these in `aud`.
    pub audiences: Vec<String>,
    /// The exact `sub`, or a prefix followed by `*` that pins a repository or more.
    pub subject: String,
    /// JOSE names of the issuer's algorithms.
    pub algorithms: Vec<String>,
    /// The issuer's JWKS itself. Exactly one of this and `jwks_url`.
    #[serde(default)]
    pub jwks: Option<String>,
    /// Where the issuer's JWKS is fetched.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// PEM of the CA that `jwks_url`'s server must chain to; the machine's own roots without it.
    #[serde(default)]
    pub jwks_ca_pem: Option<String>,
    /// What the ids of its edges begin with. Default: the rule's name.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Of its edges, for policies: a region, say.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Most edges of this rule at once, those whose certificates have ended not counted. Default 1000.
    #[serde(default = "default_max_edges")]
    pub max_edges: u32,
    /// Most enrolments within a minute. Default 60.
    #[serde(default = "default_per_minute")]
    pub per_minute: u32,
}

fn default_max_edges() -> u32 {
    1000
}

fn default_per_minute() -> u32 {
    60
}

impl Terms {
    /// As the verifier of tokens takes it.
    fn issuer(&self) -> Result<IssuerConfig, String> {
        let jwks = match (&self.jwks, &self.jwks_url) {
            (Some(jwks), None) => JwksSource::Inline(jwks.as_bytes().to_vec()),
            (None, Some(url)) => JwksSource::Url {
                url: url.clone(),
                roots: match &self.jwks_ca_pem {
                    Some(pem) => {
                        let blocks = pem_decode("CERTIFICATE", pem).map_err(|error| format!("jwks_ca_pem: {error}"))?;
                        blocks.into_iter().map(CertificateDer::from).collect()
                    }
                    None => Vec::new(),
                },
            },
            _ => return Err("jwks: the issuer's keys come from one place: give `jwks` or `jwks_url`".into()),
        };
        Ok(IssuerConfig {
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            subject: self.subject.clone(),
            algorithms: self.algorithms.clone(),
            tenant: NO_TENANT.to_owned(),
            attributes: BTreeMap::new(),
            jwks,
        })
    }

    /// What must hold before a rule is made (R7).
    fn check(&self, name: &EdgeId) -> Result<(), Fault> {
        let invalid = |message: String| Fault::invalid("bad_request", message);
        let large = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > MAX_KEYS);
        if large(&self.jwks) || large(&self.jwks_ca_pem) || self.audiences.len() > MAX_AUDIENCES {
            let message = format!("at most {MAX_KEYS} bytes of keys or certificates and {MAX_AUDIENCES} audiences");
            return Err(invalid(message));
        }
        let config = self.issuer().map_err(invalid)?;
        Issuers::new(vec![config]).map_err(|error| invalid(format!("{}: {}", error.field, error.detail)))?;
        let pin = self
            .subject
            .strip_suffix('*')
            .map(|prefix| SubjectPin::Prefix(prefix.to_owned()));
        if pin.is_some_and(|pin| pin.is_wide()) {
            let subject = shown(&self.subject);
            return Err(invalid(format!(
                "subject: `{subject}` would let a whole organisation be an edge; write the exact `sub`, or pin a repository"
            )));
        }
        if self.max_edges == 0 || self.per_minute == 0 {
            return Err(invalid("`max_edges` and `per_minute` are at least 1".into()));
        }
        check_labels(&self.labels)?;
        self.edge_id(name, 0).map(drop)
    }

    fn edge_id(&self, name: &EdgeId, number: u64) -> Result<EdgeId, Fault> {
        let prefix = self.prefix.as_deref().unwrap_or(name.as_str());
        if prefix.len() > MAX_PREFIX {
            let message =
                format!("what an edge's id begins with has at most {MAX_PREFIX} bytes; give a shorter `prefix`");
            return Err(Fault::invalid("bad_request", message));
        }
        let id = EdgeId::parse(&format!("{prefix}-{number:016x}"))?;
        demand_no_recorder(&id)?;
        Ok(id)
    }
}

/// The rules.
pub struct EdgeTrust {
    vault: Arc<Vault>,
    clock: Clock,
    /// For each rule, its verifier as of the row's stamp.
    compiled: Mutex<HashMap<EdgeId, (Stamp, Arc<Issuers>)>>,
}

impl EdgeTrust {
    /// Over the authority's state.
    pub fn new(vault: Arc<Vault>, clock: Clock) -> Self {
        Self {
            vault,
            clock,
            compiled: Mutex::default(),
        }
    }

    /// Makes a rule; a name is taken once. `Invalid` says what is missing or too wide (R7).
    pub async fn add(&self, name: EdgeId, terms: Terms) -> Result<TrustRule, Fault> {
        terms.check(&name)?;
        let rules = self.list().await?;
        if rules.iter().any(|rule| rule.name == name) {
            let message = format!("there is a trust rule `{name}` already; remove it first");
            return Err(Fault::state("conflict", message));
        }
        if rules.len() >= MAX_RULES {
            return Err(Fault::state(
                "conflict",
                format!("there are {MAX_RULES} trust rules already"),
            ));
        }
        let rule = TrustRule {
            name,
            terms,
            created_at: self.clock.now(),
            stopped_at: None,
        };
        let change = Change::new().create(paths::edge_trust(&rule.name), &rule);
        self.vault.commit(change).await?;
        Ok(rule)
    }

    /// Every rule, in order of their names.
    pub async fn list(&self) -> Result<Vec<TrustRule>, Fault> {
        let rows = self.vault.all::<TrustRule>(paths::EDGE_TRUST).await?;
        Ok(rows.into_iter().map(|(_, held)| held.value).collect())
    }

    /// Removes a rule: nobody is enrolled by it any more. Its edges stay.
    pub async fn remove(&self, name: &EdgeId) -> Result<(), Fault> {
        let held = self.held(name).await?.ok_or_else(|| unknown(name))?;
        let path = paths::edge_trust(name);
        let change = Change::new().unchanged(path.clone(), held.stamp).delete(path);
        self.vault.commit(change.delete(paths::edge_room(name))).await?;
        self.compiled().remove(name);
        Ok(())
    }

    /// Stops a rule, if it is there still, and answers the edges that were enrolled by a rule of this name; `NotFound` when there
    /// is neither. Who enrolls meanwhile has either been seen here or fails.
    pub async fn stop(&self, name: &EdgeId) -> Result<Vec<EdgeId>, Fault> {
        let known = self.held(name).await?.is_some();
        stop(&self.vault, name, self.clock.now()).await?;
        let rows = self.vault.all::<EdgeRecord>(paths::EDGES).await?;
        let edges = rows.into_iter().map(|(_, held)| held.value);
        let edges = edges.filter(|edge| edge.enrolled_by.as_ref() == Some(name));
        let edges: Vec<_> = edges.map(|edge| edge.id).collect();
        if edges.is_empty() && !known {
            return Err(unknown(name));
        }
        Ok(edges)
    }

    /// Whom a token of the rule `name` takes in, and what that uses up. Errors are for a stranger: they tell nothing of rules
    /// that the token is not for.
    pub(crate) async fn admission(&self, name: &str, token: &str) -> Result<Admission, Fault> {
        let refuse = |why: &str| Fault::unauthenticated(format!("the trust rule `{}` {why}", shown(name)));
        let missing = || refuse("is not here, or does not take this token; see `signet edges trust list`");
        let name = EdgeId::parse(name).map_err(|_| missing())?;
        let held = self.held(&name).await?.ok_or_else(missing)?;
        let now = self.clock.now();
        let caller = self.issuers(&name, &held)?.authenticate(token, now).await;
        let caller = caller.map_err(|error| {
            let internal = error.internal().unwrap_or_default();
            tracing::warn!(rule = %name, %error, internal, "a token that would enroll an edge is refused");
            Fault::unauthenticated(format!("the token is refused: {error}"))
        })?;
        let row = paths::token(&used(token));
        if self.vault.get::<TokenRecord>(&row).await?.is_some() {
            return Err(Fault::unauthenticated(SPENT));
        }
        if held.value.stopped_at.is_some() {
            return Err(refuse(
                "was stopped when its edges were revoked; remove it and add it anew",
            ));
        }
        // Asked again when it is taken in: here to spare the HSM the work.
        take_room(&self.vault, &held.value, now, Change::new()).await?;
        let number = u64::from_be_bytes(signing::key::random_bytes()?);
        let id = held.value.terms.edge_id(&name, number)?;
        Ok(admission(held, id, &caller, row, now))
    }

    async fn held(&self, name: &EdgeId) -> Result<Option<Held<TrustRule>>, Fault> {
        self.vault.get::<TrustRule>(&paths::edge_trust(name)).await
    }

    /// The verifier of a rule's tokens, which keeps the issuer's keys while the rule stays as it is.
    fn issuers(&self, name: &EdgeId, held: &Held<TrustRule>) -> Result<Arc<Issuers>, Fault> {
        let mut compiled = self.compiled();
        if let Some((stamp, issuers)) = compiled.get(name)
            && *stamp == held.stamp
        {
            return Ok(issuers.clone());
        }
        // It compiled when the rule was made.
        let config = held.value.terms.issuer().map_err(Fault::internal)?;
        let issuers = Issuers::new(vec![config]).map_err(|error| Fault::internal(error.to_string()))?;
        let issuers = Arc::new(issuers);
        compiled.insert(name.clone(), (held.stamp, issuers.clone()));
        Ok(issuers)
    }

    fn compiled(&self) -> std::sync::MutexGuard<'_, HashMap<EdgeId, (Stamp, Arc<Issuers>)>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the rule may have another edge now; the change then holds only while nobody else takes one.
pub(crate) async fn take_room(vault: &Vault, rule: &TrustRule, now: u64, change: Change) -> Result<Change, Fault> {
    // Read before the edges are counted: whoever is not among them changes it.
    let path = paths::edge_room(&rule.name);
    let before = vault.get::<u64>(&path).await?;
    let (mut there, mut lately): (u32, u32) = (0, 0);
    for (_, held) in vault.all::<EdgeRecord>(paths::EDGES).await? {
        let edge = held.value;
        if edge.enrolled_by.as_ref() == Some(&rule.name) {
            let counts = edge.certificates.iter().any(|certificate| certificate.not_after >= now);
            there = there.saturating_add(u32::from(counts));
            lately = lately.saturating_add(u32::from(edge.enrolled_at.saturating_add(MINUTE) > now));
        }
    }
    let refuse = |detail: String| {
        Err(Fault::Busy {
            part: "trust rule",
            detail,
        })
    };
    let name = &rule.name;
    if there >= rule.terms.max_edges {
        return refuse(format!(
            "the trust rule `{name}` has {there} edges, the most it may have"
        ));
    }
    if lately >= rule.terms.per_minute {
        return refuse(format!(
            "the trust rule `{name}` enrolled {lately} edges within a minute"
        ));
    }
    Ok(change.set(path, &now, before.map(|before| before.stamp)))
}

/// Stops a rule: it enrolls nobody from this commit on. Whether it was there and not stopped.
pub(crate) async fn stop(vault: &Vault, name: &EdgeId, now: u64) -> Result<bool, Fault> {
    let path = paths::edge_trust(name);
    let path = path.as_str();
    let attempt = || async move {
        let held = vault.get::<TrustRule>(path).await?;
        let Some(mut held) = held.filter(|held| held.value.stopped_at.is_none()) else {
            return Ok(false);
        };
        held.value.stopped_at = Some(now);
        let change = Change::new().replace(path, &held.value, held.stamp);
        vault.commit(change).await.map(|_| true)
    };
    vault.retry(attempt).await
}

const SPENT: &str = "the token was used before: it enrolls one edge; get a new one from its issuer";

/// The token is used up in the transaction that takes the edge in, and so is the rule asked once more.
fn admission(held: Held<TrustRule>, id: EdgeId, caller: &Caller, row: String, now: u64) -> Admission {
    let rule = held.value;
    let token = TokenRecord {
        edge_id: id.clone(),
        labels: BTreeMap::new(),
        expires_at: caller.expires_at(),
        used_at: Some(now),
    };
    Admission {
        change: Change::new()
            .unchanged(paths::edge_trust(&rule.name), held.stamp)
            .create(row.clone(), &token),
        id,
        labels: rule.terms.labels.clone(),
        rule: Some(rule),
        row,
        spent: SPENT,
    }
}

/// Of what is signed, not of the signature: an ECDSA signature can be rewritten by anybody into another good one.
fn used(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    hex(&sha256(format!("oidc\0{signed}").as_bytes()))
}

fn unknown(name: &EdgeId) -> Fault {
    Fault::not_found(format!("there is no trust rule `{name}`"))
}

#[cfg(test)]
mod tests;
