//! Key policies and grants: kept as given, and decided by.

use super::*;

fn statement(effect: &str, user: &str, action: Value, condition: Value) -> Value {
    let mut statement = json!({"Sid": format!("{effect}-{user}"), "Effect": effect,
        "Principal": {"AWS": format!("arn:aws:iam::{TENANT}:{user}")}, "Action": action, "Resource": "*"});
    if !condition.is_null() {
        statement["Condition"] = condition;
    }
    statement
}

/// The account's, and what else is given.
fn policy(more: &[Value]) -> String {
    let mut statements = vec![statement("Allow", "root", json!("kms:*"), Value::Null)];
    statements.extend_from_slice(more);
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

async fn key(bench: &Bench, policy: Option<&str>) -> String {
    let mut body = json!({});
    if let Some(policy) = policy {
        body["Policy"] = json!(policy);
    }
    let made = bench.verb_as("root", "CreateKey", body).await.unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

async fn refused_as(bench: &Bench, user: &str, verb: &str, body: Value) -> &'static str {
    let error = bench.verb_as(user, verb, body.clone()).await;
    error
        .expect_err(&format!("{user}: {verb} {body} was not refused"))
        .kind
        .as_str()
}

fn encrypt(id: &str, context: Value) -> Value {
    json!({"KeyId": id, "Plaintext": "AAAA", "EncryptionContext": context})
}

#[tokio::test]
async fn a_policy_is_kept_as_it_was_given() {
    let bench = Bench::new().await;
    let id = key(&bench, None).await;
    let default = bench.verb("GetKeyPolicy", json!({"KeyId": id})).await.unwrap();
    assert_eq!(default["PolicyName"], "default");
    assert!(
        default["Policy"]
            .as_str()
            .unwrap()
            .contains(&format!("arn:aws:iam::{TENANT}:root"))
    );
    let text = format!("\n  {}  ", policy(&[]).replace("\"Effect\":", "\"Effect\" :\t"));
    let put = json!({"KeyId": id, "PolicyName": "default", "Policy": text});
    bench.verb_as("root", "PutKeyPolicy", put).await.unwrap();
    let got = bench.verb("GetKeyPolicy", json!({"KeyId": id})).await.unwrap();
    assert_eq!(got["Policy"], text);
    let listed = bench.verb("ListKeyPolicies", json!({"KeyId": id})).await.unwrap();
    assert_eq!(listed, json!({"PolicyNames": ["default"], "Truncated": false}));
    let request = json!({"KeyId": id, "PolicyName": "other"});
    assert_eq!(refused(&bench, "GetKeyPolicy", request).await, "NotFoundException");
    // In every state.
    bench.verb("ScheduleKeyDeletion", json!({"KeyId": id})).await.unwrap();
    bench
        .verb("PutKeyPolicy", json!({"KeyId": id, "Policy": policy(&[])}))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_policy_that_is_not_understood_or_locks_out_is_refused() {
    let bench = Bench::new().await;
    let id = key(&bench, None).await;
    let unknown = statement(
        "Allow",
        "user/a",
        json!("kms:Encrypt"),
        json!({"StringEquals": {"kms:Unknown": "x"}}),
    );
    for (text, named) in [
        ("not json".to_owned(), ""),
        ("{}".to_owned(), ""),
        (policy(&[unknown]), "Allow-user/a"),
        (
            policy(&[statement("Allow", "user/a", json!("s3:Get"), Value::Null)]),
            "Allow-user/a",
        ),
    ] {
        let put = json!({"KeyId": id, "Policy": text, "BypassPolicyLockoutSafetyCheck": true});
        let error = bench.verb_as("root", "PutKeyPolicy", put).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::MalformedPolicy, "{text}");
        assert!(error.message.contains(named), "{error}");
        assert_eq!(
            refused_as(&bench, "root", "CreateKey", json!({"Policy": text})).await,
            "MalformedPolicyDocumentException"
        );
    }
    let other =
        json!({"Version": "2012-10-17", "Statement": [statement("Allow", "user/a", json!("kms:*"), Value::Null)]});
    let mut put = json!({"KeyId": id, "Policy": other.to_string()});
    assert_eq!(
        refused_as(&bench, "root", "PutKeyPolicy", put.clone()).await,
        "MalformedPolicyDocumentException"
    );
    put["BypassPolicyLockoutSafetyCheck"] = json!(true);
    bench.verb_as("root", "PutKeyPolicy", put).await.unwrap();
    bench.verb_as("a", "DescribeKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(
        refused_as(&bench, "b", "DescribeKey", json!({"KeyId": id})).await,
        "AccessDeniedException"
    );
}

#[tokio::test]
async fn a_policy_allows_and_denies_by_what_the_request_says() {
    let bench = Bench::new().await;
    let context = json!({"StringEquals": {"kms:EncryptionContext:app": "shop"}});
    let id = key(
        &bench,
        Some(&policy(&[
            statement("Allow", "user/a", json!(["kms:Encrypt", "kms:DescribeKey"]), context),
            statement(
                "Allow",
                "user/s",
                json!("kms:DescribeKey"),
                json!({"StringEquals": {"kms:RequestAlias": "alias/a"}}),
            ),
            statement("Deny", "root", json!("kms:GenerateDataKey"), Value::Null),
        ])),
    )
    .await;
    bench
        .verb_as(
            "root",
            "CreateAlias",
            json!({"AliasName": "alias/a", "TargetKeyId": id}),
        )
        .await
        .unwrap();
    bench
        .verb_as("a", "Encrypt", encrypt(&id, json!({"app": "shop"})))
        .await
        .unwrap();
    bench
        .verb_as("s", "DescribeKey", json!({"KeyId": "alias/a"}))
        .await
        .unwrap();
    for (user, verb, body) in [
        ("a", "Encrypt", encrypt(&id, json!({"app": "till"}))),
        ("a", "Encrypt", encrypt(&id, json!({}))),
        ("a", "Decrypt", json!({"KeyId": id, "CiphertextBlob": "AAAA"})),
        ("s", "DescribeKey", json!({"KeyId": id})),
        ("root", "GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("b", "ListKeys", json!({})),
    ] {
        assert_eq!(
            refused_as(&bench, user, verb, body).await,
            "AccessDeniedException",
            "{user} {verb}"
        );
    }
    // Read for each request: what a new policy says holds at once.
    bench
        .verb_as("root", "PutKeyPolicy", json!({"KeyId": id, "Policy": policy(&[])}))
        .await
        .unwrap();
    assert_eq!(
        refused_as(&bench, "a", "Encrypt", encrypt(&id, json!({"app": "shop"}))).await,
        "AccessDeniedException"
    );
    bench
        .verb_as("root", "GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn re_encryption_asks_for_both_keys() {
    let bench = Bench::new().await;
    let may = |action: &str| policy(&[statement("Allow", "user/a", json!(action), Value::Null)]);
    let from = key(&bench, Some(&may("kms:ReEncryptFrom"))).await;
    let to = key(&bench, Some(&may("kms:ReEncryptTo"))).await;
    let blob = bench.verb("Encrypt", encrypt(&from, json!({}))).await.unwrap()["CiphertextBlob"].clone();
    let request = |from: &str, to: &str| json!({"CiphertextBlob": blob, "SourceKeyId": from, "DestinationKeyId": to});
    bench.verb_as("a", "ReEncrypt", request(&from, &to)).await.unwrap();
    assert_eq!(
        refused_as(&bench, "a", "ReEncrypt", request(&from, &from)).await,
        "AccessDeniedException"
    );
    assert_eq!(
        refused_as(&bench, "a", "ReEncrypt", request(&to, &to)).await,
        "AccessDeniedException"
    );
}

fn grant(id: &str, user: &str, operations: &[&str], constraints: Value) -> Value {
    json!({"KeyId": id, "GranteePrincipal": format!("arn:aws:iam::{TENANT}:user/{user}"),
        "RetiringPrincipal": format!("arn:aws:iam::{TENANT}:user/retires"), "Operations": operations, "Constraints": constraints})
}

#[tokio::test]
async fn a_grant_holds_at_once_and_until_it_is_revoked() {
    let bench = Bench::new().await;
    let id = key(&bench, None).await;
    let body = encrypt(&id, json!({"app": "shop", "more": "1"}));
    assert_eq!(
        refused_as(&bench, "a", "Encrypt", body.clone()).await,
        "AccessDeniedException"
    );
    let constraints = json!({"EncryptionContextSubset": {"app": "shop"}});
    let request = grant(&id, "a", &["Encrypt", "DescribeKey"], constraints);
    let made = bench.verb_as("root", "CreateGrant", request).await.unwrap();
    bench.verb_as("a", "Encrypt", body.clone()).await.unwrap();
    bench.verb_as("a", "DescribeKey", json!({"KeyId": id})).await.unwrap();
    let mut with_token = body.clone();
    with_token["GrantTokens"] = json!([made["GrantToken"]]);
    bench.verb_as("a", "Encrypt", with_token.clone()).await.unwrap();
    with_token["GrantTokens"] = json!(["AAAA"]);
    assert_eq!(
        refused_as(&bench, "a", "Encrypt", with_token).await,
        "InvalidGrantTokenException"
    );
    assert_eq!(
        refused_as(&bench, "a", "Encrypt", encrypt(&id, json!({}))).await,
        "AccessDeniedException"
    );
    assert_eq!(
        refused_as(&bench, "b", "Encrypt", body.clone()).await,
        "AccessDeniedException"
    );
    let decrypt = json!({"KeyId": id, "CiphertextBlob": "AAAA", "EncryptionContext": {"app": "shop"}});
    assert_eq!(
        refused_as(&bench, "a", "Decrypt", decrypt).await,
        "AccessDeniedException"
    );
    let revoke = json!({"KeyId": id, "GrantId": made["GrantId"]});
    assert_eq!(
        refused_as(&bench, "a", "RevokeGrant", revoke.clone()).await,
        "AccessDeniedException"
    );
    bench.verb_as("root", "RevokeGrant", revoke.clone()).await.unwrap();
    assert_eq!(refused_as(&bench, "a", "Encrypt", body).await, "AccessDeniedException");
    assert_eq!(refused(&bench, "RevokeGrant", revoke).await, "NotFoundException");
}

#[tokio::test]
async fn grants_are_listed_and_named_once() {
    let bench = Bench::new().await;
    let id = key(&bench, None).await;
    let mut request = grant(&id, "a", &["Encrypt"], json!({}));
    request["Name"] = json!("one");
    let first = bench.verb("CreateGrant", request.clone()).await.unwrap();
    let again = bench.verb("CreateGrant", request).await.unwrap();
    assert_eq!(first["GrantId"], again["GrantId"]);
    assert_ne!(first["GrantToken"], again["GrantToken"]);
    for user in ["b", "c"] {
        bench
            .verb("CreateGrant", grant(&id, user, &["Encrypt"], json!({})))
            .await
            .unwrap();
    }
    let listed = bench
        .verb("ListGrants", json!({"KeyId": id, "Limit": 2}))
        .await
        .unwrap();
    let marker = listed["NextMarker"].clone();
    let rest = bench
        .verb("ListGrants", json!({"KeyId": id, "Marker": marker}))
        .await
        .unwrap();
    let grants = [&listed, &rest]
        .map(|page| page["Grants"].as_array().unwrap().clone())
        .concat();
    assert_eq!((grants.len(), &rest["Truncated"]), (3, &json!(false)));
    let one = bench
        .verb("ListGrants", json!({"KeyId": id, "GrantId": first["GrantId"]}))
        .await
        .unwrap();
    assert_eq!(one["Grants"][0]["Name"], "one");
    assert_eq!(
        one["Grants"][0]["KeyId"],
        format!("arn:aws:kms:local:{TENANT}:key/{id}")
    );
    let retires = |user: &str| json!({"RetiringPrincipal": format!("arn:aws:iam::{TENANT}:user/{user}")});
    let mine = bench.verb("ListRetirableGrants", retires("retires")).await.unwrap();
    assert_eq!(mine["Grants"].as_array().unwrap().len(), 3);
    let mine = bench.verb("ListRetirableGrants", retires("a")).await.unwrap();
    assert_eq!(mine["Grants"], json!([]));
    for limit in [0, 101] {
        let request = json!({"KeyId": id, "Limit": limit});
        assert_eq!(refused(&bench, "ListGrants", request).await, "ValidationException");
    }
}

#[tokio::test]
async fn whoever_a_grant_names_retires_it() {
    let bench = Bench::new().await;
    let id = key(&bench, None).await;
    let make = async |operations: &[&str]| {
        bench
            .verb("CreateGrant", grant(&id, "a", operations, json!({})))
            .await
            .unwrap()
    };
    let made = make(&["Encrypt"]).await;
    let by_token = json!({"GrantToken": made["GrantToken"]});
    assert_eq!(
        refused_as(&bench, "a", "RetireGrant", by_token.clone()).await,
        "AccessDeniedException"
    );
    let mut dry = by_token.clone();
    dry["DryRun"] = json!(true);
    assert_eq!(
        refused_as(&bench, "retires", "RetireGrant", dry).await,
        "DryRunOperationException"
    );
    bench.verb_as("retires", "RetireGrant", by_token.clone()).await.unwrap();
    assert_eq!(
        refused_as(&bench, "retires", "RetireGrant", by_token).await,
        "NotFoundException"
    );
    let made = make(&["Encrypt", "RetireGrant"]).await;
    let by_id = json!({"KeyId": format!("arn:aws:kms:local:{TENANT}:key/{id}"), "GrantId": made["GrantId"]});
    // A grant that lets itself be retired says nothing of another one on the same key.
    let others = bench
        .verb("CreateGrant", grant(&id, "b", &["Encrypt"], json!({})))
        .await
        .unwrap();
    let theirs = json!({"KeyId": format!("arn:aws:kms:local:{TENANT}:key/{id}"), "GrantId": others["GrantId"]});
    assert_eq!(
        refused_as(&bench, "a", "RetireGrant", theirs).await,
        "AccessDeniedException"
    );
    bench.verb_as("a", "RetireGrant", by_id).await.unwrap();
    for request in [
        json!({}),
        json!({"KeyId": id}),
        json!({"GrantToken": "x", "KeyId": id, "GrantId": "y"}),
    ] {
        assert_eq!(refused(&bench, "RetireGrant", request).await, "ValidationException");
    }
    let request = json!({"GrantToken": "x"});
    assert_eq!(
        refused(&bench, "RetireGrant", request).await,
        "InvalidGrantTokenException"
    );
}

#[tokio::test]
async fn a_grant_hands_on_no_more_than_it_has() {
    let bench = Bench::new().await;
    let id = key(&bench, None).await;
    let equals = json!({"EncryptionContextEquals": {"app": "shop"}});
    let subset = json!({"EncryptionContextSubset": {"app": "shop"}});
    let request = grant(&id, "a", &["Encrypt", "CreateGrant"], subset.clone());
    bench.verb("CreateGrant", request).await.unwrap();
    for constraints in [subset, equals] {
        bench
            .verb_as("a", "CreateGrant", grant(&id, "b", &["Encrypt"], constraints))
            .await
            .unwrap();
    }
    for request in [
        grant(&id, "b", &["Encrypt"], json!({})),
        grant(
            &id,
            "b",
            &["Encrypt"],
            json!({"EncryptionContextSubset": {"app": "till"}}),
        ),
        grant(
            &id,
            "b",
            &["Decrypt"],
            json!({"EncryptionContextSubset": {"app": "shop"}}),
        ),
    ] {
        assert_eq!(
            refused_as(&bench, "a", "CreateGrant", request).await,
            "AccessDeniedException"
        );
    }
}

#[tokio::test]
async fn grants_that_make_no_sense_are_refused() {
    let bench = Bench::new().await;
    let symmetric = key(&bench, None).await;
    let signing = bench.raw("ECC_NIST_P256", "SIGN_VERIFY").await;
    let mac = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let none = json!({});
    for (id, operations) in [
        (&symmetric, &["Sign"][..]),
        (&symmetric, &["encrypt"]),
        (&symmetric, &[]),
        (&symmetric, &["GetPublicKey"]),
        (&signing, &["GenerateDataKey"]),
        (&mac, &["Verify"]),
    ] {
        let request = grant(id, "a", operations, none.clone());
        assert_eq!(
            refused(&bench, "CreateGrant", request).await,
            "ValidationException",
            "{operations:?}"
        );
    }
    let constrained = grant(&signing, "a", &["Sign"], json!({"EncryptionContextEquals": {"a": "b"}}));
    assert_eq!(refused(&bench, "CreateGrant", constrained).await, "ValidationException");
    let both = json!({"EncryptionContextEquals": {"a": "b"}, "EncryptionContextSubset": {"a": "b"}});
    for (request, why) in [
        (
            grant(&symmetric, "a", &["CreateGrant"], none.clone()),
            "Grants must not contain only the CreateGrant operation.",
        ),
        (
            grant(&symmetric, "a", &["Encrypt"], both),
            "More than one constraint supplied",
        ),
    ] {
        let error = bench.verb("CreateGrant", request).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (KmsErrorType::Validation, why));
    }
    let listed = bench.verb("ListGrants", json!({"KeyId": symmetric})).await.unwrap();
    assert_eq!(listed["Grants"], json!([]));
    let mut nobody = grant(&symmetric, "a", &["Encrypt"], none.clone());
    nobody["GranteePrincipal"] = json!("nobody");
    assert_eq!(refused(&bench, "CreateGrant", nobody).await, "InvalidArnException");
    let mut dry = grant(&symmetric, "a", &["Encrypt"], none.clone());
    dry["DryRun"] = json!(true);
    assert_eq!(refused(&bench, "CreateGrant", dry).await, "DryRunOperationException");
    bench.verb("DisableKey", json!({"KeyId": symmetric})).await.unwrap();
    let request = grant(&symmetric, "a", &["Encrypt"], none);
    assert_eq!(refused(&bench, "CreateGrant", request).await, "DisabledException");
}
