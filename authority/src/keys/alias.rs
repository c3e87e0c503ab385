//! `CreateAlias`, `UpdateAlias`, `DeleteAlias`, `ListAliases`. An alias row and the key's own list change together.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::page::{self, Paging};
use super::state::saving;
use super::{AliasRecord, Family, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::KeyUsage;
use crate::names::shown;
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
    let mut key = keys
        .find_by_id(session, &request.target_key_id, &Facts::default())
        .await?;
    keys.demand_not_pending(&key.value)?;
    let path = paths::alias(session.tenant, &keys.region, &request.alias_name);
    if keys.vault.get::<AliasRecord>(&path).await?.is_some() {
        let message = format!(
            "an alias with the name {} already exists",
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
    let mut to = keys
        .find_by_id(session, &request.target_key_id, &Facts::default())
        .await?;
    let mut from = keys.find(session, &request.alias_name, &Facts::default()).await?;
    keys.demand_not_pending(&to.value)?;
    if to.value.id == from.value.id {
        return Ok(json!({}));
    }
    if !of_one_kind(&from.value, &to.value) {
        let message = "the new key has another type, usage or family than the old one";
        return Err(KmsErrorType::InvalidState.because(message));
    }
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
        return Err(KmsErrorType::LimitExceeded.because(format!("a key has at most {MAX_PER_KEY} aliases")));
    }
    key.value.aliases.insert(name.to_owned());
    Ok(())
}

/// What KMS asks for, and of keys that edges sign with the same spec: profiles name the algorithm.
fn of_one_kind(a: &KeyRecord, b: &KeyRecord) -> bool {
    let spec = a.family == Family::Raw || a.spec == b.spec;
    let hmac = |key: &KeyRecord| key.usage == KeyUsage::GenerateVerifyMac;
    spec && (a.usage, a.family) == (b.usage, b.family)
        && a.spec.is_asymmetric() == b.spec.is_asymmetric()
        && hmac(a) == hmac(b)
}

fn check_name(name: &str) -> Result<(), KmsError> {
    if !name.starts_with("alias/") || !policies::names::is_key(name) {
        let message = format!(
            "`{}` is no alias: it is `alias/` and 1 to 250 of A-Z a-z 0-9 / _ -",
            shown(name)
        );
        return Err(KmsErrorType::InvalidAliasName.because(message));
    }
    if name.starts_with("alias/aws/") {
        return Err(KmsErrorType::InvalidAliasName.because("names under `alias/aws/` are reserved"));
    }
    Ok(())
}
