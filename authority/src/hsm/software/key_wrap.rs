//! AES-256 key wrap (RFC 3394; NIST SP 800-38F, KW), of data keys.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::super::{DATA_KEY_LEN, HsmError, HsmErrorKind, WRAPPED_DATA_KEY_LEN};

/// Wraps a data key.
pub(super) fn wrap(key: &Secret, data_key: &Secret) -> Result<Vec<u8>, HsmError> {
    let mut wrapped = [0; WRAPPED_DATA_KEY_LEN];
    let done = kek(key)?.wrap(data_key.expose(), &mut wrapped);
    let done = done.map_err(|_| HsmErrorKind::Token.because("wrapping a data key failed"))?;
    Ok(done.to_vec())
}

/// Opens what [`wrap`] made under this key; none for anything else.
pub(super) fn unwrap(key: &Secret, wrapped: &[u8]) -> Result<Option<Secret>, HsmError> {
    if wrapped.len() != WRAPPED_DATA_KEY_LEN {
        return Ok(None);
    }
    // The library wants room for what is wrapped, and answers what it filled.
    let mut opened = Zeroizing::new([0; WRAPPED_DATA_KEY_LEN]);
    let data_key = kek(key)?.unwrap(wrapped, &mut *opened).ok();
    Ok(data_key
        .filter(|data_key| data_key.len() == DATA_KEY_LEN)
        .map(|data_key| Secret::new(data_key.to_vec())))
}

fn kek(key: &Secret) -> Result<AesKek, HsmError> {
    AesKek::new(&AES_256, key.expose())
        .map_err(|_| HsmErrorKind::Tampered.because("the wrapped key has another length"))
}
