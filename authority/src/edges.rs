//! The edges of this authority: who may enroll as one, which certificates count, and who is revoked.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use signing::certificate::Certificate;
use signing::digest::sha256;
use signing::encoding::{base64url, hex};
use signing::key::PublicKey;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::edge_trust::{TrustRule, take_room};
use crate::fault::Fault;
use crate::kms::demand_no_recorder;
use crate::names::EdgeId;
use crate::paths;
use crate::sealed::{Change, Vault};

/// How long a join token may live, seconds.
pub const TOKEN_TTL: std::ops::RangeInclusive<u64> = 1..=7 * 86_400;
/// What a join token begins with, so that secret scanners know it.
const TOKEN_PREFIX: &str = "signet-join-";
/// How long a used or expired token is remembered, so that a second use gets a clear answer.
const TOKEN_MEMORY: u64 = 7 * 86_400;
/// Certificates of one edge that count at once: the one in use, and those that its renewals overlapped with.
const MAX_CERTIFICATES: usize = 8;
/// Bytes of a revocation's reason; labels of an edge, and bytes in each.
const MAX_REASON: usize = 256;
const MAX_LABELS: usize = 32;

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeRecord {
    /// Its id.
    pub id: EdgeId,
    /// Whether it may have anything.
    pub state: EdgeState,
    /// What policies may look at, such as a region.
    pub labels: BTreeMap<String, String>,
    /// When it enrolled last, Unix seconds.
    pub enrolled_at: u64,
    /// The trust rule that it enrolled by; none: a join token.
    #[serde(default)]
    pub enrolled_by: Option<EdgeId>,
    /// The certificates that count: one that is not listed is refused even while its dates are good.
    pub certificates: Vec<IssuedCertificate>,
    /// When it was revoked last, Unix seconds, if it ever was: verifiers are told of what was delegated before, also after it has
    /// enrolled anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
}

/// Whether an edge may have anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeState {
    /// It may.
    Active,
    /// It may not, until it enrolls anew with a new join token.
    Revoked {
        /// Unix seconds.
        at: u64,
        /// The operator's words.
        reason: String,
    },
}

/// A node certificate, by serial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Lowercase hex.
    pub serial: String,
    /// Unix seconds, inclusive.
    pub not_after: u64,
}

/// A join token as stored: its hash is the row's path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Whom it enrolls.
    pub edge_id: EdgeId,
    /// For the edge's record.
    pub labels: BTreeMap<String, String>,
    /// Unix seconds, exclusive.
    pub expires_at: u64,
    /// When it was used, Unix seconds.
    pub used_at: Option<u64>,
}

/// Whom to take in, and what that uses up.
pub(crate) struct Admission {
    pub(crate) id: EdgeId,
    pub(crate) labels: BTreeMap<String, String>,
    /// Whose token it was, if it was no join token: its bounds hold when the edge is taken in.
    pub(crate) rule: Option<TrustRule>,
    /// Uses the token up, if that was not done before.
    pub(crate) change: Change,
    /// The token's row, and what to say when somebody else was first to change it.
    pub(crate) row: String,
    pub(crate) spent: &'static str,
}

/// An edge that has shown its certificate just now. Only [`Edges::authenticate`] makes one (R19: ask it for each request).
#[derive(Clone, Debug)]
pub struct KnownEdge {
    record: EdgeRecord,
    serial: String,
    not_after: u64,
    key: PublicKey,
}

impl KnownEdge {
    /// Its id.
    pub fn id(&self) -> &EdgeId {
        &self.record.id
    }

    /// Its record when it was authenticated.
    pub fn record(&self) -> &EdgeRecord {
        &self.record
    }

    /// The serial of the certificate it showed.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The last second of that certificate.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The key of that certificate, which the connection was made with.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// The edges.
#[derive(Debug)]
pub struct Edges {
    vault: Arc<Vault>,
    clock: Clock,
    trust_domain: String,
    /// Held by whoever takes in an edge by a trust rule: in one process they do not race.
    admitting: Mutex<()>,
}

impl Edges {
    /// Over the authority's state.
    pub fn new(vault: Arc<Vault>, clock: Clock, trust_domain: String) -> Self {
        Self {
            vault,
            clock,
            trust_domain,
            admitting: Mutex::default(),
        }
    }

    /// The SPIFFE ID of an edge.
    pub fn spiffe_id(&self, id: &EdgeId) -> String {
        format!("spiffe://{}/edge/{id}", self.trust_domain)
    }

    /// A token that lets one process enroll as `edge_id`, once, within `ttl` seconds; and when it expires. Stored as its
    /// hash: this is the only time it is seen.
    pub async fn create_token(
        &self,
        edge_id: &EdgeId,
        ttl: u64,
        labels: BTreeMap<String, String>,
    ) -> Result<(String, u64), Fault> {
        if !TOKEN_TTL.contains(&ttl) {
            return Err(Fault::invalid(
                "bad_request",
                format!("`ttl_seconds` is 1 to {}, not {ttl}", TOKEN_TTL.end()),
            ));
        }
        demand_no_recorder(edge_id)?;
        check_labels(&labels)?;
        let token = format!("{TOKEN_PREFIX}{}", base64url(&signing::key::random_bytes::<32>()?));
        let expires_at = self.clock.now().saturating_add(ttl);
        let record = TokenRecord {
            edge_id: edge_id.clone(),
            labels,
            expires_at,
            used_at: None,
        };
        self.vault
            .commit(Change::new().create(token_path(&token), &record))
            .await?;
        Ok((token, expires_at))
    }

    /// Whom a join token takes in. `Unauthenticated` when there is none such, when it was used, and when its time is over.
    pub(crate) async fn open_token(&self, token: &str) -> Result<Admission, Fault> {
        if token.len() > 128 || !token.starts_with(TOKEN_PREFIX) {
            return Err(Fault::unauthenticated(
                "this is no join token; make one with `signet edges token`",
            ));
        }
        let row = token_path(token);
        let held = self.vault.get::<TokenRecord>(&row).await?;
        let now = self.clock.now();
        let refuse = |what: &str| {
            Err(Fault::unauthenticated(format!(
                "the join token {what}; make a new one with `signet edges token`"
            )))
        };
        match held {
            None => refuse("is unknown"),
            Some(held) if held.value.used_at.is_some() => refuse("was used before"),
            Some(held) if now >= held.value.expires_at => refuse("has expired"),
            Some(held) => {
                let used = TokenRecord {
                    used_at: Some(now),
                    ..held.value
                };
                Ok(Admission {
                    id: used.edge_id.clone(),
                    labels: used.labels.clone(),
                    rule: None,
                    change: Change::new().replace(row.clone(), &used, held.stamp),
                    row,
                    spent: "the join token was used before; make a new one with `signet edges token`",
                })
            }
        }
    }

    /// Takes an edge in, with its first certificate, and uses the token up: in one transaction, durable when answered. `Busy`
    /// where the rule that it comes by has no room any more.
    pub(crate) async fn admit(&self, admission: Admission, first: IssuedCertificate) -> Result<(), Fault> {
        let (admission, first) = (&admission, &first);
        let _turn = match &admission.rule {
            Some(_) => Some(self.admitting.lock().await),
            None => None,
        };
        let attempt = || async move {
            let now = self.clock.now();
            let path = paths::edge(&admission.id);
            let before = self.vault.get::<EdgeRecord>(&path).await?;
            let mut change = admission.change.clone();
            if let Some(rule) = &admission.rule {
                change = take_room(&self.vault, rule, now, change).await?;
            }
            let record = EdgeRecord {
                id: admission.id.clone(),
                state: EdgeState::Active,
                labels: admission.labels.clone(),
                enrolled_at: now,
                enrolled_by: admission.rule.as_ref().map(|rule| rule.name.clone()),
                certificates: vec![first.clone()],
                revoked_at: before.as_ref().and_then(|before| before.value.last_revoked()),
            };
            let change = change.set(path, &record, before.map(|before| before.stamp));
            match self.vault.commit(change).await {
                Ok(_) => Ok(()),
                Err(Fault::Raced { path }) if path == admission.row => Err(Fault::unauthenticated(admission.spent)),
                Err(fault) => Err(fault),
            }
        };
        self.vault.retry(attempt).await
    }

    /// Adds a renewed certificate to those that count.
    pub(crate) async fn add_certificate(&self, edge: &KnownEdge, new: &IssuedCertificate) -> Result<(), Fault> {
        let path = paths::edge(edge.id());
        let path = path.as_str();
        let attempt = || async move {
            let mut held = self
                .vault
                .get::<EdgeRecord>(path)
                .await?
                .ok_or_else(|| unknown(edge.id()))?;
            demand_active(&held.value)?;
            let now = self.clock.now();
            let list = &mut held.value.certificates;
            list.retain(|certificate| certificate.not_after >= now);
            if list.len() >= MAX_CERTIFICATES {
                list.remove(0);
            }
            list.push(new.clone());
            self.vault
                .commit(Change::new().replace(path, &held.value, held.stamp))
                .await
        };
        self.vault.retry(attempt).await.map(drop)
    }

    /// Every edge, in order of their ids.
    pub async fn list(&self) -> Result<Vec<EdgeRecord>, Fault> {
        let rows = self.vault.all::<EdgeRecord>(paths::EDGES).await?;
        Ok(rows.into_iter().map(|(_, held)| held.value).collect())
    }

    /// Revokes an edge: durable when answered, and pushed to the edge at once. Revoking twice changes nothing.
    pub async fn revoke(&self, id: &EdgeId, reason: &str) -> Result<EdgeRecord, Fault> {
        if reason.len() > MAX_REASON || reason.contains(char::is_control) {
            return Err(Fault::invalid(
                "bad_request",
                format!("`reason` has at most {MAX_REASON} printable bytes"),
            ));
        }
        let path = paths::edge(id);
        let path = path.as_str();
        let attempt = || async move {
            let mut held = self.vault.get::<EdgeRecord>(path).await?.ok_or_else(|| unknown(id))?;
            if held.value.state == EdgeState::Active {
                held.value.state = EdgeState::Revoked {
                    at: self.clock.now(),
                    reason: reason.to_owned(),
                };
                held.value.certificates.clear();
                self.vault
                    .commit(Change::new().replace(path, &held.value, held.stamp))
                    .await?;
                tracing::warn!(edge = %id, reason, "edge revoked");
            }
            Ok(held.value)
        };
        self.vault.retry(attempt).await
    }

    /// Who the peer is, from the certificates it showed in TLS (already verified to stand under the node root): the
    /// certificate must be one that counts, in its time, of an edge that is not revoked. A linearizable read.
    pub async fn authenticate(&self, certificates: &[CertificateDer<'static>]) -> Result<KnownEdge, Fault> {
        let Some(leaf) = certificates.first() else {
            return Err(Fault::unauthenticated(
                "a node certificate is needed; enroll with `signet edge join`",
            ));
        };
        let refuse = |why: &str| Fault::unauthenticated(format!("the node certificate {why}"));
        let leaf = Certificate::from_der(leaf).map_err(|_| refuse("does not read"))?;
        let uris = leaf.uris().map_err(|_| refuse("does not read"))?;
        let [uri] = uris.as_slice() else {
            return Err(refuse("must have one SPIFFE ID"));
        };
        // Our own check of the trust domain (R18): the path below `edge/` must be one edge id and nothing else.
        let prefix = format!("spiffe://{}/edge/", self.trust_domain);
        let id = uri
            .strip_prefix(&prefix)
            .ok_or_else(|| refuse("is not an edge's of this trust domain"))?;
        let id = EdgeId::parse(id).map_err(|_| refuse("is not an edge's of this trust domain"))?;
        let now = self.clock.now();
        if now < leaf.not_before() || now > leaf.not_after() {
            return Err(refuse("is outside its validity; enroll anew"));
        }
        let held = self.vault.get::<EdgeRecord>(&paths::edge(&id)).await?;
        let record = held
            .ok_or_else(|| refuse("is of an edge that is not known here"))?
            .value;
        demand_active(&record)?;
        let serial = leaf.serial();
        if !record.certificates.iter().any(|issued| issued.serial == serial) {
            return Err(refuse("has been replaced; enroll anew"));
        }
        Ok(KnownEdge {
            record,
            serial,
            not_after: leaf.not_after(),
            key: leaf.public_key().map_err(|_| refuse("does not read"))?,
        })
    }

    /// Forgets tokens that nobody asks about any more, and edges of trust rules that have been gone for long; answers how many
    /// tokens.
    pub async fn sweep_tokens(&self) -> Result<usize, Fault> {
        let before = self.clock.now().saturating_sub(TOKEN_MEMORY);
        let mut swept: usize = 0;
        for (path, held) in self.vault.all::<TokenRecord>(paths::TOKENS).await? {
            if held.value.expires_at < before {
                self.vault
                    .commit(Change::new().unchanged(path.clone(), held.stamp).delete(path))
                    .await?;
                swept = swept.saturating_add(1);
            }
        }
        for (path, held) in self.vault.all::<EdgeRecord>(paths::EDGES).await? {
            if held.value.enrolled_by.is_some() && held.value.ended_at() < before {
                let change = Change::new().unchanged(path.clone(), held.stamp).delete(path);
                self.vault.commit(change).await?;
            }
        }
        Ok(swept)
    }
}

impl EdgeRecord {
    /// When it was revoked last, Unix seconds.
    pub(crate) fn last_revoked(&self) -> Option<u64> {
        match self.state {
            EdgeState::Revoked { at, .. } => Some(at),
            EdgeState::Active => self.revoked_at,
        }
    }

    /// When its last certificate ended or will, or it was revoked: Unix seconds.
    fn ended_at(&self) -> u64 {
        match self.state {
            EdgeState::Active => self
                .certificates
                .iter()
                .map(|issued| issued.not_after)
                .max()
                .unwrap_or(0),
            EdgeState::Revoked { at, .. } => at,
        }
    }
}

/// What an edge may be labelled with.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Fault> {
    let large = |(name, value): (&String, &String)| name.len().max(value.len()) > MAX_REASON;
    if labels.len() > MAX_LABELS || labels.iter().any(large) {
        let message = format!("an edge has at most {MAX_LABELS} labels of at most {MAX_REASON} bytes");
        return Err(Fault::invalid("bad_request", message));
    }
    Ok(())
}

/// `Denied` with the code `edge_revoked`, which edges act upon.
pub(crate) fn demand_active(record: &EdgeRecord) -> Result<(), Fault> {
    match &record.state {
        EdgeState::Active => Ok(()),
        EdgeState::Revoked { .. } => Err(Fault::denied(
            "edge_revoked",
            format!("the edge `{}` is revoked", record.id),
        )),
    }
}

fn unknown(id: &EdgeId) -> Fault {
    Fault::not_found(format!("there is no edge `{id}`"))
}

/// The row of a token: tokens have 256 random bits, so a plain hash is enough.
fn token_path(token: &str) -> String {
    paths::token(&hex(&sha256(token.as_bytes())))
}

#[cfg(test)]
mod tests;
