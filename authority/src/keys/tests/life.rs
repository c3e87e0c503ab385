//! Deletion, aliases, tags, lists.

use super::*;

#[tokio::test]
async fn deletion_waits_for_its_window_and_takes_everything_with_it() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    assert_eq!(
        refused(
            &bench,
            "ScheduleKeyDeletion",
            json!({"KeyId": id, "PendingWindowInDays": 6})
        )
        .await,
        "ValidationException"
    );
    let someone = format!("arn:aws:iam::{TENANT}:user/a");
    let grant = json!({"KeyId": id, "GranteePrincipal": someone, "RetiringPrincipal": someone, "Operations": ["Sign"]});
    bench.verb("CreateGrant", grant).await.unwrap();
    let answer = bench
        .verb("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7}))
        .await
        .unwrap();
    assert_eq!(answer["DeletionDate"], json!(bench.now() + 7 * DAY));
    let error = bench.verb("EnableKey", json!({"KeyId": id})).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::InvalidState);
    assert!(error.message.contains("is pending deletion"));
    assert_eq!(
        refused(
            &bench,
            "TagResource",
            json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]})
        )
        .await,
        "KMSInvalidStateException"
    );
    bench.verb("CancelKeyDeletion", json!({"KeyId": id})).await.unwrap();
    assert_eq!(
        refused(&bench, "CancelKeyDeletion", json!({"KeyId": id})).await,
        "KMSInvalidStateException"
    );
    let metadata = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(metadata["KeyMetadata"]["KeyState"], "Disabled");
    bench
        .verb("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7}))
        .await
        .unwrap();
    bench.pass(7 * DAY - 1);
    bench.upkeep().await;
    bench
        .verb("DescribeKey", json!({"KeyId": "alias/token"}))
        .await
        .unwrap();
    bench.pass(1);
    bench.upkeep().await;
    assert_eq!(
        refused(&bench, "DescribeKey", json!({"KeyId": id})).await,
        "NotFoundException"
    );
    assert_eq!(
        refused(&bench, "DescribeKey", json!({"KeyId": "alias/token"})).await,
        "NotFoundException"
    );
    for prefix in [
        "keys/",
        "material/",
        "aliases/",
        "ca/",
        "grants/",
        "grant-counts/",
        "retirable/",
        "usage/",
    ] {
        assert!(
            bench.parts.store.scan(prefix, None, 10).await.unwrap().is_empty(),
            "{prefix}"
        );
    }
}

#[tokio::test]
async fn aliases_move_between_keys_of_one_kind() {
    let bench = Bench::new().await;
    let a = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    let b = bench.key("ECC_NIST_P256", "raw", "none", "alias/b").await;
    let other = bench.key("HMAC_256", "raw", "none", "alias/other").await;
    let set = |name: &str, key: &str| json!({"AliasName": name, "TargetKeyId": key});
    assert_eq!(
        refused(&bench, "CreateAlias", set("alias/a", &b)).await,
        "AlreadyExistsException"
    );
    for (name, target, kind) in [
        ("a", &b, "ValidationException"),
        ("alias/", &b, "ValidationException"),
        ("alias/a:b", &b, "ValidationException"),
        ("alias/aws/s3", &b, "NotAuthorizedException"),
        ("alias/c", &"alias/a".to_owned(), "ValidationException"),
    ] {
        assert_eq!(refused(&bench, "CreateAlias", set(name, target)).await, kind, "{name}");
    }
    let error = bench.verb("UpdateAlias", set("alias/a", &other)).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::Validation);
    assert!(
        error
            .message
            .contains("from a CMK with key usage SIGN_VERIFY to a CMK with key usage GENERATE_VERIFY_MAC"),
        "{error}"
    );
    assert_eq!(
        refused(&bench, "UpdateAlias", set("alias/none", &b)).await,
        "NotFoundException"
    );
    bench.verb("UpdateAlias", set("alias/a", &b)).await.unwrap();
    let found = bench.verb("DescribeKey", json!({"KeyId": "alias/a"})).await.unwrap();
    assert_eq!(found["KeyMetadata"]["KeyId"], json!(b));
    assert_eq!(found["KeyMetadata"]["Signet"]["Aliases"], json!(["alias/a", "alias/b"]));
    let of_a = bench.verb("ListAliases", json!({"KeyId": a})).await.unwrap();
    assert_eq!(of_a["Aliases"], json!([]));
    bench
        .verb("DeleteAlias", json!({"AliasName": "alias/a"}))
        .await
        .unwrap();
    assert_eq!(
        refused(&bench, "DeleteAlias", json!({"AliasName": "alias/a"})).await,
        "NotFoundException"
    );
}

#[tokio::test]
async fn a_key_has_fifty_aliases() {
    let bench = Bench::new().await;
    let id = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let set = |n: usize| json!({"AliasName": format!("alias/n{n}"), "TargetKeyId": id});
    for n in 0..50 {
        bench.verb("CreateAlias", set(n)).await.unwrap();
    }
    let error = bench.verb("CreateAlias", set(50)).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::LimitExceeded);
    assert_eq!(
        error.message,
        "Aliases per key quota for this account in this region is 50, current usage is 50."
    );
}

#[tokio::test]
async fn lists_come_in_pages_that_hold_everything_once() {
    let bench = Bench::new().await;
    let mut made: Vec<String> = Vec::new();
    for n in 0..5 {
        made.push(
            bench
                .key("ECC_NIST_EDWARDS25519", "raw", "none", &format!("alias/k{n}"))
                .await,
        );
    }
    made.sort();
    for (verb, list, member) in [("ListKeys", "Keys", "KeyId"), ("ListAliases", "Aliases", "TargetKeyId")] {
        let (mut seen, mut marker) = (Vec::new(), None);
        loop {
            let mut body = json!({"Limit": 2});
            if let Some(marker) = marker {
                body["Marker"] = marker;
            }
            let page = bench.verb(verb, body).await.unwrap();
            seen.extend(
                page[list]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item[member].as_str().unwrap().to_owned()),
            );
            if page["Truncated"] != true {
                break;
            }
            marker = Some(page["NextMarker"].clone());
        }
        seen.sort();
        assert_eq!(seen, made, "{verb}");
        assert_eq!(refused(&bench, verb, json!({"Limit": 0})).await, "ValidationException");
        assert_eq!(
            refused(&bench, verb, json!({"Marker": "!"})).await,
            "InvalidMarkerException"
        );
    }
}

#[tokio::test]
async fn tags_are_kept_and_reserved_ones_never_change() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    bench
        .verb("TagResource", json!({"KeyId": id, "Tags": tags(&[("team", "web")])}))
        .await
        .unwrap();
    let listed = bench
        .verb("ListResourceTags", json!({"KeyId": id, "Limit": 1}))
        .await
        .unwrap();
    assert_eq!(listed["Truncated"], true);
    let change = json!({"KeyId": id, "Tags": tags(&[("signet:family", "token")])});
    assert_eq!(refused(&bench, "TagResource", change).await, "TagException");
    assert_eq!(
        refused(
            &bench,
            "UntagResource",
            json!({"KeyId": id, "TagKeys": ["signet:family"]})
        )
        .await,
        "TagException"
    );
    let many: Vec<_> = (0..51)
        .map(|n| json!({"TagKey": n.to_string(), "TagValue": ""}))
        .collect();
    assert_eq!(
        refused(&bench, "TagResource", json!({"KeyId": id, "Tags": many})).await,
        "TagException"
    );
    bench
        .verb("UntagResource", json!({"KeyId": id, "TagKeys": ["team"]}))
        .await
        .unwrap();
}
