//! Input that is out of bounds or another's: the model's error, and nothing changed.

use super::*;

#[tokio::test]
async fn plaintexts_and_blobs_end_at_the_models_bounds() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let plain = |len: usize| json!({"KeyId": id, "Plaintext": STANDARD.encode(vec![1; len])});
    let blob = bench.verb("Encrypt", plain(4096)).await.unwrap()["CiphertextBlob"].clone();
    let opened = bench.verb("Decrypt", json!({"CiphertextBlob": blob})).await.unwrap();
    assert_eq!(opened["Plaintext"], plain(4096)["Plaintext"]);
    for len in [0, 4097] {
        assert_eq!(
            refused(&bench, "Encrypt", plain(len)).await,
            "ValidationException",
            "{len}"
        );
    }
    let long = STANDARD.encode(vec![1; 6145]);
    for (verb, request) in [
        ("Decrypt", json!({"CiphertextBlob": long})),
        ("ReEncrypt", json!({"CiphertextBlob": long, "DestinationKeyId": id})),
    ] {
        assert_eq!(refused(&bench, verb, request).await, "ValidationException", "{verb}");
    }
}

/// The same account's number at another authority makes no difference.
#[tokio::test]
async fn a_ciphertext_of_another_authority_opens_nothing() {
    let (bench, other) = (Bench::new().await, Bench::new().await);
    let id = other.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let here = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let sealed = other
        .verb("Encrypt", json!({"KeyId": id, "Plaintext": "AAAA"}))
        .await
        .unwrap();
    let blob = sealed["CiphertextBlob"].clone();
    for request in [
        json!({"CiphertextBlob": blob}),
        json!({"CiphertextBlob": STANDARD.encode(b"foreign")}),
    ] {
        assert_eq!(
            refused(&bench, "Decrypt", request.clone()).await,
            "InvalidCiphertextException"
        );
        let mut again = request;
        again["DestinationKeyId"] = json!(here);
        assert_eq!(refused(&bench, "ReEncrypt", again).await, "InvalidCiphertextException");
    }
    assert!(other.verb("Decrypt", json!({"CiphertextBlob": blob})).await.is_ok());
}

/// What the model says takes a key id takes no alias of it: by its name none is found, by its ARN it is said to be one.
#[tokio::test]
async fn an_alias_is_no_key_id() {
    let bench = Bench::new().await;
    let id = bench.key("HMAC_256", "raw", "none", "alias/mac").await;
    let arn = format!("arn:aws:kms:local:{TENANT}:alias/mac");
    for verb in ["DisableKey", "GetKeyPolicy", "ListGrants", "ScheduleKeyDeletion"] {
        for (name, kind, message) in [
            ("alias/mac", KmsErrorType::NotFound, "Invalid keyId 'alias/mac'"),
            (
                arn.as_str(),
                KmsErrorType::InvalidArn,
                "Key Aliases are not supported for this operation.",
            ),
        ] {
            let error = bench.verb_as("root", verb, json!({"KeyId": name})).await.unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (kind, message), "{verb}");
        }
    }
    let described = bench
        .verb_as("root", "DescribeKey", json!({"KeyId": arn}))
        .await
        .unwrap();
    assert_eq!(described["KeyMetadata"]["KeyId"], json!(id));
    assert_eq!(described["KeyMetadata"]["KeyState"], "Enabled");
}

/// Members that some requests do without and others do not are missed as those that the model demands.
#[tokio::test]
async fn what_a_request_lacks_is_named() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    for (verb, request, member) in [
        ("Decrypt", json!({"KeyId": id}), "ciphertextBlob"),
        (
            "CreateGrant",
            json!({"KeyId": id, "Operations": ["Encrypt"]}),
            "granteePrincipal",
        ),
    ] {
        let error = bench.verb(verb, request).await.unwrap_err();
        let message = format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        );
        assert_eq!((error.kind, error.message), (KmsErrorType::Validation, message));
    }
}

/// A marker is what an answer said, and nothing else.
#[tokio::test]
async fn every_list_refuses_markers_that_it_did_not_give() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let retiring = format!("arn:aws:iam::{TENANT}:root");
    let lists = [
        ("ListKeys", json!({})),
        ("ListAliases", json!({})),
        ("ListGrants", json!({"KeyId": id})),
        ("ListKeyPolicies", json!({"KeyId": id})),
        ("ListKeyRotations", json!({"KeyId": id})),
        ("ListResourceTags", json!({"KeyId": id})),
        ("ListRetirableGrants", json!({"RetiringPrincipal": retiring})),
    ];
    for (verb, request) in lists {
        for marker in ["!", "AAAA", "../../keys", "%00", &"A".repeat(1024)] {
            let mut request = request.clone();
            request["Marker"] = json!(marker);
            assert_eq!(
                refused(&bench, verb, request).await,
                "InvalidMarkerException",
                "{verb} {marker}"
            );
        }
    }
}
