use std::collections::HashSet;

use super::*;
use crate::algorithm::DigestAlgorithm;

const SIGNING: [Algorithm; 4] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Hs256];

#[test]
fn what_a_key_signs_its_verifier_accepts() {
    for algorithm in SIGNING {
        let key = SigningKey::generate(algorithm).unwrap();
        let signature = key.sign(b"message").unwrap();
        assert_eq!(Some(signature.len()), algorithm.signature_len());
        key.verifier().verify(b"message", &signature).unwrap();
        assert!(key.verifier().verify(b"messagf", &signature).is_err());
        let other = SigningKey::generate(algorithm).unwrap();
        assert!(other.verifier().verify(b"message", &signature).is_err());
        assert_ne!(key.kid(), other.kid());
    }
}

#[test]
fn an_exported_key_imports_as_itself() {
    for algorithm in SIGNING {
        let key = SigningKey::generate(algorithm).unwrap();
        let again = SigningKey::import(algorithm, &key.export().unwrap()).unwrap();
        let signature = again.sign(b"m").unwrap();
        key.verifier().verify(b"m", &signature).unwrap();
        assert_eq!(again.kid() == key.kid(), algorithm != Algorithm::Hs256);
    }
}

#[test]
fn rsa_keys_are_not_made() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
        let refused = SigningKey::generate(algorithm).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{algorithm} cannot sign here: it is for verifying only")
        );
        assert!(SigningKey::import(algorithm, &Secret::new(vec![0; 64])).is_err());
    }
}

#[test]
fn bytes_that_are_no_key_are_refused() {
    let p256 = SigningKey::generate(Algorithm::Es256).unwrap().export().unwrap();
    for algorithm in [Algorithm::EdDsa, Algorithm::Es384] {
        assert!(SigningKey::import(algorithm, &p256).is_err(), "{algorithm}");
    }
    for len in 0..p256.len() {
        let cut = Secret::new(p256.expose()[..len].to_vec());
        assert!(SigningKey::import(Algorithm::Es256, &cut).is_err(), "{len} bytes");
    }
    let longer = Secret::new([p256.expose(), &[0]].concat());
    assert!(SigningKey::import(Algorithm::Es256, &longer).is_err());
    assert!(SigningKey::import(Algorithm::Hs256, &Secret::new(vec![1; 31])).is_err());
}

// R26
#[test]
fn a_document_with_another_public_key_is_refused() {
    let seed = [7; 32];
    let right = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    let wrong = ed25519_dalek::SigningKey::from_bytes(&[8; 32])
        .verifying_key()
        .to_bytes();
    let import = |public: [u8; 32]| {
        // OneAsymmetricKey, version 2 (RFC 8410 section 10.3): the public key stands beside the private one.
        let private = [0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let document = [&private[..], &seed, &[0x81, 0x21, 0], &public].concat();
        SigningKey::import(Algorithm::EdDsa, &Secret::new(document))
    };
    assert!(import(right).is_ok());
    assert!(matches!(import(wrong), Err(KeyError::Malformed { .. })));
}

// R24
#[test]
fn a_pair_that_does_not_match_fails_its_self_test() {
    for algorithm in SIGNING {
        let (one, other) = (
            SigningKey::generate(algorithm).unwrap(),
            SigningKey::generate(algorithm).unwrap(),
        );
        let broken = SigningKey {
            material: one.material,
            verifier: other.verifier,
        };
        assert_eq!(broken.self_test(), Err(KeyError::SelfTest(algorithm)));
    }
}

// R10
#[test]
fn debug_shows_no_secret() {
    let secret = Secret::new(b"canary-canary-canary-canary-canary".to_vec());
    let key = SigningKey::import(Algorithm::Hs256, &secret)
        .unwrap()
        .with_kid("k")
        .unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey(HS256 `k` [redacted])");
    let error = SigningKey::import(Algorithm::EdDsa, &secret).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("canary"));
}

#[test]
fn only_secrets_take_a_chosen_id() {
    let secret = SigningKey::generate(Algorithm::Hs256).unwrap();
    assert_eq!(secret.kid().len(), 22);
    assert!(secret.public().is_none());
    assert_eq!(secret.with_kid("cdn-2026").unwrap().kid(), "cdn-2026");
    for bad in ["", "a\"b", "a b", "é", &"x".repeat(129)] {
        let secret = SigningKey::generate(Algorithm::Hs256).unwrap();
        assert!(matches!(secret.with_kid(bad), Err(KeyError::KeyId)), "{bad}");
    }
    let pair = SigningKey::generate(Algorithm::EdDsa).unwrap();
    assert!(matches!(pair.with_kid("chosen"), Err(KeyError::Operation { .. })));
}

#[test]
fn digests_of_another_hash_are_refused() {
    let key = SigningKey::generate(Algorithm::Es384).unwrap();
    let wrong = Digest::of(DigestAlgorithm::Sha256, b"m");
    assert!(matches!(key.sign_digest(&wrong), Err(KeyError::WrongDigest { .. })));
    for algorithm in [Algorithm::EdDsa, Algorithm::Hs256] {
        let key = SigningKey::generate(algorithm).unwrap();
        let digest = Digest::of(DigestAlgorithm::Sha512, b"m");
        assert!(matches!(key.sign_digest(&digest), Err(KeyError::Operation { .. })));
    }
}

// R23
#[test]
fn p256_nonces_neither_repeat_nor_lean() {
    check_nonces(Algorithm::Es256);
}

// R23
#[test]
fn p384_nonces_neither_repeat_nor_lean() {
    check_nonces(Algorithm::Es384);
}

/// Over one message and over many, no r comes twice, and each of its 32 highest and 32 lowest bits is set about half
/// the time. 10⁴ signatures; `SIGNET_LONG_TESTS=1` makes it 10⁶.
fn check_nonces(algorithm: Algorithm) {
    let count: u32 = if std::env::var_os("SIGNET_LONG_TESTS").is_some() {
        1_000_000
    } else {
        10_000
    };
    let key = SigningKey::generate(algorithm).unwrap();
    let mut seen = HashSet::new();
    let mut set_bits = [0_u32; 64];
    for at in 0..count {
        // Half the signatures are over one and the same message.
        let message = if at % 2 == 0 { 0 } else { at }.to_be_bytes();
        let signature = key.sign(&message).unwrap();
        let r = &signature[..signature.len() / 2];
        let ends = [&r[..4], &r[r.len() - 4..]].concat();
        for (bit, times) in set_bits.iter_mut().enumerate() {
            *times += u32::from(ends[bit / 8] >> (bit % 8) & 1);
        }
        assert!(
            seen.insert(r.to_vec()),
            "r came twice after {at} {algorithm} signatures"
        );
    }
    // Six standard deviations of a fair coin: a false alarm in less than one of a million runs.
    let allowed = 3.0 * f64::from(count).sqrt();
    for (bit, times) in set_bits.into_iter().enumerate() {
        let off = (f64::from(times) - f64::from(count) / 2.0).abs();
        assert!(
            off < allowed,
            "{algorithm}: bit {bit} of r was set {times} times in {count}"
        );
    }
}
