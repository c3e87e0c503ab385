//! One sealed row: AES-256-GCM under a key-encryption key, with the row's path and version as associated data (R29).

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use signing::key::Secret;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// First byte of every sealed row, raised when the form changes.
const FORM: u8 = 1;
const VERSION_LEN: usize = 8;
const HEADER_LEN: usize = 1 + VERSION_LEN + NONCE_LEN;
const DOMAIN: &[u8] = b"signet sealed row v1\0";

/// A key-encryption key in the authority's memory; the library wipes it when dropped. Nonces are random 96 bits, which
/// bounds one key to 2³² rows written.
pub struct Kek(LessSafeKey);

impl Kek {
    /// Bytes in a key.
    pub const LEN: usize = 32;

    /// Takes a key that the HSM unsealed.
    pub fn new(secret: &Secret) -> Result<Self, Fault> {
        let key = UnboundKey::new(&AES_256_GCM, secret.expose()).map_err(|_| Fault::Corrupt {
            detail: "a key-encryption key has not 32 bytes".into(),
        })?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals a row: form, version (8 bytes, big-endian), nonce, ciphertext, tag.
    pub fn seal(&self, path: &str, version: u64, plaintext: &[u8]) -> Result<Vec<u8>, Fault> {
        let nonce: [u8; NONCE_LEN] = signing::key::random_bytes()?;
        let mut body = Zeroizing::new(plaintext.to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(path, version)),
                &mut body,
            )
            .map_err(|_| Fault::internal("a row could not be sealed"))?;
        let mut row = Vec::with_capacity(HEADER_LEN.saturating_add(body.len()).saturating_add(tag.as_ref().len()));
        row.push(FORM);
        row.extend_from_slice(&version.to_be_bytes());
        row.extend_from_slice(&nonce);
        row.extend_from_slice(&body);
        row.extend_from_slice(tag.as_ref());
        Ok(row)
    }

    /// Opens a row: its version and its plaintext. `Corrupt` when it was sealed for another path, says another version, or differs in any bit.
    pub fn open(&self, path: &str, row: &[u8]) -> Result<(u64, Zeroizing<Vec<u8>>), Fault> {
        let broken = |what: &str| Fault::Corrupt {
            detail: format!("`{path}` {what}"),
        };
        let (header, body) = row
            .split_at_checked(HEADER_LEN)
            .ok_or_else(|| broken("is too short for a sealed row"))?;
        let (form, rest) = header.split_first().ok_or_else(|| broken("is empty"))?;
        if *form != FORM {
            return Err(broken("has a form this version does not know"));
        }
        let (version, nonce) = rest
            .split_at_checked(VERSION_LEN)
            .ok_or_else(|| broken("has no header"))?;
        let version = u64::from_be_bytes(version.try_into().map_err(|_| broken("has no version"))?);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken("has no nonce"))?;
        let mut body = Zeroizing::new(body.to_vec());
        let len = self
            .0
            .open_in_place(nonce, Aad::from(associated(path, version)), &mut body)
            .map_err(|_| broken("was not sealed by this authority for this path and version"))?
            .len();
        body.truncate(len);
        Ok((version, body))
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Domain ‖ length of the path ‖ path ‖ version: no two pairs of path and version give the same bytes.
fn associated(path: &str, version: u64) -> Vec<u8> {
    let len = u64::try_from(path.len()).unwrap_or(u64::MAX);
    [DOMAIN, &len.to_be_bytes(), path.as_bytes(), &version.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kek() -> Kek {
        Kek::new(&Secret::random(Kek::LEN).unwrap()).unwrap()
    }

    #[test]
    fn a_row_opens_where_it_was_sealed() {
        let kek = kek();
        let row = kek.seal("keys/a", 7, b"canary").unwrap();
        let (version, plain) = kek.open("keys/a", &row).unwrap();
        assert_eq!((version, plain.as_slice()), (7, &b"canary"[..]));
        assert!(!row.windows(6).any(|window| window == b"canary"));
    }

    // R29
    #[test]
    fn a_swapped_or_altered_row_is_refused() {
        let kek = kek();
        let row = kek.seal("keys/a", 7, b"value").unwrap();
        assert!(kek.open("keys/b", &row).is_err(), "another path");
        assert!(
            super::tests::kek().open("keys/a", &row).is_err(),
            "another tenant's key"
        );
        for at in 0..row.len() {
            let mut bad = row.clone();
            bad[at] ^= 1;
            assert!(
                matches!(kek.open("keys/a", &bad), Err(Fault::Corrupt { .. })),
                "byte {at}"
            );
        }
        for len in 0..row.len() {
            assert!(kek.open("keys/a", &row[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert!(Kek::new(&Secret::new(vec![0; 16])).is_err());
    }
}
