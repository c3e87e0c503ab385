//! A multi-Region key of one authority in a region of another.

use super::*;
use crate::crypto::blob::Header;

const HERE: &str = "eu-9";

/// An authority's identity, as its operator hands it over.
async fn identity(bench: &Bench) -> Value {
    bench.verb("GetReplicaIdentity", json!({})).await.unwrap()["Identity"].clone()
}

async fn multi_region(bench: &Bench) -> String {
    let made = bench.verb("CreateKey", json!({"MultiRegion": true})).await.unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

async fn export(from: &Bench, id: &str, to: &Bench) -> String {
    let request = json!({"KeyId": id, "Recipient": identity(to).await});
    let exported = from.verb("ExportReplica", request).await.unwrap();
    exported["Bundle"].as_str().unwrap().to_owned()
}

async fn import(to: &Bench, bundle: &str, from: &Bench) -> Result<Value, KmsError> {
    let request = json!({"Bundle": bundle, "Sender": identity(from).await, "ReplicaRegion": HERE});
    to.verb("ImportReplica", request).await
}

async fn refusal(to: &Bench, bundle: &str, from: &Bench) -> (&'static str, String) {
    let error = import(to, bundle, from).await.unwrap_err();
    (error.kind.as_str(), error.message)
}

async fn encrypt(bench: &Bench, region: &str, id: &str) -> Value {
    let body = json!({"KeyId": id, "Plaintext": STANDARD.encode("both"), "EncryptionContext": {"a": "b"}});
    bench.verb_in(region, "Encrypt", body).await.unwrap()["CiphertextBlob"].clone()
}

async fn opens(bench: &Bench, region: &str, blob: &Value) -> bool {
    let body = json!({"CiphertextBlob": blob, "EncryptionContext": {"a": "b"}});
    match bench.verb_in(region, "Decrypt", body).await {
        Ok(answer) => answer["Plaintext"] == STANDARD.encode("both"),
        Err(_) => false,
    }
}

/// Two authorities, and the id of a key that has been rotated once at the first.
async fn pair() -> (Bench, Bench, String) {
    let (a, b) = (Bench::new().await, Bench::new().await);
    let id = multi_region(&a).await;
    a.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    (a, b, id)
}

#[tokio::test]
async fn what_one_authority_encrypted_the_other_decrypts() {
    let (a, b) = (Bench::new().await, Bench::new().await);
    let id = multi_region(&a).await;
    let first = encrypt(&a, "local", &id).await;
    a.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    let second = encrypt(&a, "local", &id).await;
    let bundle = export(&a, &id, &b).await;
    let metadata = import(&b, &bundle, &a).await.unwrap()["KeyMetadata"].clone();
    assert_eq!(metadata["Arn"], format!("arn:aws:kms:{HERE}:{TENANT}:key/{id}"));
    assert_eq!(metadata["MultiRegionConfiguration"]["MultiRegionKeyType"], "REPLICA");
    assert_eq!(metadata["MultiRegionConfiguration"]["PrimaryKey"]["Region"], "local");
    for blob in [&first, &second] {
        assert!(opens(&b, HERE, blob).await);
    }
    assert!(opens(&a, "local", &encrypt(&b, HERE, &id).await).await);

    // A rotation comes with the next bundle; a restart finds all of it.
    a.pass(1);
    a.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    let third = encrypt(&a, "local", &id).await;
    assert!(!opens(&b, HERE, &third).await);
    import(&b, &export(&a, &id, &b).await, &a).await.unwrap();
    let b = b.restart().await;
    for blob in [&first, &second, &third] {
        assert!(opens(&b, HERE, blob).await);
    }
    let newest = STANDARD.decode(encrypt(&b, HERE, &id).await.as_str().unwrap()).unwrap();
    assert_eq!(Header::parse(&newest).unwrap().version, 3);
    // It does not rotate, replicate or become a primary by itself.
    for (verb, body) in [
        ("RotateKeyOnDemand", json!({"KeyId": id})),
        ("ReplicateKey", json!({"KeyId": id, "ReplicaRegion": "eu-8"})),
        ("UpdatePrimaryRegion", json!({"KeyId": id, "PrimaryRegion": HERE})),
        (
            "ExportReplica",
            json!({"KeyId": format!("arn:aws:kms:{HERE}:{TENANT}:key/{id}"), "Recipient": identity(&a).await}),
        ),
    ] {
        let error = b.verb_in(HERE, verb, body).await.unwrap_err();
        assert_eq!(error.kind.as_str(), "UnsupportedOperationException", "{verb}");
    }
}

#[tokio::test]
async fn a_bundle_is_taken_once_from_whom_it_says_by_whom_it_is_for() {
    let (a, b, id) = pair().await;
    let c = Bench::new().await;
    let bundle = export(&a, &id, &b).await;
    let rows = async |bench: &Bench| bench.parts.store.scan("", None, 1000).await.unwrap().len();
    identity(&c).await;
    let before = (rows(&b).await, rows(&c).await);
    let (kind, message) = refusal(&b, &bundle, &c).await;
    assert!(
        kind == "ValidationException" && message.contains("not signed by"),
        "{message}"
    );
    let (_, message) = refusal(&c, &bundle, &a).await;
    assert!(message.contains("for another authority"), "{message}");
    // Each byte of it counts.
    let bytes = STANDARD.decode(&bundle).unwrap();
    for place in (0..bytes.len()).step_by(53) {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        let error = import(&b, &STANDARD.encode(&altered), &a).await.unwrap_err();
        assert_eq!(error.kind.as_str(), "ValidationException", "{place}: {error}");
    }
    for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(import(&b, &STANDARD.encode(&bytes[..end]), &a).await.is_err());
    }
    assert_eq!((rows(&b).await, rows(&c).await), before, "nothing was stored");
    import(&b, &bundle, &a).await.unwrap();
    let (kind, message) = refusal(&b, &bundle, &a).await;
    assert!(
        kind == "AlreadyExistsException" && message.contains("export the key again"),
        "{message}"
    );
    // An older one neither, though it was never seen, nor when the key is gone.
    let older = export(&a, &id, &b).await;
    a.pass(1);
    import(&b, &export(&a, &id, &b).await, &a).await.unwrap();
    assert_eq!(refusal(&b, &older, &a).await.0, "AlreadyExistsException");
    let delete = json!({"KeyId": id, "PendingWindowInDays": 7});
    b.verb_in(HERE, "ScheduleKeyDeletion", delete).await.unwrap();
    a.pass(1);
    let newer = export(&a, &id, &b).await;
    assert_eq!(refusal(&b, &newer, &a).await.0, "KMSInvalidStateException");
    b.pass(7 * DAY);
    b.upkeep().await;
    for prefix in ["keys/", "material/"] {
        assert!(
            b.parts.store.scan(prefix, None, 10).await.unwrap().is_empty(),
            "{prefix}"
        );
    }
    assert_eq!(refusal(&b, &older, &a).await.0, "AlreadyExistsException");
    import(&b, &newer, &a).await.unwrap();
}

#[tokio::test]
async fn only_what_may_go_is_exported_and_only_by_operators() {
    let (a, b, id) = pair().await;
    let recipient = identity(&b).await;
    let export = async |bench: &Bench, id: &str| {
        let error = bench
            .verb("ExportReplica", json!({"KeyId": id, "Recipient": recipient}))
            .await
            .unwrap_err();
        error.kind.as_str()
    };
    let single = a.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    assert_eq!(export(&a, &single).await, "UnsupportedOperationException");
    let external = a
        .verb("CreateKey", json!({"MultiRegion": true, "Origin": "EXTERNAL"}))
        .await
        .unwrap();
    let external = external["KeyMetadata"]["KeyId"].as_str().unwrap();
    assert_eq!(export(&a, external).await, "KMSInvalidStateException");
    let kept = json!({"MultiRegion": true, "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": tags(&[("signet:custody", "token")])});
    let kept = a.verb("CreateKey", kept).await.unwrap()["KeyMetadata"]["KeyId"].clone();
    assert_eq!(
        export(&a, kept.as_str().unwrap()).await,
        "UnsupportedOperationException"
    );
    a.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(export(&a, &id).await, "DisabledException");
    a.verb("EnableKey", json!({"KeyId": id})).await.unwrap();
    let to_itself = json!({"KeyId": id, "Recipient": identity(&a).await});
    assert_eq!(refused(&a, "ExportReplica", to_itself).await, "ValidationException");
    for identity in [json!({"SealFor": "AAAA", "SignedBy": "AAAA"}), json!({}), json!("x")] {
        let body = json!({"KeyId": id, "Recipient": identity});
        assert_eq!(refused(&a, "ExportReplica", body).await, "ValidationException");
    }
    // The account's root may do everything in its account, but not this.
    for (verb, body) in [
        ("GetReplicaIdentity", json!({})),
        ("ExportReplica", json!({"KeyId": id, "Recipient": recipient})),
        ("ImportReplica", json!({"Bundle": "AAAA", "Sender": recipient})),
    ] {
        let error = a.verb_as("root", verb, body).await.unwrap_err();
        assert_eq!(error.kind.as_str(), "UnknownOperationException", "{verb}");
    }
}

// R10
#[tokio::test]
async fn a_replica_comes_into_no_place_that_is_taken_and_no_secret_is_in_a_bundle() {
    let (a, b, id) = pair().await;
    let bundle = export(&a, &id, &b).await;
    let row = a
        .wired
        .vault
        .get::<KeyRecord>(&crate::paths::key(&a.tenant(), &format!("{id}@local")))
        .await;
    let row = row.unwrap().unwrap().value;
    let bytes = STANDARD.decode(&bundle).unwrap();
    for version in &row.versions {
        let secret = secret(&a.wired.vault, &row, version).await.unwrap();
        for form in [secret.expose().to_vec(), STANDARD.encode(secret.expose()).into_bytes()] {
            assert!(!bytes.windows(form.len()).any(|window| window == form));
        }
    }
    let region = |region: &str| json!({"Bundle": bundle, "ReplicaRegion": region});
    for (mut body, kind) in [
        (region("local"), "ValidationException"),
        (region("NOT A REGION"), "ValidationException"),
        (
            json!({"Bundle": bundle, "ReplicaRegion": HERE, "Policy": "{}"}),
            "MalformedPolicyDocumentException",
        ),
    ] {
        body["Sender"] = identity(&a).await;
        assert_eq!(refused(&b, "ImportReplica", body).await, kind);
    }
    // Another tenant, whose ciphertexts say so.
    let other = Tenant::parse("000000000002").unwrap();
    b.tenants.create(&other, "other").await.unwrap();
    let body = json!({"Bundle": bundle, "Sender": identity(&a).await, "ReplicaRegion": HERE}).to_string();
    let error = b
        .wired
        .keys
        .call(&other, &crate::testing::Open, "ImportReplica", body.as_bytes())
        .await
        .unwrap_err();
    assert!(error.message.contains("another tenant"), "{error}");
    import(&b, &bundle, &a).await.unwrap();
    // One region of an authority has it; the others' is ReplicateKey's, at the primary.
    a.pass(1);
    let again = json!({"Bundle": export(&a, &id, &b).await, "Sender": identity(&a).await, "ReplicaRegion": "eu-8"});
    assert_eq!(refused(&b, "ImportReplica", again).await, "AlreadyExistsException");
}

#[tokio::test]
async fn a_mark_outlives_the_replica_that_had_it() {
    let (a, b, id) = pair().await;
    import(&b, &export(&a, &id, &b).await, &a).await.unwrap();
    let mark = json!({"KeyId": id, "Reason": "laptop stolen"});
    b.verb_in(HERE, "MarkKeyCompromised", mark).await.unwrap();
    let delete = json!({"KeyId": id, "PendingWindowInDays": 7});
    b.verb_in(HERE, "ScheduleKeyDeletion", delete).await.unwrap();
    b.pass(7 * DAY);
    b.upkeep().await;
    a.pass(1);
    let again = import(&b, &export(&a, &id, &b).await, &a).await.unwrap()["KeyMetadata"].clone();
    assert_eq!(again["KeyState"], "Disabled");
    assert_eq!(again["Signet"]["Compromised"]["Reason"], "laptop stolen");
    let enable = json!({"KeyId": id});
    let error = b.verb_in(HERE, "EnableKey", enable.clone()).await.unwrap_err();
    assert!(error.message.contains("is marked as compromised"), "{error}");
    // What follows it does not wash it off either, nor does its next end.
    a.pass(1);
    import(&b, &export(&a, &id, &b).await, &a).await.unwrap();
    let described = b.verb_in(HERE, "DescribeKey", enable).await.unwrap();
    assert_eq!(
        described["KeyMetadata"]["Signet"]["Compromised"]["Reason"],
        "laptop stolen"
    );
}
