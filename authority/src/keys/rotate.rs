//! `RotateKeyOnDemand`, `MarkVersionCompromised` (which KMS has no words for), and the rotation that time brings.
//!
//! A shared key's versions follow a timeline ([`crate::rotation`]). A raw symmetric key gets a new version that encrypts
//! from then on, and keeps the old ones for what they encrypted.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::lifecycle::{Origin, Rotated, RotationKind};
use super::material;
use super::reference::KeyOnly;
use super::state::{SECONDS_PER_DAY, saving};
use super::{Family, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::KeySpec;
use crate::fault::Fault;
use crate::names::shown;
use crate::rotation;
use crate::sealed::{Change, Held};

/// Rotations on demand of one key in its life (KMS's quota).
pub(super) const MAX_ON_DEMAND: u32 = 25;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CompromisedRequest {
    key_id: String,
    kid: String,
}

pub(super) async fn rotate_key_on_demand(
    keys: &Keys,
    session: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    let mut key = keys
        .find_for_operator(session, &request.key_id, &Facts::default())
        .await?;
    let arn = keys.arn(&key.value);
    let answer = json!({ "KeyId": arn });
    if key.value.family == Family::Raw {
        keys.demand_usable(&key.value)?;
        demand_versions(keys, &key.value)?;
        if key.value.rotation.on_demand >= MAX_ON_DEMAND {
            let message = "The on-demand rotations limit has been reached for the given keyId. No more on-demand \
                           rotations can be performed for this key:";
            return Err(KmsErrorType::LimitExceeded.because(format!("{message} {arn}")));
        }
        match key.value.origin {
            Origin::AwsKms => keys.rotate_raw(key, RotationKind::OnDemand).await?,
            Origin::External => keys.rotate_imported(key).await?,
        }
        return Ok(answer);
    }
    demand_announced(keys, &key.value)?;
    keys.demand_usable(&key.value)?;
    let now = keys.clock.now();
    let schedule = key.value.schedule(&keys.settings.schedule);
    if !rotation::rotate_now(&mut key.value.versions, now, &schedule) {
        let message = "no version stands by: keys that sign artifacts rotate by making a new key";
        return Err(KmsErrorType::UnsupportedOperation.because(message));
    }
    keys.follow_plan(key).await?;
    Ok(answer)
}

pub(super) async fn mark_version_compromised(
    keys: &Keys,
    session: &Session<'_>,
    request: CompromisedRequest,
) -> Result<Value, KmsError> {
    let mut key = keys.find(session, &request.key_id, &Facts::default()).await?;
    demand_announced(keys, &key.value)?;
    if request.kid.is_empty() || !rotation::compromise(&mut key.value.versions, &request.kid, keys.clock.now()) {
        let message = format!("{} has no version `{}`", keys.arn(&key.value), shown(&request.kid));
        return Err(KmsErrorType::NotFound.because(message));
    }
    session.gate.note_version(&request.kid);
    tracing::warn!(
        key = key.value.id,
        kid = request.kid,
        "version marked as compromised: it leaves every JWKS now"
    );
    let key = keys.follow_plan(key).await?;
    Ok(json!({ "KeyMetadata": keys.metadata(session, &key) }))
}

impl Keys {
    /// Does what time has made due: retires, promotes, makes standbys of shared keys, rotates raw ones. False when
    /// nothing was.
    pub(super) async fn rotate_if_due(&self, key: Held<KeyRecord>) -> Result<bool, KmsError> {
        let (record, now) = (&key.value, self.clock.now());
        if record.rotates_here() && record.rotation.next_at <= now {
            self.rotate_raw(key, RotationKind::Automatic).await?;
            return Ok(true);
        }
        if !self.rotation_is_due(record) {
            return Ok(false);
        }
        self.follow_plan(key).await?;
        Ok(true)
    }

    /// Whether the versions of a shared key are not what they should be now.
    pub(crate) fn rotation_is_due(&self, key: &KeyRecord) -> bool {
        let rotates = key.is_announced() && !key.state.is_pending_deletion();
        rotates && !self.plan(key).is_done(&key.versions)
    }

    /// Gives a raw symmetric key its next version, in every region that it is in.
    async fn rotate_raw(&self, mut key: Held<KeyRecord>, kind: RotationKind) -> Result<(), KmsError> {
        let now = self.clock.now();
        let (version, made) = material::make_raw(self, &key.value).await?;
        let change = made.store(Change::new(), &key.value, &version);
        let record = &mut key.value;
        for old in record.versions.iter_mut().filter(|old| old.signs(now)) {
            old.sign_until = now;
        }
        record.next_version = version.number.saturating_add(1);
        record.rotation.history.push(Rotated {
            version: version.number,
            at: now,
            kind,
        });
        record.versions.push(version);
        match kind {
            RotationKind::OnDemand => record.rotation.on_demand = record.rotation.on_demand.saturating_add(1),
            RotationKind::Automatic => record.rotation.next_at = next_rotation(now, record.rotation.period_days),
        }
        let change = self.with_relatives(saving(change, &key), &key.value).await?;
        self.vault.commit(change).await?;
        tracing::info!(key = key.value.id, kind = kind.as_str(), "key rotated");
        Ok(())
    }

    /// Makes the material that was imported for it the current one.
    async fn rotate_imported(&self, mut key: Held<KeyRecord>) -> Result<(), KmsError> {
        let now = self.clock.now();
        // In all regions at once: what one encrypts, each must be able to decrypt.
        let Some(pending) = key.value.imports.pending else {
            let arn = self.arn(&key.value);
            let message = format!("No available key material pending rotation for the key: {arn}.");
            return Err(KmsErrorType::InvalidState.because(message));
        };
        let record = &mut key.value;
        record.imports.pending = None;
        for version in &mut record.versions {
            if version.number == pending {
                version.sign_from = now;
            } else if version.signs(now) {
                version.sign_until = now;
            }
        }
        record.rotation.on_demand = record.rotation.on_demand.saturating_add(1);
        record.rotation.history.push(Rotated {
            version: pending,
            at: now,
            kind: RotationKind::OnDemand,
        });
        let change = self.with_relatives(saving(Change::new(), &key), &key.value).await?;
        // After the relatives were read for the change: one that loses the material from now on makes the commit fail.
        let lacking = match key.value.imports.present.contains_key(&pending) {
            true => self.region_without(&key.value, pending).await?,
            false => Some(key.value.region.clone()),
        };
        if let Some(region) = lacking {
            let arn = self.arn(&key.value);
            let message = format!("The key material pending rotation for the key {arn} is not imported in {region}.");
            return Err(KmsErrorType::InvalidState.because(message));
        }
        self.vault.commit(change).await?;
        Ok(())
    }

    /// Whether a version's material has still to be brought into a region of the key.
    pub(super) async fn is_awaited(&self, key: &KeyRecord, version: u32) -> Result<bool, Fault> {
        let here = key.imports.present.contains_key(&version);
        Ok(!here || self.region_without(key, version).await?.is_some())
    }

    /// The first other region of a key into which a version's material was not brought, unless the key is on its way out there.
    pub(super) async fn region_without(&self, key: &KeyRecord, version: u32) -> Result<Option<String>, Fault> {
        let relatives = self.relatives(key).await?;
        let lacks = |relative: &&Held<KeyRecord>| {
            let record = &relative.value;
            !record.state.is_pending_deletion() && !record.imports.present.contains_key(&version)
        };
        Ok(relatives
            .iter()
            .find(lacks)
            .map(|relative| relative.value.region.clone()))
    }

    /// What is due for a shared key. Of a held one nothing goes: what has retired stays until the hold is lifted.
    fn plan(&self, key: &KeyRecord) -> rotation::Plan {
        let schedule = key.schedule(&self.settings.schedule);
        let mut plan = rotation::plan(&key.versions, self.clock.now(), &schedule);
        if key.protection.hold.is_some() {
            plan.spare(&key.versions);
        }
        plan
    }

    /// Brings the versions to what the plan says, and commits them with their material in one change.
    async fn follow_plan(&self, mut key: Held<KeyRecord>) -> Result<KeyRecord, KmsError> {
        let id = key.value.id.clone();
        let plan = self.plan(&key.value);
        let mut change = Change::new();
        for number in plan.retire {
            change = change.delete(key.value.material(number));
        }
        key.value.versions = plan.keep;
        if key.value.protection.hold.is_none() {
            change = without_compromised(change, &key.value);
        }
        for slot in plan.make {
            let (version, made) = material::make_announced(self, &key.value, &slot).await?;
            change = made.store(change, &key.value, &version);
            tracing::info!(
                key = id,
                kid = version.kid,
                sign_from = version.sign_from,
                "version published"
            );
            key.value.next_version = version.number.saturating_add(1);
            key.value.versions.push(version);
        }
        self.vault.commit(saving(change, &key)).await?;
        Ok(key.value)
    }
}

/// Deletes the material of versions that are compromised: nobody needs it any more.
pub(super) fn without_compromised(change: Change, key: &KeyRecord) -> Change {
    let compromised = key.versions.iter().filter(|version| version.compromised);
    compromised.fold(change, |change, version| change.delete(key.material(version.number)))
}

/// When a key that rotates every `days` does so next.
pub(super) fn next_rotation(now: u64, days: u32) -> u64 {
    now.saturating_add(u64::from(days).saturating_mul(SECONDS_PER_DAY))
}

/// Refuses keys that time does not rotate: those with imported material, those that may not be used, and those that
/// [`demand_versions`] refuses.
pub(super) fn demand_rotates(keys: &Keys, key: &KeyRecord) -> Result<(), KmsError> {
    if key.origin != Origin::AwsKms {
        let message = format!(
            "{} origin is EXTERNAL which is not valid for this operation.",
            keys.arn(key)
        );
        return Err(KmsErrorType::UnsupportedOperation.because(message));
    }
    keys.demand_usable(key)?;
    demand_versions(keys, key)
}

/// Whether a key is of those whose material can be rotated by its owner or by time.
pub(super) fn has_versions(key: &KeyRecord) -> bool {
    key.family == Family::Raw && key.spec == KeySpec::SymmetricDefault
}

/// Refuses keys that have one material for life: all but symmetric ones, and replicas, which follow their primary.
fn demand_versions(keys: &Keys, key: &KeyRecord) -> Result<(), KmsError> {
    if !has_versions(key) {
        // The service says no more than that.
        return Err(KmsError::silent(KmsErrorType::UnsupportedOperation));
    }
    if key.is_replica() {
        let message = format!("{} is not a multi-region primary key.", keys.arn(key));
        return Err(KmsErrorType::UnsupportedOperation.because(message));
    }
    Ok(())
}

fn demand_announced(keys: &Keys, key: &KeyRecord) -> Result<(), KmsError> {
    if key.is_announced() {
        return Ok(());
    }
    let message = format!(
        "{} has family `{}` and delegation `{}`: it has no versions that edges know",
        keys.arn(key),
        key.family.as_str(),
        key.delegation.as_str()
    );
    Err(KmsErrorType::UnsupportedOperation.because(message))
}
