//! Material that is brought, regions, last uses, and what there is not.

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};

use super::*;

/// Wraps material under what `GetParametersForImport` answered.
fn wrap(parameters: &Value, material: &[u8]) -> String {
    let public = STANDARD.decode(parameters["PublicKey"].as_str().unwrap()).unwrap();
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).unwrap()).unwrap();
    let mut wrapped = vec![0; key.ciphertext_size()];
    let wrapped = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, material, &mut wrapped, None)
        .unwrap();
    STANDARD.encode(wrapped)
}

pub(super) async fn external(bench: &Bench) -> String {
    let made = bench.verb("CreateKey", json!({"Origin": "EXTERNAL"})).await.unwrap();
    assert_eq!(made["KeyMetadata"]["KeyState"], "PendingImport");
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

pub(super) async fn parameters(bench: &Bench, id: &str) -> Value {
    let request = json!({"KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"});
    bench.verb("GetParametersForImport", request).await.unwrap()
}

pub(super) fn import(id: &str, parameters: &Value, material: &[u8]) -> Value {
    json!({"KeyId": id, "ImportToken": parameters["ImportToken"], "EncryptedKeyMaterial": wrap(parameters, material),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"})
}

#[tokio::test]
async fn imported_material_works_and_comes_back_as_the_same_only() {
    let bench = Bench::new().await;
    let id = external(&bench).await;
    let encrypt = json!({"KeyId": id, "Plaintext": "AAAA"});
    let error = bench.verb("Encrypt", encrypt.clone()).await.unwrap_err();
    assert!(error.kind == KmsErrorType::InvalidState && error.message.contains("is pending import"));
    assert_eq!(
        refused(&bench, "EnableKey", json!({"KeyId": id})).await,
        "KMSInvalidStateException"
    );
    let given = parameters(&bench, &id).await;
    assert_eq!(given["ParametersValidTo"], bench.now() + DAY);
    let imported = bench
        .verb("ImportKeyMaterial", import(&id, &given, &[7; 32]))
        .await
        .unwrap();
    let blob = bench.verb("Encrypt", encrypt).await.unwrap()["CiphertextBlob"].clone();
    let deleted = bench
        .verb("DeleteImportedKeyMaterial", json!({"KeyId": id}))
        .await
        .unwrap();
    assert_eq!(deleted["KeyMaterialId"], imported["KeyMaterialId"]);
    let decrypt = json!({"CiphertextBlob": blob});
    assert_eq!(
        refused(&bench, "Decrypt", decrypt.clone()).await,
        "KMSInvalidStateException"
    );
    assert!(bench.parts.store.scan("material/", None, 10).await.unwrap().is_empty());
    let other = import(&id, &given, &[8; 32]);
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", other).await,
        "IncorrectKeyMaterialException"
    );
    let again = bench
        .verb("ImportKeyMaterial", import(&id, &given, &[7; 32]))
        .await
        .unwrap();
    assert_eq!(again["KeyMaterialId"], imported["KeyMaterialId"]);
    bench.verb("Decrypt", decrypt).await.unwrap();
    for (verb, kind) in [
        ("EnableKeyRotation", "UnsupportedOperationException"),
        ("RotateKeyOnDemand", "KMSInvalidStateException"),
    ] {
        assert_eq!(refused(&bench, verb, json!({"KeyId": id})).await, kind);
    }
}

#[tokio::test]
async fn imported_material_rotates_to_what_is_imported_next() {
    let bench = Bench::new().await;
    let id = external(&bench).await;
    let given = parameters(&bench, &id).await;
    let first = bench
        .verb("ImportKeyMaterial", import(&id, &given, &[7; 32]))
        .await
        .unwrap();
    let encrypt = json!({"KeyId": id, "Plaintext": "AAAA"});
    let old = bench.verb("Encrypt", encrypt.clone()).await.unwrap()["CiphertextBlob"].clone();
    let new = |byte: u8| {
        let mut request = import(&id, &given, &[byte; 32]);
        request["ImportType"] = json!("NEW_KEY_MATERIAL");
        request
    };
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", new(7)).await,
        "IncorrectKeyMaterialException"
    );
    bench.verb("ImportKeyMaterial", new(8)).await.unwrap();
    let second = bench.verb("ImportKeyMaterial", new(9)).await.unwrap();
    let all = json!({"KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    let states = async || {
        let listed = bench.verb("ListKeyRotations", all.clone()).await.unwrap();
        let entries = listed["Rotations"].as_array().unwrap().clone();
        let state = |entry: &Value| format!("{} {}", entry["KeyMaterialState"], entry["ImportState"]).replace('"', "");
        entries.iter().map(state).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["CURRENT IMPORTED", "PENDING_ROTATION IMPORTED"]);
    let opened = async |blob: &Value| bench.verb("Decrypt", json!({"CiphertextBlob": blob})).await;
    let before = bench.verb("Encrypt", encrypt.clone()).await.unwrap()["CiphertextBlob"].clone();
    assert_eq!(opened(&before).await.unwrap()["KeyMaterialId"], first["KeyMaterialId"]);
    bench.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    assert_eq!(states().await, ["NON_CURRENT IMPORTED", "CURRENT IMPORTED"]);
    let after = bench.verb("Encrypt", encrypt).await.unwrap()["CiphertextBlob"].clone();
    assert_eq!(opened(&after).await.unwrap()["KeyMaterialId"], second["KeyMaterialId"]);
    assert_eq!(opened(&old).await.unwrap()["KeyMaterialId"], first["KeyMaterialId"]);
    // Without one of its materials the whole key waits.
    let delete = json!({"KeyId": id, "KeyMaterialId": first["KeyMaterialId"]});
    bench.verb("DeleteImportedKeyMaterial", delete).await.unwrap();
    assert_eq!(states().await, ["NON_CURRENT PENDING_IMPORT", "CURRENT IMPORTED"]);
    assert_eq!(opened(&after).await.unwrap_err().kind, KmsErrorType::InvalidState);
    bench
        .verb("ImportKeyMaterial", import(&id, &given, &[7; 32]))
        .await
        .unwrap();
    assert_eq!(opened(&old).await.unwrap()["KeyMaterialId"], first["KeyMaterialId"]);
}

#[tokio::test]
async fn imported_material_expires() {
    let bench = Bench::new().await;
    let id = external(&bench).await;
    let given = parameters(&bench, &id).await;
    let mut request = import(&id, &given, &[7; 32]);
    request["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
    for valid_to in [
        json!(null),
        json!(bench.now()),
        json!(bench.now() + 366 * DAY),
        json!(1e300),
    ] {
        request["ValidTo"] = valid_to;
        assert_eq!(
            refused(&bench, "ImportKeyMaterial", request.clone()).await,
            "ValidationException"
        );
    }
    request["ValidTo"] = json!(bench.now() + 100);
    bench.verb("ImportKeyMaterial", request).await.unwrap();
    let metadata = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap()["KeyMetadata"].clone();
    assert_eq!(
        (&metadata["ExpirationModel"], &metadata["ValidTo"]),
        (&json!("KEY_MATERIAL_EXPIRES"), &json!(bench.now() + 100))
    );
    let encrypt = json!({"KeyId": id, "Plaintext": "AAAA"});
    bench.verb("Encrypt", encrypt.clone()).await.unwrap();
    bench.pass(100);
    assert_eq!(
        refused(&bench, "Encrypt", encrypt).await,
        "KMSInvalidStateException",
        "before any upkeep"
    );
    bench.upkeep().await;
    let metadata = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(metadata["KeyMetadata"]["KeyState"], "PendingImport");
    assert!(bench.parts.store.scan("material/", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn import_tokens_are_for_one_key_and_one_day() {
    let bench = Bench::new().await;
    let (id, other) = (external(&bench).await, external(&bench).await);
    let (given, others) = (parameters(&bench, &id).await, parameters(&bench, &other).await);
    let mut request = import(&id, &given, &[7; 32]);
    request["ImportToken"] = others["ImportToken"].clone();
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", request.clone()).await,
        "InvalidImportTokenException"
    );
    request["ImportToken"] = json!("AAAA");
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", request).await,
        "InvalidImportTokenException"
    );
    let mut request = import(&id, &given, &[7; 32]);
    request["EncryptedKeyMaterial"] = json!(wrap(&others, &[7; 32]));
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", request).await,
        "InvalidCiphertextException"
    );
    let request = import(&id, &given, &[7; 16]);
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", request).await,
        "IncorrectKeyMaterialException"
    );
    bench.pass(DAY);
    let request = import(&id, &given, &[7; 32]);
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", request.clone()).await,
        "ExpiredImportTokenException"
    );
    bench.verb("ScheduleKeyDeletion", json!({"KeyId": id})).await.unwrap();
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", request).await,
        "KMSInvalidStateException"
    );
    let own = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let request = json!({"KeyId": own, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"});
    assert_eq!(
        refused(&bench, "GetParametersForImport", request).await,
        "UnsupportedOperationException"
    );
    let request =
        json!({"KeyId": other, "WrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256", "WrappingKeySpec": "RSA_2048"});
    assert_eq!(
        refused(&bench, "GetParametersForImport", request).await,
        "ValidationException"
    );
}

#[tokio::test]
async fn a_key_is_in_its_region_only_unless_it_is_replicated() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let describe = |id: &str| json!({"KeyId": id});
    assert_eq!(
        bench
            .verb_in("eu-1", "DescribeKey", describe(&id))
            .await
            .unwrap_err()
            .kind,
        KmsErrorType::NotFound
    );
    assert_eq!(
        bench.verb_in("eu-1", "ListKeys", json!({})).await.unwrap()["Keys"],
        json!([])
    );
    let replicate = |id: &str, region: &str| json!({"KeyId": id, "ReplicaRegion": region});
    assert_eq!(
        refused(&bench, "ReplicateKey", replicate(&id, "eu-1")).await,
        "UnsupportedOperationException"
    );
    let made = bench.verb("CreateKey", json!({"MultiRegion": true})).await.unwrap()["KeyMetadata"].clone();
    let mrk = made["KeyId"].as_str().unwrap().to_owned();
    assert!(mrk.starts_with("mrk-") && made["MultiRegionConfiguration"]["MultiRegionKeyType"] == "PRIMARY");
    let replica = bench.verb("ReplicateKey", replicate(&mrk, "eu-1")).await.unwrap();
    assert_eq!(
        replica["ReplicaKeyMetadata"]["MultiRegionConfiguration"]["MultiRegionKeyType"],
        "REPLICA"
    );
    assert_eq!(
        refused(&bench, "ReplicateKey", replicate(&mrk, "eu-1")).await,
        "AlreadyExistsException"
    );
    bench.verb("RotateKeyOnDemand", describe(&mrk)).await.unwrap();
    let sealed = bench
        .verb("Encrypt", json!({"KeyId": mrk, "Plaintext": "AAAA"}))
        .await
        .unwrap();
    let opened = bench
        .verb_in("eu-1", "Decrypt", json!({"CiphertextBlob": sealed["CiphertextBlob"]}))
        .await
        .unwrap();
    assert_eq!(opened["KeyId"], format!("arn:aws:kms:eu-1:{TENANT}:key/{mrk}"));
    // State is each region's own.
    bench.verb("DisableKey", describe(&mrk)).await.unwrap();
    bench
        .verb_in("eu-1", "Encrypt", json!({"KeyId": mrk, "Plaintext": "AAAA"}))
        .await
        .unwrap();
    bench.verb("EnableKey", describe(&mrk)).await.unwrap();
    let move_to = |region: &str| json!({"KeyId": mrk, "PrimaryRegion": region});
    assert_eq!(
        refused(&bench, "UpdatePrimaryRegion", move_to("us-9")).await,
        "NotFoundException"
    );
    bench.verb("UpdatePrimaryRegion", move_to("eu-1")).await.unwrap();
    assert_eq!(
        refused(&bench, "UpdatePrimaryRegion", move_to("eu-1")).await,
        "UnsupportedOperationException"
    );
    let primary = bench.verb_in("eu-1", "DescribeKey", describe(&mrk)).await.unwrap();
    assert_eq!(
        primary["KeyMetadata"]["MultiRegionConfiguration"]["MultiRegionKeyType"],
        "PRIMARY"
    );
}

#[tokio::test]
async fn a_primary_key_outlives_its_replicas() {
    let bench = Bench::new().await;
    let made = bench.verb("CreateKey", json!({"MultiRegion": true})).await.unwrap();
    let mrk = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let request = json!({"KeyId": mrk, "ReplicaRegion": "eu-1"});
    bench.verb("ReplicateKey", request).await.unwrap();
    let delete = json!({"KeyId": mrk, "PendingWindowInDays": 7});
    let answer = bench.verb("ScheduleKeyDeletion", delete.clone()).await.unwrap();
    assert_eq!(answer["KeyState"], "PendingReplicaDeletion");
    bench.pass(8 * DAY);
    bench.upkeep().await;
    bench.verb("DescribeKey", json!({"KeyId": mrk})).await.unwrap();
    bench.verb_in("eu-1", "ScheduleKeyDeletion", delete).await.unwrap();
    bench.pass(7 * DAY);
    bench.upkeep().await;
    let described = bench.verb("DescribeKey", json!({"KeyId": mrk})).await.unwrap();
    assert_eq!(described["KeyMetadata"]["DeletionDate"], bench.now() + 7 * DAY);
    bench.pass(7 * DAY);
    bench.upkeep().await;
    for prefix in ["keys/", "material/"] {
        assert!(
            bench.parts.store.scan(prefix, None, 10).await.unwrap().is_empty(),
            "{prefix}"
        );
    }
}

#[tokio::test]
async fn the_last_use_is_remembered() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let used = async |bench: &Bench| bench.verb("GetKeyLastUsage", json!({"KeyId": id})).await.unwrap();
    let never = used(&bench).await;
    assert!(never.get("KeyLastUsage").is_none() && never["TrackingStartDate"] == never["KeyCreationDate"]);
    bench.pass(5);
    let encrypt = json!({"KeyId": id, "Plaintext": "AAAA"});
    bench.verb("Encrypt", encrypt.clone()).await.unwrap();
    let expected = json!({"Operation": "Encrypt", "Timestamp": bench.now()});
    assert_eq!(used(&bench).await["KeyLastUsage"], expected);
    bench.wired.keys.write_uses().await.unwrap();
    bench.pass(5);
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(refused(&bench, "Encrypt", encrypt).await, "DisabledException");
    let bench = bench.restart().await;
    assert_eq!(used(&bench).await["KeyLastUsage"], expected);
}

#[tokio::test]
async fn there_are_no_custom_key_stores() {
    let bench = Bench::new().await;
    for verb in [
        "ConnectCustomKeyStore",
        "CreateCustomKeyStore",
        "DeleteCustomKeyStore",
        "DescribeCustomKeyStores",
        "DisconnectCustomKeyStore",
        "UpdateCustomKeyStore",
    ] {
        let body = json!({"CustomKeyStoreId": "cks-1"});
        assert_eq!(refused(&bench, verb, body).await, "UnsupportedOperationException");
    }
}

#[tokio::test]
async fn what_was_opened_is_kept_for_the_row_as_it_is() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let encrypt = json!({"KeyId": id, "Plaintext": "AAAA"});
    bench.verb("Encrypt", encrypt.clone()).await.unwrap();
    // The material's row is gone behind the service's back: what is kept still works, until the key's row changes.
    let path = crate::paths::material(&bench.tenant(), &id, 1);
    bench
        .wired
        .vault
        .commit(crate::sealed::Change::new().delete(path))
        .await
        .unwrap();
    bench.verb("Encrypt", encrypt.clone()).await.unwrap();
    let describe = json!({"KeyId": id, "Description": "changed"});
    bench.verb("UpdateKeyDescription", describe).await.unwrap();
    assert_eq!(refused(&bench, "Encrypt", encrypt).await, "KMSInternalException");
}
