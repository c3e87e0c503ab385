//! `EnableKey`, `DisableKey`, `ScheduleKeyDeletion`, `CancelKeyDeletion`, `UpdateKeyDescription`, and the deletion itself.

use serde::Deserialize;
use serde_json::{Value, json};

use super::reference::KeyOnly;
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session, State};
use crate::fault::Fault;
use crate::names::Tenant;
use crate::paths;
use crate::sealed::{Change, Held};

/// Days between the request and the deletion (KMS's bounds and default).
const WINDOW_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
const DEFAULT_WINDOW_DAYS: u32 = 30;
const SECONDS_PER_DAY: u64 = 86_400;
/// Characters in a description.
pub(super) const MAX_DESCRIPTION: usize = 8192;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ScheduleRequest {
    key_id: String,
    pending_window_in_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescriptionRequest {
    key_id: String,
    description: String,
}

pub(super) async fn enable_key(keys: &Keys, caller: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    switch(keys, caller, &request.key_id, State::Enabled).await
}

pub(super) async fn disable_key(keys: &Keys, caller: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    switch(keys, caller, &request.key_id, State::Disabled).await
}

async fn switch(keys: &Keys, caller: &Session<'_>, reference: &str, state: State) -> Result<Value, KmsError> {
    let mut key = keys.find(caller, reference).await?;
    keys.demand_not_pending(&key.value)?;
    if key.value.state != state {
        key.value.state = state;
        keys.save(&key).await?;
    }
    Ok(json!({}))
}

pub(super) async fn schedule_key_deletion(
    keys: &Keys,
    caller: &Session<'_>,
    request: ScheduleRequest,
) -> Result<Value, KmsError> {
    let window_days = request.pending_window_in_days.unwrap_or(DEFAULT_WINDOW_DAYS);
    if !WINDOW_DAYS.contains(&window_days) {
        let message = format!("`PendingWindowInDays` is 7 to 30, not {window_days}");
        return Err(KmsErrorType::Validation.because(message));
    }
    let mut key = keys.find(caller, &request.key_id).await?;
    keys.demand_not_pending(&key.value)?;
    let at = keys
        .clock
        .now()
        .saturating_add(u64::from(window_days).saturating_mul(SECONDS_PER_DAY));
    key.value.state = State::PendingDeletion { at, window_days };
    keys.save(&key).await?;
    Ok(json!({
        "KeyId": keys.arn(&key.value),
        "DeletionDate": at,
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": window_days,
    }))
}

pub(super) async fn cancel_key_deletion(
    keys: &Keys,
    caller: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    let mut key = keys.find(caller, &request.key_id).await?;
    if !matches!(key.value.state, State::PendingDeletion { .. }) {
        let message = format!("{} is not pending deletion", keys.arn(&key.value));
        return Err(KmsErrorType::InvalidState.because(message));
    }
    key.value.state = State::Disabled;
    keys.save(&key).await?;
    Ok(json!({ "KeyId": keys.arn(&key.value) }))
}

pub(super) async fn update_key_description(
    keys: &Keys,
    caller: &Session<'_>,
    request: DescriptionRequest,
) -> Result<Value, KmsError> {
    check_description(&request.description)?;
    let mut key = keys.find(caller, &request.key_id).await?;
    keys.demand_not_pending(&key.value)?;
    key.value.description = request.description;
    keys.save(&key).await?;
    Ok(json!({}))
}

pub(super) fn check_description(text: &str) -> Result<(), KmsError> {
    if text.chars().count() > MAX_DESCRIPTION {
        let message = format!("`Description` has at most {MAX_DESCRIPTION} characters");
        return Err(KmsErrorType::Validation.because(message));
    }
    Ok(())
}

impl Keys {
    /// Stores a key that must be as it was read.
    pub(super) async fn save(&self, key: &Held<KeyRecord>) -> Result<(), KmsError> {
        let path = paths::key(&key.value.tenant, &key.value.id);
        self.vault
            .commit(Change::new().replace(path, &key.value, key.stamp))
            .await?;
        Ok(())
    }

    /// Deletes a key whose window is over, with its material, CA and aliases, all at once. False when it is not due.
    pub async fn delete_if_due(&self, tenant: &Tenant, id: &str) -> Result<bool, Fault> {
        let path = paths::key(tenant, id);
        let Some(key) = self.vault.get::<KeyRecord>(&path).await? else {
            return Ok(false);
        };
        match key.value.state {
            State::PendingDeletion { at, .. } if at <= self.clock.now() => {}
            _ => return Ok(false),
        }
        let mut change = Change::new()
            .unchanged(path.clone(), key.stamp)
            .delete(path)
            .delete(paths::ca(tenant, id));
        for alias in &key.value.aliases {
            change = change.delete(paths::alias(tenant, alias));
        }
        for number in 1..key.value.next_version {
            // Only what may still be there: material of retired versions has been deleted with them.
            if key.value.versions.iter().any(|version| version.number == number) {
                change = change.delete(paths::material(tenant, id, number));
            }
        }
        self.vault.commit(change).await?;
        tracing::info!(%tenant, key = id, "key deleted: its window was over");
        Ok(true)
    }
}
