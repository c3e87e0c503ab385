//! The algorithms of the API model, and the forms in which a message to sign comes.

use std::fmt;

use super::CryptoError;
use super::spec::model_enum;

/// Bytes of a message that is signed or MACed as it is (KMS's bound).
pub const MAX_MESSAGE: usize = 4096;
/// Bytes of ML-DSA's message representative μ (FIPS 204 section 6.2).
pub const MU_LEN: usize = 64;

model_enum! {
    /// `SigningAlgorithmSpec`. `SM2DSA` is not offered.
    SigningAlgorithm but ["SM2DSA"] {
        /// RSASSA-PSS (RFC 8017) with SHA-256, MGF1 with SHA-256 and 32 bytes of salt.
        RsassaPssSha256 = "RSASSA_PSS_SHA_256",
        /// The same with SHA-384 and 48 bytes.
        RsassaPssSha384 = "RSASSA_PSS_SHA_384",
        /// The same with SHA-512 and 64 bytes.
        RsassaPssSha512 = "RSASSA_PSS_SHA_512",
        /// RSASSA-PKCS1-v1_5 (RFC 8017) with SHA-256.
        RsassaPkcs1V15Sha256 = "RSASSA_PKCS1_V1_5_SHA_256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        RsassaPkcs1V15Sha384 = "RSASSA_PKCS1_V1_5_SHA_384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        RsassaPkcs1V15Sha512 = "RSASSA_PKCS1_V1_5_SHA_512",
        /// ECDSA with SHA-256, on P-256 and secp256k1. Signatures are DER (RFC 3279 section 2.2.3).
        EcdsaSha256 = "ECDSA_SHA_256",
        /// ECDSA with SHA-384, on P-384.
        EcdsaSha384 = "ECDSA_SHA_384",
        /// ECDSA with SHA-512, on P-521.
        EcdsaSha512 = "ECDSA_SHA_512",
        /// Pure ML-DSA with an empty context (FIPS 204 section 5.2).
        MlDsaShake256 = "ML_DSA_SHAKE_256",
        /// Ed25519 (RFC 8032 section 5.1). Takes messages only.
        Ed25519Sha512 = "ED25519_SHA_512",
        /// Ed25519ph with an empty context (RFC 8032 section 5.1), of what comes as a digest: KMS hashes that once more.
        Ed25519PhSha512 = "ED25519_PH_SHA_512",
    }
}

model_enum! {
    /// `EncryptionAlgorithmSpec`. `SM2PKE` is not offered.
    EncryptionAlgorithm but ["SM2PKE"] {
        /// AES-256-GCM in a ciphertext of this service's own form ([`crate::crypto::blob`]).
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        /// RSAES-OAEP (RFC 8017) with SHA-1, MGF1 with SHA-1 and no label.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
    }
}

model_enum! {
    /// `MacAlgorithmSpec`.
    MacAlgorithm but [] {
        /// 28 bytes.
        HmacSha224 = "HMAC_SHA_224",
        /// 32 bytes.
        HmacSha256 = "HMAC_SHA_256",
        /// 48 bytes.
        HmacSha384 = "HMAC_SHA_384",
        /// 64 bytes.
        HmacSha512 = "HMAC_SHA_512",
    }
}

model_enum! {
    /// `KeyAgreementAlgorithmSpec`.
    KeyAgreementAlgorithm but [] {
        /// The shared point's x coordinate (SP 800-56A section 5.7.1.2).
        Ecdh = "ECDH",
    }
}

model_enum! {
    /// `EncapsulationAlgorithmSpec`.
    EncapsulationAlgorithm but [] {
        /// FIPS 203.
        MlKem = "ML_KEM",
    }
}

model_enum! {
    /// `MessageType`.
    MessageType but [] {
        /// The message itself.
        Raw = "RAW",
        /// Its digest.
        Digest = "DIGEST",
        /// ML-DSA's μ.
        ExternalMu = "EXTERNAL_MU",
    }
}

/// What is to be signed or was signed.
#[derive(Clone, Copy)]
pub enum Message<'a> {
    /// The message: at most [`MAX_MESSAGE`] bytes.
    Raw(&'a [u8]),
    /// Its digest, of the algorithm's hash. Nothing hashes it again, except Ed25519ph.
    Digest(&'a [u8]),
    /// ML-DSA's μ, which covers the public key and the message: [`MU_LEN`] bytes.
    ExternalMu(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The bytes of a request with the type it gives them.
    pub fn new(message_type: MessageType, bytes: &'a [u8]) -> Self {
        match message_type {
            MessageType::Raw => Self::Raw(bytes),
            MessageType::Digest => Self::Digest(bytes),
            MessageType::ExternalMu => Self::ExternalMu(bytes),
        }
    }

    /// The type in the API.
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Raw(_) => MessageType::Raw,
            Self::Digest(_) => MessageType::Digest,
            Self::ExternalMu(_) => MessageType::ExternalMu,
        }
    }
}

impl fmt::Debug for Message<'_> {
    /// The form and the length: the bytes are the caller's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Raw(bytes) | Self::Digest(bytes) | Self::ExternalMu(bytes)) = self;
        write!(f, "{} of {} bytes", self.message_type(), bytes.len())
    }
}

impl SigningAlgorithm {
    /// Bytes of what comes as `DIGEST`; none where the algorithm takes no digests.
    pub const fn digest_len(self) -> Option<usize> {
        match self {
            Self::RsassaPssSha256 | Self::RsassaPkcs1V15Sha256 | Self::EcdsaSha256 => Some(32),
            Self::RsassaPssSha384 | Self::RsassaPkcs1V15Sha384 | Self::EcdsaSha384 => Some(48),
            Self::RsassaPssSha512 | Self::RsassaPkcs1V15Sha512 | Self::EcdsaSha512 | Self::Ed25519PhSha512 => Some(64),
            Self::Ed25519Sha512 | Self::MlDsaShake256 => None,
        }
    }

    /// Whether the algorithm takes messages in this form.
    pub const fn takes(self, message_type: MessageType) -> bool {
        match message_type {
            MessageType::Raw => !matches!(self, Self::Ed25519PhSha512),
            MessageType::Digest => self.digest_len().is_some(),
            MessageType::ExternalMu => matches!(self, Self::MlDsaShake256),
        }
    }

    /// Refuses messages in a form or of a length that this algorithm does not take.
    ///
    /// # Errors
    /// [`CryptoError::MessageType`], [`CryptoError::MessageLength`] or [`CryptoError::DigestLength`].
    pub fn check(self, message: &Message<'_>) -> Result<(), CryptoError> {
        let message_type = message.message_type();
        if !self.takes(message_type) {
            let algorithm = self;
            return Err(CryptoError::MessageType {
                algorithm,
                message_type,
            });
        }
        let exactly = |expected: usize, bytes: &[u8]| match bytes.len() {
            actual if actual == expected => Ok(()),
            actual => Err(CryptoError::DigestLength { expected, actual }),
        };
        match message {
            Message::Raw(bytes) => check_len(0, MAX_MESSAGE, bytes),
            Message::Digest(bytes) => exactly(self.digest_len().unwrap_or_default(), bytes),
            Message::ExternalMu(bytes) => exactly(MU_LEN, bytes),
        }
    }
}

impl MacAlgorithm {
    /// Bytes of a MAC, and of the secret of a key made for it.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::HmacSha224 => 28,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

pub(super) fn check_len(min: usize, max: usize, bytes: &[u8]) -> Result<(), CryptoError> {
    let actual = bytes.len();
    if actual < min || actual > max {
        return Err(CryptoError::MessageLength { min, max, actual });
    }
    Ok(())
}
