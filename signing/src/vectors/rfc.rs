use p256::ecdsa::signature::Signer;
use serde_json::Value;

use super::{bytes, list, read, text};
use crate::algorithm::Algorithm;
use crate::encoding::from_base64url;
use crate::format::jwt::{Audience, Expectations, TokenError, check_jws, verify_with};
use crate::jwk::Jwk;
use crate::key::{Family, PublicKey, Secret, SigningKey, TrustedKey, Verifier};

fn jwk(value: Value) -> Jwk {
    serde_json::from_value(value).unwrap()
}

/// PKCS#8 version 1 around an Ed25519 seed (RFC 8410 section 7).
fn ed25519_from_seed(seed: &[u8]) -> SigningKey {
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    SigningKey::import(Algorithm::EdDsa, &Secret::new([&prefix[..], seed].concat())).unwrap()
}

#[test]
fn rfc7515_appendix_a() {
    for example in list(&read("rfc.json"), "rfc7515") {
        let mut key = example["key"].clone();
        let verifier = if key["kty"] == "oct" {
            Verifier::hmac("k", &Secret::new(from_base64url(text(&key, "k")).unwrap())).unwrap()
        } else {
            key["alg"] = example["alg"].clone();
            PublicKey::from_jwk(&jwk(key)).unwrap().into()
        };
        assert_eq!(verifier.algorithm().as_str(), text(example, "alg"));
        let trusted = TrustedKey {
            verifier,
            family: Family::Token,
            issuer: "joe".into(),
            tenant: "000000000001".into(),
            not_before: 0,
            not_after: u64::MAX,
        };
        let at = |now| Expectations {
            issuer: "joe",
            tenant: "000000000001",
            audience: Audience::Unchecked,
            now,
            leeway: 0,
            max_len: 4096,
        };
        let verified = verify_with(text(example, "jws"), &trusted, &at(1_300_819_379)).unwrap();
        assert_eq!(verified.claims().extra["http://example.com/is_root"], true);
        assert_eq!(
            verify_with(text(example, "jws"), &trusted, &at(1_300_819_380)),
            Err(TokenError::Expired)
        );
    }
}

#[test]
fn rfc8037_appendix_a() {
    let example = &read("rfc.json")["rfc8037"];
    let key = ed25519_from_seed(&from_base64url(text(example, "d")).unwrap());
    assert_eq!(key.kid(), text(example, "thumbprint"));
    assert_eq!(key.public().unwrap().to_jwk().x.as_deref(), Some(text(example, "x")));
    let (signed, signature) = text(example, "jws").rsplit_once('.').unwrap();
    assert_eq!(key.sign(signed.as_bytes()).unwrap(), from_base64url(signature).unwrap());
    check_jws(text(example, "jws"), key.verifier()).unwrap();
}

#[test]
fn rfc7638_section_3_1() {
    let example = &read("rfc.json")["rfc7638"];
    let mut key = example.clone();
    key["kty"] = "RSA".into();
    assert_eq!(
        PublicKey::from_jwk(&jwk(key)).unwrap().thumbprint(),
        text(example, "thumbprint")
    );
}

#[test]
fn rfc8032_section_7_1() {
    for example in list(&read("rfc.json"), "rfc8032") {
        let key = ed25519_from_seed(&bytes(example, "seed"));
        let message = bytes(example, "message");
        assert_eq!(key.sign(&message).unwrap(), bytes(example, "signature"));
        let public = PublicKey::from_raw(Algorithm::EdDsa, &bytes(example, "public")).unwrap();
        assert_eq!(Some(&public), key.public());
    }
}

/// Nonces here are hedged, not deterministic, so that these vectors hold for the RustCrypto crates, and what those
/// sign is verified here.
#[test]
fn rfc6979_appendix_a_2() {
    for example in list(&read("rfc.json"), "rfc6979") {
        let algorithm: Algorithm = text(example, "alg").parse().unwrap();
        let point = [vec![4], bytes(example, "x"), bytes(example, "y")].concat();
        let public = PublicKey::from_raw(algorithm, &point).unwrap();
        for signature in list(example, "signatures") {
            let (message, d) = (text(signature, "message").as_bytes(), bytes(example, "d"));
            let expected = [bytes(signature, "r"), bytes(signature, "s")].concat();
            let theirs = if algorithm == Algorithm::Es256 {
                let made: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from_slice(&d).unwrap().sign(message);
                made.to_bytes().to_vec()
            } else {
                let made: p384::ecdsa::Signature = p384::ecdsa::SigningKey::from_slice(&d).unwrap().sign(message);
                made.to_bytes().to_vec()
            };
            assert_eq!(theirs, expected);
            public.verify(message, &expected).unwrap();
        }
    }
}
