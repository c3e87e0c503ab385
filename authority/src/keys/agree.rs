//! `DeriveSharedSecret`, `Encapsulate` and `Decapsulate`: secrets that two sides come to share.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::demand::end_dry_run;
use super::input::{self, MAX_CIPHERTEXT};
use super::material::current;
use super::{Keys, KmsError, Session};
use crate::crypto::{EncapsulationAlgorithm, KeyAgreementAlgorithm, KeyUsage};

/// Bytes of a peer's public key (KMS's bound).
const MAX_PUBLIC: usize = 8192;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeriveRequest {
    key_id: String,
    key_agreement_algorithm: String,
    public_key: String,
    recipient: Option<Value>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct EncapsulateRequest {
    key_id: String,
    encapsulation_algorithm: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DecapsulateRequest {
    key_id: String,
    encapsulation_algorithm: String,
    shared_secret_ciphertext_blob: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

pub(super) async fn derive_shared_secret(
    keys: &Keys,
    session: &Session<'_>,
    request: DeriveRequest,
) -> Result<Value, KmsError> {
    input::refuse_recipient(request.recipient.as_ref())?;
    let name = &request.key_agreement_algorithm;
    let algorithm = input::name("keyAgreementAlgorithm", name, KeyAgreementAlgorithm::parse)?;
    let peer = input::blob("PublicKey", &request.public_key, MAX_PUBLIC)?;
    let facts = Facts::new(&request.grant_tokens).with("kms:KeyAgreementAlgorithm", algorithm.as_str());
    let key = keys
        .find_usable(session, &request.key_id, &facts, KeyUsage::KeyAgreement)
        .await?;
    end_dry_run(request.dry_run)?;
    let material = keys.material(&key, current(&key.value)?).await?;
    let secret = material.derive_shared_secret(&peer)?;
    keys.note_use(session, &key.value);
    Ok(json!({
        "KeyId": keys.arn(&key.value),
        "SharedSecret": input::base64(secret.expose()),
        "KeyAgreementAlgorithm": algorithm,
        "KeyOrigin": key.value.origin.as_str(),
    }))
}

pub(super) async fn encapsulate(
    keys: &Keys,
    session: &Session<'_>,
    request: EncapsulateRequest,
) -> Result<Value, KmsError> {
    let algorithm = encapsulation(&request.encapsulation_algorithm)?;
    let facts = Facts::new(&request.grant_tokens);
    let key = keys
        .find_usable(session, &request.key_id, &facts, KeyUsage::EncapsulateDecapsulate)
        .await?;
    end_dry_run(request.dry_run)?;
    let (secret, ciphertext) = keys.public_key(&key, current(&key.value)?)?.encapsulate()?;
    keys.note_use(session, &key.value);
    Ok(json!({
        "KeyId": keys.arn(&key.value),
        "SharedSecret": input::base64(secret.expose()),
        "SharedSecretCiphertextBlob": input::base64(&ciphertext),
        "EncapsulationAlgorithm": algorithm,
    }))
}

pub(super) async fn decapsulate(
    keys: &Keys,
    session: &Session<'_>,
    request: DecapsulateRequest,
) -> Result<Value, KmsError> {
    let algorithm = encapsulation(&request.encapsulation_algorithm)?;
    let text = &request.shared_secret_ciphertext_blob;
    let ciphertext = input::blob("SharedSecretCiphertextBlob", text, MAX_CIPHERTEXT)?;
    let facts = Facts::new(&request.grant_tokens);
    let key = keys
        .find_usable(session, &request.key_id, &facts, KeyUsage::EncapsulateDecapsulate)
        .await?;
    end_dry_run(request.dry_run)?;
    let material = keys.material(&key, current(&key.value)?).await?;
    let secret = material.decapsulate(&ciphertext)?;
    keys.note_use(session, &key.value);
    Ok(json!({
        "KeyId": keys.arn(&key.value),
        "SharedSecret": input::base64(secret.expose()),
        "EncapsulationAlgorithm": algorithm,
    }))
}

fn encapsulation(name: &str) -> Result<EncapsulationAlgorithm, KmsError> {
    input::name("encapsulationAlgorithm", name, EncapsulationAlgorithm::parse)
}
