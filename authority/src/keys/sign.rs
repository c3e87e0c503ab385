//! `Sign` and `Verify`, for keys of family `raw` only: what signs bytes of a caller's choice signs nothing else (R38).

use serde::Deserialize;
use serde_json::{Value, json};
use signing::digest::sha256;

use super::decide::Facts;
use super::demand::end_dry_run;
use super::input::{self, MAX_CIPHERTEXT, MAX_MESSAGE};
use super::material::{self, current};
use super::{Custody, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::{CryptoError, KeyUsage, Message, MessageType, SigningAlgorithm};
use crate::fault::Fault;
use crate::hsm::{Prehashed, WrappedKey};
use crate::sealed::Held;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct SignRequest {
    key_id: String,
    message: String,
    message_type: Option<String>,
    signing_algorithm: String,
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
    message_type: Option<String>,
    signature: String,
    signing_algorithm: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

/// What both operations are about.
struct Signed {
    algorithm: SigningAlgorithm,
    message_type: MessageType,
    message: Vec<u8>,
}

pub(super) async fn sign(keys: &Keys, session: &Session<'_>, request: SignRequest) -> Result<Value, KmsError> {
    let signed = Signed::read(
        &request.signing_algorithm,
        request.message_type.as_deref(),
        &request.message,
    )?;
    let key = signed
        .find(keys, session, &request.key_id, &request.grant_tokens)
        .await?;
    end_dry_run(request.dry_run)?;
    let version = current(&key.value)?;
    session.gate.note_version(&version.kid);
    session.gate.note_digest(sha256(&signed.message));
    let signature = match key.value.custody {
        Custody::Wrapped => {
            let material = keys.material(&key, version).await?;
            material.sign(signed.algorithm, signed.message())?
        }
        Custody::Token => in_hsm(keys, &key.value, &signed).await?,
    };
    keys.note_use(session, &key.value);
    Ok(json!({
        "KeyId": keys.arn(&key.value),
        "Signature": input::base64(&signature),
        "SigningAlgorithm": signed.algorithm,
    }))
}

pub(super) async fn verify(keys: &Keys, session: &Session<'_>, request: VerifyRequest) -> Result<Value, KmsError> {
    let signed = Signed::read(
        &request.signing_algorithm,
        request.message_type.as_deref(),
        &request.message,
    )?;
    let signature = input::blob("Signature", &request.signature, MAX_CIPHERTEXT)?;
    let key = signed
        .find(keys, session, &request.key_id, &request.grant_tokens)
        .await?;
    end_dry_run(request.dry_run)?;
    let public = keys.public_key(&key, current(&key.value)?)?;
    public.verify(signed.algorithm, signed.message(), &signature)?;
    keys.note_use(session, &key.value);
    Ok(json!({
        "KeyId": keys.arn(&key.value),
        "SignatureValid": true,
        "SigningAlgorithm": signed.algorithm,
    }))
}

impl Signed {
    fn read(algorithm: &str, message_type: Option<&str>, message: &str) -> Result<Self, KmsError> {
        Ok(Self {
            algorithm: input::name("signingAlgorithm", algorithm, SigningAlgorithm::parse)?,
            message_type: match message_type {
                Some(name) => input::name("messageType", name, MessageType::parse)?,
                None => MessageType::Raw,
            },
            message: input::blob("Message", message, MAX_MESSAGE)?.to_vec(),
        })
    }

    fn message(&self) -> Message<'_> {
        Message::new(self.message_type, &self.message)
    }

    /// A key that may sign this, with this algorithm (R1), in this form.
    async fn find(
        &self,
        keys: &Keys,
        session: &Session<'_>,
        reference: &str,
        grant_tokens: &[String],
    ) -> Result<Held<KeyRecord>, KmsError> {
        let facts = Facts::new(grant_tokens)
            .with("kms:SigningAlgorithm", self.algorithm.as_str())
            .with("kms:MessageType", self.message_type.as_str());
        let key = keys
            .find_usable(session, reference, &facts, KeyUsage::SignVerify)
            .await?;
        let record = &key.value;
        if !record.spec.signing_algorithms(record.usage).contains(&self.algorithm) {
            let (spec, algorithm) = (record.spec, self.algorithm.as_str());
            return Err(CryptoError::Algorithm { spec, algorithm }.into());
        }
        match self.algorithm.check(&self.message()) {
            Err(CryptoError::DigestLength { .. }) => {
                let message = format!("Digest is invalid length for algorithm {}.", self.algorithm);
                Err(KmsErrorType::Validation.because(message))
            }
            checked => Ok(checked.map(|()| key)?),
        }
    }
}

async fn in_hsm(keys: &Keys, key: &KeyRecord, signed: &Signed) -> Result<Vec<u8>, KmsError> {
    let wrapped: WrappedKey = material::wrapped_key(keys, key, current(key)?).await?;
    let digest = match signed.message_type {
        MessageType::Digest => Prehashed::from_bytes(wrapped.curve, &signed.message).map_err(Fault::from)?,
        _ => Prehashed::of(wrapped.curve, &signed.message),
    };
    Ok(keys
        .vault
        .hsm()
        .sign_wrapped_digest(&wrapped, &digest)
        .await
        .map_err(Fault::from)?)
}
