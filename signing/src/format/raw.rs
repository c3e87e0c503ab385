//! Bare signatures over a message or a digest: Ed25519, and ECDSA in its fixed and DER forms.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::key::{BadSignature, KeyError, PublicKey, SigningKey};
use crate::signature::{der_to_fixed, fixed_to_der};

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// ASN.1 DER for ECDSA, as openssl and X.509 have it; Ed25519 signatures are 64 bytes either way.
    #[default]
    Der,
    /// r‖s of fixed length, as JOSE has it.
    Fixed,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// The bytes themselves, any algorithm.
    Message(&'a [u8]),
    /// A digest made elsewhere, ECDSA and RSA only.
    Digest(&'a Digest),
}

/// Signs `payload`.
///
/// # Errors
/// [`KeyError::Operation`] for HMAC, whose tags verify only for holders of the secret, and for a digest with Ed25519;
/// [`KeyError::WrongDigest`] for a hash that is not the key's own.
pub fn sign(key: &SigningKey, payload: Payload<'_>, encoding: Encoding) -> Result<Vec<u8>, KeyError> {
    let algorithm = key.algorithm();
    if algorithm.is_symmetric() {
        return Err(KeyError::Operation {
            algorithm,
            operation: "make signatures that others verify",
        });
    }
    let fixed = match payload {
        Payload::Message(message) => key.sign(message)?,
        Payload::Digest(digest) => key.sign_digest(digest)?,
    };
    match encoding {
        Encoding::Der if algorithm.is_ecdsa() => {
            fixed_to_der(algorithm, &fixed).map_err(|_| KeyError::Library("encode a signature"))
        }
        _ => Ok(fixed),
    }
}

/// Checks a signature made by [`sign`], or by anyone else in the same form.
///
/// # Errors
/// [`BadSignature`], whatever the reason.
pub fn verify(key: &PublicKey, payload: Payload<'_>, signature: &[u8], encoding: Encoding) -> Result<(), BadSignature> {
    let algorithm = key.algorithm();
    let converted = match encoding {
        Encoding::Der if algorithm.is_ecdsa() => der_to_fixed(algorithm, signature).map_err(|_| BadSignature)?,
        _ => signature.to_vec(),
    };
    match payload {
        Payload::Message(message) => key.verify(message, &converted),
        Payload::Digest(digest) => key.verify_digest(digest, &converted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Algorithm, DigestAlgorithm};

    #[test]
    fn each_form_verifies_as_itself_only() {
        for algorithm in [Algorithm::Es256, Algorithm::Es384] {
            let key = SigningKey::generate(algorithm).unwrap();
            let public = key.public().unwrap();
            let digest = Digest::of(algorithm.digest().unwrap(), b"firmware");
            for encoding in [Encoding::Der, Encoding::Fixed] {
                let signature = sign(&key, Payload::Digest(&digest), encoding).unwrap();
                verify(public, Payload::Message(b"firmware"), &signature, encoding).unwrap();
                verify(public, Payload::Digest(&digest), &signature, encoding).unwrap();
                let other = if encoding == Encoding::Der {
                    Encoding::Fixed
                } else {
                    Encoding::Der
                };
                assert!(verify(public, Payload::Digest(&digest), &signature, other).is_err());
            }
        }
    }

    #[test]
    fn ed25519_takes_messages_only() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let signature = sign(&key, Payload::Message(b"m"), Encoding::Der).unwrap();
        assert_eq!(signature.len(), 64);
        verify(
            key.public().unwrap(),
            Payload::Message(b"m"),
            &signature,
            Encoding::Fixed,
        )
        .unwrap();
        for algorithm in DigestAlgorithm::ALL {
            let digest = Digest::of(algorithm, b"m");
            let refused = sign(&key, Payload::Digest(&digest), Encoding::Der);
            assert!(matches!(refused, Err(KeyError::Operation { .. })));
            assert!(
                verify(
                    key.public().unwrap(),
                    Payload::Digest(&digest),
                    &signature,
                    Encoding::Der
                )
                .is_err()
            );
        }
    }

    #[test]
    fn the_wrong_hash_is_refused() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        for algorithm in [DigestAlgorithm::Sha384, DigestAlgorithm::Sha512] {
            let error = sign(&key, Payload::Digest(&Digest::of(algorithm, b"m")), Encoding::Der).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("ES256 signs sha256 digests, this one is {algorithm}")
            );
        }
    }

    #[test]
    fn hmac_makes_no_raw_signatures() {
        let key = SigningKey::generate(Algorithm::Hs256).unwrap();
        assert!(matches!(
            sign(&key, Payload::Message(b"m"), Encoding::Fixed),
            Err(KeyError::Operation { .. })
        ));
    }
}
