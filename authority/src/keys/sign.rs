//! `Sign` and `Verify`, for keys of family `raw` only: what signs bytes of a caller's choice signs nothing else (R38).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::digest::Digest;
use signing::key::PublicKey;
use signing::signature::{der_to_fixed, fixed_to_der};

use super::shape::signing_algorithm;
use super::{Custody, Family, KeyRecord, Keys, KmsError, KmsErrorType, Session, material};
use crate::fault::Fault;
use crate::hsm::Prehashed;
use crate::names::shown;

/// Bytes of a message (KMS's bound).
const MAX_MESSAGE: usize = 4096;
/// Bytes of a signature (KMS's bound).
const MAX_SIGNATURE: usize = 6144;

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum MessageType {
    /// The message itself.
    #[default]
    Raw,
    /// Its digest, of the one hash that the key signs.
    Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct SignRequest {
    key_id: String,
    message: String,
    #[serde(default)]
    message_type: MessageType,
    signing_algorithm: String,
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
    #[serde(default)]
    message_type: MessageType,
    signature: String,
    signing_algorithm: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, rename = "GrantTokens")]
    _grant_tokens: Vec<String>,
}

/// What is signed.
enum Payload {
    Message(Vec<u8>),
    Digest(Digest),
}

pub(super) async fn sign(keys: &Keys, caller: &Session<'_>, request: SignRequest) -> Result<Value, KmsError> {
    let key = keys.find(caller, &request.key_id).await?.value;
    demand_raw(keys, &key, false)?;
    demand_algorithm(&key, &request.signing_algorithm)?;
    keys.demand_usable(&key)?;
    let payload = payload(&key, &request.message, request.message_type)?;
    if request.dry_run {
        return Err(KmsErrorType::DryRun.because("the request would have succeeded"));
    }
    let signature = match key.custody {
        Custody::Wrapped => in_memory(keys, &key, &payload).await?,
        Custody::Token => in_hsm(keys, &key, &payload).await?,
    };
    Ok(json!({
        "KeyId": keys.arn(&key),
        "Signature": STANDARD.encode(signature),
        "SigningAlgorithm": signing_algorithm(key.algorithm),
    }))
}

pub(super) async fn verify(keys: &Keys, caller: &Session<'_>, request: VerifyRequest) -> Result<Value, KmsError> {
    let key = keys.find(caller, &request.key_id).await?.value;
    demand_raw(keys, &key, false)?;
    demand_algorithm(&key, &request.signing_algorithm)?;
    keys.demand_usable(&key)?;
    let payload = payload(&key, &request.message, request.message_type)?;
    let signature = blob("Signature", &request.signature, MAX_SIGNATURE)?;
    if request.dry_run {
        return Err(KmsErrorType::DryRun.because("the request would have succeeded"));
    }
    if !verifies(&material::public_key(material::only(&key)?)?, &payload, &signature) {
        return Err(KmsErrorType::InvalidSignature.because("the signature is not this key's over this message"));
    }
    Ok(json!({
        "KeyId": keys.arn(&key),
        "SignatureValid": true,
        "SigningAlgorithm": signing_algorithm(key.algorithm),
    }))
}

async fn in_memory(keys: &Keys, key: &KeyRecord, payload: &Payload) -> Result<Vec<u8>, KmsError> {
    let pair = material::signing_key(keys, key, material::only(key)?).await?;
    let signature = match payload {
        Payload::Message(message) => pair.sign(message)?,
        Payload::Digest(digest) => pair.sign_digest(digest)?,
    };
    if !key.algorithm.is_ecdsa() {
        return Ok(signature);
    }
    fixed_to_der(key.algorithm, &signature).map_err(|error| Fault::internal(error.to_string()).into())
}

async fn in_hsm(keys: &Keys, key: &KeyRecord, payload: &Payload) -> Result<Vec<u8>, KmsError> {
    let wrapped = material::wrapped_key(keys, key, material::only(key)?).await?;
    let digest = match payload {
        Payload::Message(message) => Prehashed::of(wrapped.curve, message),
        Payload::Digest(digest) => Prehashed::from_bytes(wrapped.curve, digest.as_bytes()).map_err(Fault::from)?,
    };
    Ok(keys
        .vault
        .hsm()
        .sign_wrapped_digest(&wrapped, &digest)
        .await
        .map_err(Fault::from)?)
}

fn verifies(public: &PublicKey, payload: &Payload, signature: &[u8]) -> bool {
    let fixed = if public.algorithm().is_ecdsa() {
        match der_to_fixed(public.algorithm(), signature) {
            Ok(fixed) => fixed,
            Err(_) => return false,
        }
    } else {
        signature.to_vec()
    };
    match payload {
        Payload::Message(message) => public.verify(message, &fixed).is_ok(),
        Payload::Digest(digest) => public.verify_digest(digest, &fixed).is_ok(),
    }
}

/// Refuses keys of other families, and MAC keys where signatures are meant or the other way round.
pub(super) fn demand_raw(keys: &Keys, key: &KeyRecord, mac: bool) -> Result<(), KmsError> {
    let refuse = |why: String| Err(KmsErrorType::InvalidKeyUsage.because(format!("{} {why}", keys.arn(key))));
    if key.family != Family::Raw {
        let family = key.family.as_str();
        return refuse(format!(
            "is for the family `{family}` and signs nothing else; it signs through an edge's profiles"
        ));
    }
    match (key.algorithm.is_symmetric(), mac) {
        (true, false) => refuse("makes MACs: use GenerateMac and VerifyMac".to_owned()),
        (false, true) => refuse("makes signatures: use Sign and Verify".to_owned()),
        _ => Ok(()),
    }
}

/// Refuses any algorithm but the key's own (R1).
pub(super) fn demand_algorithm(key: &KeyRecord, asked: &str) -> Result<(), KmsError> {
    let own = signing_algorithm(key.algorithm);
    if asked != own {
        let message = format!("this key's algorithm is `{own}`, not `{}`", shown(asked));
        return Err(KmsErrorType::InvalidKeyUsage.because(message));
    }
    Ok(())
}

fn payload(key: &KeyRecord, message: &str, kind: MessageType) -> Result<Payload, KmsError> {
    let message = blob("Message", message, MAX_MESSAGE)?;
    if kind == MessageType::Raw {
        return Ok(Payload::Message(message));
    }
    let invalid = |why: String| KmsErrorType::Validation.because(why);
    let Some(hash) = key.algorithm.digest() else {
        let own = if key.algorithm == Algorithm::EdDsa {
            "plain Ed25519"
        } else {
            "this key"
        };
        return Err(invalid(format!(
            "{own} takes the message itself: use `MessageType` `RAW`"
        )));
    };
    let digest = Digest::new(hash, &message).map_err(|error| invalid(format!("`Message`: {error}")))?;
    Ok(Payload::Digest(digest))
}

/// A base64 member of 1 to `max` bytes.
pub(super) fn blob(name: &str, text: &str, max: usize) -> Result<Vec<u8>, KmsError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| KmsErrorType::Validation.because(format!("`{name}` is not base64")))?;
    if bytes.is_empty() || bytes.len() > max {
        let message = format!("`{name}` has 1 to {max} bytes, not {}", bytes.len());
        return Err(KmsErrorType::Validation.because(message));
    }
    Ok(bytes)
}
