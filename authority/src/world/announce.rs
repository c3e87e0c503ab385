//! Records in the words of the contract with edges. No secrets.

use std::collections::HashMap;

use bytes::Bytes;
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

/// Bytes of a file or a component that edges are sent with the bundle; what has more, they fetch.
const INLINE: usize = 64 << 10;

/// The files of a bundle, and the new versions of its plugins that are on their way; and what edges may fetch.
pub(super) fn bundle(
    published: Published,
    mut rollouts: Vec<contract::Rollout>,
) -> (contract::Bundle, HashMap<[u8; 32], Bytes>) {
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
    let mut objects = HashMap::new();
    for rollout in &mut rollouts {
        let component = std::mem::take(&mut rollout.component);
        (rollout.component, rollout.component_digest, rollout.component_size) = told(component, &mut objects);
    }
    let files = published.files.into_iter().map(|(path, content)| {
        let (content, digest, size) = told(content, &mut objects);
        contract::File {
            path,
            content,
            digest,
            size,
        }
    });
    let bundle = contract::Bundle {
        digest,
        files: files.collect(),
        rollouts,
    };
    (bundle, objects)
}

/// How edges are told of something: it, or its digest and its size. What they may ask for is added to `objects`: a small component
/// too, which they have but may want the machine code of.
fn told(content: Vec<u8>, objects: &mut HashMap<[u8; 32], Bytes>) -> (Vec<u8>, Vec<u8>, u64) {
    let is_large = content.len() > INLINE;
    if !is_large && !content.starts_with(b"\0asm") {
        return (content, Vec::new(), 0);
    }
    let digest = sha256(&content);
    let object = objects.entry(digest).or_insert_with(|| content.into());
    match is_large {
        true => (
            Vec::new(),
            digest.to_vec(),
            u64::try_from(object.len()).unwrap_or(u64::MAX),
        ),
        false => (object.to_vec(), Vec::new(), 0),
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
