//! `DescribeKey`, `ListKeys`, `GetPublicKey`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::input;
use super::page::{self, Paging};
use super::reference::KeyOnly;
use super::{Delegation, Family, KeyRecord, Keys, KmsError, KmsErrorType, Session, shape};
use crate::{halts, paths};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListRequest {
    limit: Option<usize>,
    marker: Option<String>,
    #[serde(default, rename = "ResourceOwners")]
    _resource_owners: Vec<String>,
}

pub(super) async fn describe_key(keys: &Keys, session: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    let facts = Facts::new(&request.grant_tokens);
    let key = keys.find(session, &request.key_id, &facts).await?.value;
    let mut metadata = keys.metadata(session, &key);
    // Of operators alone: nobody else is shown what KMS has no words for.
    if let Some(signet) = metadata.get_mut("Signet").and_then(Value::as_object_mut) {
        let stops = halts::of_key(&keys.vault, &key.tenant, &key.id).await?;
        if !stops.is_empty() {
            signet.insert("StoppedBy".to_owned(), json!(stops));
        }
    }
    Ok(json!({ "KeyMetadata": metadata }))
}

pub(super) async fn list_keys(keys: &Keys, session: &Session<'_>, request: ListRequest) -> Result<Value, KmsError> {
    session.allow_tenant()?;
    let prefix = paths::keys(session.tenant);
    let paging = Paging::new(request.limit, request.marker);
    let here = |key: &KeyRecord| key.region == keys.region;
    let (rows, more) = page::filtered(&keys.vault, &prefix, &paging, here).await?;
    let items = rows
        .iter()
        .map(|(_, key)| json!({ "KeyId": key.id, "KeyArn": keys.arn(key) }))
        .collect();
    Ok(page::answer("Keys", items, &prefix, more.as_deref()))
}

pub(super) async fn get_public_key(keys: &Keys, session: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    let facts = Facts::new(&request.grant_tokens);
    let key = keys.find(session, &request.key_id, &facts).await?.value;
    let unsupported = |why: &str| KmsErrorType::UnsupportedOperation.because(format!("{} {why}", keys.arn(&key)));
    if key.is_secret() && key.family == Family::Raw {
        // The service says no more than that.
        return Err(KmsError::silent(KmsErrorType::UnsupportedOperation));
    }
    if key.is_secret() {
        return Err(unsupported("is a secret and has no public key"));
    }
    if key.delegation == Delegation::Own {
        return Err(unsupported(
            "is a key of each edge's own; ask an edge for the chain of a kid (/v1/delegations/KID)",
        ));
    }
    // The service answers for disabled keys too, whatever its table of states says.
    keys.demand_material(&key)?;
    let now = keys.clock.now();
    let current = key.versions.iter().find(|version| version.signs(now));
    let version = current.or_else(|| key.versions.iter().find(|version| version.is_standby(now)));
    let version = version.ok_or_else(|| KmsErrorType::KeyUnavailable.because("no version of this key signs now"))?;
    let mut answer = shape::algorithms(&key);
    let mut set = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    set("KeyId", json!(keys.arn(&key)));
    set(
        "PublicKey",
        json!(input::base64(&super::material::spki(&key, version)?)),
    );
    set("CustomerMasterKeySpec", json!(key.spec));
    set("KeySpec", json!(key.spec));
    set("KeyUsage", json!(key.usage));
    Ok(Value::Object(answer))
}
