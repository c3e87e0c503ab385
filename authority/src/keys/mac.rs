//! `GenerateMac` and `VerifyMac`, for secrets of family `raw` only (R38).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::sign::{blob, demand_algorithm, demand_raw};
use super::{Keys, KmsError, KmsErrorType, Session, material};

/// Bytes of a message and of a MAC (KMS's bounds).
const MAX_MESSAGE: usize = 4096;
const MAX_MAC: usize = 6144;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GenerateRequest {
    key_id: String,
    message: String,
    mac_algorithm: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, rename = "GrantTokens")]
    _grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct VerifyRequest {
    key_id: String,
    message: String,
    mac: String,
    mac_algorithm: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, rename = "GrantTokens")]
    _grant_tokens: Vec<String>,
}

pub(super) async fn generate_mac(
    keys: &Keys,
    caller: &Session<'_>,
    request: GenerateRequest,
) -> Result<Value, KmsError> {
    let key = keys.find(caller, &request.key_id).await?.value;
    demand_raw(keys, &key, true)?;
    demand_algorithm(&key, &request.mac_algorithm)?;
    keys.demand_usable(&key)?;
    let message = blob("Message", &request.message, MAX_MESSAGE)?;
    if request.dry_run {
        return Err(KmsErrorType::DryRun.because("the request would have succeeded"));
    }
    let mac = material::signing_key(keys, &key, material::only(&key)?)
        .await?
        .sign(&message)?;
    Ok(json!({ "KeyId": keys.arn(&key), "Mac": STANDARD.encode(mac), "MacAlgorithm": request.mac_algorithm }))
}

pub(super) async fn verify_mac(keys: &Keys, caller: &Session<'_>, request: VerifyRequest) -> Result<Value, KmsError> {
    let key = keys.find(caller, &request.key_id).await?.value;
    demand_raw(keys, &key, true)?;
    demand_algorithm(&key, &request.mac_algorithm)?;
    keys.demand_usable(&key)?;
    let message = blob("Message", &request.message, MAX_MESSAGE)?;
    let mac = blob("Mac", &request.mac, MAX_MAC)?;
    if request.dry_run {
        return Err(KmsErrorType::DryRun.because("the request would have succeeded"));
    }
    if material::verifier(keys, &key, material::only(&key)?)
        .await?
        .verify(&message, &mac)
        .is_err()
    {
        return Err(KmsErrorType::InvalidMac.because("the MAC is not this key's over this message"));
    }
    Ok(json!({ "KeyId": keys.arn(&key), "MacValid": true, "MacAlgorithm": request.mac_algorithm }))
}
