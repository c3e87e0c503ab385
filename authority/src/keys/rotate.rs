//! `RotateKeyOnDemand`, `MarkVersionCompromised` (which KMS has no words for), and the rotation that time brings.

use serde::Deserialize;
use serde_json::{Value, json};

use super::material::{self, Made};
use super::reference::KeyOnly;
use super::{Delegation, KeyRecord, Keys, KmsError, KmsErrorType, Session, State};
use crate::fault::Fault;
use crate::names::{Tenant, shown};
use crate::paths;
use crate::rotation;
use crate::sealed::{Change, Held};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CompromisedRequest {
    key_id: String,
    kid: String,
}

pub(super) async fn rotate_key_on_demand(
    keys: &Keys,
    caller: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    let mut key = keys.find(caller, &request.key_id).await?;
    demand_shared(keys, &key.value)?;
    keys.demand_usable(&key.value)?;
    let now = keys.clock.now();
    let schedule = key.value.schedule(&keys.settings.schedule);
    if !rotation::rotate_now(&mut key.value.versions, now, &schedule) {
        let message = "no version stands by: keys that sign artifacts rotate by making a new key";
        return Err(KmsErrorType::UnsupportedOperation.because(message));
    }
    keys.follow_plan(key).await?;
    Ok(json!({ "KeyId": request.key_id }))
}

pub(super) async fn mark_version_compromised(
    keys: &Keys,
    caller: &Session<'_>,
    request: CompromisedRequest,
) -> Result<Value, KmsError> {
    let mut key = keys.find(caller, &request.key_id).await?;
    demand_shared(keys, &key.value)?;
    if request.kid.is_empty() || !rotation::compromise(&mut key.value.versions, &request.kid, keys.clock.now()) {
        let message = format!("{} has no version `{}`", keys.arn(&key.value), shown(&request.kid));
        return Err(KmsErrorType::NotFound.because(message));
    }
    tracing::warn!(
        key = key.value.id,
        kid = request.kid,
        "version marked as compromised: it leaves every JWKS now"
    );
    let metadata = keys.follow_plan(key).await?;
    Ok(json!({ "KeyMetadata": metadata }))
}

impl Keys {
    /// Does what time has made due for a shared key: retires, promotes, makes standbys. False when nothing was due.
    pub async fn rotate_if_due(&self, tenant: &Tenant, id: &str) -> Result<bool, Fault> {
        let Some(key) = self.vault.get::<KeyRecord>(&paths::key(tenant, id)).await? else {
            return Ok(false);
        };
        let rotates =
            key.value.delegation == Delegation::Shared && !matches!(key.value.state, State::PendingDeletion { .. });
        let schedule = key.value.schedule(&self.settings.schedule);
        if !rotates || rotation::plan(&key.value.versions, self.clock.now(), &schedule).is_done(&key.value.versions) {
            return Ok(false);
        }
        match self.follow_plan(key).await {
            Ok(_) => Ok(true),
            Err(error) => Err(error.fault.unwrap_or_else(|| Fault::internal(error.message))),
        }
    }

    /// Brings the versions to what the plan says, and commits them with their material in one change. Answers the metadata.
    async fn follow_plan(&self, mut key: Held<KeyRecord>) -> Result<Value, KmsError> {
        let (tenant, id) = (key.value.tenant.clone(), key.value.id.clone());
        let plan = rotation::plan(
            &key.value.versions,
            self.clock.now(),
            &key.value.schedule(&self.settings.schedule),
        );
        let mut change = Change::new();
        for number in plan.retire {
            change = change.delete(paths::material(&tenant, &id, number));
        }
        for version in plan.keep.iter().filter(|version| version.compromised) {
            change = change.delete(paths::material(&tenant, &id, version.number));
        }
        key.value.versions = plan.keep;
        for slot in plan.make {
            let (version, made) = material::make(self, &key.value, &slot).await?;
            let path = paths::material(&tenant, &id, version.number);
            change = match &made {
                Made::Wrapped(secret) => change.create_secret(path, secret),
                Made::InHsm(wrapped) => change.create(path, wrapped),
            };
            tracing::info!(
                key = id,
                kid = version.kid,
                sign_from = version.sign_from,
                "version published"
            );
            key.value.next_version = version.number.saturating_add(1);
            key.value.versions.push(version);
        }
        self.vault
            .commit(change.replace(paths::key(&tenant, &id), &key.value, key.stamp))
            .await?;
        Ok(self.metadata(&key.value))
    }
}

fn demand_shared(keys: &Keys, key: &KeyRecord) -> Result<(), KmsError> {
    if key.delegation == Delegation::Shared {
        return Ok(());
    }
    let message = format!(
        "{} has delegation `{}`: only shared keys have versions",
        keys.arn(key),
        key.delegation.as_str()
    );
    Err(KmsErrorType::UnsupportedOperation.because(message))
}
