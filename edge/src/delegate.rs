//! Keeps this edge supplied with the keys its profiles sign with: asked for early, renewed at half-life, dropped in time.
//!
//! While the authority is away the edge goes on signing with what it has until each delegation ends; then that key
//! answers `key_unavailable`. Nothing here is written to disk.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use node::contract::{self, DelegateRequest, delegate_request, delegate_response};
use signing::certificate::pem_encode;
use signing::key::{Secret, SigningKey};
use tokio::time::Instant;

use crate::jitter::{self, Backoff};
use crate::keyring::{Delegation, LogicalKey, OwnKey, SharedKey, State};
use crate::state::Edge;
use crate::uplink::Uplink;

/// Between two looks at what is due when nothing wakes the task sooner.
const IDLE: Duration = Duration::from_secs(1);

/// When one key is asked for next.
struct Next {
    due: Instant,
    backoff: Backoff,
    /// The published versions when it was last asked for: a new one is fetched at once, not at half-life.
    versions: Vec<String>,
}

impl Next {
    fn now() -> Next {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        Next {
            due: Instant::now(),
            backoff,
            versions: Vec::new(),
        }
    }

    fn is_due(&self, edge: &Edge, key: &LogicalKey) -> bool {
        let now = Instant::now();
        if self.due <= now {
            return true;
        }
        // After a failure only time makes it due; else a new version does, or having nothing to sign with.
        let failing = self.backoff.is_running();
        !failing && (self.versions != kids(key) || edge.keyring().held(key.facts.id()).signs_until() <= edge.now())
    }
}

fn kids(key: &LogicalKey) -> Vec<String> {
    key.versions.iter().map(|version| version.kid.clone()).collect()
}

fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}

/// Runs until the process ends.
pub async fn keep(edge: Arc<Edge>, uplink: Arc<Uplink>) {
    let mut plan: HashMap<String, Next> = HashMap::new();
    loop {
        let wanted = wanted(&edge);
        plan.retain(|id, _| wanted.contains_key(id));
        for (id, key) in &wanted {
            let next = plan.entry(id.clone()).or_insert_with(Next::now);
            if next.is_due(&edge, key) {
                renew(&edge, &uplink, key, next).await;
            }
        }
        edge.keyring().expire(edge.now());
        edge.settled();
        tokio::select! {
            () = tokio::time::sleep(IDLE) => {}
            () = edge.delegations_woken() => {}
        }
    }
}

async fn renew(edge: &Edge, uplink: &Uplink, key: &LogicalKey, next: &mut Next) {
    let versions = kids(key);
    match delegate(edge, uplink, key).await {
        Ok(until) => {
            let half = until.saturating_sub(edge.now()).checked_div(2).unwrap_or(0).max(1);
            next.due = after(jitter::around(Duration::from_secs(half)));
            next.backoff.reset();
            next.versions = versions;
        }
        Err(failure) => {
            tracing::warn!(key = key.facts.id(), reason = %failure, "no delegation; it is asked for again");
            next.due = after(next.backoff.next());
        }
    }
}

/// The enabled keys that a profile of the bundle names, and that an edge can hold.
fn wanted(edge: &Edge) -> HashMap<String, Arc<LogicalKey>> {
    if edge.keyring().is_revoked() {
        return HashMap::new();
    }
    let world = edge.world();
    let profiles = world.profiles();
    let keys = profiles.filter_map(|profile| edge.keyring().resolve(profile));
    keys.filter(|key| key.state == State::Enabled && key.delegation != Delegation::None)
        .map(|key| (key.facts.id().to_owned(), key))
        .collect()
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the authority answered {:?}: {}", .0.code(), .0.message())]
    Refused(#[from] tonic::Status),
    #[error("the authority's answer cannot be used: {0}")]
    Unusable(String),
    #[error("the key cannot be made or read: {0}")]
    Key(#[from] signing::key::KeyError),
}

/// Asks for one key and takes it into use; answers until when it serves.
async fn delegate(edge: &Edge, uplink: &Uplink, key: &LogicalKey) -> Result<u64, Failure> {
    match key.delegation {
        Delegation::Own => own(edge, uplink, key).await,
        Delegation::Shared => shared(edge, uplink, key).await,
        Delegation::None => Err(Failure::Unusable("this key is not delegated".into())),
    }
}

async fn own(edge: &Edge, uplink: &Uplink, key: &LogicalKey) -> Result<u64, Failure> {
    let pair = SigningKey::generate(key.algorithm)?;
    let public = pair
        .public()
        .ok_or_else(|| Failure::Unusable("a secret key cannot have a certificate".into()))?;
    let spki = public.to_spki_der();
    let identity = edge.identity();
    let message = signing::delegation::possession_message(
        &identity.trust_domain,
        &identity.edge_id,
        edge.incarnation(),
        key.facts.id(),
        spki,
    );
    let mode = delegate_request::Mode::Own(contract::OwnKey {
        proof: pair.sign(&message)?,
        public_key: spki.to_vec(),
    });
    let Some(delegate_response::Mode::Own(answer)) = call(edge, uplink, key, mode).await? else {
        return Err(Failure::Unusable(
            "a shared key came where a certificate was asked for".into(),
        ));
    };
    // The chain is checked as any verifier would, and must name this very key, edge and process.
    let unusable = |what: &str| Failure::Unusable(what.to_owned());
    let verified = signing::delegation::verify_chain(&answer.certificates, &edge.delegation_roots(), edge.now())
        .map_err(|error| Failure::Unusable(error.to_string()))?;
    let name = &verified.name;
    if name.edge != identity.edge_id || name.incarnation != edge.incarnation() || name.key != key.facts.id() {
        return Err(unusable("the certificate names another key, edge or process"));
    }
    if verified.public_key.thumbprint() != public.thumbprint() {
        return Err(unusable("the certificate is for another public key"));
    }
    let certificates = answer
        .certificates
        .iter()
        .map(|der| pem_encode("CERTIFICATE", der))
        .collect();
    let not_after = verified.not_after;
    let own = OwnKey {
        kid: pair.kid().to_owned(),
        key: pair,
        certificates,
        not_after,
    };
    edge.keyring().hold_own(key.facts.id(), own);
    Ok(not_after)
}

async fn shared(edge: &Edge, uplink: &Uplink, key: &LogicalKey) -> Result<u64, Failure> {
    let mode = delegate_request::Mode::Shared(contract::SharedKey {});
    let Some(delegate_response::Mode::Shared(answer)) = call(edge, uplink, key, mode).await? else {
        return Err(Failure::Unusable(
            "a certificate came where a shared key was asked for".into(),
        ));
    };
    let mut kids = BTreeSet::new();
    let mut versions = Vec::with_capacity(answer.versions.len());
    for version in answer.versions {
        if !kids.insert(version.kid.clone()) {
            return Err(Failure::Unusable(format!("the version `{}` came twice", version.kid)));
        }
        let secret = Secret::new(version.material);
        let pair = SigningKey::import(key.algorithm, &secret)?;
        let pair = if pair.public().is_none() {
            pair.with_kid(&version.kid)?
        } else {
            pair
        };
        if pair.kid() != version.kid {
            return Err(Failure::Unusable(format!(
                "the version `{}` is another key",
                version.kid
            )));
        }
        let (sign_from, sign_until) = (version.sign_from, version.sign_until);
        versions.push(SharedKey {
            key: pair,
            kid: version.kid,
            sign_from,
            sign_until,
        });
    }
    edge.keyring().hold_shared(key.facts.id(), versions, answer.not_after);
    Ok(answer.not_after)
}

async fn call(
    edge: &Edge,
    uplink: &Uplink,
    key: &LogicalKey,
    mode: delegate_request::Mode,
) -> Result<Option<delegate_response::Mode>, Failure> {
    let request = DelegateRequest {
        key_id: key.facts.id().to_owned(),
        incarnation: edge.incarnation().to_owned(),
        mode: Some(mode),
    };
    let mut request = tonic::Request::new(request);
    request.set_timeout(Duration::from_secs(10));
    Ok(uplink.client()?.delegate(request).await?.into_inner().mode)
}
