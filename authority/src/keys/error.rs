//! Failures in KMS's words: `{"__type": …, "message": …}` and the status that KMS clients expect with it.

use serde_json::{Value, json};

use crate::crypto::{BadCiphertext, CryptoError};
use crate::fault::Fault;

/// The error types of the KMS model that are used here, and those clients expect beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmsErrorType {
    /// Malformed or out of bounds input.
    Validation,
    /// No such verb.
    UnknownOperation,
    /// No such key or alias.
    NotFound,
    /// The key's state does not allow it.
    InvalidState,
    /// The key is disabled.
    Disabled,
    /// The key is not for this (R38).
    InvalidKeyUsage,
    /// This kind of key cannot.
    UnsupportedOperation,
    /// The alias is taken.
    AlreadyExists,
    /// A name that is not the caller's to give.
    NotAuthorized,
    /// An ARN that is none, or of another account.
    InvalidArn,
    /// A marker that no list gave.
    InvalidMarker,
    /// A tag outside the rules.
    Tag,
    /// Too many of something.
    LimitExceeded,
    /// The signature is not this key's over this message.
    InvalidSignature,
    /// The MAC is not this key's over this message.
    InvalidMac,
    /// An import token that is too old.
    ExpiredImportToken,
    /// An import token that is not this key's.
    InvalidImportToken,
    /// Imported material that is not the key's.
    IncorrectKeyMaterial,
    /// A grant id that none of the key's is.
    InvalidGrantId,
    /// A grant token that none of ours is.
    InvalidGrantToken,
    /// A policy document that is not understood in full.
    MalformedPolicy,
    /// The ciphertext is another key's.
    IncorrectKey,
    /// The ciphertext is none of ours, of this key, or of this context.
    InvalidCiphertext,
    /// `DryRun` was asked for, and it would have worked.
    DryRun,
    /// Cedar said no.
    AccessDenied,
    /// Too much at once: clients try again by themselves.
    Throttling,
    /// The HSM or the store is away. May pass by itself.
    KeyUnavailable,
    /// Our fault.
    Internal,
}

impl KmsErrorType {
    /// The `__type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "ValidationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::NotFound => "NotFoundException",
            Self::InvalidState => "KMSInvalidStateException",
            Self::Disabled => "DisabledException",
            Self::InvalidKeyUsage => "InvalidKeyUsageException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
            Self::AlreadyExists => "AlreadyExistsException",
            Self::NotAuthorized => "NotAuthorizedException",
            Self::InvalidArn => "InvalidArnException",
            Self::InvalidMarker => "InvalidMarkerException",
            Self::Tag => "TagException",
            Self::LimitExceeded => "LimitExceededException",
            Self::InvalidSignature => "KMSInvalidSignatureException",
            Self::InvalidMac => "KMSInvalidMacException",
            Self::DryRun => "DryRunOperationException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::IncorrectKey => "IncorrectKeyException",
            Self::MalformedPolicy => "MalformedPolicyDocumentException",
            Self::InvalidGrantToken => "InvalidGrantTokenException",
            Self::InvalidGrantId => "InvalidGrantIdException",
            Self::IncorrectKeyMaterial => "IncorrectKeyMaterialException",
            Self::InvalidImportToken => "InvalidImportTokenException",
            Self::ExpiredImportToken => "ExpiredImportTokenException",
            Self::AccessDenied => "AccessDeniedException",
            Self::Throttling => "ThrottlingException",
            Self::KeyUnavailable => "KeyUnavailableException",
            Self::Internal => "KMSInternalException",
        }
    }

    /// HTTP status: 400 for almost everything, as KMS does.
    pub fn status(self) -> u16 {
        match self {
            Self::KeyUnavailable | Self::Internal => 500,
            _ => 400,
        }
    }

    /// An error of this type. `message` is shown to the caller.
    pub fn because(self, message: impl Into<String>) -> KmsError {
        KmsError {
            kind: self,
            message: message.into(),
            fault: None,
        }
    }
}

/// A failed verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsError {
    /// The `__type`.
    pub kind: KmsErrorType,
    /// Safe to show; empty where the service says nothing.
    pub message: String,
    /// What is for the log, and whether a change was overtaken.
    pub(super) fault: Option<Fault>,
}

impl KmsError {
    /// The body of the answer. Some of the service's errors have no message.
    pub fn body(&self) -> Value {
        if self.message.is_empty() {
            return json!({ "__type": self.kind.as_str() });
        }
        json!({ "__type": self.kind.as_str(), "message": self.message })
    }

    /// Of an error without a message: whoever guesses learns nothing from it.
    pub(super) fn silent(kind: KmsErrorType) -> Self {
        kind.because("")
    }

    /// Whether the verb lost against a change at the same time, and may be tried again.
    pub(super) fn is_raced(&self) -> bool {
        matches!(self.fault, Some(Fault::Raced { .. }))
    }
}

impl std::fmt::Display for KmsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.message)
    }
}

impl std::error::Error for KmsError {}

impl From<Fault> for KmsError {
    fn from(fault: Fault) -> Self {
        let kind = match &fault {
            Fault::Busy { .. } => {
                return Self {
                    fault: Some(fault),
                    ..KmsErrorType::Throttling.because("Rate exceeded")
                };
            }
            Fault::Invalid { .. } => KmsErrorType::Validation,
            Fault::Unauthenticated { .. } | Fault::Denied { .. } => KmsErrorType::AccessDenied,
            Fault::NotFound { .. } => KmsErrorType::NotFound,
            Fault::State { .. } => KmsErrorType::InvalidState,
            Fault::Raced { .. } | Fault::Unavailable { .. } => KmsErrorType::KeyUnavailable,
            Fault::Sealed | Fault::Corrupt { .. } | Fault::Internal { .. } => KmsErrorType::Internal,
        };
        Self {
            kind,
            message: fault.to_string(),
            fault: Some(fault),
        }
    }
}

impl From<CryptoError> for KmsError {
    fn from(error: CryptoError) -> Self {
        match &error {
            CryptoError::Algorithm { spec, algorithm } => KmsErrorType::InvalidKeyUsage
                .because(format!("Algorithm {algorithm} is incompatible with key spec {spec}.")),
            CryptoError::Operation { .. } => KmsErrorType::InvalidKeyUsage.because(error.to_string()),
            CryptoError::MessageType { .. } | CryptoError::MessageLength { .. } | CryptoError::DigestLength { .. } => {
                KmsErrorType::Validation.because(error.to_string())
            }
            CryptoError::MalformedKey { .. } => Self::silent(KmsErrorType::Validation),
            CryptoError::BadSignature => Self::silent(KmsErrorType::InvalidSignature),
            CryptoError::BadMac => Self::silent(KmsErrorType::InvalidMac),
            CryptoError::BadCiphertext(_) => Self::silent(KmsErrorType::InvalidCiphertext),
            CryptoError::Unsupported(_) => KmsErrorType::UnsupportedOperation.because(error.to_string()),
            CryptoError::SelfTest(_) | CryptoError::Random | CryptoError::Library(_) => {
                Fault::internal(error.to_string()).into()
            }
        }
    }
}

impl From<BadCiphertext> for KmsError {
    fn from(_: BadCiphertext) -> Self {
        Self::silent(KmsErrorType::InvalidCiphertext)
    }
}

impl From<signing::key::KeyError> for KmsError {
    fn from(error: signing::key::KeyError) -> Self {
        Fault::from(error).into()
    }
}
