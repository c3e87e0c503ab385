//! What a key keeps of the material that was brought: its first, and for symmetric keys others that rotations make current.

use super::ImportRequest;
use crate::crypto::{KeySpec, Material};
use crate::keys::lifecycle::{Imported, Origin};
use crate::keys::material::{self, Made};
use crate::keys::state::saving;
use crate::keys::{KeyRecord, Keys, KmsError, KmsErrorType, State};
use crate::rotation::{NEVER, Version};
use crate::sealed::{Change, Held};

/// The version that brought material is: one that the key has, or a new one.
pub(super) fn which(
    keys: &Keys,
    key: &KeyRecord,
    material: &Material,
    request: &ImportRequest,
) -> Result<Version, KmsError> {
    let incorrect = |message: &str| Err(KmsErrorType::IncorrectKeyMaterial.because(message));
    let version = material::raw_version(keys, key, material)?;
    if request.key_material_id.as_ref().is_some_and(|id| *id != version.kid) {
        return incorrect("The key material is not the one with this KeyMaterialId.");
    }
    let known = key.versions.iter().find(|known| known.kid == version.kid);
    let is_first = key.versions.is_empty();
    match (request.import_type.as_deref(), known) {
        (None | Some("EXISTING_KEY_MATERIAL"), Some(known)) => Ok(known.clone()),
        (None | Some("NEW_KEY_MATERIAL"), None) if is_first => Ok(version),
        (None | Some("EXISTING_KEY_MATERIAL"), None) => {
            incorrect("The key material is none that was imported into this key before.")
        }
        (Some("NEW_KEY_MATERIAL"), Some(known)) if key.imports.pending == Some(known.number) => Ok(known.clone()),
        (Some("NEW_KEY_MATERIAL"), Some(_)) => incorrect("The key material was imported into this key before."),
        (Some("NEW_KEY_MATERIAL"), None) if key.is_replica() => {
            let message = format!("{} is not a multi-region primary key.", keys.arn(key));
            Err(KmsErrorType::UnsupportedOperation.because(message))
        }
        (Some("NEW_KEY_MATERIAL"), None) if key.spec == KeySpec::SymmetricDefault => {
            demand_none_pending(keys, key, &version)?;
            Ok(Version {
                // Nothing is encrypted with it before a rotation.
                sign_from: NEVER,
                ..version
            })
        }
        (Some("NEW_KEY_MATERIAL"), None) => Err(KmsErrorType::UnsupportedOperation
            .because("Only symmetric encryption keys take other key material than their first.")),
        _ => Err(KmsErrorType::Validation.because("`ImportType` is NEW_KEY_MATERIAL or EXISTING_KEY_MATERIAL")),
    }
}

/// Only one material waits for a rotation: that one is rotated to, or deleted, before another is brought.
fn demand_none_pending(keys: &Keys, key: &KeyRecord, new: &Version) -> Result<(), KmsError> {
    let pending = key
        .imports
        .pending
        .and_then(|number| key.versions.iter().find(|version| version.number == number));
    match pending {
        Some(pending) => Err(KmsErrorType::InvalidState.because(format!(
            "New key material (id: {}) cannot be imported into KMS key {}, because another key material (id: {}) is \
             pending rotation.",
            new.kid,
            keys.arn(key),
            pending.kid
        ))),
        None => Ok(()),
    }
}

/// Takes material in.
pub(super) fn add(
    key: &mut KeyRecord,
    version: Version,
    imported: Imported,
    material: &Material,
) -> Result<Change, KmsError> {
    let number = version.number;
    let mut change = Change::new();
    let is_new = !key.versions.iter().any(|known| known.number == number);
    if is_new && !key.versions.is_empty() {
        key.imports.pending = Some(number);
    }
    if !key.imports.present.contains_key(&number) {
        change = Made::Wrapped(material.export()?).store(change, key, &version);
    }
    if is_new {
        key.next_version = number.saturating_add(1);
        key.versions.push(version);
    }
    key.imports.present.insert(number, imported);
    if key.state == State::PendingImport && !key.lacks_material() {
        // Bringing material back does not enable what only the quorum may.
        key.state = match key.protection.compromised {
            None => State::Enabled,
            Some(_) => State::Disabled,
        };
    }
    Ok(change)
}

/// Takes the material of a version away. Its id stays, so that the same can be brought again, unless it was only pending
/// rotation: then it is the key's no more, in any region, once its primary loses it.
pub(super) fn remove(change: Change, key: &mut KeyRecord, number: u32) -> Change {
    key.imports.present.remove(&number);
    if key.imports.pending == Some(number) {
        if !key.is_replica() {
            key.imports.pending = None;
            key.versions.retain(|version| version.number != number);
        }
    } else if !key.state.is_pending_deletion() {
        key.state = State::PendingImport;
    }
    change.delete(key.material(number))
}

impl KeyRecord {
    /// Whether it is to be imported: material that it needs is not there.
    pub(in crate::keys) fn lacks_material(&self) -> bool {
        let needed = self
            .versions
            .iter()
            .filter(|version| self.imports.pending != Some(version.number));
        let missing = needed
            .clone()
            .any(|version| !self.imports.present.contains_key(&version.number));
        self.origin == Origin::External && (missing || needed.count() == 0)
    }
}

impl Keys {
    /// Deletes imported material whose time is over. False when there is none.
    pub(in crate::keys) async fn expire_if_due(&self, key: &Held<KeyRecord>) -> Result<bool, KmsError> {
        let mut expired: Vec<u32> = self.expired(&key.value).collect();
        // Held material stays, unusable as [`Keys::is_expired`] says.
        if expired.is_empty() || key.value.protection.hold.is_some() {
            return Ok(false);
        }
        if self.held_replica(&key.value, &expired).await?.is_some() {
            expired.retain(|number| key.value.imports.pending != Some(*number));
        }
        if expired.is_empty() {
            return Ok(false);
        }
        let mut key = key.clone();
        let mut change = Change::new();
        for number in expired {
            change = remove(change, &mut key.value, number);
        }
        let change = self.with_relatives(saving(change, &key), &key.value).await?;
        self.vault.commit(change).await?;
        tracing::info!(key = key.value.id, "imported key material expired");
        Ok(true)
    }

    /// Refuses to take material away with which a replica's goes that is held.
    pub(super) async fn demand_unheld(&self, key: &KeyRecord, number: u32) -> Result<(), KmsError> {
        let Some(replica) = self.held_replica(key, &[number]).await? else {
            return Ok(());
        };
        let arn = self.arn(&replica.value);
        Err(KmsErrorType::InvalidState.because(format!(
            "{arn} is under legal hold, and its key material that is pending rotation goes with that of its primary key."
        )))
    }

    /// A replica under legal hold that loses material when its primary loses one of these: that which is pending rotation
    /// ([`remove`]), and was brought to the replica too.
    async fn held_replica(&self, key: &KeyRecord, numbers: &[u32]) -> Result<Option<Held<KeyRecord>>, KmsError> {
        let Some(pending) = key.imports.pending.filter(|pending| numbers.contains(pending)) else {
            return Ok(None);
        };
        if key.is_replica() {
            return Ok(None);
        }
        let loses = |replica: &Held<KeyRecord>| {
            let record = &replica.value;
            record.protection.hold.is_some() && record.imports.present.contains_key(&pending)
        };
        Ok(self.relatives(key).await?.into_iter().find(loses))
    }

    /// Whether the time of material that it needs is over, deleted already or not.
    pub(in crate::keys) fn is_expired(&self, key: &KeyRecord) -> bool {
        self.expired(key).any(|number| key.imports.pending != Some(number))
    }

    fn expired<'a>(&self, key: &'a KeyRecord) -> impl Iterator<Item = u32> + 'a {
        let now = self.clock.now();
        let present = key.imports.present.iter();
        present
            .filter(move |(_, imported)| imported.valid_to.is_some_and(|at| at <= now))
            .map(|(number, _)| *number)
    }
}
