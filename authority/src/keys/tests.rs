use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use signing::algorithm::DigestAlgorithm;
use signing::digest::Digest;
use signing::key::PublicKey;
use signing::signature::der_to_fixed;

use super::*;
use crate::testing::{Bench, TENANT};

mod accounts;
mod asymmetric;
mod bad_input;
mod decisions;
mod encrypt;
mod family;
mod import;
mod import_regions;
mod life;
mod managed;
mod policy;
mod protection;
mod regions;
mod replica;
mod states;
mod token;
mod usage;

const DAY: u64 = 86_400;

async fn refused(bench: &Bench, verb: &str, body: Value) -> &'static str {
    let error = bench
        .verb(verb, body.clone())
        .await
        .expect_err(&format!("{verb} {body} was not refused"));
    assert_eq!(error.body()["__type"], error.kind.as_str());
    // Those that say nothing, and two that only sometimes do.
    let silent = [
        KmsErrorType::InvalidCiphertext,
        KmsErrorType::InvalidSignature,
        KmsErrorType::InvalidMac,
        KmsErrorType::NotAuthorized,
    ];
    let either = [KmsErrorType::Validation, KmsErrorType::UnsupportedOperation];
    assert!(
        either.contains(&error.kind) || error.message.is_empty() == silent.contains(&error.kind),
        "{error}"
    );
    error.kind.as_str()
}

fn usage(spec: &str) -> &'static str {
    match spec {
        "SYMMETRIC_DEFAULT" => "ENCRYPT_DECRYPT",
        _ if spec.starts_with("HMAC") => "GENERATE_VERIFY_MAC",
        _ => "SIGN_VERIFY",
    }
}

fn tags(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(name, value)| json!({"TagKey": name, "TagValue": value}))
        .collect()
}

#[tokio::test]
async fn a_key_is_described_as_kms_does() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    let arn = format!("arn:aws:kms:local:{TENANT}:key/{id}");
    for name in [
        id.clone(),
        arn.clone(),
        "alias/a".into(),
        format!("arn:aws:kms:local:{TENANT}:alias/a"),
    ] {
        let metadata = bench.verb("DescribeKey", json!({"KeyId": name})).await.unwrap()["KeyMetadata"].clone();
        assert_eq!(metadata["Arn"], json!(arn));
        assert_eq!(metadata["KeyState"], "Enabled");
        assert_eq!(metadata["KeySpec"], "ECC_NIST_P256");
        assert_eq!(metadata["SigningAlgorithms"], json!(["ECDSA_SHA_256"]));
        assert_eq!(metadata["AWSAccountId"], TENANT);
    }
}

#[tokio::test]
async fn what_names_no_key_finds_none() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    for (name, kind) in [
        ("alias/b".to_owned(), "NotFoundException"),
        ("../keys".to_owned(), "NotFoundException"),
        (id.to_uppercase(), "NotFoundException"),
        (format!("arn:aws:kms:local:000000000002:key/{id}"), "NotFoundException"),
        (format!("arn:aws:kms:elsewhere:{TENANT}:key/{id}"), "NotFoundException"),
        (format!("arn:aws:s3:local:{TENANT}:key/{id}"), "InvalidArnException"),
        (format!("arn:aws:kms:local:{TENANT}:ca/{id}"), "InvalidArnException"),
    ] {
        assert_eq!(
            refused(&bench, "DescribeKey", json!({"KeyId": name})).await,
            kind,
            "{name}"
        );
    }
}

#[tokio::test]
async fn signatures_verify_and_stop_when_disabled() {
    let bench = Bench::new().await;
    for (spec, algorithm) in [
        ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_P384", "ECDSA_SHA_384"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ] {
        let id = bench.key(spec, "raw", "none", &format!("alias/{spec}")).await;
        let message = STANDARD.encode("message");
        let request = json!({"KeyId": id, "Message": message, "SigningAlgorithm": algorithm});
        let signature = bench.verb("Sign", request.clone()).await.unwrap()["Signature"]
            .as_str()
            .unwrap()
            .to_owned();
        let public = bench.verb("GetPublicKey", json!({"KeyId": id})).await.unwrap()["PublicKey"].clone();
        let public = PublicKey::from_spki_der(&STANDARD.decode(public.as_str().unwrap()).unwrap()).unwrap();
        let der = STANDARD.decode(&signature).unwrap();
        let fixed = if public.algorithm().is_ecdsa() {
            der_to_fixed(public.algorithm(), &der).unwrap()
        } else {
            der
        };
        public.verify(b"message", &fixed).unwrap();
        let mut verify =
            json!({"KeyId": id, "Message": message, "SigningAlgorithm": algorithm, "Signature": signature});
        assert_eq!(
            bench.verb("Verify", verify.clone()).await.unwrap()["SignatureValid"],
            true
        );
        verify["Message"] = json!(STANDARD.encode("another"));
        assert_eq!(refused(&bench, "Verify", verify).await, "KMSInvalidSignatureException");
        bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
        assert_eq!(refused(&bench, "Sign", request.clone()).await, "DisabledException");
        bench.verb("EnableKey", json!({"KeyId": id})).await.unwrap();
        bench.verb("Sign", request).await.unwrap();
    }
}

#[tokio::test]
async fn macs_verify() {
    let bench = Bench::new().await;
    let id = bench.key("HMAC_256", "raw", "none", "alias/mac").await;
    let request = json!({"KeyId": id, "Message": STANDARD.encode("m"), "MacAlgorithm": "HMAC_SHA_256"});
    let mac = bench.verb("GenerateMac", request.clone()).await.unwrap()["Mac"].clone();
    let mut verify = request;
    verify["Mac"] = mac;
    assert_eq!(bench.verb("VerifyMac", verify.clone()).await.unwrap()["MacValid"], true);
    verify["Mac"] = json!(STANDARD.encode([0; 32]));
    assert_eq!(refused(&bench, "VerifyMac", verify).await, "KMSInvalidMacException");
    assert_eq!(
        refused(&bench, "GetPublicKey", json!({"KeyId": id})).await,
        "UnsupportedOperationException"
    );
}

// R10
#[tokio::test]
async fn no_secret_is_in_the_store_file() {
    let bench = Bench::new().await;
    let id = bench.key("HMAC_256", "token", "shared", "alias/cdn").await;
    let row = bench
        .wired
        .vault
        .get::<KeyRecord>(&crate::paths::key(&bench.tenant(), &id))
        .await
        .unwrap()
        .unwrap()
        .value;
    let secret = secret(&bench.wired.vault, &row, &row.versions[0]).await.unwrap();
    let file = std::fs::read(bench.path().join("store.redb")).unwrap();
    assert!(!file.windows(secret.len()).any(|window| window == secret.expose()));
    assert!(
        !file.windows(9).any(|window| window == b"alias/cdn\""),
        "even metadata is sealed"
    );
}

#[tokio::test]
async fn a_restart_finds_every_key() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    let request = json!({"KeyId": "alias/a", "Message": STANDARD.encode("m"), "SigningAlgorithm": "ECDSA_SHA_256"});
    let signature = bench.verb("Sign", request.clone()).await.unwrap()["Signature"].clone();
    let bench = bench.restart().await;
    let mut verify = request;
    verify["Signature"] = signature;
    verify["KeyId"] = json!(id);
    bench.verb("Verify", verify).await.unwrap();
}
