//! Key material that is brought: unwrapping what `ImportKeyMaterial` gets under the RSA key that `GetParametersForImport`
//! gave out.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::algorithm::EncryptionAlgorithm;
use super::spec::{KeySpec, Kind, model_enum};
use super::{BadCiphertext, CryptoError, Material};

/// Bytes of wrapped material (KMS's bound).
pub const MAX_WRAPPED: usize = 6144;

model_enum! {
    /// How material is wrapped: the model's `AlgorithmSpec`. `RSAES_PKCS1_V1_5` went out of service on 10 October 2023, and
    /// `SM2PKE` is not offered.
    WrappingAlgorithm but ["RSAES_PKCS1_V1_5", "SM2PKE"] {
        /// RSAES-OAEP with SHA-1 around the material.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSAES-OAEP with SHA-256 around the material.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// RSAES-OAEP with SHA-1 around an AES-256 key, and behind it AES key wrap with padding (RFC 5649) of the material.
        RsaAesKeyWrapSha1 = "RSA_AES_KEY_WRAP_SHA_1",
        /// The same with SHA-256.
        RsaAesKeyWrapSha256 = "RSA_AES_KEY_WRAP_SHA_256",
    }
}

model_enum! {
    /// The key under which material is wrapped. `SM2` is not offered.
    WrappingKeySpec but ["SM2"] {
        /// 2,048 bits.
        Rsa2048 = "RSA_2048",
        /// 3,072 bits.
        Rsa3072 = "RSA_3072",
        /// 4,096 bits.
        Rsa4096 = "RSA_4096",
    }
}

impl WrappingKeySpec {
    /// The spec to generate such a key with.
    pub const fn key_spec(self) -> KeySpec {
        match self {
            Self::Rsa2048 => KeySpec::Rsa2048,
            Self::Rsa3072 => KeySpec::Rsa3072,
            Self::Rsa4096 => KeySpec::Rsa4096,
        }
    }
}

impl WrappingAlgorithm {
    /// Whether `GetParametersForImport` offers this algorithm under this key for material of this spec, as the API documents
    /// it: key wrap is for private keys, RSA private keys need it, and P-521's do not fit into RSA_2048 without. Of the
    /// post-quantum ones, which it leaves out, the seeds fit everywhere.
    pub fn fits(self, wrapping: WrappingKeySpec, material: KeySpec) -> bool {
        let (_, wraps_aes_key) = self.parts();
        match material.kind() {
            Kind::Symmetric | Kind::Hmac(_) => !wraps_aes_key,
            Kind::Rsa(_) => wraps_aes_key,
            _ if material == KeySpec::EccNistP521 && wrapping == WrappingKeySpec::Rsa2048 => wraps_aes_key,
            _ => true,
        }
    }

    const fn parts(self) -> (EncryptionAlgorithm, bool) {
        match self {
            Self::RsaesOaepSha1 => (EncryptionAlgorithm::RsaesOaepSha1, false),
            Self::RsaesOaepSha256 => (EncryptionAlgorithm::RsaesOaepSha256, false),
            Self::RsaAesKeyWrapSha1 => (EncryptionAlgorithm::RsaesOaepSha1, true),
            Self::RsaAesKeyWrapSha256 => (EncryptionAlgorithm::RsaesOaepSha256, true),
        }
    }
}

/// Unwraps key material with the wrapping key. What it is remains to be read ([`Material::from_pkcs8_upload`]).
///
/// # Errors
/// [`CryptoError::BadCiphertext`] for what is not wrapped so under this key, whatever differs; [`CryptoError::Operation`]
/// when the wrapping key is not RSA.
pub fn unwrap(wrapping: &Material, algorithm: WrappingAlgorithm, wrapped: &[u8]) -> Result<Secret, CryptoError> {
    if wrapped.len() > MAX_WRAPPED {
        return Err(BadCiphertext.into());
    }
    let (oaep, wraps_aes_key) = algorithm.parts();
    if !wraps_aes_key {
        let mut material = wrapping.decrypt(oaep, wrapped)?;
        return Ok(Secret::new(std::mem::take(&mut *material)));
    }
    let operation = "unwrap key material";
    let Kind::Rsa(size) = wrapping.spec().kind() else {
        let spec = wrapping.spec();
        return Err(CryptoError::Operation { spec, operation });
    };
    let (aes_key, material) = wrapped.split_at_checked(size.len()).ok_or(BadCiphertext)?;
    let aes_key = wrapping.decrypt(oaep, aes_key)?;
    let kek = AesKek::new(&AES_256, &aes_key).map_err(|_| BadCiphertext)?;
    let mut buffer = Zeroizing::new(vec![0; material.len()]);
    let unwrapped = kek
        .unwrap_with_padding(material, &mut buffer)
        .map_err(|_| BadCiphertext)?;
    Ok(Secret::new(unwrapped.to_vec()))
}
