//! One key in several regions.

use super::*;
use crate::testing::Open;

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
    // As the service answers; the next one who asks is told what it is.
    let begun = &replica["ReplicaKeyMetadata"];
    assert_eq!(
        (&begun["KeyState"], &begun["Enabled"]),
        (&json!("Creating"), &json!(false))
    );
    let described = bench.verb_in("eu-1", "DescribeKey", describe(&mrk)).await.unwrap();
    assert_eq!(described["KeyMetadata"]["KeyState"], "Enabled");
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
async fn a_key_is_replicated_to_regions_that_are_served() {
    let bench = Bench::new().await;
    let made = bench.verb("CreateKey", json!({"MultiRegion": true})).await.unwrap();
    let mut keys = bench.wired.keys.in_region("local");
    keys.settings.served = ["eu-1".to_owned(), "eu-2".to_owned()].into();
    let replicate = async |region: &str| {
        let body = json!({"KeyId": made["KeyMetadata"]["KeyId"], "ReplicaRegion": region}).to_string();
        keys.call(&bench.tenant(), &Open, "ReplicateKey", body.as_bytes()).await
    };
    let error = replicate("eu-3").await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::UnsupportedOperation);
    replicate("eu-2").await.unwrap();
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
