//! What members of requests have in common: base64 of bounded length, names of the model, encryption contexts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{KmsError, KmsErrorType};
use crate::crypto::NameError;
use crate::crypto::blob::EncryptionContext;
use crate::names::shown;

/// Bytes of a message, a plaintext or random bytes that are asked for (KMS's bounds).
pub(super) const MAX_MESSAGE: usize = 4096;
/// Bytes of a ciphertext, a signature or a MAC (KMS's bound).
pub(super) const MAX_CIPHERTEXT: usize = 6144;
/// Bytes of an encryption context, keys and values together.
const MAX_CONTEXT: usize = 8192;

/// Text of a secret, in base64: wiped when dropped.
pub(super) struct SecretText(Zeroizing<String>);

impl SecretText {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(STANDARD.encode(bytes)))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        String::deserialize(reader).map(|text| Self(Zeroizing::new(text)))
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.serialize_str(&self.0)
    }
}

/// A base64 member of 1 to `max` bytes. Wiped when dropped: some are secret.
pub(super) fn blob(name: &str, text: &str, max: usize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let bytes = STANDARD
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| KmsErrorType::Validation.because(format!("`{name}` is not base64")))?;
    if bytes.is_empty() || bytes.len() > max {
        let message = format!("`{name}` has 1 to {max} bytes, not {}", bytes.len());
        return Err(KmsErrorType::Validation.because(message));
    }
    Ok(bytes)
}

/// Bytes as they are answered.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A name of the model.
pub(super) fn name<T>(member: &str, text: &str, parse: fn(&str) -> Result<T, NameError>) -> Result<T, KmsError> {
    parse(text).map_err(|error| match error {
        NameError::Unsupported(name) => {
            KmsErrorType::UnsupportedOperation.because(format!("{member} {name} is not supported."))
        }
        NameError::Unknown => KmsErrorType::Validation.because(format!(
            "Value '{}' at '{member}' failed to satisfy constraint: Member must satisfy enum value set",
            shown(text)
        )),
    })
}

/// That a member is not there without which the operation is nothing, in the service's words.
pub(super) fn missing(member: &str) -> KmsError {
    KmsErrorType::Validation.because(format!(
        "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
    ))
}

/// A bounded encryption context.
pub(super) fn check_context(context: &EncryptionContext) -> Result<(), KmsError> {
    let bytes: usize = context
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.len()))
        .fold(0, usize::saturating_add);
    if bytes > MAX_CONTEXT || context.keys().any(String::is_empty) {
        let message = format!("an encryption context has at most {MAX_CONTEXT} bytes, and no empty key");
        return Err(KmsErrorType::Validation.because(message));
    }
    Ok(())
}

/// Refuses `Recipient`: nothing here attests enclaves.
pub(super) fn refuse_recipient(recipient: Option<&Value>) -> Result<(), KmsError> {
    match recipient {
        Some(_) => Err(KmsErrorType::UnsupportedOperation.because("Recipient is not supported.")),
        None => Ok(()),
    }
}
