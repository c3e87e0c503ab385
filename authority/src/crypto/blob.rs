//! The ciphertext blobs of symmetric keys: their two forms, version 1, and their cipher.
//!
//! ```text
//! form (1 byte: 0x53 'S'; 0x54 'T' where the key stays in the HSM)
//! kind of the key id (1: 0 single-Region, 1 multi-Region) ‖ key id (16)
//! key version (4, big-endian, from 1) ‖ tenant (12 digits)                    – the header, 34 bytes
//! S: salt (32);  T: length (1) ‖ data key as the HSM wrapped it (1 to 255)    – the seed
//! commitment (32) ‖ AES-256-GCM ciphertext and tag (plaintext + 16)
//! ```
//!
//! AAD = domain ‖ header ‖ encryption context, where the context is its number of pairs and, in order of the keys' bytes,
//! each key and value with its length (4 bytes, big-endian). PRK = HKDF-Extract-SHA-256(seed, secret), where the secret is the
//! key material (S) or the data key (T). The AES key is HKDF-Expand(PRK, "… key"), used once, with the zero nonce: the random
//! salt, or the data key that is used for nothing else, is what makes it fresh. The commitment is
//! HKDF-Expand(PRK, "… commitment" ‖ SHA-256(AAD)), checked first and in constant time: AES-GCM alone lets who knows two
//! keys, or one key and two contexts, make a ciphertext that opens under both.
//!
//! Nothing in it says a Region: a multi-Region key's blob opens wherever the key's material is.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use signing::key::Secret;
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
/// Bytes that a blob of [`seal`] has more than its plaintext.
pub const OVERHEAD: usize = HEADER_LEN + SALT_LEN + COMMITMENT_LEN + TAG_LEN;
/// Bytes of a wrapped data key, at most: its length is one byte.
const MAX_WRAPPED: usize = 255;
/// Bytes of randomness that [`seal`] takes.
pub const SALT_LEN: usize = 32;

/// The key material is in this process.
const STORED: u8 = 0x53;
/// The key material is in the HSM alone, which wraps a data key for each blob.
const IN_TOKEN: u8 = 0x54;
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

    fn to_bytes(&self, form: u8) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let parts = [
            &[form][..],
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
    lock(secret, &header.to_bytes(STORED), randomness, context, plaintext)
}

/// As [`seal`], with a data key that the HSM made for this one blob, and as it wrapped it (1 to 255 bytes).
///
/// # Errors
/// [`CryptoError::MessageLength`].
pub fn seal_with(
    data_key: &Secret,
    wrapped: &[u8],
    header: &Header,
    context: &EncryptionContext,
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    check_len(1, MAX_WRAPPED, wrapped)?;
    let len = u8::try_from(wrapped.len()).unwrap_or_default();
    let seed = [&[len], wrapped].concat();
    lock(data_key, &header.to_bytes(IN_TOKEN), &seed, context, plaintext)
}

fn lock(
    secret: &Secret,
    header: &[u8],
    seed: &[u8],
    context: &EncryptionContext,
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    check_len(1, MAX_PLAINTEXT, plaintext)?;
    let aad = associated(header, context);
    let keys = Keys::derive(secret.expose(), seed, &aad)?;
    let mut body = Zeroizing::new(plaintext.to_vec());
    let tag = keys
        .cipher
        .seal_in_place_separate_tag(nonce(), Aad::from(&aad), &mut body)
        .map_err(|_| CryptoError::Library("encrypt with AES"))?;
    Ok([header, seed, &keys.commitment[..], &body, tag.as_ref()].concat())
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
    unlock(STORED, secret, blob, context)
}

/// The data key in a blob of [`seal_with`], as the HSM wrapped it.
///
/// # Errors
/// [`BadCiphertext`] for what is certainly no such blob.
pub fn wrapped_data_key(blob: &[u8]) -> Result<&[u8], BadCiphertext> {
    let parts = Parts::split(blob)?;
    match parts.form {
        IN_TOKEN => parts.seed.get(1..).ok_or(BadCiphertext),
        _ => Err(BadCiphertext),
    }
}

/// Decrypts what [`seal_with`] made with this data key, with this context, under the header that the blob says.
///
/// # Errors
/// [`BadCiphertext`] for anything else, whatever differs.
pub fn open_with(
    data_key: &Secret,
    blob: &[u8],
    context: &EncryptionContext,
) -> Result<Zeroizing<Vec<u8>>, BadCiphertext> {
    unlock(IN_TOKEN, data_key, blob, context)
}

fn unlock(
    form: u8,
    secret: &Secret,
    blob: &[u8],
    context: &EncryptionContext,
) -> Result<Zeroizing<Vec<u8>>, BadCiphertext> {
    let parts = Parts::split(blob)?;
    parts.header()?;
    if parts.form != form {
        return Err(BadCiphertext);
    }
    let aad = associated(parts.header, context);
    let keys = Keys::derive(secret.expose(), parts.seed, &aad).map_err(|_| BadCiphertext)?;
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
    form: u8,
    header: &'a [u8],
    seed: &'a [u8],
    commitment: &'a [u8],
    /// Ciphertext and tag.
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(blob: &'a [u8]) -> Result<Self, BadCiphertext> {
        if blob.len() > MAX_BLOB {
            return Err(BadCiphertext);
        }
        let (header, rest) = blob.split_at_checked(HEADER_LEN).ok_or(BadCiphertext)?;
        let (form, wrapped) = (header.first().copied(), rest.first().copied());
        let (form, seed_len) = match (form, wrapped) {
            (Some(STORED), _) => (STORED, SALT_LEN),
            (Some(IN_TOKEN), Some(len @ 1..)) => (IN_TOKEN, usize::from(len).saturating_add(1)),
            _ => return Err(BadCiphertext),
        };
        let (seed, rest) = rest.split_at_checked(seed_len).ok_or(BadCiphertext)?;
        let (commitment, sealed) = rest.split_at_checked(COMMITMENT_LEN).ok_or(BadCiphertext)?;
        if sealed.len() <= TAG_LEN {
            return Err(BadCiphertext);
        }
        Ok(Self {
            form,
            header,
            seed,
            commitment,
            sealed,
        })
    }

    fn header(&self) -> Result<Header, BadCiphertext> {
        let (_form, rest) = self.header.split_first().ok_or(BadCiphertext)?;
        let (key_id, rest) = rest.split_first_chunk().ok_or(BadCiphertext)?;
        let (version, tenant) = rest.split_first_chunk().ok_or(BadCiphertext)?;
        let tenant = std::str::from_utf8(tenant).map_err(|_| BadCiphertext)?;
        let header = Header {
            key_id: KeyId::from_bytes(key_id).ok_or(BadCiphertext)?,
            version: u32::from_be_bytes(*version),
            tenant: Tenant::parse(tenant).map_err(|_| BadCiphertext)?,
        };
        if header.version == 0 {
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
    fn derive(secret: &[u8], seed: &[u8], aad: &[u8]) -> Result<Self, CryptoError> {
        let prk = Salt::new(HKDF_SHA256, seed).extract(secret);
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
