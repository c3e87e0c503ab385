//! Records in the words of the contract with edges. No secrets.

use node::contract;
use signing::digest::sha256;
use signing::encoding::hex;

use crate::bundle::Published;
use crate::keys::{Delegation, Family, KeyRecord, State};

/// A key. An own key's edge knows its own version, and a raw key is in no JWKS (R38).
pub(super) fn key(key: &KeyRecord) -> contract::Key {
    let versions = if key.is_announced() {
        key.versions.as_slice()
    } else {
        &[]
    };
    contract::Key {
        id: key.id.clone(),
        tenant: key.tenant.to_string(),
        aliases: key.aliases.iter().cloned().collect(),
        algorithm: key
            .algorithm()
            .map(|algorithm| algorithm.as_str().to_owned())
            .unwrap_or_default(),
        family: family(key.family).into(),
        delegation: delegation(key.delegation).into(),
        state: state(&key.state).into(),
        versions: versions.iter().map(version).collect(),
        deleted: false,
        tags: key.free_tags().into_iter().collect(),
        compromised: key.protection.compromised.is_some(),
    }
}

/// The files of a bundle, and the new versions of its plugins that are on their way.
pub(super) fn bundle(published: Published, rollouts: Vec<contract::Rollout>) -> contract::Bundle {
    let digest = match rollouts.as_slice() {
        [] => published.digest,
        rollouts => {
            let stages = rollouts
                .iter()
                .map(|one| format!(" {} {} {}", one.id, one.percent, one.aborted));
            let content = stages.fold(published.digest, |all, stage| all + &stage);
            hex(&sha256(content.as_bytes()))
        }
    };
    let files = published
        .files
        .into_iter()
        .map(|(path, content)| contract::File { path, content })
        .collect();
    contract::Bundle {
        digest,
        files,
        rollouts,
    }
}

fn version(version: &crate::rotation::Version) -> contract::KeyVersion {
    contract::KeyVersion {
        kid: version.kid.clone(),
        public_jwk: version.public_jwk.clone(),
        publish_at: version.publish_at,
        sign_from: version.sign_from,
        sign_until: version.sign_until,
        retire_at: version.retire_at,
        compromised: version.compromised,
    }
}

fn family(family: Family) -> contract::Family {
    match family {
        Family::Raw => contract::Family::Raw,
        Family::Token => contract::Family::Token,
        Family::Artifact => contract::Family::Artifact,
    }
}

fn delegation(delegation: Delegation) -> contract::Delegation {
    match delegation {
        Delegation::None => contract::Delegation::None,
        Delegation::Own => contract::Delegation::Own,
        Delegation::Shared => contract::Delegation::Shared,
    }
}

fn state(state: &State) -> contract::KeyState {
    match state {
        State::Enabled => contract::KeyState::Enabled,
        State::Disabled | State::PendingImport => contract::KeyState::Disabled,
        State::PendingDeletion { .. } | State::PendingReplicaDeletion { .. } => contract::KeyState::PendingDeletion,
    }
}
