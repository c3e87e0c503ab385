//! `GenerateMac` and `VerifyMac`, for secrets of family `raw` only (R38).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::demand::end_dry_run;
use super::input::{self, MAX_CIPHERTEXT, MAX_MESSAGE};
use super::material::{current, wrapped_key};
use super::{Custody, KeyRecord, Keys, KmsError, Session};
use crate::crypto::{CryptoError, KeyUsage, MacAlgorithm};
use crate::fault::Fault;
use crate::hsm::WrappedMac;
use crate::sealed::Held;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GenerateRequest {
    key_id: String,
    message: String,
    mac_algorithm: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
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
    #[serde(default)]
    grant_tokens: Vec<String>,
}

pub(super) async fn generate_mac(
    keys: &Keys,
    session: &Session<'_>,
    request: GenerateRequest,
) -> Result<Value, KmsError> {
    let algorithm = input::name("macAlgorithm", &request.mac_algorithm, MacAlgorithm::parse)?;
    let message = input::blob("Message", &request.message, MAX_MESSAGE)?;
    let key = find(keys, session, &request.key_id, algorithm, &request.grant_tokens).await?;
    end_dry_run(request.dry_run)?;
    let version = current(&key.value)?;
    session.gate.note_version(&version.kid);
    let mac = match key.value.custody {
        Custody::Wrapped => {
            let material = keys.material(&key, version).await?;
            material.mac(algorithm, &message)?
        }
        Custody::Token => in_hsm(keys, &key.value, &message).await?,
    };
    keys.note_use(session, &key.value);
    Ok(json!({ "KeyId": keys.arn(&key.value), "Mac": input::base64(&mac), "MacAlgorithm": algorithm }))
}

pub(super) async fn verify_mac(keys: &Keys, session: &Session<'_>, request: VerifyRequest) -> Result<Value, KmsError> {
    let algorithm = input::name("macAlgorithm", &request.mac_algorithm, MacAlgorithm::parse)?;
    let message = input::blob("Message", &request.message, MAX_MESSAGE)?;
    let mac = input::blob("Mac", &request.mac, MAX_CIPHERTEXT)?;
    let key = find(keys, session, &request.key_id, algorithm, &request.grant_tokens).await?;
    end_dry_run(request.dry_run)?;
    match key.value.custody {
        Custody::Wrapped => {
            let material = keys.material(&key, current(&key.value)?).await?;
            material.verify_mac(algorithm, &message, &mac)?;
        }
        Custody::Token => {
            let made = in_hsm(keys, &key.value, &message).await?;
            verify_slices_are_equal(&made, &mac).map_err(|_| CryptoError::BadMac)?;
        }
    }
    keys.note_use(session, &key.value);
    Ok(json!({ "KeyId": keys.arn(&key.value), "MacValid": true, "MacAlgorithm": algorithm }))
}

/// The MAC of a message, made in the HSM with the key's one algorithm (R1).
async fn in_hsm(keys: &Keys, key: &KeyRecord, message: &[u8]) -> Result<Vec<u8>, KmsError> {
    let wrapped: WrappedMac = wrapped_key(keys, key, current(key)?).await?;
    Ok(keys.vault.hsm().mac(&wrapped, message).await.map_err(Fault::from)?)
}

async fn find(
    keys: &Keys,
    session: &Session<'_>,
    reference: &str,
    algorithm: MacAlgorithm,
    grant_tokens: &[String],
) -> Result<Held<KeyRecord>, KmsError> {
    let facts = Facts::new(grant_tokens).with("kms:MacAlgorithm", algorithm.as_str());
    let key = keys
        .find_usable(session, reference, &facts, KeyUsage::GenerateVerifyMac)
        .await?;
    let (spec, usage) = (key.value.spec, key.value.usage);
    if !spec.mac_algorithms(usage).contains(&algorithm) {
        let algorithm = algorithm.as_str();
        return Err(CryptoError::Algorithm { spec, algorithm }.into());
    }
    Ok(key)
}
