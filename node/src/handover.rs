//! Handing a shared key to one process of one edge: sealed so that only that process can open it, as what it was sealed as.
//!
//! HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM). The receiver's key pair is made when the
//! process starts and lives in its memory only; the node's identity signs its public half, so that the authority knows whose
//! it is. HPKE's `info` names edge, process, key, version and end: what was sealed for one of them opens as no other.
//!
//! TLS hides the same bytes from the network. This hides them from whatever ends that TLS, from a replay into another process,
//! and from whoever has recorded it all and gets hold of the node's identity later.

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

/// Bytes of a receiving key: an X25519 public key (RFC 7748).
pub const RECEIVING_KEY_LEN: usize = 32;
/// The largest secret that is sealed; what holds a key is far smaller.
pub const MAX_SECRET: usize = 4096;

/// Why a key was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// No key pair could be made: the random source has failed (R24).
    #[error("no receiving key could be made")]
    Generate,
    /// The receiving key is not a public key that anything can be sealed to, or the secret is too large.
    #[error("nothing can be sealed to this receiving key")]
    Seal,
    /// It was sealed to another process, for another edge, key, version or end, or was altered.
    #[error("it was not sealed to this process as this version of this key until then")]
    Open,
}

/// Whom a secret is for, and as what. Every field is authenticated.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// The edge's id.
    pub edge: &'a str,
    /// The edge's process.
    pub incarnation: &'a str,
    /// The logical key's id.
    pub key: &'a str,
    /// The version.
    pub kid: &'a str,
    /// When the edge forgets it, Unix seconds.
    pub not_after: u64,
}

/// A sealed secret on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// HPKE's encapsulated key.
    pub encapsulated: Vec<u8>,
    /// The secret and its tag, encrypted.
    pub ciphertext: Vec<u8>,
}

/// A process that keys can be handed to. The private half is wiped when dropped.
pub struct Receiver {
    public: Vec<u8>,
    private: HpkePrivateKey,
}

impl Receiver {
    /// A fresh key pair: one for each start of a process.
    ///
    /// # Errors
    /// [`HandoverError::Generate`]: treat it as fatal.
    pub fn new() -> Result<Self, HandoverError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| HandoverError::Generate)?;
        Ok(Self {
            public: public.0,
            private,
        })
    }

    /// The public half, [`RECEIVING_KEY_LEN`] bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// What was sealed to this process.
    ///
    /// # Errors
    /// [`HandoverError::Open`].
    pub fn open(&self, to: &Address<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, HandoverError> {
        let encapsulated = EncapsulatedSecret(sealed.encapsulated.clone());
        let opened = SUITE.open(&encapsulated, &to.info(), &[], &sealed.ciphertext, &self.private);
        opened.map(Zeroizing::new).map_err(|_| HandoverError::Open)
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver([redacted])")
    }
}

/// Seals `secret` to the process with this receiving key.
///
/// # Errors
/// [`HandoverError::Seal`].
pub fn seal(receiving_key: &[u8], to: &Address<'_>, secret: &[u8]) -> Result<Sealed, HandoverError> {
    if receiving_key.len() != RECEIVING_KEY_LEN || secret.len() > MAX_SECRET {
        return Err(HandoverError::Seal);
    }
    let sealed = SUITE.seal(&to.info(), &[], secret, &HpkePublicKey(receiving_key.to_vec()));
    let (encapsulated, ciphertext) = sealed.map_err(|_| HandoverError::Seal)?;
    Ok(Sealed {
        encapsulated: encapsulated.0,
        ciphertext,
    })
}

/// What the node's key signs, so that the authority believes that a receiving key is that process's.
pub fn receiving_message(trust_domain: &str, edge: &str, incarnation: &str, receiving_key: &[u8]) -> Vec<u8> {
    let parts = [
        b"signet receiving key v1".as_slice(),
        trust_domain.as_bytes(),
        edge.as_bytes(),
        incarnation.as_bytes(),
        receiving_key,
    ];
    joined(&parts)
}

impl Address<'_> {
    fn info(&self) -> Vec<u8> {
        let parts = [
            b"signet shared key v1".as_slice(),
            self.edge.as_bytes(),
            self.incarnation.as_bytes(),
            self.key.as_bytes(),
            self.kid.as_bytes(),
            &self.not_after.to_be_bytes(),
        ];
        joined(&parts)
    }
}

/// Each part with its length before it (32 bits, big-endian), so that no two lists have the same bytes.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(256);
    for part in parts {
        joined.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Address<'static> = Address {
        edge: "edge-1",
        incarnation: "0a",
        key: "key",
        kid: "one",
        not_after: 1000,
    };

    #[test]
    fn what_is_sealed_opens_in_that_process_as_what_it_is_and_nowhere_else() {
        let receiver = Receiver::new().unwrap();
        let sealed = seal(receiver.public(), &TO, b"secret").unwrap();
        assert_eq!(receiver.open(&TO, &sealed).unwrap().as_slice(), b"secret");
        let others = [
            Address { edge: "edge-2", ..TO },
            Address {
                incarnation: "0b",
                ..TO
            },
            Address { key: "other", ..TO },
            Address { kid: "two", ..TO },
            Address { not_after: 1001, ..TO },
            // The same bytes, cut elsewhere.
            Address {
                edge: "edge-10",
                incarnation: "a",
                ..TO
            },
        ];
        for other in others {
            assert_eq!(receiver.open(&other, &sealed), Err(HandoverError::Open), "{other:?}");
        }
        let restarted = Receiver::new().unwrap();
        assert_eq!(restarted.open(&TO, &sealed), Err(HandoverError::Open));
        for at in 0..sealed.ciphertext.len() {
            let mut altered = sealed.clone();
            altered.ciphertext[at] ^= 1;
            assert_eq!(receiver.open(&TO, &altered), Err(HandoverError::Open), "byte {at}");
        }
        let mut altered = sealed.clone();
        altered.encapsulated[0] ^= 1;
        assert_eq!(receiver.open(&TO, &altered), Err(HandoverError::Open));
        assert!(
            seal(receiver.public(), &TO, b"secret").unwrap() != sealed,
            "never twice the same"
        );
    }

    #[test]
    fn what_is_no_receiving_key_gets_nothing() {
        for key in [&[][..], &[7; 31], &[7; 33], &[0; RECEIVING_KEY_LEN]] {
            assert_eq!(seal(key, &TO, b"secret"), Err(HandoverError::Seal), "{key:?}");
        }
        let receiver = Receiver::new().unwrap();
        let much = vec![0; MAX_SECRET + 1];
        assert_eq!(seal(receiver.public(), &TO, &much), Err(HandoverError::Seal));
    }

    // R10
    #[test]
    fn nothing_sealed_can_be_read_in_the_message_that_carries_it() {
        use prost::Message;
        let receiver = Receiver::new().unwrap();
        let canary = b"canary-material-of-a-shared-key-";
        let sealed = seal(receiver.public(), &TO, canary).unwrap();
        let version = crate::contract::SharedVersion {
            kid: TO.kid.into(),
            sign_from: 1,
            sign_until: 2,
            encapsulated: sealed.encapsulated,
            ciphertext: sealed.ciphertext,
        };
        let bytes = version.encode_to_vec();
        assert!(
            !bytes
                .windows(8)
                .any(|window| canary.windows(8).any(|part| part == window))
        );
        assert_eq!(format!("{receiver:?}"), "Receiver([redacted])");
    }
}
