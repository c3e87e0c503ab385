//! Symmetric and HMAC keys that stay in the HSM.

use super::*;
use crate::crypto::blob::Header;

async fn kept(bench: &Bench) -> String {
    let made = bench
        .verb("CreateKey", json!({"Tags": tags(&[("signet:custody", "token")])}))
        .await
        .unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

async fn custody(bench: &Bench, id: &Value) -> String {
    let described = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
    described["KeyMetadata"]["Signet"]["Custody"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_key_in_the_hsm_encrypts_under_data_keys_that_the_hsm_alone_opens() {
    let bench = Bench::new().await;
    let id = kept(&bench).await;
    assert_eq!(custody(&bench, &json!(id)).await, "token");
    let context = json!({"app": "shop"});
    let plaintext = vec![7; 4096];
    let encrypt = json!({"KeyId": id, "Plaintext": STANDARD.encode(&plaintext), "EncryptionContext": context});
    let sealed = bench.verb("Encrypt", encrypt.clone()).await.unwrap();
    let (blob, again) = (
        bytes(&sealed["CiphertextBlob"]),
        bytes(&bench.verb("Encrypt", encrypt).await.unwrap()["CiphertextBlob"]),
    );
    assert!(
        blob.len() <= 6144 && blob[..75] != again[..75],
        "another data key each time"
    );
    let decrypt =
        |blob: &[u8], context: &Value| json!({"CiphertextBlob": STANDARD.encode(blob), "EncryptionContext": context});
    let opened = bench.verb("Decrypt", decrypt(&blob, &context)).await.unwrap();
    assert_eq!(bytes(&opened["Plaintext"]), plaintext);
    let metadata = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(opened["KeyMaterialId"], metadata["KeyMetadata"]["CurrentKeyMaterialId"]);
    // Another context, and whatever is altered: header, wrapped data key, commitment, ciphertext.
    assert_eq!(
        refused(&bench, "Decrypt", decrypt(&blob, &json!({"app": "bank"}))).await,
        "InvalidCiphertextException"
    );
    for at in (0..160).chain([blob.len() - 1]) {
        let mut altered = blob.clone();
        altered[at] ^= 1;
        let kind = refused(&bench, "Decrypt", decrypt(&altered, &context)).await;
        // Of another account's key nobody is told whether it is there.
        let expected = match (22..34).contains(&at) && altered[at].is_ascii_digit() {
            true => "AccessDeniedException",
            false => "InvalidCiphertextException",
        };
        assert_eq!(kind, expected, "byte {at}");
    }
    // The wrapped data key of another blob, which the HSM opens.
    let mixed = [&again[..75], &blob[75..]].concat();
    assert_eq!(
        refused(&bench, "Decrypt", decrypt(&mixed, &context)).await,
        "InvalidCiphertextException"
    );
    let bench = bench.restart().await;
    bench.verb("Decrypt", decrypt(&blob, &context)).await.unwrap();
    let other = kept(&bench).await;
    let mut foreign = decrypt(&blob, &context);
    foreign["KeyId"] = json!(other);
    assert_eq!(refused(&bench, "Decrypt", foreign).await, "IncorrectKeyException");
}

#[tokio::test]
async fn it_does_what_symmetric_keys_do_through_its_rotations_to_its_end() {
    let bench = Bench::new().await;
    let id = kept(&bench).await;
    let stored = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let data_key = bench
        .verb("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"}))
        .await
        .unwrap();
    let old = data_key["CiphertextBlob"].clone();
    let opened = async |blob: &Value| bench.verb("Decrypt", json!({"CiphertextBlob": blob})).await.unwrap();
    assert_eq!(opened(&old).await["Plaintext"], data_key["Plaintext"]);
    bench
        .verb(
            "GenerateDataKeyPair",
            json!({"KeyId": id, "KeyPairSpec": "ECC_NIST_P256"}),
        )
        .await
        .unwrap();
    bench.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    let encrypt = json!({"KeyId": id, "Plaintext": "AAAA"});
    let new = bench.verb("Encrypt", encrypt.clone()).await.unwrap()["CiphertextBlob"].clone();
    let version = |blob: &Value| Header::parse(&bytes(blob)).unwrap().version;
    assert_eq!((version(&old), version(&new)), (1, 2));
    assert_ne!(opened(&new).await["KeyMaterialId"], opened(&old).await["KeyMaterialId"]);
    // Out of the HSM's care, and into it.
    let out = bench
        .verb("ReEncrypt", json!({"CiphertextBlob": old, "DestinationKeyId": stored}))
        .await
        .unwrap();
    let back = bench
        .verb(
            "ReEncrypt",
            json!({"CiphertextBlob": out["CiphertextBlob"], "DestinationKeyId": id}),
        )
        .await
        .unwrap();
    assert_eq!(version(&back["CiphertextBlob"]), 2);
    assert_eq!(
        opened(&back["CiphertextBlob"]).await["Plaintext"],
        data_key["Plaintext"]
    );
    let dry = json!({"KeyId": id, "Plaintext": "AAAA", "DryRun": true});
    assert_eq!(refused(&bench, "Encrypt", dry).await, "DryRunOperationException");

    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(refused(&bench, "Encrypt", encrypt.clone()).await, "DisabledException");
    assert_eq!(
        refused(&bench, "Decrypt", json!({"CiphertextBlob": old})).await,
        "DisabledException"
    );
    let delete = json!({"KeyId": id, "PendingWindowInDays": 7});
    bench.verb("ScheduleKeyDeletion", delete).await.unwrap();
    assert_eq!(refused(&bench, "Encrypt", encrypt).await, "KMSInvalidStateException");
    bench.pass(7 * DAY);
    bench.upkeep().await;
    assert_eq!(
        refused(&bench, "Decrypt", json!({"CiphertextBlob": new})).await,
        "InvalidCiphertextException"
    );
    let left = bench.parts.store.scan("material/", None, 10).await.unwrap();
    assert_eq!(left.len(), 1, "the other key's");
}

#[tokio::test]
async fn macs_are_made_and_checked_in_the_hsm() {
    let bench = Bench::new().await;
    let token = tags(&[("signet:custody", "token")]);
    for bits in ["224", "256", "384", "512"] {
        let spec = format!("HMAC_{bits}");
        let body = json!({"KeySpec": spec, "KeyUsage": "GENERATE_VERIFY_MAC", "Tags": token});
        let made = bench.verb("CreateKey", body).await.unwrap();
        let id = made["KeyMetadata"]["KeyId"].clone();
        assert_eq!(custody(&bench, &id).await, "token");
        let algorithm = format!("HMAC_SHA_{bits}");
        let request = json!({"KeyId": id, "Message": STANDARD.encode("message"), "MacAlgorithm": algorithm});
        let mac = bench.verb("GenerateMac", request.clone()).await.unwrap()["Mac"].clone();
        let verify = |message: &str, mac: &Value| {
            let mut body = request.clone();
            body["Message"] = json!(STANDARD.encode(message));
            body["Mac"] = mac.clone();
            body
        };
        let verified = bench.verb("VerifyMac", verify("message", &mac)).await.unwrap();
        assert_eq!(verified["MacValid"], true);
        let truncated = json!(STANDARD.encode(&bytes(&mac)[..16]));
        for (message, mac) in [("Message", &mac), ("message", &truncated)] {
            let body = verify(message, mac);
            assert_eq!(refused(&bench, "VerifyMac", body).await, "KMSInvalidMacException");
        }
        bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
        assert_eq!(refused(&bench, "GenerateMac", request).await, "DisabledException");
    }
}

#[tokio::test]
async fn what_cannot_stay_in_the_hsm_or_would_leave_it_is_refused() {
    let bench = Bench::new().await;
    let token = tags(&[("signet:custody", "token")]);
    for (spec, usage) in [
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "KEY_AGREEMENT"),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
    ] {
        let body = json!({"KeySpec": spec, "KeyUsage": usage, "Tags": token});
        let error = bench.verb("CreateKey", body).await.unwrap_err();
        assert!(
            error.kind == KmsErrorType::Validation
                && error.message.contains("the HSM keeps SYMMETRIC_DEFAULT and HMAC"),
            "{spec}: {error}"
        );
    }
    let external = json!({"Origin": "EXTERNAL", "Tags": token});
    let error = bench.verb("CreateKey", external).await.unwrap_err();
    assert!(error.message.contains("was outside the HSM"), "{error}");
    let id = kept(&bench).await;
    let request = json!({"KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"});
    assert_eq!(
        refused(&bench, "GetParametersForImport", request).await,
        "UnsupportedOperationException"
    );
    // In the regions of one authority it is the same key in the same HSM; to another authority it does not go.
    let shared = bench
        .verb("CreateKey", json!({"MultiRegion": true, "Tags": token}))
        .await
        .unwrap();
    let shared = shared["KeyMetadata"]["KeyId"].clone();
    let replicate = json!({"KeyId": shared, "ReplicaRegion": "eu-1"});
    bench.verb("ReplicateKey", replicate).await.unwrap();
    let sealed = bench
        .verb("Encrypt", json!({"KeyId": shared, "Plaintext": "AAAA"}))
        .await
        .unwrap();
    let decrypt = json!({"CiphertextBlob": sealed["CiphertextBlob"]});
    bench.verb_in("eu-1", "Decrypt", decrypt).await.unwrap();
    let recipient = bench.verb("GetReplicaIdentity", json!({})).await.unwrap()["Identity"].clone();
    let export = json!({"KeyId": shared, "Recipient": recipient});
    assert_eq!(
        refused(&bench, "ExportReplica", export).await,
        "UnsupportedOperationException"
    );
}

#[tokio::test]
async fn a_tenants_default_custody_is_for_keys_that_say_nothing_of_it() {
    let bench = Bench::new().await;
    let create = async |body: Value| {
        let made = bench.verb("CreateKey", body).await?;
        Ok::<_, KmsError>(custody(&bench, &made["KeyMetadata"]["KeyId"]).await)
    };
    assert_eq!(create(json!({})).await.unwrap(), "wrapped");
    let before = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    bench
        .tenants
        .set_default_custody(&bench.tenant(), Custody::Token)
        .await
        .unwrap();
    assert_eq!(create(json!({})).await.unwrap(), "token");
    let signing = json!({"KeySpec": "ECC_NIST_P384", "KeyUsage": "SIGN_VERIFY"});
    assert_eq!(create(signing).await.unwrap(), "token");
    // A service's default key has no maker who could say anything.
    let managed = bench
        .verb_as("root", "DescribeKey", json!({"KeyId": "alias/aws/s3"}))
        .await
        .unwrap();
    assert_eq!(custody(&bench, &managed["KeyMetadata"]["KeyId"]).await, "token");
    // What cannot stay there is refused rather than kept elsewhere unsaid.
    let large = |tags: Value| json!({"KeySpec": "ECC_NIST_P521", "KeyUsage": "SIGN_VERIFY", "Tags": tags});
    for body in [large(json!([])), json!({"Origin": "EXTERNAL"})] {
        let error = create(body).await.unwrap_err();
        assert!(error.message.contains("set `signet:custody` to `wrapped`"), "{error}");
    }
    let wrapped = tags(&[("signet:custody", "wrapped")]);
    assert_eq!(create(large(wrapped)).await.unwrap(), "wrapped");
    // Shared keys are handed to edges, whatever the default.
    bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    assert_eq!(custody(&bench, &json!("alias/token")).await, "wrapped");
    assert_eq!(custody(&bench, &json!(before)).await, "wrapped", "what is there stays");
    let nobody = Tenant::parse("000000000009").unwrap();
    let fault = bench
        .tenants
        .set_default_custody(&nobody, Custody::Token)
        .await
        .unwrap_err();
    assert!(fault.to_string().contains("there is no tenant `000000000009`"));
}
