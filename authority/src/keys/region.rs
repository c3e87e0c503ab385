//! `ReplicateKey` and `UpdatePrimaryRegion`: one multi-Region key in several regions of this authority.
//!
//! Each region has a row of its own; the material is stored once. What the related keys share is changed in all their rows
//! at once.

use serde::Deserialize;
use serde_json::{Value, json};

use policies::engine::AdminAction;

use super::decide::Facts;
use super::lifecycle::{Imports, Origin};
use super::state::saving;
use super::tag::{self, Tag};
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session, State, policy, row_name};
use crate::fault::Fault;
use crate::names::shown;
use crate::paths;
use crate::sealed::{Change, Held};

/// Replicas of one key.
const MAX_REPLICAS: usize = 64;
/// The state in which ReplicateKey begins a replica, as the service has it; no later answer says it.
const CREATING: &str = "Creating";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ReplicateRequest {
    key_id: String,
    replica_region: String,
    policy: Option<String>,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PrimaryRequest {
    key_id: String,
    primary_region: String,
}

pub(super) async fn replicate_key(
    keys: &Keys,
    session: &Session<'_>,
    request: ReplicateRequest,
) -> Result<Value, KmsError> {
    super::state::check_description(&request.description)?;
    let tags = tag::collect(request.tags)?;
    tag::refuse_reserved(tags.keys())?;
    let region = request.replica_region;
    check_region(&region)?;
    keys.demand_served(&region)?;
    let facts = Facts::default()
        .with("kms:ReplicaRegion", region.as_str())
        .tagging(&tags);
    let mut key = keys.find_by_id(session, &request.key_id, &facts).await?;
    // A replica is a key of the account's, with a policy of the caller's choice.
    session.doing(AdminAction::CreateKey).allow_tenant()?;
    demand_primary(keys, &key.value)?;
    keys.demand_usable(&key.value)?;
    let there = keys.in_region(&region);
    let path = paths::key(session.tenant, &row_name(&key.value.id, &region));
    if keys.vault.get::<KeyRecord>(&path).await?.is_some() || region == key.value.region {
        let message = format!("{} exists already in {region}", keys.arn(&key.value));
        return Err(KmsErrorType::AlreadyExists.because(message));
    }
    let Some(all) = &mut key.value.multi_region else {
        return Err(Fault::internal("a primary key is no multi-Region key").into());
    };
    if all.replicas.len() >= MAX_REPLICAS {
        return Err(KmsErrorType::LimitExceeded.because(format!("a key has at most {MAX_REPLICAS} replicas")));
    }
    all.replicas.insert(region.clone());
    let mut replica = KeyRecord {
        region,
        description: request.description,
        tags,
        aliases: std::collections::BTreeSet::new(),
        created_at: keys.clock.now(),
        created_by: session.principal().to_owned(),
        // Material that was brought into one region has to be brought into each.
        state: match key.value.origin {
            Origin::AwsKms => State::Enabled,
            Origin::External => State::PendingImport,
        },
        imports: Imports {
            pending: key.value.imports.pending,
            ..Imports::default()
        },
        ..key.value.clone()
    };
    let bypass = request.bypass_policy_lockout_safety_check;
    replica.policy = policy::for_new(&there, session, &replica, request.policy, bypass)?;
    let change = keys.with_relatives(saving(Change::new(), &key), &key.value).await?;
    keys.vault.commit(change.create(path, &replica)).await?;
    let tags: Vec<_> = replica
        .tags
        .iter()
        .map(|(name, value)| json!({ "TagKey": name, "TagValue": value }))
        .collect();
    let mut metadata = there.metadata(session, &replica);
    if let Some(members) = metadata.as_object_mut() {
        // The service says it from DescribeKey on.
        members.remove("CurrentKeyMaterialId");
        // What it is now, the caller learns as with the service: by DescribeKey, of which the answer here is the first.
        members.insert("KeyState".to_owned(), json!(CREATING));
        members.insert("Enabled".to_owned(), json!(false));
    }
    let mut answer = json!({
        "ReplicaKeyMetadata": metadata,
        "ReplicaPolicy": replica.policy,
    });
    if let (false, Some(members)) = (tags.is_empty(), answer.as_object_mut()) {
        members.insert("ReplicaTags".to_owned(), json!(tags));
    }
    Ok(answer)
}

pub(super) async fn update_primary_region(
    keys: &Keys,
    session: &Session<'_>,
    request: PrimaryRequest,
) -> Result<Value, KmsError> {
    let region = request.primary_region;
    let facts = Facts::default().with("kms:PrimaryRegion", region.as_str());
    let mut key = keys.find_by_id(session, &request.key_id, &facts).await?;
    demand_primary(keys, &key.value)?;
    keys.demand_usable(&key.value)?;
    let here = key.value.region.clone();
    let missing = || KmsErrorType::NotFound.because(format!("there is no replica in `{}`", shown(&region)));
    let Some(all) = &mut key.value.multi_region else {
        return Err(Fault::internal("a primary key is no multi-Region key").into());
    };
    if !all.replicas.remove(&region) {
        return Err(missing());
    }
    all.replicas.insert(here);
    all.primary = region.clone();
    let there = keys.in_region(&region);
    let next = there.by_id(session.tenant, &key.value.id).await?.ok_or_else(missing)?;
    there.decide(session, &next, None, &facts).await?;
    there.demand_usable(&next.value)?;
    let change = keys.with_relatives(saving(Change::new(), &key), &key.value).await?;
    keys.vault.commit(change).await?;
    Ok(json!({}))
}

/// Refuses keys that are in one region, and replicas.
pub(super) fn demand_primary(keys: &Keys, key: &KeyRecord) -> Result<(), KmsError> {
    let refuse = |why: &str| Err(KmsErrorType::UnsupportedOperation.because(format!("{} {why}", keys.arn(key))));
    match &key.multi_region {
        None => refuse("is not a multi-region key."),
        Some(all) if all.primary != key.region => refuse("is not a multi-region primary key."),
        Some(_) => Ok(()),
    }
}

pub(super) fn check_region(region: &str) -> Result<(), KmsError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=32).contains(&region.len()) && region.bytes().all(allowed) {
        return Ok(());
    }
    Err(KmsErrorType::Validation.because(format!("`{}` is no region", shown(region))))
}

impl Keys {
    /// Refuses regions in which nobody could reach a key: those that the key API does not serve.
    pub(super) fn demand_served(&self, region: &str) -> Result<(), KmsError> {
        let served = &self.settings.served;
        if served.is_empty() || region == self.settings.region || served.iter().any(|served| served == region) {
            return Ok(());
        }
        Err(KmsErrorType::UnsupportedOperation.because(format!("`{region}` is no region of this service")))
    }

    /// Adds to a change of `key` the change of what its related keys share with it. Material that was brought to one of
    /// them and is no version of the key any more goes.
    pub(super) async fn with_relatives(&self, mut change: Change, key: &KeyRecord) -> Result<Change, KmsError> {
        for relative in self.relatives(key).await? {
            let mut changed = relative.clone();
            let record = &mut changed.value;
            record.multi_region.clone_from(&key.multi_region);
            record.next_version = key.next_version;
            record.versions.clone_from(&key.versions);
            record.rotation.clone_from(&key.rotation);
            record.imports.pending = key.imports.pending;
            for number in relative.value.imports.present.keys() {
                if !key.versions.iter().any(|version| version.number == *number) {
                    record.imports.present.remove(number);
                    change = change.delete(record.material(*number));
                }
            }
            if changed.value != relative.value {
                change = saving(change, &changed);
            }
        }
        Ok(change)
    }

    /// Takes a replica that goes out of what its related keys say; the primary that waited for the last one begins its
    /// window.
    pub(super) async fn leave_relatives(&self, mut change: Change, key: &KeyRecord) -> Result<Change, Fault> {
        for mut relative in self.relatives(key).await? {
            let Some(all) = &mut relative.value.multi_region else {
                continue;
            };
            all.replicas.remove(&key.region);
            let alone = all.replicas.is_empty() && all.primary == relative.value.region;
            if let (State::PendingReplicaDeletion { window_days }, true) = (relative.value.state, alone) {
                let window = u64::from(window_days).saturating_mul(super::state::SECONDS_PER_DAY);
                let at = self.clock.now().saturating_add(window);
                relative.value.state = State::PendingDeletion { at, window_days };
            }
            change = saving(change, &relative);
        }
        Ok(change)
    }

    /// The same key in other regions.
    pub(super) async fn relatives(&self, key: &KeyRecord) -> Result<Vec<Held<KeyRecord>>, Fault> {
        let Some(all) = &key.multi_region else {
            return Ok(Vec::new());
        };
        let mut relatives = Vec::new();
        for region in all.replicas.iter().chain([&all.primary]) {
            if *region == key.region {
                continue;
            }
            let path = paths::key(&key.tenant, &row_name(&key.id, region));
            if let Some(relative) = self.vault.get::<KeyRecord>(&path).await? {
                relatives.push(relative);
            }
        }
        Ok(relatives)
    }
}
