//! `GetParametersForImport`, `ImportKeyMaterial`, `DeleteImportedKeyMaterial`: material that somebody brings.
//!
//! The import token holds the private half of the wrapping key, sealed for the one key that it is for: nothing is stored
//! until something is imported.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::decide::Facts;
use super::input::{self, MAX_CIPHERTEXT, SecretText};
use super::lifecycle::{Imported, Origin};
use super::material;
use super::protection;
use super::state::{SECONDS_PER_DAY, saving};
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::approvals::{Approved, Parameters};
use crate::crypto::{CryptoError, KeySpec, Material, WrappingAlgorithm, WrappingKeySpec, envelope};
use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Held};

mod kept;

/// Seconds for which an import token is good.
const TOKEN_LIFETIME: u64 = SECONDS_PER_DAY;
/// Days for which imported material may be kept at most (KMS's bound).
const MAX_VALID_DAYS: u64 = 365;
/// Characters of a description (KMS's bound).
const MAX_DESCRIPTION: usize = 256;
const EXPIRES: &str = "KEY_MATERIAL_EXPIRES";
const EXPIRES_NOT: &str = "KEY_MATERIAL_DOES_NOT_EXPIRE";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ParametersRequest {
    key_id: String,
    wrapping_algorithm: String,
    wrapping_key_spec: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ImportRequest {
    key_id: String,
    import_token: String,
    encrypted_key_material: String,
    /// Seconds, which may have a fraction.
    valid_to: Option<f64>,
    expiration_model: Option<String>,
    import_type: Option<String>,
    key_material_description: Option<String>,
    key_material_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteRequest {
    key_id: String,
    key_material_id: Option<String>,
    #[serde(rename = "Override")]
    override_reason: Option<String>,
}

/// What an import token says.
#[derive(Serialize, Deserialize)]
struct Token {
    valid_to: u64,
    algorithm: WrappingAlgorithm,
    spec: KeySpec,
    private: SecretText,
}

pub(super) async fn get_parameters_for_import(
    keys: &Keys,
    session: &Session<'_>,
    request: ParametersRequest,
) -> Result<Value, KmsError> {
    let algorithm = input::name(
        "wrappingAlgorithm",
        &request.wrapping_algorithm,
        WrappingAlgorithm::parse,
    )?;
    let spec = input::name("wrappingKeySpec", &request.wrapping_key_spec, WrappingKeySpec::parse)?;
    let facts = Facts::default()
        .with("kms:WrappingAlgorithm", algorithm.as_str())
        .with("kms:WrappingKeySpec", spec.as_str());
    let key = find(keys, session, &request.key_id, &facts).await?.value;
    keys.demand_not_pending(&key)?;
    if !algorithm.fits(spec, key.spec) {
        let message = format!("{algorithm} with {spec} does not wrap key material of {}", key.spec);
        return Err(KmsErrorType::Validation.because(message));
    }
    let wrapping = material::generate(session.tenant, spec.key_spec()).await?;
    let valid_to = keys.clock.now().saturating_add(TOKEN_LIFETIME);
    let token = Token {
        valid_to,
        algorithm,
        spec: spec.key_spec(),
        private: SecretText::of(wrapping.export()?.expose()),
    };
    let token = serde_json::to_vec(&token)
        .map(Zeroizing::new)
        .map_err(|error| Fault::internal(format!("an import token cannot be written: {error}")))?;
    let path = paths::import(&key.tenant, &key.row());
    let sealed = keys.vault.seal_for(&path, &token).await?;
    Ok(json!({
        "KeyId": keys.arn(&key),
        "ImportToken": input::base64(&sealed),
        "PublicKey": input::base64(wrapping.public_spki_der().unwrap_or_default()),
        "ParametersValidTo": valid_to,
    }))
}

pub(super) async fn import_key_material(
    keys: &Keys,
    session: &Session<'_>,
    request: ImportRequest,
) -> Result<Value, KmsError> {
    let valid_to = expiry(keys, request.expiration_model.as_deref(), request.valid_to)?;
    check_description(request.key_material_description.as_deref())?;
    let token = input::blob("ImportToken", &request.import_token, MAX_CIPHERTEXT)?;
    let wrapped = input::blob("EncryptedKeyMaterial", &request.encrypted_key_material, MAX_CIPHERTEXT)?;
    let model = if valid_to.is_some() { EXPIRES } else { EXPIRES_NOT };
    let mut facts = Facts::default().with("kms:ExpirationModel", model);
    if let Some(at) = valid_to {
        facts = facts.with("kms:ValidTo", i64::try_from(at).unwrap_or(i64::MAX));
    }
    let mut key = find(keys, session, &request.key_id, &facts).await?;
    keys.demand_not_pending(&key.value)?;
    let material = unwrap(keys, &key.value, &token, &wrapped).await?;
    let version = kept::which(keys, &key.value, &material, &request)?;
    let id = version.kid.clone();
    let imported = Imported {
        valid_to,
        description: request.key_material_description,
    };
    let approved = demand_lifetime(keys, session, &mut key.value, version.number, (&id, valid_to)).await?;
    let mut change = kept::add(&mut key.value, version, imported, &material)?;
    if let Some(approved) = approved {
        change = approved.spend(change);
    }
    let change = keys.with_relatives(saving(change, &key), &key.value).await?;
    keys.vault.commit(change).await?;
    Ok(json!({ "KeyId": keys.arn(&key.value), "KeyMaterialId": id }))
}

pub(super) async fn delete_imported_key_material(
    keys: &Keys,
    session: &Session<'_>,
    request: DeleteRequest,
) -> Result<Value, KmsError> {
    let reason = protection::override_of(session, request.override_reason)?;
    let mut key = find(keys, session, &request.key_id, &Facts::default()).await?;
    let version = match &request.key_material_id {
        None => key.value.current(),
        Some(id) => {
            let version = key.value.versions.iter().find(|version| version.kid == *id);
            let message = || format!("{} has no such key material.", keys.arn(&key.value));
            Some(version.ok_or_else(|| KmsErrorType::NotFound.because(message()))?)
        }
    };
    let mut answer = json!({ "KeyId": keys.arn(&key.value) });
    if let Some(version) = version.cloned() {
        if let Some(members) = answer.as_object_mut() {
            members.insert("KeyMaterialId".to_owned(), json!(version.kid));
        }
        if key.value.imports.present.contains_key(&version.number) {
            let reason = reason.as_deref();
            keys.demand_deletable(session, &mut key.value, reason).await?;
            keys.demand_unheld(&key.value, version.number).await?;
            let parameters = protection::overriding(reason).with("KeyMaterialId", version.kid.as_str());
            let approved = keys.demand_approval(session, &key.value, parameters).await?;
            let change = kept::remove(approved.spend(Change::new()), &mut key.value, version.number);
            let change = keys.with_relatives(saving(change, &key), &key.value).await?;
            keys.vault.commit(change).await?;
        }
    }
    Ok(answer)
}

/// To bring what is there again, to end sooner, is to delete it later: that takes what deleting it does. No
/// reason goes past the guard here: an operator who has one deletes first.
async fn demand_lifetime(
    keys: &Keys,
    session: &Session<'_>,
    key: &mut KeyRecord,
    version: u32,
    (id, valid_to): (&str, Option<u64>),
) -> Result<Option<Approved>, KmsError> {
    let old = key.imports.present.get(&version).map(|present| present.valid_to);
    let sooner = match (old, valid_to) {
        (Some(old), Some(new)) => old.is_none_or(|old| new < old),
        _ => false,
    };
    if !sooner {
        return Ok(None);
    }
    keys.demand_deletable(session, key, None).await?;
    keys.demand_unheld(key, version).await?;
    let parameters = Parameters::default()
        .with("KeyMaterialId", id)
        .with("ValidTo", valid_to);
    Ok(Some(keys.demand_approval(session, key, parameters).await?))
}

/// A key whose material is brought.
async fn find(keys: &Keys, session: &Session<'_>, reference: &str, facts: &Facts) -> Result<Held<KeyRecord>, KmsError> {
    let key = keys.find_by_id(session, reference, facts).await?;
    if key.value.origin != Origin::External {
        let (arn, origin) = (keys.arn(&key.value), key.value.origin.as_str());
        let message = format!("{arn} origin is {origin} which is not valid for this operation.");
        return Err(KmsErrorType::UnsupportedOperation.because(message));
    }
    Ok(key)
}

/// When the material is to expire.
fn expiry(keys: &Keys, model: Option<&str>, valid_to: Option<f64>) -> Result<Option<u64>, KmsError> {
    let invalid = |message: &str| Err(KmsErrorType::Validation.because(message));
    match (model, valid_to) {
        (Some(EXPIRES_NOT), None) => Ok(None),
        (Some(EXPIRES_NOT), Some(_)) => invalid("ValidTo goes with the ExpirationModel KEY_MATERIAL_EXPIRES only"),
        (None | Some(EXPIRES), None) => {
            invalid("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
        }
        (None | Some(EXPIRES), Some(at)) => {
            let now = keys.clock.now();
            let last = now.saturating_add(MAX_VALID_DAYS.saturating_mul(SECONDS_PER_DAY));
            // Compared as they came: a cast of what is out of bounds would be within.
            #[expect(clippy::cast_precision_loss, reason = "seconds of this era are exact in 53 bits")]
            let within = at.is_finite() && at > now as f64 && at <= last as f64;
            if !within {
                return invalid("ValidTo is a time within the next 365 days");
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between now and next year"
            )]
            let at = at as u64;
            Ok(Some(at))
        }
        _ => invalid("`ExpirationModel` is KEY_MATERIAL_EXPIRES or KEY_MATERIAL_DOES_NOT_EXPIRE"),
    }
}

fn check_description(text: Option<&str>) -> Result<(), KmsError> {
    if text.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        let message = format!("`KeyMaterialDescription` has at most {MAX_DESCRIPTION} characters");
        return Err(KmsErrorType::Validation.because(message));
    }
    Ok(())
}

async fn unwrap(keys: &Keys, key: &KeyRecord, token: &[u8], wrapped: &[u8]) -> Result<Material, KmsError> {
    let invalid = || KmsErrorType::InvalidImportToken.because("The import token is not for this key.");
    let path = paths::import(&key.tenant, &key.row());
    let opened = keys.vault.open_for(&path, token).await?.ok_or_else(invalid)?;
    let token: Token = serde_json::from_slice(&opened).map_err(|_| invalid())?;
    if token.valid_to <= keys.clock.now() {
        return Err(KmsErrorType::ExpiredImportToken.because("The import token has expired."));
    }
    let private = STANDARD.decode(token.private.expose()).map_err(|_| invalid())?;
    let wrapping = Material::import(token.spec, &Secret::new(private))?;
    let plaintext = envelope::unwrap(&wrapping, token.algorithm, wrapped)?;
    Material::from_pkcs8_upload(key.spec, plaintext.expose()).map_err(|error| match error {
        CryptoError::MalformedKey { .. } | CryptoError::SelfTest(_) => {
            KmsErrorType::IncorrectKeyMaterial.because(error.to_string())
        }
        other => other.into(),
    })
}
