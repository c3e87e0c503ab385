//! Every spec: made, described, used, refused for what it is not.

use crate::crypto::{KeySpec, KeyUsage, Material, MessageType, PublicKey as Public};

use super::*;

async fn public(bench: &Bench, spec: KeySpec, id: &str) -> Public {
    let answer = bench.verb("GetPublicKey", json!({"KeyId": id})).await.unwrap();
    let spki = STANDARD.decode(answer["PublicKey"].as_str().unwrap()).unwrap();
    Public::from_spki_der(spec, &spki).unwrap()
}

#[tokio::test]
async fn every_spec_is_made_and_described_for_each_usage() {
    let bench = Bench::new().await;
    // The large RSA keys take seconds each; what differs is in the tests of the material.
    let specs = KeySpec::ALL
        .iter()
        .filter(|spec| !matches!(spec, KeySpec::Rsa3072 | KeySpec::Rsa4096));
    for spec in specs {
        for usage in spec.usages() {
            let body = json!({"CustomerMasterKeySpec": spec, "KeyUsage": usage});
            let made = bench.verb("CreateKey", body).await.unwrap()["KeyMetadata"].clone();
            assert_eq!((&made["KeySpec"], &made["KeyUsage"]), (&json!(spec), &json!(usage)));
            assert_eq!(
                (&made["KeyState"], &made["Origin"]),
                (&json!("Enabled"), &json!("AWS_KMS"))
            );
            let names = [
                "SigningAlgorithms",
                "EncryptionAlgorithms",
                "MacAlgorithms",
                "KeyAgreementAlgorithms",
                "EncapsulationAlgorithms",
            ];
            let lists = names.iter().filter(|name| made.get(**name).is_some()).count();
            assert_eq!(lists, 1, "{made}");
            if spec.is_asymmetric() {
                let id = made["KeyId"].as_str().unwrap();
                assert_eq!(public(&bench, *spec, id).await.spec(), *spec);
            }
        }
    }
}

#[tokio::test]
async fn every_signing_algorithm_signs_and_verifies() {
    let bench = Bench::new().await;
    for spec in KeySpec::ALL {
        let algorithms = spec.signing_algorithms(KeyUsage::SignVerify);
        if algorithms.is_empty() || matches!(spec, KeySpec::Rsa3072 | KeySpec::Rsa4096) {
            continue;
        }
        let id = bench.raw(spec.as_str(), "SIGN_VERIFY").await;
        for algorithm in algorithms {
            for kind in MessageType::ALL.iter().filter(|kind| algorithm.takes(**kind)) {
                let len = match kind {
                    MessageType::Raw => 100,
                    MessageType::Digest => algorithm.digest_len().unwrap(),
                    MessageType::ExternalMu => 64,
                };
                let mut request = json!({"KeyId": id, "Message": STANDARD.encode(vec![7; len]), "MessageType": kind, "SigningAlgorithm": algorithm});
                let signed = bench.verb("Sign", request.clone()).await.unwrap();
                assert_eq!(signed["SigningAlgorithm"], json!(algorithm));
                request["Signature"] = signed["Signature"].clone();
                let verified = bench.verb("Verify", request.clone()).await.unwrap();
                assert_eq!(verified["SignatureValid"], true, "{spec} {algorithm} {kind}");
                request["Message"] = json!(STANDARD.encode(vec![8; len]));
                assert_eq!(refused(&bench, "Verify", request).await, "KMSInvalidSignatureException");
            }
        }
    }
}

#[tokio::test]
async fn a_signing_key_refuses_what_it_is_not_for() {
    let bench = Bench::new().await;
    let id = bench.raw("RSA_2048", "SIGN_VERIFY").await;
    let request = |algorithm: &str, kind: &str, len: usize| json!({"KeyId": id, "Message": STANDARD.encode(vec![1; len]), "MessageType": kind, "SigningAlgorithm": algorithm});
    let error = bench
        .verb("Sign", request("ECDSA_SHA_256", "RAW", 3))
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "Algorithm ECDSA_SHA_256 is incompatible with key spec RSA_2048."
    );
    let error = bench
        .verb("Sign", request("RSASSA_PSS_SHA_256", "DIGEST", 48))
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "Digest is invalid length for algorithm RSASSA_PSS_SHA_256."
    );
    for (request, kind) in [
        (request("RSASSA_PSS_SHA_1", "RAW", 3), "ValidationException"),
        (request("SM2DSA", "RAW", 3), "UnsupportedOperationException"),
        (request("RSASSA_PSS_SHA_256", "EXTERNAL_MU", 64), "ValidationException"),
        (request("RSASSA_PSS_SHA_256", "RAW", 4097), "ValidationException"),
    ] {
        assert_eq!(refused(&bench, "Sign", request).await, kind);
    }
    let mut dry = request("RSASSA_PSS_SHA_256", "RAW", 3);
    dry["DryRun"] = json!(true);
    assert_eq!(refused(&bench, "Sign", dry).await, "DryRunOperationException");
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    bench.verb("GetPublicKey", json!({"KeyId": id})).await.unwrap();
    bench.verb("ScheduleKeyDeletion", json!({"KeyId": id})).await.unwrap();
    assert_eq!(
        refused(&bench, "GetPublicKey", json!({"KeyId": id})).await,
        "KMSInvalidStateException"
    );
}

#[tokio::test]
async fn every_mac_algorithm_makes_macs_of_its_length() {
    let bench = Bench::new().await;
    for (spec, algorithm, len) in [
        ("HMAC_224", "HMAC_SHA_224", 28),
        ("HMAC_256", "HMAC_SHA_256", 32),
        ("HMAC_384", "HMAC_SHA_384", 48),
        ("HMAC_512", "HMAC_SHA_512", 64),
    ] {
        let id = bench.raw(spec, "GENERATE_VERIFY_MAC").await;
        let mut request = json!({"KeyId": id, "Message": STANDARD.encode("m"), "MacAlgorithm": algorithm});
        let mac = bench.verb("GenerateMac", request.clone()).await.unwrap()["Mac"].clone();
        assert_eq!(STANDARD.decode(mac.as_str().unwrap()).unwrap().len(), len);
        request["Mac"] = mac;
        assert_eq!(
            bench.verb("VerifyMac", request.clone()).await.unwrap()["MacValid"],
            true
        );
        let mut dry = request.clone();
        dry["DryRun"] = json!(true);
        assert_eq!(refused(&bench, "VerifyMac", dry).await, "DryRunOperationException");
        bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
        assert_eq!(refused(&bench, "VerifyMac", request).await, "DisabledException");
    }
    let id = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let request = json!({"KeyId": id, "Message": STANDARD.encode("m"), "MacAlgorithm": "HMAC_SHA_512"});
    assert_eq!(
        refused(&bench, "GenerateMac", request).await,
        "InvalidKeyUsageException"
    );
}

#[tokio::test]
async fn two_sides_derive_one_secret() {
    let bench = Bench::new().await;
    for spec in [KeySpec::EccNistP256, KeySpec::EccNistP384, KeySpec::EccNistP521] {
        let id = bench.raw(spec.as_str(), "KEY_AGREEMENT").await;
        let peer = Material::generate(spec).unwrap();
        let ours = public(&bench, spec, &id).await;
        let spki = STANDARD.encode(peer.public_spki_der().unwrap());
        let request = json!({"KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": spki});
        let derived = bench.verb("DeriveSharedSecret", request.clone()).await.unwrap();
        let theirs = peer.derive_shared_secret(ours.spki_der()).unwrap();
        assert_eq!(derived["SharedSecret"], STANDARD.encode(theirs.expose()));
        assert_eq!(derived["KeyOrigin"], "AWS_KMS");
        let mut bad = request.clone();
        bad["PublicKey"] = json!(STANDARD.encode("no key"));
        assert_eq!(refused(&bench, "DeriveSharedSecret", bad).await, "ValidationException");
        bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
        assert_eq!(
            refused(&bench, "DeriveSharedSecret", request).await,
            "DisabledException"
        );
    }
    let signing = bench.raw("ECC_NIST_P256", "SIGN_VERIFY").await;
    let spki = STANDARD.encode(public(&bench, KeySpec::EccNistP256, &signing).await.spki_der());
    let request = json!({"KeyId": signing, "KeyAgreementAlgorithm": "ECDH", "PublicKey": spki});
    assert_eq!(
        refused(&bench, "DeriveSharedSecret", request).await,
        "InvalidKeyUsageException"
    );
}

#[tokio::test]
async fn what_is_encapsulated_is_decapsulated() {
    let bench = Bench::new().await;
    for spec in [KeySpec::MlKem512, KeySpec::MlKem768, KeySpec::MlKem1024] {
        let id = bench.raw(spec.as_str(), "ENCAPSULATE_DECAPSULATE").await;
        let request = json!({"KeyId": id, "EncapsulationAlgorithm": "ML_KEM"});
        let made = bench.verb("Encapsulate", request.clone()).await.unwrap();
        let mut open = request;
        open["SharedSecretCiphertextBlob"] = made["SharedSecretCiphertextBlob"].clone();
        let opened = bench.verb("Decapsulate", open.clone()).await.unwrap();
        assert_eq!(opened["SharedSecret"], made["SharedSecret"]);
        let mut short = open.clone();
        short["SharedSecretCiphertextBlob"] = json!(STANDARD.encode([1; 8]));
        assert_eq!(
            refused(&bench, "Decapsulate", short).await,
            "InvalidCiphertextException"
        );
        bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
        assert_eq!(refused(&bench, "Decapsulate", open).await, "DisabledException");
    }
    let id = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let request = json!({"KeyId": id, "EncapsulationAlgorithm": "ML_KEM"});
    assert_eq!(
        refused(&bench, "Encapsulate", request).await,
        "InvalidKeyUsageException"
    );
}
