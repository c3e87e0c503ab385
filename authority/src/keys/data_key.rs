//! `GenerateDataKey`, `GenerateDataKeyPair`, both without plaintext as well, and `GenerateRandom`.

use serde::Deserialize;
use serde_json::{Value, json};
use signing::key::Secret;

use super::decide::Facts;
use super::demand::end_dry_run;
use super::encrypt;
use super::input;
use super::material::{self, current};
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::blob::EncryptionContext;
use crate::crypto::{EncryptionAlgorithm, KeySpec, KeyUsage};
use crate::sealed::Held;

/// Bytes of a data key or of random bytes (KMS's bound).
const MAX_RANDOM: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DataKeyRequest {
    key_id: String,
    #[serde(default)]
    encryption_context: EncryptionContext,
    number_of_bytes: Option<usize>,
    key_spec: Option<String>,
    recipient: Option<Value>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PairRequest {
    key_id: String,
    #[serde(default)]
    encryption_context: EncryptionContext,
    key_pair_spec: String,
    recipient: Option<Value>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RandomRequest {
    number_of_bytes: Option<usize>,
    custom_key_store_id: Option<String>,
    recipient: Option<Value>,
}

/// Whether the answer holds the secret in the clear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plaintext {
    Shown,
    Withheld,
}

pub(super) async fn generate_data_key(
    keys: &Keys,
    session: &Session<'_>,
    request: DataKeyRequest,
    plaintext: Plaintext,
) -> Result<Value, KmsError> {
    input::refuse_recipient(request.recipient.as_ref())?;
    let len = len(request.number_of_bytes, request.key_spec.as_deref())?;
    let context = &request.encryption_context;
    let facts = encrypt::facts(&request.grant_tokens, EncryptionAlgorithm::SymmetricDefault, context)?;
    let key = find_wrapping(keys, session, &request.key_id, &facts).await?;
    end_dry_run(request.dry_run)?;
    let secret = Secret::random(len)?;
    let (sealed, material_id) = wrap(keys, &key, context, &secret).await?;
    keys.note_use(session, &key.value);
    let mut answer = json!({
        "CiphertextBlob": sealed,
        "KeyId": keys.arn(&key.value),
        "KeyMaterialId": material_id,
    });
    if plaintext == Plaintext::Shown {
        add(&mut answer, "Plaintext", secret.expose());
    }
    Ok(answer)
}

pub(super) async fn generate_data_key_pair(
    keys: &Keys,
    session: &Session<'_>,
    request: PairRequest,
    plaintext: Plaintext,
) -> Result<Value, KmsError> {
    input::refuse_recipient(request.recipient.as_ref())?;
    let spec = input::name("keyPairSpec", &request.key_pair_spec, KeySpec::parse)?;
    if !spec.is_data_key_pair() {
        let message = format!("{spec} is no spec of a data key pair");
        return Err(KmsErrorType::Validation.because(message));
    }
    let context = &request.encryption_context;
    let facts = encrypt::facts(&request.grant_tokens, EncryptionAlgorithm::SymmetricDefault, context)?;
    let facts = facts.with("kms:DataKeyPairSpec", spec.as_str());
    let key = find_wrapping(keys, session, &request.key_id, &facts).await?;
    end_dry_run(request.dry_run)?;
    let pair = material::generate(session.tenant, spec).await?;
    let private = pair.private_pkcs8_der()?;
    let (sealed, material_id) = wrap(keys, &key, context, &private).await?;
    keys.note_use(session, &key.value);
    let mut answer = json!({
        "PrivateKeyCiphertextBlob": sealed,
        "PublicKey": input::base64(pair.public_spki_der().unwrap_or_default()),
        "KeyId": keys.arn(&key.value),
        "KeyPairSpec": spec,
        "KeyMaterialId": material_id,
    });
    if plaintext == Plaintext::Shown {
        add(&mut answer, "PrivateKeyPlaintext", private.expose());
    }
    Ok(answer)
}

pub(super) async fn generate_random(
    _keys: &Keys,
    session: &Session<'_>,
    request: RandomRequest,
) -> Result<Value, KmsError> {
    session.allow_tenant()?;
    input::refuse_recipient(request.recipient.as_ref())?;
    if request.custom_key_store_id.is_some() {
        return Err(KmsErrorType::UnsupportedOperation.because("Custom key stores are not supported."));
    }
    match request.number_of_bytes {
        Some(len) if (1..=MAX_RANDOM).contains(&len) => {
            Ok(json!({ "Plaintext": input::base64(Secret::random(len)?.expose()) }))
        }
        Some(_) => Err(KmsErrorType::Validation.because(format!("`NumberOfBytes` is 1 to {MAX_RANDOM}"))),
        None => Err(KmsErrorType::Validation.because("NumberOfBytes is required.")),
    }
}

fn len(number: Option<usize>, spec: Option<&str>) -> Result<usize, KmsError> {
    let invalid = |message: String| Err(KmsErrorType::Validation.because(message));
    match (number, spec) {
        (Some(number), None) if (1..=MAX_RANDOM).contains(&number) => Ok(number),
        (Some(_), None) => invalid(format!("`NumberOfBytes` is 1 to {MAX_RANDOM}")),
        (None, Some("AES_256")) => Ok(32),
        (None, Some("AES_128")) => Ok(16),
        (None, Some(_)) => invalid("`KeySpec` is AES_256 or AES_128".to_owned()),
        _ => invalid("Please specify either number of bytes or key spec.".to_owned()),
    }
}

/// A symmetric key under which others may be wrapped.
async fn find_wrapping(
    keys: &Keys,
    session: &Session<'_>,
    reference: &str,
    facts: &Facts,
) -> Result<Held<KeyRecord>, KmsError> {
    let key = keys.find(session, reference, facts).await?;
    keys.demand_usage(session, &key.value, KeyUsage::EncryptDecrypt)?;
    if key.value.spec != KeySpec::SymmetricDefault {
        return Err(keys.not_valid(session, &key.value, &format!("spec is {}", key.value.spec)));
    }
    keys.demand_usable(&key.value)?;
    Ok(key)
}

/// The secret encrypted, in base64, and the id of the material that did it.
async fn wrap(
    keys: &Keys,
    key: &Held<KeyRecord>,
    context: &EncryptionContext,
    secret: &Secret,
) -> Result<(String, String), KmsError> {
    let algorithm = EncryptionAlgorithm::SymmetricDefault;
    let sealed = keys.seal(key, algorithm, context, secret.expose()).await?;
    Ok((input::base64(&sealed), current(&key.value)?.kid.clone()))
}

fn add(answer: &mut Value, name: &str, bytes: &[u8]) {
    if let Some(members) = answer.as_object_mut() {
        members.insert(name.to_owned(), json!(input::base64(bytes)));
    }
}
