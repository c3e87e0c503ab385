//! Project Wycheproof's vectors, file by file; each file is run to its end and counted.

use serde_json::Value;

use super::*;

fn file(path: &str) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{member}` in {value}"))
}

fn bytes(value: &Value, member: &str) -> Vec<u8> {
    unhex(text(value, member))
}

/// Every group and test of a file, which must be all that it says it has.
fn each(path: &str, mut run: impl FnMut(&Value, &Value)) -> u64 {
    let vectors = file(path);
    let mut count = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            run(group, test);
            count += 1;
        }
    }
    assert_eq!(vectors["numberOfTests"], count, "{path}");
    count
}

/// Signatures under keys in SubjectPublicKeyInfo.
fn signatures(path: &str, spec: KeySpec, algorithm: &str) {
    let algorithm = SigningAlgorithm::parse(algorithm).unwrap();
    let mut refused_keys = 0;
    let count = each(path, |group, test| {
        let Ok(key) = PublicKey::from_spki_der(spec, &bytes(group, "publicKeyDer")) else {
            // The exponent 3, which is below what FIPS 186-5 has.
            assert_eq!(group["publicKey"]["publicExponent"], "03", "{path}");
            refused_keys += 1;
            return;
        };
        let verdict = key.verify(algorithm, Message::Raw(&bytes(test, "msg")), &bytes(test, "sig"));
        let expected = match text(test, "result") {
            "valid" => true,
            "invalid" => false,
            // PKCS#1 v1.5 without the NULL that RFC 8017 wants: the strict verdict is ours.
            "acceptable" => {
                assert_eq!(test["flags"][0], "MissingNull");
                false
            }
            other => panic!("{other}"),
        };
        assert_eq!(verdict.is_ok(), expected, "{path} {test}");
    });
    assert!(count > 80 && refused_keys < 3, "{path}: {count}, {refused_keys}");
}

// R4
#[test]
fn ecdsa() {
    let ours = "vectors/wycheproof";
    let theirs = "../signing/vectors/wycheproof";
    for (path, spec, algorithm) in [
        (
            format!("{theirs}/ecdsa_secp256r1_sha256_test.json"),
            KeySpec::EccNistP256,
            "ECDSA_SHA_256",
        ),
        (
            format!("{theirs}/ecdsa_secp384r1_sha384_test.json"),
            KeySpec::EccNistP384,
            "ECDSA_SHA_384",
        ),
        (
            format!("{ours}/ecdsa_secp521r1_sha512_test.json"),
            KeySpec::EccNistP521,
            "ECDSA_SHA_512",
        ),
        (
            format!("{ours}/ecdsa_secp256k1_sha256_test.json"),
            KeySpec::EccSecgP256k1,
            "ECDSA_SHA_256",
        ),
    ] {
        signatures(&path, spec, algorithm);
    }
}

// R4
#[test]
fn ed25519() {
    signatures(
        "../signing/vectors/wycheproof/ed25519_test.json",
        KeySpec::EccNistEdwards25519,
        "ED25519_SHA_512",
    );
}

#[test]
fn rsa_signatures() {
    let ours = "vectors/wycheproof";
    let theirs = "../signing/vectors/wycheproof";
    for (spec, bits) in [
        (KeySpec::Rsa2048, 2048),
        (KeySpec::Rsa3072, 3072),
        (KeySpec::Rsa4096, 4096),
    ] {
        let pkcs1 = format!("{theirs}/rsa_signature_{bits}_sha256_test.json");
        signatures(&pkcs1, spec, "RSASSA_PKCS1_V1_5_SHA_256");
        let pss = format!("{theirs}/rsa_pss_{bits}_sha256_mgf1_32_test.json");
        signatures(&pss, spec, "RSASSA_PSS_SHA_256");
    }
    for (file, spec, algorithm) in [
        (
            "rsa_signature_2048_sha384_test",
            KeySpec::Rsa2048,
            "RSASSA_PKCS1_V1_5_SHA_384",
        ),
        (
            "rsa_signature_2048_sha512_test",
            KeySpec::Rsa2048,
            "RSASSA_PKCS1_V1_5_SHA_512",
        ),
        (
            "rsa_pss_2048_sha384_mgf1_48_test",
            KeySpec::Rsa2048,
            "RSASSA_PSS_SHA_384",
        ),
        (
            "rsa_pss_4096_sha512_mgf1_64_test",
            KeySpec::Rsa4096,
            "RSASSA_PSS_SHA_512",
        ),
    ] {
        signatures(&format!("{ours}/{file}.json"), spec, algorithm);
    }
}

#[test]
fn rsa_oaep() {
    let sha_1 = EncryptionAlgorithm::RsaesOaepSha1;
    let sha_256 = EncryptionAlgorithm::RsaesOaepSha256;
    for (file, spec, algorithm) in [
        ("rsa_oaep_2048_sha1_mgf1sha1_test", KeySpec::Rsa2048, sha_1),
        ("rsa_oaep_2048_sha256_mgf1sha256_test", KeySpec::Rsa2048, sha_256),
        ("rsa_oaep_3072_sha256_mgf1sha256_test", KeySpec::Rsa3072, sha_256),
        ("rsa_oaep_4096_sha256_mgf1sha256_test", KeySpec::Rsa4096, sha_256),
    ] {
        let mut labelled = 0;
        let count = each(&format!("vectors/wycheproof/{file}.json"), |group, test| {
            let stored = Secret::new(bytes(group, "privateKeyPkcs8"));
            let decrypted = Material::import(spec, &stored)
                .unwrap()
                .decrypt(algorithm, &bytes(test, "ct"));
            // KMS knows no labels: what has one must not decrypt.
            let label = !text(test, "label").is_empty();
            if text(test, "result") == "valid" && !label {
                assert_eq!(*decrypted.unwrap(), bytes(test, "msg"), "{file} {test}");
            } else {
                assert_eq!(decrypted, Err(BadCiphertext.into()), "{file} {test}");
            }
            labelled += u64::from(label);
        });
        assert!(labelled > 5 && count - labelled > 20, "{file}");
    }
}

#[test]
fn hmac() {
    for (path, spec) in [
        ("vectors/wycheproof/hmac_sha224_test.json", KeySpec::Hmac224),
        ("../signing/vectors/wycheproof/hmac_sha256_test.json", KeySpec::Hmac256),
        ("vectors/wycheproof/hmac_sha384_test.json", KeySpec::Hmac384),
        ("vectors/wycheproof/hmac_sha512_test.json", KeySpec::Hmac512),
    ] {
        let algorithm = spec.mac_algorithms(KeyUsage::GenerateVerifyMac)[0];
        let (mut run, mut refused) = (0, 0);
        each(path, |group, test| {
            let Ok(key) = Material::from_pkcs8_upload(spec, &bytes(test, "key")) else {
                assert_ne!(bytes(test, "key").len(), algorithm.tag_len());
                refused += 1;
                return;
            };
            let whole = group["tagSize"] == algorithm.tag_len() * 8;
            let verdict = key.verify_mac(algorithm, &bytes(test, "msg"), &bytes(test, "tag"));
            assert_eq!(
                verdict.is_ok(),
                whole && text(test, "result") == "valid",
                "{path} {test}"
            );
            run += 1;
        });
        assert!(run > 100 && refused >= 10, "{path}: {run}, {refused}");
    }
}

/// Point compression and other spellings of the curve or the encoding are "acceptable" in the file, and refused here or
/// agreed on rightly.
#[test]
fn ecdh() {
    let (mut agreed, mut refused) = (0, 0);
    each("vectors/wycheproof/ecdh_secp256r1_test.json", |_, test| {
        let scalar = bytes(test, "private");
        let padded = [vec![0; 32], scalar].concat();
        let sec1 = [&[0x30, 0x25, 2, 1, 1, 4, 0x20], &padded[padded.len() - 32..]].concat();
        let pkcs8 = encoding::write_pkcs8(KeySpec::EccNistP256, &sec1).unwrap();
        let key = Material::import(KeySpec::EccNistP256, &pkcs8).unwrap();
        match (key.derive_shared_secret(&bytes(test, "public")), text(test, "result")) {
            (Ok(secret), "valid" | "acceptable") => {
                assert!(secret.matches(&bytes(test, "shared")), "{test}");
                agreed += 1;
            }
            (Err(CryptoError::MalformedKey { .. }), "invalid" | "acceptable") => refused += 1,
            (result, _) => panic!("{result:?} {test}"),
        }
    });
    assert!(agreed >= 330 && refused >= 52, "{agreed}, {refused}");
}

#[test]
fn ml_dsa() {
    let (mut run, mut other_context, mut no_key) = (0, 0, 0);
    each("vectors/wycheproof/mldsa_44_verify_test.json", |group, test| {
        if test["ctx"].as_str().is_some_and(|context| !context.is_empty()) {
            other_context += 1;
            return;
        }
        let spki = encoding::write_spki(KeySpec::MlDsa44, &bytes(group, "publicKey")).unwrap();
        let Ok(key) = PublicKey::from_spki_der(KeySpec::MlDsa44, &spki) else {
            assert_eq!(test["flags"][0], "IncorrectPublicKeyLength");
            no_key += 1;
            return;
        };
        let message = bytes(test, "msg");
        let verdict = key.verify(
            SigningAlgorithm::MlDsaShake256,
            Message::Raw(&message),
            &bytes(test, "sig"),
        );
        assert_eq!(verdict.is_ok(), text(test, "result") == "valid", "{test}");
        run += 1;
    });
    assert!(
        run > 150 && other_context > 5 && no_key == 4,
        "{run}, {other_context}, {no_key}"
    );
}

#[test]
fn ml_kem() {
    let (mut decapsulated, mut refused) = (0, 0);
    each("vectors/wycheproof/mlkem_768_test.json", |_, test| {
        let key = Material::import(KeySpec::MlKem768, &Secret::new(bytes(test, "seed")));
        let secret = key.and_then(|key| {
            let spki = encoding::write_spki(KeySpec::MlKem768, &bytes(test, "ek"))?;
            assert_eq!(key.public_spki_der(), Some(&spki[..]), "{test}");
            key.decapsulate(&bytes(test, "c"))
        });
        match (secret, text(test, "result")) {
            (Ok(secret), "valid") => {
                assert!(secret.matches(&bytes(test, "K")), "{test}");
                decapsulated += 1;
            }
            (Err(_), "invalid") => refused += 1,
            (result, _) => panic!("{result:?} {test}"),
        }
    });
    assert!(decapsulated == 161 && refused == 40, "{decapsulated}, {refused}");
}

#[test]
fn aes_key_wrap_with_padding() {
    let wrapping = key(KeySpec::Rsa2048);
    let public = wrapping.public_key().unwrap();
    let (mut unwrapped, mut refused) = (0, 0);
    each("vectors/wycheproof/aes_kwp_test.json", |group, test| {
        let aes_key = public
            .encrypt(EncryptionAlgorithm::RsaesOaepSha256, &bytes(test, "key"))
            .unwrap();
        let wrapped = [aes_key, bytes(test, "ct")].concat();
        let material = super::super::envelope::unwrap(&wrapping, WrappingAlgorithm::RsaAesKeyWrapSha256, &wrapped);
        // Only AES-256 wraps key material.
        if group["keySize"] == 256 && text(test, "result") == "valid" {
            assert!(material.unwrap().matches(&bytes(test, "msg")), "{test}");
            unwrapped += 1;
        } else {
            assert_eq!(material.unwrap_err(), BadCiphertext.into(), "{test}");
            refused += 1;
        }
    });
    assert!(unwrapped > 20 && refused > 150, "{unwrapped}, {refused}");
}
