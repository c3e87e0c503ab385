//! `EnableKey`, `DisableKey`, `ScheduleKeyDeletion`, `CancelKeyDeletion`, `UpdateKeyDescription`, and the deletion itself.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::grant::GrantRecord;
use super::lifecycle::Origin;
use super::protection;
use super::reference::KeyOnly;
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session, State};
use crate::fault::Fault;
use crate::names::Tenant;
use crate::paths;
use crate::sealed::{Change, Held};

/// Days between the request and the deletion (KMS's bounds and default).
const WINDOW_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
const DEFAULT_WINDOW_DAYS: u32 = 30;
pub(super) const SECONDS_PER_DAY: u64 = 86_400;
/// Characters in a description.
pub(super) const MAX_DESCRIPTION: usize = 8192;
/// Grants that one change deletes with their key; with more, the key goes in several looks.
const GRANTS_AT_ONCE: usize = 400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ScheduleRequest {
    key_id: String,
    pending_window_in_days: Option<u32>,
    #[serde(rename = "Override")]
    override_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct EnableRequest {
    key_id: String,
    #[serde(rename = "Override")]
    override_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescriptionRequest {
    key_id: String,
    description: String,
}

pub(super) async fn enable_key(keys: &Keys, session: &Session<'_>, request: EnableRequest) -> Result<Value, KmsError> {
    let reason = protection::override_of(session, request.override_reason)?;
    let mut key = keys.find_by_id_or_operators_alias(session, &request.key_id).await?;
    keys.demand_material(&key.value)?;
    if key.value.state != State::Enabled {
        let approved = keys.demand_enabling(session, &mut key.value, reason.as_deref()).await?;
        key.value.state = State::Enabled;
        match approved {
            Some(approved) => keys.save_approved(&approved, &key).await?,
            None => keys.save(&key).await?,
        }
    }
    Ok(json!({}))
}

/// Stopping a key waits for nobody.
pub(super) async fn disable_key(keys: &Keys, session: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    let mut key = keys.find_by_id_or_operators_alias(session, &request.key_id).await?;
    keys.demand_material(&key.value)?;
    if key.value.state != State::Disabled {
        key.value.state = State::Disabled;
        keys.save(&key).await?;
    }
    Ok(json!({}))
}

pub(super) async fn schedule_key_deletion(
    keys: &Keys,
    session: &Session<'_>,
    request: ScheduleRequest,
) -> Result<Value, KmsError> {
    let window_days = request.pending_window_in_days.unwrap_or(DEFAULT_WINDOW_DAYS);
    if !WINDOW_DAYS.contains(&window_days) {
        let message = format!("`PendingWindowInDays` is 7 to 30, not {window_days}");
        return Err(KmsErrorType::Validation.because(message));
    }
    let reason = protection::override_of(session, request.override_reason)?;
    let reason = reason.as_deref();
    let facts = Facts::default().with("kms:ScheduleKeyDeletionPendingWindowInDays", i64::from(window_days));
    let mut key = keys.find_for_operator(session, &request.key_id, &facts).await?;
    keys.demand_not_pending(&key.value)?;
    keys.demand_deletable(session, &mut key.value, reason).await?;
    let parameters = protection::overriding(reason).with("PendingWindowInDays", window_days);
    let approved = keys.demand_approval(session, &key.value, parameters).await?;
    let regions = key.value.multi_region.as_ref();
    let waits = regions.is_some_and(|all| all.primary == key.value.region && !all.replicas.is_empty());
    let mut answer = json!({
        "KeyId": keys.arn(&key.value),
        "PendingWindowInDays": window_days,
    });
    key.value.state = if waits {
        State::PendingReplicaDeletion { window_days }
    } else {
        let at = keys.clock.now().saturating_add(seconds(window_days));
        if let Some(members) = answer.as_object_mut() {
            members.insert("DeletionDate".to_owned(), json!(at));
        }
        State::PendingDeletion { at, window_days }
    };
    keys.save_approved(&approved, &key).await?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("KeyState".to_owned(), json!(key.value.state.as_str()));
    }
    Ok(answer)
}

pub(super) async fn cancel_key_deletion(
    keys: &Keys,
    session: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    let mut key = keys.find_by_id_or_operators_alias(session, &request.key_id).await?;
    if !key.value.state.is_pending_deletion() {
        let message = format!("{} is not pending deletion.", keys.arn(&key.value));
        return Err(KmsErrorType::InvalidState.because(message));
    }
    // It may have begun already: a key with many grants goes in several looks.
    if keys.is_deletion_due(&key.value) {
        let message = format!("{} is being deleted: its waiting period is over.", keys.arn(&key.value));
        return Err(KmsErrorType::InvalidState.because(message));
    }
    key.value.state = if key.value.lacks_material() {
        State::PendingImport
    } else {
        State::Disabled
    };
    keys.save(&key).await?;
    Ok(json!({ "KeyId": keys.arn(&key.value) }))
}

pub(super) async fn update_key_description(
    keys: &Keys,
    session: &Session<'_>,
    request: DescriptionRequest,
) -> Result<Value, KmsError> {
    check_description(&request.description)?;
    let mut key = keys.find_by_id_or_operators_alias(session, &request.key_id).await?;
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

fn seconds(days: u32) -> u64 {
    u64::from(days).saturating_mul(SECONDS_PER_DAY)
}

impl Keys {
    /// As [`Keys::find_by_id`], as KMS has it; operators, whose commands take a key by any name, may say its alias too.
    pub(super) async fn find_for_operator(
        &self,
        session: &Session<'_>,
        reference: &str,
        facts: &Facts,
    ) -> Result<Held<KeyRecord>, KmsError> {
        match session.gate.caller() {
            Some(_) => self.find_by_id(session, reference, facts).await,
            None => self.find(session, reference, facts).await,
        }
    }

    async fn find_by_id_or_operators_alias(
        &self,
        session: &Session<'_>,
        reference: &str,
    ) -> Result<Held<KeyRecord>, KmsError> {
        self.find_for_operator(session, reference, &Facts::default()).await
    }

    /// Stores a key that must be as it was read.
    pub(super) async fn save(&self, key: &Held<KeyRecord>) -> Result<(), KmsError> {
        self.vault.commit(saving(Change::new(), key)).await?;
        Ok(())
    }

    /// Does what time has made due for the key in a row: deletes it, rotates it, lets its material expire. False when
    /// nothing was due.
    ///
    /// # Errors
    /// [`Fault`] of the store or the HSM, or that a change overtook this one: it is tried again at the next look.
    pub async fn upkeep(&self, tenant: &Tenant, row: &str) -> Result<bool, Fault> {
        let Some(key) = self.vault.get::<KeyRecord>(&paths::key(tenant, row)).await? else {
            return Ok(false);
        };
        if matches!(key.value.state, State::PendingDeletion { .. }) {
            return self.delete_if_due(key).await;
        }
        let done = match self.expire_if_due(&key).await {
            Ok(false) => self.rotate_if_due(key).await,
            done => done,
        };
        done.map_err(|error| error.fault.unwrap_or_else(|| Fault::internal(error.message)))
    }

    /// Whether the key's window is over and nothing holds it.
    fn is_deletion_due(&self, key: &KeyRecord) -> bool {
        let is_over = matches!(key.state, State::PendingDeletion { at, .. } if at <= self.clock.now());
        is_over && key.protection.hold.is_none()
    }

    /// Deletes a key whose deletion is due, with its material, CA, aliases and grants, all at once; of more grants than one
    /// change takes, only those first.
    async fn delete_if_due(&self, key: Held<KeyRecord>) -> Result<bool, Fault> {
        if !self.is_deletion_due(&key.value) {
            return Ok(false);
        }
        let _alone = self.counting_grants.lock().await;
        let (tenant, row) = (key.value.tenant.clone(), key.value.row());
        let path = paths::key(&tenant, &row);
        let prefix = paths::grants(&tenant, &row);
        let grants = self.vault.page::<GrantRecord>(&prefix, None, GRANTS_AT_ONCE).await?;
        let last = grants.len() < GRANTS_AT_ONCE;
        let mut change = Change::new().unchanged(path.clone(), key.stamp);
        change = self.without_grants(change, &key.value, grants, !last).await?;
        if last {
            change = self.deleting(change, &key.value).await?.delete(path.clone());
        }
        self.vault.commit(change).await?;
        if last {
            self.forget(&path, &paths::usage(&tenant, &row));
            tracing::info!(%tenant, key = row, "key deleted: its window was over");
        }
        Ok(true)
    }

    /// What goes with a key. A replica's material is its primary's, where that is here and made it.
    async fn deleting(&self, mut change: Change, key: &KeyRecord) -> Result<Change, Fault> {
        change = change
            .delete(paths::ca(&key.tenant, &key.id))
            .delete(paths::grant_count(&key.tenant, &key.row()))
            .delete(paths::usage(&key.tenant, &key.row()));
        for alias in &key.aliases {
            change = change.delete(paths::alias(&key.tenant, &key.region, alias));
        }
        let brought = match key.is_replica() {
            true => self.imported_replica(&key.tenant, &key.id).await?,
            false => None,
        };
        let has_relatives = key.is_replica() && brought.is_none();
        if !has_relatives || key.origin == Origin::External {
            for version in &key.versions {
                change = change.delete(key.material(version.number));
            }
        }
        if let Some(brought) = brought {
            change = brought.outlive(change, key);
        }
        match has_relatives {
            true => self.leave_relatives(change, key).await,
            false => Ok(change),
        }
    }

    fn forget(&self, path: &str, usage: &str) {
        self.cached.materials.forget(path);
        self.cached.publics.forget(path);
        self.cached.policies.forget(path);
        self.cached.facts.forget(path);
        self.uses.forget(usage);
    }
}

/// Adds the writing of a key that must be as it was read.
pub(super) fn saving(change: Change, key: &Held<KeyRecord>) -> Change {
    let path = paths::key(&key.value.tenant, &key.value.row());
    change.replace(path, &key.value, key.stamp)
}
