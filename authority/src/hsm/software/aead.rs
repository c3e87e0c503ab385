//! AES-256-GCM with a random 96-bit nonce: a blob is a format byte, the nonce, the ciphertext and the 128-bit tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::super::{HsmError, HsmErrorKind};

const FORMAT: u8 = 1;

/// Seals `plaintext` under a 32-byte key.
pub(super) fn seal(key: &[u8], plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, HsmError> {
    let failed = |_| HsmErrorKind::Token.because("sealing failed");
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(failed)?;
    let mut sealed = Zeroizing::new(plaintext.to_vec());
    let nonce = key
        .seal_in_place_append_tag(Aad::from(associated), &mut *sealed)
        .map_err(failed)?;
    let mut blob = vec![FORMAT];
    blob.extend_from_slice(nonce.as_ref());
    blob.extend_from_slice(&sealed);
    Ok(blob)
}

/// Opens what [`seal`] made; `Tampered` when any bit differs.
pub(super) fn open(key: &[u8], blob: &[u8], associated: &[u8]) -> Result<Secret, HsmError> {
    let tampered = || HsmErrorKind::Tampered.because("it was not sealed here, or for another row");
    let (format, rest) = blob.split_first().ok_or_else(tampered)?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(tampered)?;
    if *format != FORMAT {
        return Err(tampered());
    }
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| tampered())?;
    let mut opened = Zeroizing::new(ciphertext.to_vec());
    let plaintext = key
        .open_in_place(Nonce::from(nonce), Aad::from(associated), &mut opened)
        .map_err(|_| tampered())?;
    Ok(Secret::new(plaintext.to_vec()))
}
