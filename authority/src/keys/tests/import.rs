//! Material that is brought, last uses, and what there is not.

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

// As KMS has it: what succeeds in state PendingImport leads to Enabled, whatever was before.
#[tokio::test]
async fn material_that_comes_back_enables_a_key_that_had_been_disabled() {
    let bench = Bench::new().await;
    let id = external(&bench).await;
    let given = parameters(&bench, &id).await;
    let request = import(&id, &given, &[7; 32]);
    bench.verb("ImportKeyMaterial", request.clone()).await.unwrap();
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    let state = async || {
        let described = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
        described["KeyMetadata"]["KeyState"].clone()
    };
    // Material that is there already changes nothing.
    bench.verb("ImportKeyMaterial", request.clone()).await.unwrap();
    assert_eq!(state().await, "Disabled");
    bench
        .verb("DeleteImportedKeyMaterial", json!({"KeyId": id}))
        .await
        .unwrap();
    assert_eq!(state().await, "PendingImport");
    bench.verb("ImportKeyMaterial", request).await.unwrap();
    assert_eq!(state().await, "Enabled");
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
    let waiting = bench.verb("ImportKeyMaterial", new(8)).await.unwrap()["KeyMaterialId"].clone();
    let error = bench.verb("ImportKeyMaterial", new(9)).await.unwrap_err();
    let text = format!(
        "because another key material (id: {}) is pending rotation.",
        waiting.as_str().unwrap()
    );
    assert_eq!(error.kind, KmsErrorType::InvalidState);
    assert!(error.message.ends_with(&text), "{error}");
    bench.verb("ImportKeyMaterial", new(8)).await.unwrap();
    let delete = json!({"KeyId": id, "KeyMaterialId": waiting});
    bench.verb("DeleteImportedKeyMaterial", delete).await.unwrap();
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
async fn the_last_use_is_remembered() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let used = async |bench: &Bench| bench.verb("GetKeyLastUsage", json!({"KeyId": id})).await.unwrap();
    let never = used(&bench).await;
    assert!(never["KeyLastUsage"] == json!({}) && never["TrackingStartDate"] == never["KeyCreationDate"]);
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
