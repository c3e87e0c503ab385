//! `Encrypt` and `Decrypt`, and what other operations seal and open with.

use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::decide::Facts;
use super::demand::end_dry_run;
use super::input::{self, MAX_CIPHERTEXT, MAX_MESSAGE, SecretText};
use super::material::current;
use super::reference::Resolved;
use super::{Custody, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::blob::{self, EncryptionContext, Header, KeyId};
use crate::crypto::{BadCiphertext, CryptoError, EncryptionAlgorithm, KeySpec, KeyUsage};
use crate::fault::Fault;
use crate::sealed::Held;

const IGNORE_CIPHERTEXT: &str = "IGNORE_CIPHERTEXT";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct EncryptRequest {
    key_id: String,
    plaintext: SecretText,
    #[serde(default)]
    encryption_context: EncryptionContext,
    encryption_algorithm: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DecryptRequest {
    ciphertext_blob: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    encryption_context: EncryptionContext,
    encryption_algorithm: Option<String>,
    recipient: Option<Value>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    dry_run_modifiers: Vec<String>,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

pub(super) async fn encrypt(keys: &Keys, session: &Session<'_>, request: EncryptRequest) -> Result<Value, KmsError> {
    let algorithm = algorithm("encryptionAlgorithm", request.encryption_algorithm.as_deref())?;
    let plaintext = input::blob("Plaintext", request.plaintext.expose(), MAX_MESSAGE)?;
    let context = request.encryption_context;
    let facts = facts(&request.grant_tokens, algorithm, &context)?;
    let key = keys
        .find_usable(session, &request.key_id, &facts, KeyUsage::EncryptDecrypt)
        .await?;
    demand_encryption(&key.value, algorithm, &context)?;
    check_plaintext(&key.value, algorithm, &plaintext)?;
    end_dry_run(request.dry_run)?;
    let ciphertext = keys.seal(&key, algorithm, &context, &plaintext).await?;
    keys.note_use(session, &key.value);
    Ok(json!({
        "CiphertextBlob": input::base64(&ciphertext),
        "KeyId": keys.arn(&key.value),
        "EncryptionAlgorithm": algorithm,
    }))
}

pub(super) async fn decrypt(keys: &Keys, session: &Session<'_>, request: DecryptRequest) -> Result<Value, KmsError> {
    input::refuse_recipient(request.recipient.as_ref())?;
    let source = Source {
        key_id: request.key_id.as_deref(),
        algorithm: algorithm("encryptionAlgorithm", request.encryption_algorithm.as_deref())?,
        ciphertext: ciphertext(
            request.ciphertext_blob.as_deref(),
            request.dry_run,
            &request.dry_run_modifiers,
        )?,
        context: &request.encryption_context,
    };
    let facts = facts(&request.grant_tokens, source.algorithm, source.context)?;
    let named = keys.find_source(session, &source).await?;
    keys.decide_source(session, &source, &named, &facts).await?;
    let key = named.key;
    keys.demand_source(session, &key.value, &source)?;
    end_dry_run(request.dry_run)?;
    let opened = keys.open(&key, &source).await?;
    keys.note_opened(session, &key.value, opened.version);
    let mut answer = json!({
        "KeyId": keys.arn(&key.value),
        "Plaintext": input::base64(&opened.plaintext),
        "EncryptionAlgorithm": source.algorithm,
    });
    if let (Some(id), Some(members)) = (opened.material_id, answer.as_object_mut()) {
        members.insert("KeyMaterialId".to_owned(), json!(id));
    }
    Ok(answer)
}

/// A ciphertext and what is said about it.
pub(super) struct Source<'a> {
    pub(super) key_id: Option<&'a str>,
    pub(super) algorithm: EncryptionAlgorithm,
    /// None in a dry run that ignores it.
    pub(super) ciphertext: Option<Vec<u8>>,
    pub(super) context: &'a EncryptionContext,
}

/// What was in a ciphertext.
pub(super) struct Opened {
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    /// Of a symmetric key: which of its materials opened it.
    pub(super) material_id: Option<String>,
    /// The number of that material's version.
    pub(super) version: Option<u32>,
}

/// An algorithm's name; without one, the symmetric one.
pub(super) fn algorithm(member: &str, name: Option<&str>) -> Result<EncryptionAlgorithm, KmsError> {
    name.map_or(Ok(EncryptionAlgorithm::SymmetricDefault), |name| {
        input::name(member, name, EncryptionAlgorithm::parse)
    })
}

/// The ciphertext of a request, without which only some dry runs do.
pub(super) fn ciphertext(text: Option<&str>, dry_run: bool, modifiers: &[String]) -> Result<Option<Vec<u8>>, KmsError> {
    match text {
        Some(text) => Ok(Some(input::blob("CiphertextBlob", text, MAX_CIPHERTEXT)?.to_vec())),
        None if dry_run && modifiers.iter().any(|modifier| modifier == IGNORE_CIPHERTEXT) => Ok(None),
        None => Err(input::missing("ciphertextBlob")),
    }
}

pub(super) fn facts(
    grant_tokens: &[String],
    algorithm: EncryptionAlgorithm,
    context: &EncryptionContext,
) -> Result<Facts, KmsError> {
    input::check_context(context)?;
    let facts = Facts::new(grant_tokens).with("kms:EncryptionAlgorithm", algorithm.as_str());
    Ok(match algorithm {
        EncryptionAlgorithm::SymmetricDefault => facts.encrypting(context),
        _ => facts,
    })
}

/// Refuses algorithms that are not the key's, and contexts where nothing would be bound to them.
pub(super) fn demand_encryption(
    key: &KeyRecord,
    algorithm: EncryptionAlgorithm,
    context: &EncryptionContext,
) -> Result<(), KmsError> {
    if !key.spec.encryption_algorithms(key.usage).contains(&algorithm) {
        let (spec, algorithm) = (key.spec, algorithm.as_str());
        return Err(CryptoError::Algorithm { spec, algorithm }.into());
    }
    if key.spec.is_asymmetric() && !context.is_empty() {
        return Err(KmsErrorType::Validation.because("an encryption context goes with symmetric keys only"));
    }
    Ok(())
}

/// Refuses more bytes than the key takes.
pub(super) fn check_plaintext(
    key: &KeyRecord,
    algorithm: EncryptionAlgorithm,
    plaintext: &[u8],
) -> Result<(), KmsError> {
    let (max, spec) = (key.spec.max_plaintext(algorithm).unwrap_or_default(), key.spec);
    if plaintext.len() <= max {
        return Ok(());
    }
    let message = format!("Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {max} bytes.");
    Err(KmsErrorType::Validation.because(message))
}

impl Keys {
    /// Encrypts under the key's current version.
    pub(super) async fn seal(
        &self,
        key: &Held<KeyRecord>,
        algorithm: EncryptionAlgorithm,
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        let version = current(&key.value)?;
        if key.value.spec != KeySpec::SymmetricDefault {
            return Ok(self.public_key(key, version)?.encrypt(algorithm, plaintext)?);
        }
        let header = Header {
            key_id: key_id(&key.value)?,
            version: version.number,
            tenant: key.value.tenant.clone(),
        };
        Ok(match key.value.custody {
            Custody::Wrapped => {
                let material = self.material(key, version).await?;
                let randomness = signing::key::random_bytes()?;
                blob::seal(&material, &header, context, plaintext, &randomness)?
            }
            Custody::Token => {
                let made = self.new_data_key(&key.value, version).await?;
                blob::seal_with(&made.secret, &made.wrapped, &header, context, plaintext)?
            }
        })
    }

    /// Finds the key of a ciphertext: the one that is named, or else the one that the ciphertext says.
    pub(super) async fn find_source<'a>(
        &self,
        session: &Session<'_>,
        source: &Source<'a>,
    ) -> Result<Resolved<'a>, KmsError> {
        if let Some(reference) = source.key_id {
            return self.resolve(session, reference).await;
        }
        let missing = |what: &str| KmsErrorType::Validation.because(format!("{what} needs the key's id"));
        if source.algorithm != EncryptionAlgorithm::SymmetricDefault {
            return Err(missing("a ciphertext of an asymmetric key"));
        }
        let ciphertext = source.ciphertext.as_ref();
        let header = Header::parse(ciphertext.ok_or_else(|| missing("a dry run without a ciphertext"))?)?;
        if header.tenant != *session.tenant && !session.crosses_accounts() {
            return Err(inaccessible(session));
        }
        let key = self.by_id(&header.tenant, &header.key_id.to_string()).await?;
        let hidden = header.tenant != *session.tenant;
        let missing = || match hidden {
            true => inaccessible(session),
            false => BadCiphertext.into(),
        };
        Ok(Resolved {
            key: key.ok_or_else(missing)?,
            alias: None,
            reference: None,
        })
    }

    /// Asks the gate about the key of a ciphertext. Of another account's that only the ciphertext names it is not told apart
    /// whether it is there.
    pub(super) async fn decide_source(
        &self,
        session: &Session<'_>,
        source: &Source<'_>,
        named: &Resolved<'_>,
        facts: &Facts,
    ) -> Result<(), KmsError> {
        let hidden = source.key_id.is_none() && named.key.value.tenant != *session.tenant;
        match self.decide_named(session, named, facts).await {
            Err(error) if hidden && error.kind == KmsErrorType::AccessDenied => Err(inaccessible(session)),
            decided => decided,
        }
    }

    /// Refuses keys that the ciphertext is not for, and keys that may not be used.
    pub(super) fn demand_source(
        &self,
        session: &Session<'_>,
        key: &KeyRecord,
        source: &Source<'_>,
    ) -> Result<(), KmsError> {
        // That a symmetric ciphertext is another key's is said before what the named key is for, as the service does.
        let symmetric = source.algorithm == EncryptionAlgorithm::SymmetricDefault;
        let ciphertext = source.ciphertext.as_deref().filter(|_| symmetric);
        let header = ciphertext.map(Header::parse);
        if let Some(Ok(header)) = &header
            && (header.key_id != key_id(key)? || header.tenant != key.tenant)
        {
            let message = "The key ID in the request does not identify a CMK that can perform this operation.";
            return Err(KmsErrorType::IncorrectKey.because(message));
        }
        self.demand_use(session, key, KeyUsage::EncryptDecrypt)?;
        demand_encryption(key, source.algorithm, source.context)?;
        header.transpose()?;
        Ok(())
    }

    /// Decrypts with the version that the ciphertext says.
    pub(super) async fn open(&self, key: &Held<KeyRecord>, source: &Source<'_>) -> Result<Opened, KmsError> {
        let ciphertext = source.ciphertext.as_deref().unwrap_or_default();
        if key.value.spec != KeySpec::SymmetricDefault {
            let material = self.material(key, current(&key.value)?).await?;
            return Ok(Opened {
                plaintext: material.decrypt(source.algorithm, ciphertext)?,
                material_id: None,
                version: None,
            });
        }
        let header = Header::parse(ciphertext)?;
        let mut versions = key.value.versions.iter();
        let version = versions.find(|version| version.number == header.version);
        let version = version.ok_or(BadCiphertext)?;
        let plaintext = match key.value.custody {
            Custody::Wrapped => {
                let material = self.material(key, version).await?;
                blob::open(&material, ciphertext, source.context)?
            }
            Custody::Token => {
                let wrapped = blob::wrapped_data_key(ciphertext)?;
                let data_key = self.data_key(&key.value, version, wrapped).await?;
                blob::open_with(&data_key, ciphertext, source.context)?
            }
        };
        Ok(Opened {
            plaintext,
            material_id: Some(version.kid.clone()),
            version: Some(version.number),
        })
    }
}

/// The service's answer where the key that a ciphertext names is not there, or not for the caller.
fn inaccessible(session: &Session<'_>) -> KmsError {
    let caller = session.caller_arn();
    KmsErrorType::AccessDenied.because(format!(
        "User: {caller} is not authorized to perform: kms:{} on the resource associated with this ciphertext because the \
         resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy \
         explicitly denies access",
        session.action.kms_name().unwrap_or(session.verb())
    ))
}

fn key_id(key: &KeyRecord) -> Result<KeyId, KmsError> {
    let read = KeyId::parse(&key.id);
    Ok(read.ok_or_else(|| Fault::Corrupt {
        detail: format!("`{}` is no key id", key.id),
    })?)
}
