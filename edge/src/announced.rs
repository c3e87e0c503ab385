//! Keys as the contract writes them, read into what the edge keeps.

use std::sync::Arc;

use node::contract;
use policies::engine::KeyFacts;
use signing::algorithm::Algorithm;
use signing::jwk::Jwk;
use signing::key::{Family, PublicKey, Verifier};

use crate::keyring::{Delegation, LogicalKey, State, Version};

/// A key, or nothing where it was deleted or this edge is too old to understand it (said in the log).
pub fn logical_key(key: contract::Key) -> Option<LogicalKey> {
    if key.deleted {
        return None;
    }
    let unknown = |what: &str| {
        tracing::warn!(
            key = key.id,
            what,
            "a key has something this edge does not know; it is left out"
        );
    };
    let Ok(algorithm) = key.algorithm.parse::<Algorithm>() else {
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
    let versions = key.versions.iter().filter_map(|one| version(one, algorithm)).collect();
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

/// A version whose public key is not what its id and its logical key say is left out: it would verify under another name.
fn version(version: &contract::KeyVersion, algorithm: Algorithm) -> Option<Version> {
    let public = match version.public_jwk.as_str() {
        "" => None,
        json => match public_key(json, version, algorithm) {
            Ok(key) => Some(Verifier::Public(key)),
            Err(error) => {
                tracing::warn!(
                    kid = version.kid,
                    error,
                    "a public key cannot be used; its version is left out"
                );
                return None;
            }
        },
    };
    if public.is_none() && !algorithm.is_symmetric() {
        tracing::warn!(kid = version.kid, "a version has no public key; it is left out");
        return None;
    }
    Some(Version {
        kid: version.kid.clone(),
        public,
        publish_at: version.publish_at,
        sign_from: version.sign_from,
        sign_until: version.sign_until,
        retire_at: version.retire_at,
        compromised: version.compromised,
    })
}

fn public_key(json: &str, version: &contract::KeyVersion, algorithm: Algorithm) -> Result<PublicKey, String> {
    let key = Jwk::from_json(json.as_bytes()).and_then(|jwk| PublicKey::from_jwk(&jwk));
    let key = key.map_err(|error| error.to_string())?;
    if key.algorithm() != algorithm {
        return Err(format!("it is for {}, the key is {algorithm}", key.algorithm()));
    }
    if key.thumbprint() != version.kid {
        return Err("its thumbprint is not the version's id".into());
    }
    Ok(key)
}
