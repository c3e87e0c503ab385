//! How a key looks from outside: KMS's `KeyMetadata`.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::reference::key_arn;
use super::{Delegation, Family, KeyRecord, Keys, Session, State};
use crate::crypto::KeySpec;

impl Keys {
    /// `KeyMetadata`; for operators with what KMS has no words for, under `Signet`.
    pub(super) fn metadata(&self, session: &Session<'_>, key: &KeyRecord) -> Value {
        let mut shape = Map::new();
        let mut set = |name: &str, value: Value| shape.insert(name.to_owned(), value);
        set("AWSAccountId", json!(key.tenant));
        set("KeyId", json!(key.id));
        set("Arn", json!(self.arn(key)));
        set("CreationDate", json!(key.created_at));
        set("Enabled", json!(key.is_enabled()));
        set("Description", json!(key.description));
        set("KeyUsage", json!(key.usage));
        set("KeyState", json!(key.state.as_str()));
        set("Origin", json!(key.origin.as_str()));
        set("KeyManager", json!(key.manager));
        set("CustomerMasterKeySpec", json!(key.spec));
        set("KeySpec", json!(key.spec));
        set("MultiRegion", json!(key.multi_region.is_some()));
        match key.state {
            State::PendingDeletion { at, .. } => {
                set("DeletionDate", json!(at));
            }
            State::PendingReplicaDeletion { window_days } => {
                set("PendingDeletionWindowInDays", json!(window_days));
            }
            _ => {}
        }
        if let Some(imported) = key
            .current()
            .and_then(|version| key.imports.present.get(&version.number))
        {
            match imported.valid_to {
                Some(at) => {
                    set("ExpirationModel", json!("KEY_MATERIAL_EXPIRES"));
                    set("ValidTo", json!(at));
                }
                None => {
                    set("ExpirationModel", json!("KEY_MATERIAL_DOES_NOT_EXPIRE"));
                }
            }
        }
        if let (KeySpec::SymmetricDefault, Some(version)) = (key.spec, key.current()) {
            set("CurrentKeyMaterialId", json!(version.kid));
        }
        if let Some(regions) = regions(key) {
            set("MultiRegionConfiguration", regions);
        }
        if session.gate.caller().is_none() {
            set("Signet", self.extras(key));
        }
        shape.append(&mut algorithms(key));
        Value::Object(shape)
    }

    fn extras(&self, key: &KeyRecord) -> Value {
        let now = self.clock.now();
        let versions: Vec<Value> = key
            .versions
            .iter()
            .filter(|version| !version.kid.is_empty())
            .map(|version| {
                json!({
                    "Number": version.number,
                    "Kid": version.kid,
                    "State": version_state(version, now),
                    "PublishAt": version.publish_at,
                    "SignFrom": version.sign_from,
                    "SignUntil": version.sign_until,
                    "RetireAt": version.retire_at,
                })
            })
            .collect();
        let mut extras = json!({
            "Algorithm": key.algorithm(),
            "Family": key.family.as_str(),
            "Delegation": key.delegation.as_str(),
            "Custody": key.custody.as_str(),
            "Aliases": key.aliases,
            "Owner": key.owner(),
            "Contact": key.contact(),
            "CreatedBy": key.created_by,
            "Versions": versions,
            "StopsWhen": stops_when(key),
        });
        if let (true, Some(members)) = (key.family != Family::Raw, extras.as_object_mut()) {
            members.insert("LeaseSeconds".to_owned(), json!(key.lease_ms() / 1_000));
        }
        let noted = [
            ("LegalHold", &key.protection.hold),
            ("Compromised", &key.protection.compromised),
            ("Override", &key.protection.overridden),
        ];
        for (name, note) in noted {
            if let (Some(note), Some(members)) = (note, extras.as_object_mut()) {
                let shape = json!({ "Reason": note.reason, "By": note.by, "At": note.at });
                members.insert(name.to_owned(), shape);
            }
        }
        extras
    }
}

/// `EncryptionAlgorithms`, `SigningAlgorithms` and the like: those of the key's usage, in the service's order.
pub(super) fn algorithms(key: &KeyRecord) -> Map<String, Value> {
    fn list<T: Serialize>(into: &mut Map<String, Value>, name: &str, of: &[T]) {
        if !of.is_empty() {
            into.insert(name.to_owned(), json!(of));
        }
    }
    let (spec, usage) = (key.spec, key.usage);
    let mut lists = Map::new();
    list(&mut lists, "EncryptionAlgorithms", spec.encryption_algorithms(usage));
    list(&mut lists, "SigningAlgorithms", spec.signing_algorithms(usage));
    list(&mut lists, "MacAlgorithms", spec.mac_algorithms(usage));
    list(
        &mut lists,
        "KeyAgreementAlgorithms",
        spec.key_agreement_algorithms(usage),
    );
    list(
        &mut lists,
        "EncapsulationAlgorithms",
        spec.encapsulation_algorithms(usage),
    );
    lists
}

/// `MultiRegionConfiguration`.
fn regions(key: &KeyRecord) -> Option<Value> {
    let all = key.multi_region.as_ref()?;
    let entry = |region: &str| json!({ "Arn": key_arn(region, &key.tenant, &key.id), "Region": region });
    let kind = if all.primary == key.region {
        "PRIMARY"
    } else {
        "REPLICA"
    };
    Some(json!({
        "MultiRegionKeyType": kind,
        "PrimaryKey": entry(&all.primary),
        "ReplicaKeys": all.replicas.iter().map(|region| entry(region)).collect::<Vec<_>>(),
    }))
}

fn version_state(version: &crate::rotation::Version, now: u64) -> &'static str {
    if version.compromised {
        "Compromised"
    } else if version.signs(now) {
        "Signing"
    } else if version.is_standby(now) {
        "Standby"
    } else {
        "Retiring"
    }
}

/// What ends the trust in a stolen key, by who verifies (design, section 5).
fn stops_when(key: &KeyRecord) -> &'static str {
    match (key.delegation, key.is_secret()) {
        (Delegation::None, _) => "it is disabled: only the authority holds it",
        (Delegation::Own, _) => "the edge's certificate ends, for verifiers that check the chain",
        (Delegation::Shared, false) => {
            "it leaves the JWKS and verifiers' caches of it expire; a verifier that knows the key alone must drop it"
        }
        (Delegation::Shared, true) => "every verifier that holds the secret drops it",
    }
}
