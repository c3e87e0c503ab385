//! `DescribeKey`, `ListKeys`, `GetPublicKey`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::page::{self, Paging};
use super::reference::KeyOnly;
use super::shape::{signing_algorithm, spec, usage};
use super::{Delegation, KeyRecord, Keys, KmsError, KmsErrorType, Session};

use crate::paths;

pub(super) async fn describe_key(keys: &Keys, caller: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    let key = keys.find(caller, &request.key_id).await?;
    Ok(json!({ "KeyMetadata": keys.metadata(&key.value) }))
}

pub(super) async fn list_keys(keys: &Keys, caller: &Session<'_>, request: Paging) -> Result<Value, KmsError> {
    caller.allow_tenant()?;
    let prefix = paths::keys(caller.tenant);
    let limit = request.limit()?;
    let after = request.after(&prefix)?;
    let rows = keys.vault.page::<KeyRecord>(&prefix, after.as_deref(), limit).await?;
    let more = if rows.len() == limit {
        rows.last().map(|(path, _)| path.as_str())
    } else {
        None
    };
    let items = rows
        .iter()
        .map(|(_, key)| json!({ "KeyId": key.value.id, "KeyArn": keys.arn(&key.value) }))
        .collect();
    Ok(page::answer("Keys", items, &prefix, more))
}

pub(super) async fn get_public_key(keys: &Keys, caller: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    let key = keys.find(caller, &request.key_id).await?.value;
    let unsupported = |why: &str| KmsErrorType::UnsupportedOperation.because(format!("{} {why}", keys.arn(&key)));
    if key.algorithm.is_symmetric() {
        return Err(unsupported("is a secret and has no public key"));
    }
    if key.delegation == Delegation::Own {
        return Err(unsupported(
            "is a key of each edge's own; ask an edge for the chain of a kid (/v1/delegations/KID)",
        ));
    }
    keys.demand_usable(&key)?;
    let now = keys.clock.now();
    let current = key.versions.iter().find(|version| version.signs(now));
    let version = current.or_else(|| key.versions.iter().find(|version| version.is_standby(now)));
    let version = version.ok_or_else(|| KmsErrorType::KeyUnavailable.because("no version of this key signs now"))?;
    let public = super::material::public_key(version)?;
    Ok(json!({
        "KeyId": keys.arn(&key),
        "PublicKey": STANDARD.encode(public.to_spki_der()),
        "CustomerMasterKeySpec": spec(key.algorithm),
        "KeySpec": spec(key.algorithm),
        "KeyUsage": usage(key.algorithm),
        "SigningAlgorithms": [signing_algorithm(key.algorithm)],
    }))
}
