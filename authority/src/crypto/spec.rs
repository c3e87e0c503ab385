//! Key specs and usages, and which algorithms go with which.
//!
//! The orders are those of the service's own answers where they are published: `DescribeKey` and `GetPublicKey` list
//! RSA's as PKCS#1 v1.5 before PSS and OAEP with SHA-1 before SHA-256 (the API model's examples), although the model's
//! enumeration has PSS first. For Ed25519 no answer is published: the order is the enumeration's.

use super::algorithm::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, MacAlgorithm, SigningAlgorithm,
};
use super::ec::Curve;
use super::ml_dsa;
use super::ml_kem;
use super::rsa::Size;

/// A name that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not one of the model's values: a validation error.
    #[error("this is none of the values the API knows")]
    Unknown,
    /// One of the model's values that this service does not offer: an unsupported operation.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}

/// An enumeration of the API model: its names in text and in JSON, and names it has that are not offered here.
macro_rules! model_enum {
    (
        $(#[$outer:meta])*
        $name:ident but $unsupported:tt { $($(#[$inner:meta])* $variant:ident = $text:literal,)+ }
    ) => {
        $(#[$outer])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the model's order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            const UNSUPPORTED: &[&'static str] = &$unsupported;

            /// The name in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Reads a name of the API, exactly as written there.
            ///
            /// # Errors
            /// [`NameError`](crate::crypto::NameError), which tells names that are not offered from names that do not exist.
            pub fn parse(name: &str) -> Result<Self, $crate::crypto::NameError> {
                use $crate::crypto::NameError;
                let known = Self::ALL.iter().find(|value| value.as_str() == name);
                let unsupported = || Self::UNSUPPORTED.iter().find(|value| **value == name);
                known.copied().ok_or_else(|| match unsupported() {
                    Some(name) => NameError::Unsupported(name),
                    None => NameError::Unknown,
                })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(super) use model_enum;

model_enum! {
    /// What kind of key: `KeySpec`. `SM2` is not offered.
    KeySpec but ["SM2"] {
        /// RSA, 2,048 bits.
        Rsa2048 = "RSA_2048",
        /// RSA, 3,072 bits.
        Rsa3072 = "RSA_3072",
        /// RSA, 4,096 bits.
        Rsa4096 = "RSA_4096",
        /// P-256.
        EccNistP256 = "ECC_NIST_P256",
        /// P-384.
        EccNistP384 = "ECC_NIST_P384",
        /// P-521.
        EccNistP521 = "ECC_NIST_P521",
        /// secp256k1.
        EccSecgP256k1 = "ECC_SECG_P256K1",
        /// AES-256-GCM, through [`crate::crypto::blob`].
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        /// HMAC-SHA-224 with a secret of 28 bytes.
        Hmac224 = "HMAC_224",
        /// HMAC-SHA-256 with a secret of 32 bytes.
        Hmac256 = "HMAC_256",
        /// HMAC-SHA-384 with a secret of 48 bytes.
        Hmac384 = "HMAC_384",
        /// HMAC-SHA-512 with a secret of 64 bytes.
        Hmac512 = "HMAC_512",
        /// ML-DSA-44 (FIPS 204).
        MlDsa44 = "ML_DSA_44",
        /// ML-DSA-65 (FIPS 204).
        MlDsa65 = "ML_DSA_65",
        /// ML-DSA-87 (FIPS 204).
        MlDsa87 = "ML_DSA_87",
        /// Ed25519 (RFC 8032).
        EccNistEdwards25519 = "ECC_NIST_EDWARDS25519",
        /// ML-KEM-512 (FIPS 203).
        MlKem512 = "ML_KEM_512",
        /// ML-KEM-768 (FIPS 203).
        MlKem768 = "ML_KEM_768",
        /// ML-KEM-1024 (FIPS 203).
        MlKem1024 = "ML_KEM_1024",
    }
}

model_enum! {
    /// The one thing a key is for: `KeyUsage`.
    KeyUsage but [] {
        /// `Sign` and `Verify`.
        SignVerify = "SIGN_VERIFY",
        /// `Encrypt`, `Decrypt` and, for symmetric keys, data keys.
        EncryptDecrypt = "ENCRYPT_DECRYPT",
        /// `GenerateMac` and `VerifyMac`.
        GenerateVerifyMac = "GENERATE_VERIFY_MAC",
        /// `DeriveSharedSecret`.
        KeyAgreement = "KEY_AGREEMENT",
        /// `Encapsulate` and `Decapsulate`.
        EncapsulateDecapsulate = "ENCAPSULATE_DECAPSULATE",
    }
}

/// A spec, as the modules that do the work know it.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Symmetric,
    Hmac(MacAlgorithm),
    Rsa(Size),
    Ec(Curve),
    Ed25519,
    MlDsa(ml_dsa::Set),
    MlKem(ml_kem::Set),
}

impl KeySpec {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::SymmetricDefault => Kind::Symmetric,
            Self::Hmac224 => Kind::Hmac(MacAlgorithm::HmacSha224),
            Self::Hmac256 => Kind::Hmac(MacAlgorithm::HmacSha256),
            Self::Hmac384 => Kind::Hmac(MacAlgorithm::HmacSha384),
            Self::Hmac512 => Kind::Hmac(MacAlgorithm::HmacSha512),
            Self::Rsa2048 => Kind::Rsa(Size::Rsa2048),
            Self::Rsa3072 => Kind::Rsa(Size::Rsa3072),
            Self::Rsa4096 => Kind::Rsa(Size::Rsa4096),
            Self::EccNistP256 => Kind::Ec(Curve::P256),
            Self::EccNistP384 => Kind::Ec(Curve::P384),
            Self::EccNistP521 => Kind::Ec(Curve::P521),
            Self::EccSecgP256k1 => Kind::Ec(Curve::Secp256k1),
            Self::EccNistEdwards25519 => Kind::Ed25519,
            Self::MlDsa44 => Kind::MlDsa(ml_dsa::Set::MlDsa44),
            Self::MlDsa65 => Kind::MlDsa(ml_dsa::Set::MlDsa65),
            Self::MlDsa87 => Kind::MlDsa(ml_dsa::Set::MlDsa87),
            Self::MlKem512 => Kind::MlKem(ml_kem::Set::MlKem512),
            Self::MlKem768 => Kind::MlKem(ml_kem::Set::MlKem768),
            Self::MlKem1024 => Kind::MlKem(ml_kem::Set::MlKem1024),
        }
    }

    /// Whether there is a public key.
    pub const fn is_asymmetric(self) -> bool {
        !matches!(self.kind(), Kind::Symmetric | Kind::Hmac(_))
    }

    /// The usages a key of this spec may have. It has one of them for life.
    pub const fn usages(self) -> &'static [KeyUsage] {
        match self.kind() {
            Kind::Symmetric => &[KeyUsage::EncryptDecrypt],
            Kind::Hmac(_) => &[KeyUsage::GenerateVerifyMac],
            Kind::Rsa(_) => &[KeyUsage::EncryptDecrypt, KeyUsage::SignVerify],
            Kind::Ec(Curve::P256 | Curve::P384 | Curve::P521) => &[KeyUsage::SignVerify, KeyUsage::KeyAgreement],
            Kind::Ec(Curve::Secp256k1) | Kind::Ed25519 | Kind::MlDsa(_) => &[KeyUsage::SignVerify],
            Kind::MlKem(_) => &[KeyUsage::EncapsulateDecapsulate],
        }
    }

    /// Whether a key of this spec may have this usage.
    pub fn allows(self, usage: KeyUsage) -> bool {
        self.usages().contains(&usage)
    }

    /// The usage that `CreateKey` takes where the caller names none. Every spec but `SYMMETRIC_DEFAULT` has to be told,
    /// even those with one usage only.
    pub const fn default_usage(self) -> Option<KeyUsage> {
        match self {
            Self::SymmetricDefault => Some(KeyUsage::EncryptDecrypt),
            _ => None,
        }
    }

    /// Whether `GenerateDataKeyPair` makes pairs of this spec (the model's `DataKeyPairSpec`).
    pub const fn is_data_key_pair(self) -> bool {
        matches!(self.kind(), Kind::Rsa(_) | Kind::Ec(_) | Kind::Ed25519 | Kind::MlKem(_))
    }

    /// `SigningAlgorithms` of a key of this spec and usage, in the service's order; none for other usages.
    pub const fn signing_algorithms(self, usage: KeyUsage) -> &'static [SigningAlgorithm] {
        use SigningAlgorithm as Alg;
        if !matches!(usage, KeyUsage::SignVerify) {
            return &[];
        }
        match self.kind() {
            Kind::Rsa(_) => &[
                Alg::RsassaPkcs1V15Sha256,
                Alg::RsassaPkcs1V15Sha384,
                Alg::RsassaPkcs1V15Sha512,
                Alg::RsassaPssSha256,
                Alg::RsassaPssSha384,
                Alg::RsassaPssSha512,
            ],
            Kind::Ec(Curve::P256 | Curve::Secp256k1) => &[Alg::EcdsaSha256],
            Kind::Ec(Curve::P384) => &[Alg::EcdsaSha384],
            Kind::Ec(Curve::P521) => &[Alg::EcdsaSha512],
            Kind::Ed25519 => &[Alg::Ed25519Sha512, Alg::Ed25519PhSha512],
            Kind::MlDsa(_) => &[Alg::MlDsaShake256],
            Kind::Symmetric | Kind::Hmac(_) | Kind::MlKem(_) => &[],
        }
    }

    /// `EncryptionAlgorithms` of a key of this spec and usage, in the service's order; none for other usages.
    pub const fn encryption_algorithms(self, usage: KeyUsage) -> &'static [EncryptionAlgorithm] {
        match (self.kind(), usage) {
            (Kind::Symmetric, KeyUsage::EncryptDecrypt) => &[EncryptionAlgorithm::SymmetricDefault],
            (Kind::Rsa(_), KeyUsage::EncryptDecrypt) => {
                &[EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256]
            }
            _ => &[],
        }
    }

    /// `MacAlgorithms` of a key of this spec and usage; none for other usages.
    pub const fn mac_algorithms(self, usage: KeyUsage) -> &'static [MacAlgorithm] {
        match (self.kind(), usage) {
            (Kind::Hmac(MacAlgorithm::HmacSha224), KeyUsage::GenerateVerifyMac) => &[MacAlgorithm::HmacSha224],
            (Kind::Hmac(MacAlgorithm::HmacSha256), KeyUsage::GenerateVerifyMac) => &[MacAlgorithm::HmacSha256],
            (Kind::Hmac(MacAlgorithm::HmacSha384), KeyUsage::GenerateVerifyMac) => &[MacAlgorithm::HmacSha384],
            (Kind::Hmac(MacAlgorithm::HmacSha512), KeyUsage::GenerateVerifyMac) => &[MacAlgorithm::HmacSha512],
            _ => &[],
        }
    }

    /// `KeyAgreementAlgorithms` of a key of this spec and usage; none for other usages.
    pub fn key_agreement_algorithms(self, usage: KeyUsage) -> &'static [KeyAgreementAlgorithm] {
        match usage {
            KeyUsage::KeyAgreement if self.allows(usage) => &[KeyAgreementAlgorithm::Ecdh],
            _ => &[],
        }
    }

    /// `EncapsulationAlgorithms` of a key of this spec and usage; none for other usages.
    pub fn encapsulation_algorithms(self, usage: KeyUsage) -> &'static [EncapsulationAlgorithm] {
        match usage {
            KeyUsage::EncapsulateDecapsulate if self.allows(usage) => &[EncapsulationAlgorithm::MlKem],
            _ => &[],
        }
    }

    /// The most bytes that `Encrypt` takes with this algorithm; none where it is not one of this spec's.
    pub const fn max_plaintext(self, algorithm: EncryptionAlgorithm) -> Option<usize> {
        match (self.kind(), algorithm) {
            (Kind::Symmetric, EncryptionAlgorithm::SymmetricDefault) => Some(super::blob::MAX_PLAINTEXT),
            (Kind::Rsa(size), _) => size.max_plaintext(algorithm),
            _ => None,
        }
    }
}
