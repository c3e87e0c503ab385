//! Samples of requests on their way from an edge to whoever holds the sampling key: sealed at the edge, so that neither the
//! authority that keeps them nor its disk has any of it.
//!
//! HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM), as shared keys are handed over
//! ([`crate::handover`]). The public half is in the bundle; the private half is in a file of the people who write rules. `info`
//! names the edge: a batch that another edge sealed opens as none of this one's.

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use crate::handover::{HandoverError, Sealed, joined};

/// Bytes of either half of a sampling key: X25519 (RFC 7748).
pub const KEY_LEN: usize = 32;
/// Most bytes of a batch before it is sealed.
pub const MAX_BATCH: usize = 48 << 10;
/// Most samples of a batch.
pub const MAX_IN_BATCH: usize = 256;
/// Bytes that sealing adds: the tag of AES-GCM.
pub const TAG_LEN: usize = 16;

/// A fresh key pair, public half first.
///
/// # Errors
/// [`HandoverError::Generate`]: treat it as fatal.
pub fn generate() -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), HandoverError> {
    let (public, private) = SUITE.generate_key_pair().map_err(|_| HandoverError::Generate)?;
    Ok((public.0, Zeroizing::new(private.secret_bytes().to_vec())))
}

/// Seals a batch of this edge's samples to the public half of a sampling key.
///
/// # Errors
/// [`HandoverError::Seal`] where that is no key, or the batch is larger than [`MAX_BATCH`].
pub fn seal(key: &[u8; KEY_LEN], edge: &str, batch: &[u8]) -> Result<Sealed, HandoverError> {
    if batch.len() > MAX_BATCH {
        return Err(HandoverError::Seal);
    }
    let sealed = SUITE.seal(&info(edge), &[], batch, &HpkePublicKey(key.to_vec()));
    let (encapsulated, ciphertext) = sealed.map_err(|_| HandoverError::Seal)?;
    Ok(Sealed {
        encapsulated: encapsulated.0,
        ciphertext,
    })
}

/// Opens a batch with the private half.
///
/// # Errors
/// [`HandoverError::Open`] where it was sealed to another key or by another edge, or was altered.
pub fn open(private: &[u8], edge: &str, sealed: &Sealed) -> Result<Vec<u8>, HandoverError> {
    if private.len() != KEY_LEN {
        return Err(HandoverError::Open);
    }
    let encapsulated = EncapsulatedSecret(sealed.encapsulated.clone());
    let private = HpkePrivateKey::from(private.to_vec());
    let opened = SUITE.open(&encapsulated, &info(edge), &[], &sealed.ciphertext, &private);
    opened.map_err(|_| HandoverError::Open)
}

fn info(edge: &str) -> Vec<u8> {
    joined(&[b"signet samples v1".as_slice(), edge.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> ([u8; KEY_LEN], Zeroizing<Vec<u8>>) {
        let (public, private) = generate().unwrap();
        (public.try_into().unwrap(), private)
    }

    // R10
    #[test]
    fn a_batch_opens_with_its_key_as_its_edges_and_is_not_to_be_read_without() {
        let (public, private) = pair();
        let canary = b"canary-claim-of-a-sampled-request";
        let sealed = seal(&public, "edge-1", canary).unwrap();
        assert_eq!(sealed.ciphertext.len(), canary.len() + TAG_LEN);
        assert!(
            !sealed
                .ciphertext
                .windows(8)
                .any(|window| canary.windows(8).any(|part| part == window))
        );
        assert_eq!(open(&private, "edge-1", &sealed).unwrap(), canary);
        assert_eq!(open(&private, "edge-2", &sealed), Err(HandoverError::Open));
        assert_eq!(open(&pair().1, "edge-1", &sealed), Err(HandoverError::Open));
        assert_eq!(open(&private[1..], "edge-1", &sealed), Err(HandoverError::Open));
        for at in 0..sealed.ciphertext.len() {
            let mut altered = sealed.clone();
            altered.ciphertext[at] ^= 1;
            assert_eq!(
                open(&private, "edge-1", &altered),
                Err(HandoverError::Open),
                "byte {at}"
            );
        }
    }

    #[test]
    fn too_much_and_what_is_no_key_is_not_sealed() {
        let (public, _) = pair();
        assert!(seal(&public, "edge-1", &vec![7; MAX_BATCH]).is_ok());
        assert_eq!(
            seal(&public, "edge-1", &vec![7; MAX_BATCH + 1]),
            Err(HandoverError::Seal)
        );
        assert_eq!(seal(&[0; KEY_LEN], "edge-1", b"batch"), Err(HandoverError::Seal));
    }
}
