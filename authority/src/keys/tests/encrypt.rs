//! Encrypt, Decrypt, ReEncrypt, data keys, random bytes, and the rotation of symmetric keys.

use super::*;
use crate::crypto::blob::Header;

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

async fn symmetric(bench: &Bench) -> String {
    bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await
}

#[tokio::test]
async fn what_was_encrypted_decrypts_without_saying_which_key() {
    let bench = Bench::new().await;
    let id = symmetric(&bench).await;
    let context = json!({"app": "shop", "stage": "prod"});
    let request = json!({"KeyId": id, "Plaintext": b64(b"secret"), "EncryptionContext": context});
    let sealed = bench.verb("Encrypt", request).await.unwrap();
    assert_eq!(sealed["KeyId"], format!("arn:aws:kms:local:{TENANT}:key/{id}"));
    assert_eq!(sealed["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    let blob = sealed["CiphertextBlob"].clone();
    let opened = bench
        .verb("Decrypt", json!({"CiphertextBlob": blob, "EncryptionContext": context}))
        .await
        .unwrap();
    assert_eq!(bytes(&opened["Plaintext"]), b"secret");
    assert_eq!(opened["KeyId"], sealed["KeyId"]);
    let metadata = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(opened["KeyMaterialId"], metadata["KeyMetadata"]["CurrentKeyMaterialId"]);
    for context in [
        json!({}),
        json!({"app": "shop"}),
        json!({"app": "shop", "stage": "test"}),
    ] {
        let request = json!({"CiphertextBlob": blob, "EncryptionContext": context});
        assert_eq!(refused(&bench, "Decrypt", request).await, "InvalidCiphertextException");
    }
    let other = symmetric(&bench).await;
    let request = json!({"KeyId": other, "CiphertextBlob": blob, "EncryptionContext": context});
    assert_eq!(refused(&bench, "Decrypt", request).await, "IncorrectKeyException");
}

#[tokio::test]
async fn what_was_altered_does_not_decrypt() {
    let bench = Bench::new().await;
    let id = symmetric(&bench).await;
    let sealed = bench
        .verb("Encrypt", json!({"KeyId": id, "Plaintext": b64(b"x")}))
        .await
        .unwrap();
    let blob = bytes(&sealed["CiphertextBlob"]);
    for at in 0..blob.len() {
        let mut altered = blob.clone();
        altered[at] ^= 1;
        let request = json!({"CiphertextBlob": b64(&altered)});
        // Whether a key of the account that it now seems to be of exists is not said.
        let foreign = Header::parse(&altered).is_ok_and(|header| header.tenant.as_str() != TENANT);
        let kind = if foreign {
            "AccessDeniedException"
        } else {
            "InvalidCiphertextException"
        };
        assert_eq!(refused(&bench, "Decrypt", request).await, kind, "byte {at}");
    }
    for len in [1, 40, blob.len() - 1] {
        let request = json!({"CiphertextBlob": b64(&blob[..len])});
        assert_eq!(
            refused(&bench, "Decrypt", request).await,
            "InvalidCiphertextException",
            "cut to {len}"
        );
    }
    let request = json!({"CiphertextBlob": b64(&[0; 6145])});
    assert_eq!(refused(&bench, "Decrypt", request).await, "ValidationException");
    assert_eq!(refused(&bench, "Decrypt", json!({})).await, "ValidationException");
}

#[tokio::test]
async fn keys_that_may_not_be_used_encrypt_nothing() {
    let bench = Bench::new().await;
    let id = symmetric(&bench).await;
    let encrypt = json!({"KeyId": id, "Plaintext": b64(b"x")});
    let blob = bench.verb("Encrypt", encrypt.clone()).await.unwrap()["CiphertextBlob"].clone();
    let decrypt = json!({"CiphertextBlob": blob});
    let data_key = json!({"KeyId": id, "KeySpec": "AES_256"});
    let requests = [
        ("Encrypt", encrypt),
        ("Decrypt", decrypt),
        ("GenerateDataKey", data_key),
    ];
    for (verb, request) in &requests {
        let mut dry = request.clone();
        dry["DryRun"] = json!(true);
        assert_eq!(refused(&bench, verb, dry).await, "DryRunOperationException");
    }
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    for (verb, request) in &requests {
        let error = bench.verb(verb, request.clone()).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::Disabled);
        assert!(error.message.ends_with("is disabled."), "{error}");
    }
    bench.verb("ScheduleKeyDeletion", json!({"KeyId": id})).await.unwrap();
    for (verb, request) in &requests {
        let error = bench.verb(verb, request.clone()).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::InvalidState);
        assert!(error.message.contains("is pending deletion"), "{error}");
    }
    bench.pass(30 * DAY);
    bench.upkeep().await;
    let decrypt = requests[1].1.clone();
    assert_eq!(refused(&bench, "Decrypt", decrypt).await, "InvalidCiphertextException");
}

#[tokio::test]
async fn rsa_keys_encrypt_with_their_algorithms_only() {
    let bench = Bench::new().await;
    let id = bench.raw("RSA_2048", "ENCRYPT_DECRYPT").await;
    for algorithm in ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"] {
        let request = json!({"KeyId": id, "Plaintext": b64(b"x"), "EncryptionAlgorithm": algorithm});
        let sealed = bench.verb("Encrypt", request).await.unwrap();
        let request =
            json!({"KeyId": id, "CiphertextBlob": sealed["CiphertextBlob"], "EncryptionAlgorithm": algorithm});
        let opened = bench.verb("Decrypt", request.clone()).await.unwrap();
        assert_eq!(bytes(&opened["Plaintext"]), b"x");
        let mut nameless = request;
        nameless.as_object_mut().unwrap().remove("KeyId");
        assert_eq!(refused(&bench, "Decrypt", nameless).await, "ValidationException");
    }
    let request = json!({"KeyId": id, "Plaintext": b64(&[1; 191]), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"});
    let error = bench.verb("Encrypt", request).await.unwrap_err();
    assert!(
        error.message.ends_with("cannot encrypt data larger than 190 bytes."),
        "{error}"
    );
    for request in [
        json!({"KeyId": id, "Plaintext": b64(b"x")}),
        json!({"KeyId": id, "Plaintext": b64(b"x"), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}),
    ] {
        assert_eq!(refused(&bench, "Encrypt", request).await, "InvalidKeyUsageException");
    }
    let request = json!({"KeyId": id, "Plaintext": b64(b"x"), "EncryptionAlgorithm": "RSAES_OAEP_SHA_1", "EncryptionContext": {"a": "b"}});
    assert_eq!(refused(&bench, "Encrypt", request).await, "ValidationException");
    let signing = bench.raw("RSA_2048", "SIGN_VERIFY").await;
    let request = json!({"KeyId": signing, "Plaintext": b64(b"x"), "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"});
    let error = bench.verb("Encrypt", request).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::InvalidKeyUsage);
    assert!(
        error
            .message
            .ends_with("key usage is SIGN_VERIFY which is not valid for Encrypt.")
    );
}

#[tokio::test]
async fn re_encryption_changes_key_and_context() {
    let bench = Bench::new().await;
    let (from, to) = (symmetric(&bench).await, symmetric(&bench).await);
    let request = json!({"KeyId": from, "Plaintext": b64(b"x"), "EncryptionContext": {"a": "1"}});
    let blob = bench.verb("Encrypt", request).await.unwrap()["CiphertextBlob"].clone();
    let request = json!({"CiphertextBlob": blob, "SourceEncryptionContext": {"a": "1"},
        "DestinationKeyId": to, "DestinationEncryptionContext": {"b": "2"}});
    let moved = bench.verb("ReEncrypt", request.clone()).await.unwrap();
    assert!(moved["SourceKeyId"].as_str().unwrap().ends_with(&from));
    assert!(moved["KeyId"].as_str().unwrap().ends_with(&to));
    assert_ne!(moved["SourceKeyMaterialId"], moved["DestinationKeyMaterialId"]);
    let decrypt = json!({"KeyId": to, "CiphertextBlob": moved["CiphertextBlob"], "EncryptionContext": {"b": "2"}});
    let opened = bench.verb("Decrypt", decrypt).await.unwrap();
    assert_eq!(bytes(&opened["Plaintext"]), b"x");
    let mut wrong = request.clone();
    wrong["SourceEncryptionContext"] = json!({});
    assert_eq!(refused(&bench, "ReEncrypt", wrong).await, "InvalidCiphertextException");
    let mut wrong = request.clone();
    wrong["SourceKeyId"] = json!(to);
    assert_eq!(refused(&bench, "ReEncrypt", wrong).await, "IncorrectKeyException");
    bench.verb("DisableKey", json!({"KeyId": to})).await.unwrap();
    assert_eq!(refused(&bench, "ReEncrypt", request).await, "DisabledException");
}

#[tokio::test]
async fn data_keys_come_with_their_ciphertext() {
    let bench = Bench::new().await;
    let id = symmetric(&bench).await;
    for (ask, len) in [
        (json!({"KeySpec": "AES_256"}), 32),
        (json!({"KeySpec": "AES_128"}), 16),
        (json!({"NumberOfBytes": 1024}), 1024),
    ] {
        let mut request = ask;
        request["KeyId"] = json!(id);
        request["EncryptionContext"] = json!({"a": "1"});
        let made = bench.verb("GenerateDataKey", request.clone()).await.unwrap();
        let decrypt = json!({"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": {"a": "1"}});
        let opened = bench.verb("Decrypt", decrypt).await.unwrap();
        assert_eq!(opened["Plaintext"], made["Plaintext"]);
        assert_eq!(bytes(&made["Plaintext"]).len(), len);
        let made = bench.verb("GenerateDataKeyWithoutPlaintext", request).await.unwrap();
        assert!(made.get("Plaintext").is_none() && made["CiphertextBlob"].is_string());
    }
    for request in [
        json!({"KeyId": id}),
        json!({"KeyId": id, "KeySpec": "AES_256", "NumberOfBytes": 32}),
        json!({"KeyId": id, "NumberOfBytes": 0}),
        json!({"KeyId": id, "NumberOfBytes": 1025}),
        json!({"KeyId": id, "KeySpec": "AES_192"}),
    ] {
        assert_eq!(refused(&bench, "GenerateDataKey", request).await, "ValidationException");
    }
    let rsa = bench.raw("RSA_2048", "ENCRYPT_DECRYPT").await;
    let request = json!({"KeyId": rsa, "KeySpec": "AES_256"});
    assert_eq!(
        refused(&bench, "GenerateDataKey", request).await,
        "InvalidKeyUsageException"
    );
}

#[tokio::test]
async fn data_key_pairs_work_and_their_private_key_decrypts() {
    let bench = Bench::new().await;
    let id = symmetric(&bench).await;
    for spec in [
        "RSA_2048",
        "ECC_NIST_P256",
        "ECC_SECG_P256K1",
        "ECC_NIST_EDWARDS25519",
        "ML_KEM_768",
    ] {
        let request = json!({"KeyId": id, "KeyPairSpec": spec});
        let made = bench.verb("GenerateDataKeyPair", request.clone()).await.unwrap();
        let decrypt = json!({"CiphertextBlob": made["PrivateKeyCiphertextBlob"]});
        let opened = bench.verb("Decrypt", decrypt).await.unwrap();
        assert_eq!(opened["Plaintext"], made["PrivateKeyPlaintext"], "{spec}");
        let spec_read = crate::crypto::KeySpec::parse(spec).unwrap();
        let private = crate::crypto::Material::from_pkcs8_upload(spec_read, &bytes(&opened["Plaintext"])).unwrap();
        assert_eq!(private.public_spki_der().unwrap(), bytes(&made["PublicKey"]));
        let made = bench
            .verb("GenerateDataKeyPairWithoutPlaintext", request)
            .await
            .unwrap();
        assert!(made.get("PrivateKeyPlaintext").is_none());
    }
    let request = json!({"KeyId": id, "KeyPairSpec": "ML_DSA_44"});
    assert_eq!(
        refused(&bench, "GenerateDataKeyPair", request).await,
        "ValidationException"
    );
}

#[tokio::test]
async fn random_bytes_are_as_many_as_asked_for() {
    let bench = Bench::new().await;
    let made = bench
        .verb("GenerateRandom", json!({"NumberOfBytes": 33}))
        .await
        .unwrap();
    assert_eq!(bytes(&made["Plaintext"]).len(), 33);
    for request in [json!({}), json!({"NumberOfBytes": 0}), json!({"NumberOfBytes": 1025})] {
        assert_eq!(refused(&bench, "GenerateRandom", request).await, "ValidationException");
    }
}

#[tokio::test]
async fn after_a_rotation_old_ciphertexts_still_decrypt() {
    let bench = Bench::new().await;
    let id = symmetric(&bench).await;
    let encrypt = json!({"KeyId": id, "Plaintext": b64(b"old")});
    let old = bench.verb("Encrypt", encrypt).await.unwrap()["CiphertextBlob"].clone();
    bench.pass(10);
    bench.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    let encrypt = json!({"KeyId": id, "Plaintext": b64(b"new")});
    let new = bench.verb("Encrypt", encrypt).await.unwrap()["CiphertextBlob"].clone();
    let open = async |blob: &Value| bench.verb("Decrypt", json!({"CiphertextBlob": blob})).await.unwrap();
    let (old, new) = (open(&old).await, open(&new).await);
    assert_eq!(
        (bytes(&old["Plaintext"]), bytes(&new["Plaintext"])),
        (b"old".to_vec(), b"new".to_vec())
    );
    assert_ne!(old["KeyMaterialId"], new["KeyMaterialId"]);
    let listed = bench.verb("ListKeyRotations", json!({"KeyId": id})).await.unwrap();
    assert_eq!(listed["Rotations"].as_array().unwrap().len(), 1);
    assert_eq!(listed["Rotations"][0]["RotationType"], "ON_DEMAND");
    assert_eq!(listed["Rotations"][0]["RotationDate"], bench.now());
    let all = json!({"KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    let all = bench.verb("ListKeyRotations", all).await.unwrap();
    assert_eq!(all["Rotations"][0]["KeyMaterialId"], old["KeyMaterialId"]);
    assert_eq!(all["Rotations"][1]["KeyMaterialState"], "CURRENT");
    for _ in 1..25 {
        bench.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    }
    assert_eq!(
        refused(&bench, "RotateKeyOnDemand", json!({"KeyId": id})).await,
        "LimitExceededException"
    );
    // Only of keys that can have several.
    let mac = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let of_mac = bench.verb("ListKeyRotations", json!({"KeyId": mac})).await.unwrap();
    assert_eq!(of_mac["Rotations"], json!([]));
    for which in ["ALL_KEY_MATERIAL", "ROTATIONS_ONLY"] {
        let request = json!({"KeyId": mac, "IncludeKeyMaterial": which});
        assert_eq!(
            refused(&bench, "ListKeyRotations", request).await,
            "UnsupportedOperationException"
        );
    }
    let page = bench
        .verb("ListKeyRotations", json!({"KeyId": id, "Limit": 20}))
        .await
        .unwrap();
    let rest = json!({"KeyId": id, "Marker": page["NextMarker"]});
    let rest = bench.verb("ListKeyRotations", rest).await.unwrap();
    assert_eq!(rest["Rotations"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn time_rotates_a_key_that_asks_for_it() {
    let bench = Bench::new().await;
    let id = symmetric(&bench).await;
    let status = async || bench.verb("GetKeyRotationStatus", json!({"KeyId": id})).await.unwrap();
    assert_eq!(status().await["KeyRotationEnabled"], false);
    let enable = json!({"KeyId": id, "RotationPeriodInDays": 90});
    bench.verb("EnableKeyRotation", enable.clone()).await.unwrap();
    bench.pass(DAY);
    bench.verb("EnableKeyRotation", enable).await.unwrap();
    let next = status().await;
    assert_eq!(
        (&next["RotationPeriodInDays"], &next["NextRotationDate"]),
        (&json!(90), &json!(bench.now() + 89 * DAY))
    );
    bench.pass(89 * DAY - 1);
    bench.upkeep().await;
    let rotations = async || bench.verb("ListKeyRotations", json!({"KeyId": id})).await.unwrap()["Rotations"].clone();
    assert_eq!(rotations().await, json!([]));
    bench.pass(1);
    bench.upkeep().await;
    bench.upkeep().await;
    assert_eq!(rotations().await.as_array().unwrap().len(), 1);
    assert_eq!(rotations().await[0]["RotationType"], "AUTOMATIC");
    assert_eq!(status().await["NextRotationDate"], bench.now() + 90 * DAY);
    bench.verb("DisableKeyRotation", json!({"KeyId": id})).await.unwrap();
    bench.pass(91 * DAY);
    bench.upkeep().await;
    assert_eq!(rotations().await.as_array().unwrap().len(), 1);
    for days in [89, 2561] {
        let request = json!({"KeyId": id, "RotationPeriodInDays": days});
        assert_eq!(
            refused(&bench, "EnableKeyRotation", request).await,
            "ValidationException"
        );
    }
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    for verb in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
        assert_eq!(refused(&bench, verb, json!({"KeyId": id})).await, "DisabledException");
    }
    let rsa = bench.raw("ECC_NIST_P256", "SIGN_VERIFY").await;
    for verb in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
        assert_eq!(
            refused(&bench, verb, json!({"KeyId": rsa})).await,
            "UnsupportedOperationException"
        );
    }
}
