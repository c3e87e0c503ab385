//! The watch stream: the edge's view of keys, bundle and its own standing follows the authority's.
//!
//! The authority's changes are applied in the order they come. A stream that ends is made again with jittered backoff and
//! resumes from the last revision applied. Delegations are kept by [`crate::delegate`]; what a lost stream means for them
//! is written there.

use std::sync::Arc;
use std::time::Duration;

use node::contract::watch_event::Event;
use node::contract::{self, WatchEvent, WatchRequest};
use policies::engine::KeyFacts;
use tokio::time::timeout;
use tonic::Code;

use crate::jitter::Backoff;
use crate::keyring::{Delegation, LogicalKey, State, Version};
use crate::state::Edge;
use crate::uplink::Uplink;
use signing::jwk::Jwk;
use signing::key::{Family, PublicKey, Verifier};

/// The authority sends something at least each second; a stream silent for this long is taken for dead.
const SILENCE: Duration = Duration::from_secs(5);

/// Follows the authority until the process ends.
pub async fn follow(edge: Arc<Edge>, uplink: Arc<Uplink>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let mut revision = 0;
    loop {
        let before = revision;
        if let Err(failure) = stream(&edge, &uplink, &mut revision).await {
            edge.set_connected(false);
            if failure.code() == Code::PermissionDenied {
                tracing::error!(
                    reason = failure.message(),
                    "the authority refuses this edge; it forgets its keys"
                );
                edge.keyring().revoke();
            } else {
                tracing::warn!(code = ?failure.code(), reason = failure.message(), "the watch stream ended; it is made again");
            }
        }
        if revision != before {
            backoff.reset();
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn stream(edge: &Arc<Edge>, uplink: &Uplink, revision: &mut u64) -> Result<(), tonic::Status> {
    let request = WatchRequest {
        revision: *revision,
        bundle_digest: edge.bundle_digest(),
        incarnation: edge.incarnation().to_owned(),
    };
    let mut client = uplink.client()?;
    let silent = |_| tonic::Status::deadline_exceeded("the authority sent nothing for 5 s");
    let mut events = timeout(SILENCE, client.watch(request))
        .await
        .map_err(silent)??
        .into_inner();
    while let Some(event) = timeout(SILENCE, events.message()).await.map_err(silent)?? {
        *revision = apply(edge, event, *revision).await;
        edge.set_connected(true);
    }
    Err(tonic::Status::unavailable("the authority closed the stream"))
}

/// Applies one event and returns the revision the edge is at.
async fn apply(edge: &Arc<Edge>, event: WatchEvent, revision: u64) -> u64 {
    edge.observe_time(event.authority_time_ms);
    match event.event {
        Some(Event::Snapshot(snapshot)) => {
            edge.set_delegation_roots(snapshot.delegation_roots);
            edge.keyring()
                .replace(snapshot.keys.into_iter().filter_map(logical_key).collect());
            if let Some(bundle) = snapshot.bundle {
                edge.load_bundle(bundle).await;
            }
            edge.wake_delegations();
        }
        Some(Event::Bundle(bundle)) => {
            edge.load_bundle(bundle).await;
            edge.wake_delegations();
        }
        Some(Event::Key(key)) if key.deleted => edge.keyring().remove(&key.id),
        Some(Event::Key(key)) => {
            if let Some(key) = logical_key(key) {
                tracing::info!(key = key.facts.id(), state = ?key.state, "the authority changed a key");
                edge.keyring().put(key);
                edge.wake_delegations();
            }
        }
        Some(Event::Revoked(revoked)) => {
            tracing::error!(
                reason = revoked.reason,
                "the authority has revoked this edge; it forgets its keys"
            );
            edge.keyring().revoke();
        }
        Some(Event::Heartbeat(_)) | None => {}
    }
    event.revision.max(revision)
}

/// A key as the contract writes it, or nothing (said in the log) where this edge is too old to understand it.
fn logical_key(key: contract::Key) -> Option<LogicalKey> {
    let unknown = |what: &str| {
        tracing::warn!(
            key = key.id,
            what,
            "a key has something this edge does not know; it is left out"
        );
    };
    let Ok(algorithm) = key.algorithm.parse() else {
        unknown("algorithm");
        return None;
    };
    let family = match key.family() {
        contract::Family::Raw => Family::Raw,
        contract::Family::Token => Family::Token,
        contract::Family::Artifact => Family::Artifact,
        contract::Family::Unspecified => {
            unknown("family");
            return None;
        }
    };
    let delegation = match key.delegation() {
        contract::Delegation::Own => Delegation::Own,
        contract::Delegation::Shared => Delegation::Shared,
        contract::Delegation::None | contract::Delegation::Unspecified => Delegation::None,
    };
    // A state this edge does not know stops the key: better no signature than one too many.
    let state = match key.state() {
        contract::KeyState::Enabled => State::Enabled,
        contract::KeyState::PendingDeletion => State::PendingDeletion,
        contract::KeyState::Disabled | contract::KeyState::Unspecified => State::Disabled,
    };
    let versions = key.versions.iter().filter_map(version).collect();
    let tags = key.tags.into_iter().collect();
    let facts = Arc::new(KeyFacts::new(key.id, key.tenant, key.aliases, tags));
    Some(LogicalKey {
        facts,
        algorithm,
        family,
        delegation,
        state,
        versions,
    })
}

fn version(version: &contract::KeyVersion) -> Option<Version> {
    let public = match version.public_jwk.as_str() {
        "" => None,
        json => match Jwk::from_json(json.as_bytes()).and_then(|jwk| PublicKey::from_jwk(&jwk)) {
            Ok(key) => Some(Verifier::Public(key)),
            Err(error) => {
                tracing::warn!(kid = version.kid, %error, "a public key cannot be read; it is left out");
                return None;
            }
        },
    };
    Some(Version {
        kid: version.kid.clone(),
        public,
        publish_at: version.publish_at,
        retire_at: version.retire_at,
        compromised: version.compromised,
    })
}
