//! `EnableKeyRotation`, `DisableKeyRotation`, `GetKeyRotationStatus`, `ListKeyRotations`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::decide::Facts;
use super::lifecycle::DEFAULT_PERIOD_DAYS;
use super::page::{self, Paging};
use super::reference::KeyOnly;
use super::rotate::{demand_rotates, has_versions, next_rotation};
use super::state::saving;
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::rotation::Version;
use crate::sealed::Change;

/// Days between two rotations (KMS's bounds).
const PERIOD_DAYS: std::ops::RangeInclusive<u32> = 90..=2560;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct EnableRequest {
    key_id: String,
    rotation_period_in_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListRequest {
    key_id: String,
    include_key_material: Option<String>,
    limit: Option<usize>,
    marker: Option<String>,
}

pub(super) async fn enable_key_rotation(
    keys: &Keys,
    session: &Session<'_>,
    request: EnableRequest,
) -> Result<Value, KmsError> {
    let days = request.rotation_period_in_days.unwrap_or(DEFAULT_PERIOD_DAYS);
    if !PERIOD_DAYS.contains(&days) {
        let message = format!("`RotationPeriodInDays` is 90 to 2560, not {days}");
        return Err(KmsErrorType::Validation.because(message));
    }
    let facts = Facts::default().with("kms:RotationPeriodInDays", i64::from(days));
    set(keys, session, &request.key_id, &facts, Some(days)).await
}

pub(super) async fn disable_key_rotation(
    keys: &Keys,
    session: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    set(keys, session, &request.key_id, &Facts::default(), None).await
}

async fn set(
    keys: &Keys,
    session: &Session<'_>,
    reference: &str,
    facts: &Facts,
    days: Option<u32>,
) -> Result<Value, KmsError> {
    let mut key = keys.find_by_id(session, reference, facts).await?;
    demand_rotates(keys, &key.value)?;
    let rotation = &mut key.value.rotation;
    let before = rotation.clone();
    rotation.enabled = days.is_some();
    if let Some(days) = days {
        // A period that runs goes on: asking twice puts nothing off.
        if !before.enabled || before.period_days != days {
            rotation.next_at = next_rotation(keys.clock.now(), days);
        }
        rotation.period_days = days;
    }
    if before != key.value.rotation {
        let change = keys.with_relatives(saving(Change::new(), &key), &key.value).await?;
        keys.vault.commit(change).await?;
    }
    Ok(json!({}))
}

pub(super) async fn get_key_rotation_status(
    keys: &Keys,
    session: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    let key = keys
        .find_by_id(session, &request.key_id, &Facts::default())
        .await?
        .value;
    let rotates = key.rotation.enabled && !key.state.is_pending_deletion();
    let mut answer = Map::new();
    answer.insert("KeyId".to_owned(), json!(keys.arn(&key)));
    answer.insert("KeyRotationEnabled".to_owned(), json!(rotates));
    if rotates {
        answer.insert("RotationPeriodInDays".to_owned(), json!(key.rotation.period_days));
        answer.insert("NextRotationDate".to_owned(), json!(key.rotation.next_at));
    }
    Ok(Value::Object(answer))
}

pub(super) async fn list_key_rotations(
    keys: &Keys,
    session: &Session<'_>,
    request: ListRequest,
) -> Result<Value, KmsError> {
    let all = match request.include_key_material.as_deref() {
        None | Some("ROTATIONS_ONLY") => false,
        Some("ALL_KEY_MATERIAL") => true,
        Some(_) => {
            let message = "`IncludeKeyMaterial` is ALL_KEY_MATERIAL or ROTATIONS_ONLY";
            return Err(KmsErrorType::Validation.because(message));
        }
    };
    let paging = Paging::new(request.limit, request.marker);
    let (limit, after) = (paging.limit()?, paging.after("")?);
    let key = keys
        .find_by_id(session, &request.key_id, &Facts::default())
        .await?
        .value;
    if request.include_key_material.is_some() && !has_versions(&key) {
        // The service says no more than that.
        return Err(KmsError::silent(KmsErrorType::UnsupportedOperation));
    }
    // Markers are version numbers, written so that they sort as numbers.
    let marker = |version: &Version| format!("{:010}", version.number);
    let raw = key.family == super::Family::Raw;
    let mut rest = key.versions.iter().filter(|version| {
        raw && (all || rotated(&key, version).is_some()) && after.as_ref().is_none_or(|after| marker(version) > *after)
    });
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let more = match rest.next() {
        Some(_) => page.last().map(|version| marker(version)),
        None => None,
    };
    let waiting = match key.imports.pending {
        Some(pending) if keys.is_awaited(&key, pending).await? => "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
        _ => "PENDING_ROTATION",
    };
    let items = page.iter().map(|version| entry(&key, version, waiting)).collect();
    Ok(page::answer("Rotations", items, "", more.as_deref()))
}

fn rotated<'a>(key: &'a KeyRecord, version: &Version) -> Option<&'a super::Rotated> {
    key.rotation
        .history
        .iter()
        .find(|rotated| rotated.version == version.number)
}

/// A `RotationsListEntry`. The first version has no rotation that made it.
fn entry(key: &KeyRecord, version: &Version, waiting: &str) -> Value {
    let is_current = key.current().is_some_and(|current| current.number == version.number);
    let state = match is_current {
        true => "CURRENT",
        false if key.imports.pending == Some(version.number) => waiting,
        false => "NON_CURRENT",
    };
    let mut shape = Map::new();
    let mut set = |name: &str, value: Value| shape.insert(name.to_owned(), value);
    set("KeyId", json!(key.id));
    set("KeyMaterialId", json!(version.kid));
    set("KeyMaterialState", json!(state));
    let imported = key.imports.present.get(&version.number);
    if key.origin == super::Origin::External {
        let state = if imported.is_some() {
            "IMPORTED"
        } else {
            "PENDING_IMPORT"
        };
        set("ImportState", json!(state));
    }
    if let Some(imported) = imported {
        let model = match imported.valid_to {
            Some(at) => {
                set("ValidTo", json!(at));
                "KEY_MATERIAL_EXPIRES"
            }
            None => "KEY_MATERIAL_DOES_NOT_EXPIRE",
        };
        set("ExpirationModel", json!(model));
        if let Some(text) = &imported.description {
            set("KeyMaterialDescription", json!(text));
        }
    }
    if let Some(rotated) = rotated(key, version) {
        set("RotationDate", json!(rotated.at));
        set("RotationType", json!(rotated.kind.as_str()));
    }
    Value::Object(shape)
}
