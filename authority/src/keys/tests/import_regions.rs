//! Imported material of a key in several regions: brought into each by itself, the same everywhere.

use super::import::{import, parameters};
use super::*;

const THERE: &str = "eu-1";
const MATERIAL: [u8; 32] = [7; 32];

/// A primary key with its material, and a replica without.
async fn replicated(bench: &Bench) -> String {
    let made = bench
        .verb("CreateKey", json!({"Origin": "EXTERNAL", "MultiRegion": true}))
        .await
        .unwrap();
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let replicate = json!({"KeyId": id, "ReplicaRegion": THERE});
    assert_eq!(
        refused(bench, "ReplicateKey", replicate.clone()).await,
        "KMSInvalidStateException",
        "there is nothing yet that would be the same"
    );
    let given = parameters(bench, &id).await;
    bench
        .verb("ImportKeyMaterial", import(&id, &given, &MATERIAL))
        .await
        .unwrap();
    let replica = bench.verb("ReplicateKey", replicate).await.unwrap();
    assert_eq!(replica["ReplicaKeyMetadata"]["KeyState"], "Creating");
    id
}

async fn parameters_there(bench: &Bench, id: &str) -> Value {
    let request = json!({"KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"});
    bench.verb_in(THERE, "GetParametersForImport", request).await.unwrap()
}

async fn import_there(bench: &Bench, id: &str, material: &[u8], kind: &str) -> Result<Value, KmsError> {
    let mut request = import(id, &parameters_there(bench, id).await, material);
    request["ImportType"] = json!(kind);
    bench.verb_in(THERE, "ImportKeyMaterial", request).await
}

async fn state(bench: &Bench, region: &str, id: &str) -> String {
    let described = bench
        .verb_in(region, "DescribeKey", json!({"KeyId": id}))
        .await
        .unwrap();
    described["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
}

async fn encrypt(bench: &Bench, region: &str, id: &str) -> Result<Value, KmsError> {
    let sealed = bench
        .verb_in(region, "Encrypt", json!({"KeyId": id, "Plaintext": "AAAA"}))
        .await?;
    Ok(sealed["CiphertextBlob"].clone())
}

async fn opens(bench: &Bench, region: &str, blob: &Value) -> bool {
    bench
        .verb_in(region, "Decrypt", json!({"CiphertextBlob": blob}))
        .await
        .is_ok()
}

/// What is listed of its materials: their states.
async fn materials(bench: &Bench, region: &str, id: &str) -> Vec<String> {
    let all = json!({"KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    let listed = bench.verb_in(region, "ListKeyRotations", all).await.unwrap();
    let state = |entry: &Value| format!("{} {}", entry["KeyMaterialState"], entry["ImportState"]).replace('"', "");
    listed["Rotations"].as_array().unwrap().iter().map(state).collect()
}

#[tokio::test]
async fn a_replica_waits_for_the_same_material_and_loses_it_alone() {
    let bench = Bench::new().await;
    let id = replicated(&bench).await;
    let here = encrypt(&bench, "local", &id).await.unwrap();
    assert_eq!(state(&bench, THERE, &id).await, "PendingImport");
    assert_eq!(
        encrypt(&bench, THERE, &id).await.unwrap_err().kind,
        KmsErrorType::InvalidState
    );
    for kind in ["EXISTING_KEY_MATERIAL", "NEW_KEY_MATERIAL"] {
        let error = import_there(&bench, &id, &[8; 32], kind).await.unwrap_err();
        let expected = match kind {
            "EXISTING_KEY_MATERIAL" => KmsErrorType::IncorrectKeyMaterial,
            _ => KmsErrorType::UnsupportedOperation,
        };
        assert_eq!(error.kind, expected, "{error}");
    }
    // The token of one region is none in the other.
    let foreign = import(&id, &parameters(&bench, &id).await, &MATERIAL);
    let error = bench.verb_in(THERE, "ImportKeyMaterial", foreign).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::InvalidImportToken);
    let imported = import_there(&bench, &id, &MATERIAL, "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    let primary = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(
        imported["KeyMaterialId"],
        primary["KeyMetadata"]["CurrentKeyMaterialId"]
    );
    assert_eq!(state(&bench, THERE, &id).await, "Enabled");
    assert!(opens(&bench, THERE, &here).await);
    assert!(opens(&bench, "local", &encrypt(&bench, THERE, &id).await.unwrap()).await);

    // Each deletes its own, and the primary's end of it is not the replica's.
    let delete = json!({"KeyId": id});
    bench.verb("DeleteImportedKeyMaterial", delete.clone()).await.unwrap();
    assert_eq!(state(&bench, "local", &id).await, "PendingImport");
    assert!(!opens(&bench, "local", &here).await && opens(&bench, THERE, &here).await);
    bench
        .verb(
            "ImportKeyMaterial",
            import(&id, &parameters(&bench, &id).await, &MATERIAL),
        )
        .await
        .unwrap();
    bench.verb_in(THERE, "DeleteImportedKeyMaterial", delete).await.unwrap();
    assert_eq!(state(&bench, THERE, &id).await, "PendingImport");
    assert!(opens(&bench, "local", &here).await);
}

#[tokio::test]
async fn a_rotation_waits_until_every_region_has_its_material() {
    let bench = Bench::new().await;
    let id = replicated(&bench).await;
    import_there(&bench, &id, &MATERIAL, "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    let old = encrypt(&bench, THERE, &id).await.unwrap();
    let new = async |byte: u8| {
        let mut request = import(&id, &parameters(&bench, &id).await, &[byte; 32]);
        request["ImportType"] = json!("NEW_KEY_MATERIAL");
        bench.verb("ImportKeyMaterial", request).await
    };
    let waiting = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION";
    // What the primary takes back is gone everywhere.
    let second = new(9).await.unwrap()["KeyMaterialId"].clone();
    import_there(&bench, &id, &[9; 32], "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    let delete = json!({"KeyId": id, "KeyMaterialId": second});
    bench.verb("DeleteImportedKeyMaterial", delete).await.unwrap();
    for region in ["local", THERE] {
        assert_eq!(materials(&bench, region, &id).await, ["CURRENT IMPORTED"]);
    }
    assert_eq!(bench.parts.store.scan("material/", None, 10).await.unwrap().len(), 2);
    // What a replica takes back is only its own.
    let second = new(8).await.unwrap()["KeyMaterialId"].clone();
    assert_eq!(
        materials(&bench, "local", &id).await,
        ["CURRENT IMPORTED", &format!("{waiting} IMPORTED")]
    );
    assert_eq!(
        materials(&bench, THERE, &id).await,
        ["CURRENT IMPORTED", &format!("{waiting} PENDING_IMPORT")]
    );
    assert_eq!(state(&bench, THERE, &id).await, "Enabled", "it works as it did");
    let rotate = json!({"KeyId": id});
    let error = bench.verb("RotateKeyOnDemand", rotate.clone()).await.unwrap_err();
    assert!(
        error.kind == KmsErrorType::InvalidState && error.message.contains("is not imported in eu-1"),
        "{error}"
    );
    import_there(&bench, &id, &[8; 32], "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    let delete = json!({"KeyId": id, "KeyMaterialId": second});
    bench.verb_in(THERE, "DeleteImportedKeyMaterial", delete).await.unwrap();
    assert_eq!(state(&bench, THERE, &id).await, "Enabled");
    assert_eq!(
        refused(&bench, "RotateKeyOnDemand", rotate.clone()).await,
        "KMSInvalidStateException"
    );
    import_there(&bench, &id, &[8; 32], "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    for region in ["local", THERE] {
        assert_eq!(
            materials(&bench, region, &id).await,
            ["CURRENT IMPORTED", "PENDING_ROTATION IMPORTED"]
        );
    }
    let error = bench
        .verb_in(THERE, "RotateKeyOnDemand", rotate.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::UnsupportedOperation);
    bench.verb("RotateKeyOnDemand", rotate).await.unwrap();
    let (here, there) = (
        encrypt(&bench, "local", &id).await.unwrap(),
        encrypt(&bench, THERE, &id).await.unwrap(),
    );
    for region in ["local", THERE] {
        assert_eq!(
            materials(&bench, region, &id).await,
            ["NON_CURRENT IMPORTED", "CURRENT IMPORTED"]
        );
        for blob in [&old, &here, &there] {
            assert!(opens(&bench, region, blob).await, "{region}");
        }
    }
}

#[tokio::test]
async fn a_replica_with_its_material_becomes_the_primary_and_takes_its_material_with_it() {
    let bench = Bench::new().await;
    let id = replicated(&bench).await;
    let lead = json!({"KeyId": id, "PrimaryRegion": THERE});
    assert_eq!(
        refused(&bench, "UpdatePrimaryRegion", lead.clone()).await,
        "KMSInvalidStateException",
        "it has none yet"
    );
    import_there(&bench, &id, &MATERIAL, "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    bench.verb("UpdatePrimaryRegion", lead).await.unwrap();
    // The new primary alone takes new material, and knows of the former one's.
    import_there(&bench, &id, &[8; 32], "NEW_KEY_MATERIAL").await.unwrap();
    let mut new = import(&id, &parameters(&bench, &id).await, &[8; 32]);
    new["ImportType"] = json!("EXISTING_KEY_MATERIAL");
    bench.verb("ImportKeyMaterial", new).await.unwrap();
    bench
        .verb_in(THERE, "RotateKeyOnDemand", json!({"KeyId": id}))
        .await
        .unwrap();
    let blob = encrypt(&bench, THERE, &id).await.unwrap();
    assert!(opens(&bench, "local", &blob).await);
    // The former primary goes with its own material, and nobody else's.
    let delete = json!({"KeyId": id, "PendingWindowInDays": 7});
    bench.verb("ScheduleKeyDeletion", delete.clone()).await.unwrap();
    bench.pass(7 * DAY);
    bench.upkeep().await;
    assert_eq!(bench.parts.store.scan("material/", None, 10).await.unwrap().len(), 2);
    assert!(opens(&bench, THERE, &blob).await);
    bench.verb_in(THERE, "ScheduleKeyDeletion", delete).await.unwrap();
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
async fn material_expires_in_each_region_when_its_importer_said() {
    let bench = Bench::new().await;
    let id = replicated(&bench).await;
    let mut request = import(&id, &parameters_there(&bench, &id).await, &MATERIAL);
    request["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
    request["ValidTo"] = json!(bench.now() + 100);
    bench.verb_in(THERE, "ImportKeyMaterial", request).await.unwrap();
    assert_eq!(state(&bench, THERE, &id).await, "Enabled");
    bench.pass(100);
    bench.upkeep().await;
    assert_eq!(state(&bench, THERE, &id).await, "PendingImport");
    assert_eq!(state(&bench, "local", &id).await, "Enabled");
    encrypt(&bench, "local", &id).await.unwrap();
}

#[tokio::test]
async fn a_new_primary_rotates_to_no_material_that_it_lacks_itself() {
    let bench = Bench::new().await;
    let id = replicated(&bench).await;
    import_there(&bench, &id, &MATERIAL, "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    let mut new = import(&id, &parameters(&bench, &id).await, &[8; 32]);
    new["ImportType"] = json!("NEW_KEY_MATERIAL");
    bench.verb("ImportKeyMaterial", new).await.unwrap();
    let lead = json!({"KeyId": id, "PrimaryRegion": THERE});
    bench.verb("UpdatePrimaryRegion", lead).await.unwrap();
    let rotate = bench.verb_in(THERE, "RotateKeyOnDemand", json!({"KeyId": id})).await;
    let error = rotate.unwrap_err();
    assert!(
        error.message.contains(&format!("is not imported in {THERE}")),
        "{error}"
    );
    let blob = encrypt(&bench, THERE, &id).await.unwrap();
    assert!(opens(&bench, "local", &blob).await);
}

/// What is pending rotation goes in all regions when the primary loses it: not while a replica that has it is held.
#[tokio::test]
async fn a_held_replica_keeps_the_material_that_is_pending() {
    let bench = Bench::new().await;
    let id = replicated(&bench).await;
    import_there(&bench, &id, &MATERIAL, "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    let new = async |valid_to: Option<u64>| {
        let mut new = import(&id, &parameters(&bench, &id).await, &[8; 32]);
        new["ImportType"] = json!("NEW_KEY_MATERIAL");
        if let Some(at) = valid_to {
            new["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
            new["ValidTo"] = json!(at);
        }
        bench.verb("ImportKeyMaterial", new).await
    };
    let pending = new(Some(bench.now() + 100)).await.unwrap()["KeyMaterialId"].clone();
    import_there(&bench, &id, &[8; 32], "EXISTING_KEY_MATERIAL")
        .await
        .unwrap();
    let there = async || bench.parts.store.scan("material/", None, 10).await.unwrap().len();
    assert_eq!(there().await, 4);
    let hold = json!({"KeyId": id, "Reason": "case 17"});
    bench.verb_in(THERE, "HoldKey", hold).await.unwrap();
    let delete = json!({"KeyId": id, "KeyMaterialId": pending});
    let error = bench
        .verb("DeleteImportedKeyMaterial", delete.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::InvalidState);
    assert!(error.to_string().contains("under legal hold"), "{error}");
    let error = new(Some(bench.now() + 50)).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::InvalidState, "{error}");
    bench.pass(100);
    bench.upkeep().await;
    assert_eq!(there().await, 4, "its time is over, and it stays");
    assert_eq!(materials(&bench, THERE, &id).await.len(), 2);
    bench.verb_in(THERE, "ReleaseKey", json!({"KeyId": id})).await.unwrap();
    bench.upkeep().await;
    assert_eq!(there().await, 2, "released, it goes in both regions");
    assert_eq!(state(&bench, THERE, &id).await, "Enabled");
}
