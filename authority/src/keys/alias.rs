//! `CreateAlias`, `UpdateAlias`, `DeleteAlias`, `ListAliases`. An alias row and the key's own list change together.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::page::{self, Paging};
use super::state::saving;
use super::{AliasRecord, Family, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::paths;
use crate::sealed::{Change, Held};

/// Most aliases of one key (KMS's quota).
const MAX_PER_KEY: usize = 50;
/// Aliases of a page, where nothing is asked and at most (KMS's).
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AliasRequest {
    alias_name: String,
    target_key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AliasOnly {
    alias_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListRequest {
    key_id: Option<String>,
    limit: Option<usize>,
    marker: Option<String>,
}

pub(super) async fn create_alias(keys: &Keys, session: &Session<'_>, request: AliasRequest) -> Result<Value, KmsError> {
    check_name(&request.alias_name)?;
    let mut key = find_target(keys, session, &request.target_key_id).await?;
    keys.demand_not_pending(&key.value)?;
    let path = paths::alias(session.tenant, &keys.region, &request.alias_name);
    if keys.vault.get::<AliasRecord>(&path).await?.is_some() {
        let message = format!(
            "An alias with the name {} already exists",
            keys.alias_arn(session.tenant, &request.alias_name)
        );
        return Err(KmsErrorType::AlreadyExists.because(message));
    }
    add(&mut key, &request.alias_name)?;
    let now = keys.clock.now();
    let alias = AliasRecord {
        key: key.value.id.clone(),
        created_at: now,
        updated_at: now,
    };
    let change = Change::new().create(path, &alias);
    keys.vault.commit(saving(change, &key)).await?;
    Ok(json!({}))
}

pub(super) async fn update_alias(keys: &Keys, session: &Session<'_>, request: AliasRequest) -> Result<Value, KmsError> {
    check_name(&request.alias_name)?;
    let (path, mut alias) = find(keys, session, &request.alias_name).await?;
    let mut to = find_target(keys, session, &request.target_key_id).await?;
    let mut from = keys.find(session, &request.alias_name, &Facts::default()).await?;
    keys.demand_not_pending(&to.value)?;
    if to.value.id == from.value.id {
        return Ok(json!({}));
    }
    demand_one_kind(
        &keys.alias_arn(session.tenant, &request.alias_name),
        &from.value,
        &to.value,
    )?;
    from.value.aliases.remove(&request.alias_name);
    add(&mut to, &request.alias_name)?;
    alias.value.key = to.value.id.clone();
    alias.value.updated_at = keys.clock.now();
    let change = Change::new().replace(path, &alias.value, alias.stamp);
    keys.vault.commit(saving(saving(change, &from), &to)).await?;
    Ok(json!({}))
}

pub(super) async fn delete_alias(keys: &Keys, session: &Session<'_>, request: AliasOnly) -> Result<Value, KmsError> {
    check_name(&request.alias_name)?;
    let (path, alias) = find(keys, session, &request.alias_name).await?;
    let mut key = keys.find(session, &request.alias_name, &Facts::default()).await?;
    key.value.aliases.remove(&request.alias_name);
    let change = Change::new().unchanged(path.clone(), alias.stamp).delete(path);
    keys.vault.commit(saving(change, &key)).await?;
    Ok(json!({}))
}

pub(super) async fn list_aliases(keys: &Keys, session: &Session<'_>, request: ListRequest) -> Result<Value, KmsError> {
    let prefix = paths::aliases(session.tenant, &keys.region);
    let shape = |name: &str, alias: &AliasRecord| {
        json!({
            "AliasName": name,
            "AliasArn": keys.alias_arn(session.tenant, name),
            "TargetKeyId": alias.key,
            "CreationDate": alias.created_at,
            "LastUpdatedDate": alias.updated_at,
        })
    };
    let paging = Paging::new(request.limit, request.marker).within(DEFAULT_LIMIT, MAX_LIMIT);
    let of_key = match &request.key_id {
        Some(reference) => {
            let key = keys.find_by_id(session, reference, &Facts::default()).await?;
            Some(key.value.id)
        }
        None => {
            session.allow_tenant()?;
            None
        }
    };
    let wanted = |alias: &AliasRecord| of_key.as_ref().is_none_or(|id| alias.key == *id);
    let (rows, more) = page::filtered(&keys.vault, &prefix, &paging, wanted).await?;
    let items = rows
        .iter()
        .map(|(path, alias)| shape(path.strip_prefix(&prefix).unwrap_or(path), alias))
        .collect();
    Ok(page::answer("Aliases", items, &prefix, more.as_deref()))
}

async fn find(keys: &Keys, session: &Session<'_>, name: &str) -> Result<(String, Held<AliasRecord>), KmsError> {
    let path = paths::alias(session.tenant, &keys.region, name);
    match keys.vault.get::<AliasRecord>(&path).await? {
        Some(row) => Ok((path, row)),
        None => Err(keys.no_alias(session.tenant, name)),
    }
}

fn add(key: &mut Held<KeyRecord>, name: &str) -> Result<(), KmsError> {
    if key.value.aliases.len() >= MAX_PER_KEY {
        let message = format!(
            "Aliases per key quota for this account in this region is {MAX_PER_KEY}, current usage is {}.",
            key.value.aliases.len()
        );
        return Err(KmsErrorType::LimitExceeded.because(message));
    }
    key.value.aliases.insert(name.to_owned());
    Ok(())
}

/// The key that an alias is to name: by its id or ARN.
async fn find_target(keys: &Keys, session: &Session<'_>, reference: &str) -> Result<Held<KeyRecord>, KmsError> {
    let is_alias = reference.starts_with("alias/") || reference.contains(":alias/");
    if is_alias {
        return Err(KmsErrorType::Validation.because("Aliases must refer to keys. Not aliases"));
    }
    keys.find_by_id(session, reference, &Facts::default()).await
}

/// What KMS asks for, and of keys that edges sign with the same spec: profiles name the algorithm.
fn demand_one_kind(alias: &str, from: &KeyRecord, to: &KeyRecord) -> Result<(), KmsError> {
    let differ = |what: &str, a: &str, b: &str| {
        Err(KmsErrorType::Validation.because(format!(
            "Alias {alias} cannot be changed from a CMK with key {what} {a} to a CMK with key {what} {b}. \
             The key {what} of the current CMK and the new CMK must be the same."
        )))
    };
    if from.usage != to.usage {
        return differ("usage", from.usage.as_str(), to.usage.as_str());
    }
    if from.spec.is_asymmetric() != to.spec.is_asymmetric() || (from.family != Family::Raw && from.spec != to.spec) {
        return differ("type", from.spec.as_str(), to.spec.as_str());
    }
    if from.family != to.family {
        return differ("family", from.family.as_str(), to.family.as_str());
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), KmsError> {
    if !name.starts_with("alias/") {
        let message = "Alias must start with the prefix \"alias/\". Please see \
                       https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html";
        return Err(KmsErrorType::Validation.because(message));
    }
    if name.starts_with("alias/aws/") {
        return Err(KmsError::silent(KmsErrorType::NotAuthorized));
    }
    if !policies::names::is_key(name) {
        // What the model's own pattern lets through and the service does not.
        let shown: String = name.chars().take(256).flat_map(char::escape_debug).collect();
        return Err(KmsErrorType::Validation.because(format!("{shown} contains invalid characters for an alias")));
    }
    Ok(())
}
