//! `CreateAlias`, `UpdateAlias`, `DeleteAlias`, `ListAliases`. An alias row and the key's own list change together.

use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{self, Paging};
use super::{AliasRecord, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::names::{Tenant, shown};
use crate::paths;
use crate::sealed::{Change, Held};

/// Most aliases of one key (KMS's quota).
const MAX_PER_KEY: usize = 50;

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

pub(super) async fn create_alias(keys: &Keys, caller: &Session<'_>, request: AliasRequest) -> Result<Value, KmsError> {
    check_name(&request.alias_name)?;
    let mut key = keys.find_by_id(caller, &request.target_key_id).await?;
    keys.demand_not_pending(&key.value)?;
    let path = paths::alias(caller.tenant, &request.alias_name);
    if keys.vault.get::<AliasRecord>(&path).await?.is_some() {
        let message = format!(
            "an alias with the name {} already exists",
            keys.alias_arn(caller.tenant, &request.alias_name)
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
    keys.vault.commit(with_key(change, &key)).await?;
    Ok(json!({}))
}

pub(super) async fn update_alias(keys: &Keys, caller: &Session<'_>, request: AliasRequest) -> Result<Value, KmsError> {
    check_name(&request.alias_name)?;
    let (path, mut alias) = find(keys, caller.tenant, &request.alias_name).await?;
    let mut to = keys.find_by_id(caller, &request.target_key_id).await?;
    let mut from = keys.find(caller, &request.alias_name).await?;
    keys.demand_not_pending(&to.value)?;
    if to.value.id == from.value.id {
        return Ok(json!({}));
    }
    let same = |a: &KeyRecord, b: &KeyRecord| (a.algorithm, a.family) == (b.algorithm, b.family);
    if !same(&from.value, &to.value) {
        let message = "the new key has another spec or family than the old one";
        return Err(KmsErrorType::InvalidState.because(message));
    }
    from.value.aliases.remove(&request.alias_name);
    add(&mut to, &request.alias_name)?;
    alias.value.key = to.value.id.clone();
    alias.value.updated_at = keys.clock.now();
    let change = Change::new().replace(path, &alias.value, alias.stamp);
    keys.vault.commit(with_key(with_key(change, &from), &to)).await?;
    Ok(json!({}))
}

pub(super) async fn delete_alias(keys: &Keys, caller: &Session<'_>, request: AliasOnly) -> Result<Value, KmsError> {
    check_name(&request.alias_name)?;
    let (path, alias) = find(keys, caller.tenant, &request.alias_name).await?;
    let mut key = keys.find(caller, &request.alias_name).await?;
    key.value.aliases.remove(&request.alias_name);
    let change = Change::new().unchanged(path.clone(), alias.stamp).delete(path);
    keys.vault.commit(with_key(change, &key)).await?;
    Ok(json!({}))
}

pub(super) async fn list_aliases(keys: &Keys, caller: &Session<'_>, request: ListRequest) -> Result<Value, KmsError> {
    caller.allow_tenant()?;
    let prefix = paths::aliases(caller.tenant);
    let shape = |name: &str, key: &str, row: Option<&AliasRecord>| {
        let dates = row.map(|row| (row.created_at, row.updated_at)).unwrap_or_default();
        json!({
            "AliasName": name,
            "AliasArn": keys.alias_arn(caller.tenant, name),
            "TargetKeyId": key,
            "CreationDate": dates.0,
            "LastUpdatedDate": dates.1,
        })
    };
    if let Some(reference) = &request.key_id {
        let key = keys.find_by_id(caller, reference).await?.value;
        let mut items = Vec::with_capacity(key.aliases.len());
        for name in &key.aliases {
            let row = keys
                .vault
                .get::<AliasRecord>(&paths::alias(caller.tenant, name))
                .await?;
            items.push(shape(name, &key.id, row.as_ref().map(|row| &row.value)));
        }
        return Ok(page::answer("Aliases", items, &prefix, None));
    }
    let paging = Paging::new(request.limit, request.marker);
    let limit = paging.limit()?;
    let rows = keys
        .vault
        .page::<AliasRecord>(&prefix, paging.after(&prefix)?.as_deref(), limit)
        .await?;
    let more = if rows.len() == limit {
        rows.last().map(|(path, _)| path.as_str())
    } else {
        None
    };
    let items = rows
        .iter()
        .map(|(path, row)| {
            shape(
                path.strip_prefix(&prefix).unwrap_or(path),
                &row.value.key,
                Some(&row.value),
            )
        })
        .collect();
    Ok(page::answer("Aliases", items, &prefix, more))
}

async fn find(keys: &Keys, tenant: &Tenant, name: &str) -> Result<(String, Held<AliasRecord>), KmsError> {
    let path = paths::alias(tenant, name);
    match keys.vault.get::<AliasRecord>(&path).await? {
        Some(row) => Ok((path, row)),
        None => Err(KmsErrorType::NotFound.because(format!("there is no alias `{}`", shown(name)))),
    }
}

fn add(key: &mut Held<KeyRecord>, name: &str) -> Result<(), KmsError> {
    if key.value.aliases.len() >= MAX_PER_KEY {
        return Err(KmsErrorType::LimitExceeded.because(format!("a key has at most {MAX_PER_KEY} aliases")));
    }
    key.value.aliases.insert(name.to_owned());
    Ok(())
}

fn with_key(change: Change, key: &Held<KeyRecord>) -> Change {
    change.replace(paths::key(&key.value.tenant, &key.value.id), &key.value, key.stamp)
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
