use super::{bytes, list, read, text};
use crate::algorithm::Algorithm;
use crate::format::raw::{self, Encoding, Payload};
use crate::key::{PublicKey, Secret, Verifier};

/// Runs a file of public-key signatures and gives how many vectors it ran.
fn run(file: &str, algorithm: Algorithm, encoding: Encoding) -> usize {
    let vectors = read(&format!("wycheproof/{file}"));
    let mut count = 0;
    for group in list(&vectors, "testGroups") {
        let key = PublicKey::from_spki_der_as(algorithm, &bytes(group, "publicKeyDer")).unwrap();
        for test in list(group, "tests") {
            let (message, signature) = (bytes(test, "msg"), bytes(test, "sig"));
            let accepted = raw::verify(&key, Payload::Message(&message), &signature, encoding).is_ok();
            let expected = match text(test, "result") {
                "valid" => true,
                "invalid" => false,
                // RSA PKCS#1 signatures without the NULL that RFC 8017 wants in the hash's identifier: both verdicts
                // are allowed, the strict one is ours.
                "acceptable" => {
                    assert_eq!(test["flags"][0], "MissingNull", "{file} {test}");
                    false
                }
                other => panic!("{other}"),
            };
            assert_eq!(accepted, expected, "{file} {test}");
            count += 1;
        }
    }
    assert_eq!(vectors["numberOfTests"], count);
    count
}

// R4
#[test]
fn ecdsa_der() {
    assert!(run("ecdsa_secp256r1_sha256_test.json", Algorithm::Es256, Encoding::Der) > 400);
    assert!(run("ecdsa_secp384r1_sha384_test.json", Algorithm::Es384, Encoding::Der) > 400);
}

// R4
#[test]
fn ecdsa_fixed() {
    assert!(
        run(
            "ecdsa_secp256r1_sha256_p1363_test.json",
            Algorithm::Es256,
            Encoding::Fixed
        ) > 200
    );
    assert!(
        run(
            "ecdsa_secp384r1_sha384_p1363_test.json",
            Algorithm::Es384,
            Encoding::Fixed
        ) > 200
    );
}

// R4
#[test]
fn ed25519() {
    assert!(run("ed25519_test.json", Algorithm::EdDsa, Encoding::Fixed) > 100);
}

#[test]
fn rsa_pkcs1() {
    for bits in [2048, 3072, 4096] {
        assert!(
            run(
                &format!("rsa_signature_{bits}_sha256_test.json"),
                Algorithm::Rs256,
                Encoding::Fixed
            ) > 200
        );
    }
}

#[test]
fn rsa_pss() {
    for bits in [2048, 3072, 4096] {
        assert!(
            run(
                &format!("rsa_pss_{bits}_sha256_mgf1_32_test.json"),
                Algorithm::Ps256,
                Encoding::Fixed
            ) > 80
        );
    }
}

/// JOSE's HS256 knows full tags and keys of at least 32 bytes (RFC 7518 section 3.2): vectors with truncated tags
/// must be refused, and shorter keys must not even be read.
#[test]
fn hmac() {
    let (mut run, mut truncated, mut short) = (0, 0, 0);
    for group in list(&read("wycheproof/hmac_sha256_test.json"), "testGroups") {
        for test in list(group, "tests") {
            let key = Verifier::hmac("k", &Secret::new(bytes(test, "key")));
            if bytes(test, "key").len() < 32 {
                assert!(key.is_err(), "{test}");
                short += 1;
                continue;
            }
            let accepted = key.unwrap().verify(&bytes(test, "msg"), &bytes(test, "tag")).is_ok();
            let full = group["tagSize"] == 256;
            assert_eq!(accepted, full && test["result"] == "valid", "{test}");
            if full { run += 1 } else { truncated += 1 }
        }
    }
    assert!(run > 70 && truncated > 70 && short > 5, "{run} {truncated} {short}");
}
