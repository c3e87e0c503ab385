//! The ciphertext blobs of symmetric keys: their form, version 1, and their cipher.
//!
//! ```text
//! form (1 byte: 0x53, 'S', raised when the form changes to another value)
//! kind of the key id (1: 0 single-Region, 1 multi-Region) ‖ key id (16)
//! key version (4, big-endian, from 1) ‖ tenant (12 digits)                    – the header, 34 bytes
//! salt (32) ‖ commitment (32) ‖ AES-256-GCM ciphertext and tag (plaintext + 16)
//! ```
//!
//! AAD = domain ‖ header ‖ encryption context, where the context is its number of pairs and, in order of the keys' bytes,
//! each key and value with its length (4 bytes, big-endian). PRK = HKDF-Extract-SHA-256(salt, key material). The AES key is
//! HKDF-Expand(PRK, "… key"), used once, with the zero nonce: the random salt is what makes it fresh. The commitment is
//! HKDF-Expand(PRK, "… commitment" ‖ SHA-256(AAD)), checked first and in constant time: AES-GCM alone lets who knows two
//! keys, or one key and two contexts, make a ciphertext that opens under both.
//!
//! Nothing in it says a Region: a multi-Region key's blob opens wherever the key's material is.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use zeroize::Zeroizing;

use super::algorithm::check_len;
use super::{BadCiphertext, CryptoError, Material};
use crate::names::Tenant;

pub use self::key_id::KeyId;

mod key_id;

/// Bytes of a plaintext (KMS's bound).
pub const MAX_PLAINTEXT: usize = 4096;
/// Bytes of a ciphertext that is looked at (KMS's bound). What [`seal`] makes is shorter.
pub const MAX_BLOB: usize = 6144;
/// Bytes that a blob has more than its plaintext.
pub const OVERHEAD: usize = HEADER_LEN + SALT_LEN + COMMITMENT_LEN + TAG_LEN;
/// Bytes of randomness that [`seal`] takes.
pub const SALT_LEN: usize = 32;

const FORM: u8 = 0x53;
const TENANT_LEN: usize = 12;
const HEADER_LEN: usize = 1 + KeyId::LEN + 4 + TENANT_LEN;
const COMMITMENT_LEN: usize = 32;
const TAG_LEN: usize = 16;
const AAD_DOMAIN: &[u8] = b"signet kms ciphertext v1\0";
const KEY_INFO: &[u8] = b"signet kms ciphertext v1 key\0";
const COMMITMENT_INFO: &[u8] = b"signet kms ciphertext v1 commitment\0";

/// An encryption context. Keys and values are compared byte for byte; the map's order is that of the keys' bytes.
pub type EncryptionContext = BTreeMap<String, String>;

/// What a blob says about the key that opens it. Not to be believed before the blob is open: it is only where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The key.
    pub key_id: KeyId,
    /// Which of its materials.
    pub version: u32,
    /// Whose key.
    pub tenant: Tenant,
}

impl Header {
    /// Reads a blob's header, without any cryptography.
    ///
    /// # Errors
    /// [`BadCiphertext`] for what is certainly no blob of this form.
    pub fn parse(blob: &[u8]) -> Result<Self, BadCiphertext> {
        Parts::split(blob)?.header()
    }

    fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let parts = [
            &[FORM][..],
            &self.key_id.to_bytes(),
            &self.version.to_be_bytes(),
            self.tenant.as_str().as_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }
}

/// Encrypts 1 to [`MAX_PLAINTEXT`] bytes; the blob has [`OVERHEAD`] more. `randomness` is fresh from the kernel for every
/// call: two blobs of one material with the same give each other's plaintexts away.
///
/// # Errors
/// [`CryptoError::Operation`] for material that is not `SYMMETRIC_DEFAULT`, [`CryptoError::MessageLength`].
pub fn seal(
    material: &Material,
    header: &Header,
    context: &EncryptionContext,
    plaintext: &[u8],
    randomness: &[u8; SALT_LEN],
) -> Result<Vec<u8>, CryptoError> {
    let (spec, operation) = (material.spec(), "encrypt under a key id");
    let secret = material.symmetric().ok_or(CryptoError::Operation { spec, operation })?;
    check_len(1, MAX_PLAINTEXT, plaintext)?;
    let header = header.to_bytes();
    let aad = associated(&header, context);
    let keys = Keys::derive(secret.expose(), randomness, &aad)?;
    let mut body = Zeroizing::new(plaintext.to_vec());
    let tag = keys
        .cipher
        .seal_in_place_separate_tag(nonce(), Aad::from(&aad), &mut body)
        .map_err(|_| CryptoError::Library("encrypt with AES"))?;
    Ok([&header[..], randomness, &keys.commitment[..], &body, tag.as_ref()].concat())
}

/// Decrypts what [`seal`] made of this material, with this context, under the header that the blob says.
///
/// # Errors
/// [`BadCiphertext`] for anything else, whatever differs.
pub fn open(
    material: &Material,
    blob: &[u8],
    context: &EncryptionContext,
) -> Result<Zeroizing<Vec<u8>>, BadCiphertext> {
    let secret = material.symmetric().ok_or(BadCiphertext)?;
    let parts = Parts::split(blob)?;
    parts.header()?;
    let aad = associated(parts.header, context);
    let keys = Keys::derive(secret.expose(), parts.salt, &aad).map_err(|_| BadCiphertext)?;
    verify_slices_are_equal(&keys.commitment[..], parts.commitment).map_err(|_| BadCiphertext)?;
    let mut body = Zeroizing::new(parts.sealed.to_vec());
    let len = keys
        .cipher
        .open_in_place(nonce(), Aad::from(&aad), &mut body)
        .map_err(|_| BadCiphertext)?
        .len();
    body.truncate(len);
    Ok(body)
}

/// A blob, cut.
struct Parts<'a> {
    header: &'a [u8],
    salt: &'a [u8],
    commitment: &'a [u8],
    /// Ciphertext and tag.
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(blob: &'a [u8]) -> Result<Self, BadCiphertext> {
        if blob.len() <= OVERHEAD || blob.len() > MAX_BLOB {
            return Err(BadCiphertext);
        }
        let (header, rest) = blob.split_at_checked(HEADER_LEN).ok_or(BadCiphertext)?;
        let (salt, rest) = rest.split_at_checked(SALT_LEN).ok_or(BadCiphertext)?;
        let (commitment, sealed) = rest.split_at_checked(COMMITMENT_LEN).ok_or(BadCiphertext)?;
        Ok(Self {
            header,
            salt,
            commitment,
            sealed,
        })
    }

    fn header(&self) -> Result<Header, BadCiphertext> {
        let (form, rest) = self.header.split_first().ok_or(BadCiphertext)?;
        let (key_id, rest) = rest.split_first_chunk().ok_or(BadCiphertext)?;
        let (version, tenant) = rest.split_first_chunk().ok_or(BadCiphertext)?;
        let tenant = std::str::from_utf8(tenant).map_err(|_| BadCiphertext)?;
        let header = Header {
            key_id: KeyId::from_bytes(key_id).ok_or(BadCiphertext)?,
            version: u32::from_be_bytes(*version),
            tenant: Tenant::parse(tenant).map_err(|_| BadCiphertext)?,
        };
        if *form != FORM || header.version == 0 {
            return Err(BadCiphertext);
        }
        Ok(header)
    }
}

struct Keys {
    cipher: LessSafeKey,
    commitment: Zeroizing<[u8; COMMITMENT_LEN]>,
}

impl Keys {
    fn derive(secret: &[u8], salt: &[u8], aad: &[u8]) -> Result<Self, CryptoError> {
        let prk = Salt::new(HKDF_SHA256, salt).extract(secret);
        let key = expand(&prk, &[KEY_INFO])?;
        let failed = |_| CryptoError::Library("read an AES key");
        Ok(Self {
            cipher: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key[..]).map_err(failed)?),
            commitment: expand(&prk, &[COMMITMENT_INFO, digest(&SHA256, aad).as_ref()])?,
        })
    }
}

fn expand(prk: &Prk, info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    let failed = |_| CryptoError::Library("derive a key");
    let mut key = Zeroizing::new([0; 32]);
    prk.expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key[..]))
        .map_err(failed)?;
    Ok(key)
}

/// The key is used once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Injective: the domain and the header have fixed lengths, and each part of the context says its own.
fn associated(header: &[u8], context: &EncryptionContext) -> Vec<u8> {
    // A context is bounded by the request's size, far below 2^32; a longer part would saturate and match nothing else
    // that a caller can send.
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = [AAD_DOMAIN, header, &len(context.len())].concat();
    for text in context.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend_from_slice(&len(text.len()));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
