//! The default keys of services, under `alias/aws/`.

use super::*;

#[tokio::test]
async fn a_services_default_key_is_there_when_it_is_asked_for() {
    let bench = Bench::new().await;
    let first = bench
        .verb_as("root", "DescribeKey", json!({"KeyId": "alias/aws/s3"}))
        .await
        .unwrap();
    let metadata = &first["KeyMetadata"];
    assert_eq!(
        (&metadata["KeyManager"], &metadata["KeySpec"]),
        (&json!("AWS"), &json!("SYMMETRIC_DEFAULT"))
    );
    let arn = json!({"KeyId": format!("arn:aws:kms:local:{TENANT}:alias/aws/s3")});
    assert_eq!(bench.verb_as("root", "DescribeKey", arn).await.unwrap(), first);
    let listed = bench.verb("ListAliases", json!({})).await.unwrap();
    assert_eq!(listed["Aliases"][0]["AliasName"], "alias/aws/s3");
    assert_eq!(listed["Aliases"][0]["TargetKeyId"], metadata["KeyId"]);
    let status = bench
        .verb_as("root", "GetKeyRotationStatus", json!({"KeyId": metadata["KeyId"]}))
        .await
        .unwrap();
    assert_eq!(status["KeyRotationEnabled"], true);
    let unknown = json!({"KeyId": "alias/aws/no-such-service"});
    assert_eq!(refused(&bench, "DescribeKey", unknown).await, "NotFoundException");
}

#[tokio::test]
async fn nobody_uses_or_manages_a_services_default_key() {
    let bench = Bench::new().await;
    let described = bench
        .verb("DescribeKey", json!({"KeyId": "alias/aws/ebs"}))
        .await
        .unwrap();
    let id = described["KeyMetadata"]["KeyId"].clone();
    for (verb, body) in [
        ("Encrypt", json!({"KeyId": "alias/aws/ebs", "Plaintext": "AAAA"})),
        ("ScheduleKeyDeletion", json!({"KeyId": id})),
        ("DisableKey", json!({"KeyId": id})),
        ("CreateAlias", json!({"AliasName": "alias/mine", "TargetKeyId": id})),
        (
            "TagResource",
            json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ),
    ] {
        let error = bench.verb_as("root", verb, body).await.expect_err(verb);
        assert_eq!(error.kind, KmsErrorType::AccessDenied, "{verb}");
    }
}
