//! Keys of another account: by ARN, where the model has it, for whom a policy or a grant names.

use super::*;

const OTHER: &str = "000000000002";

async fn as_other(bench: &Bench, user: &str, verb: &str, body: Value) -> Result<Value, KmsError> {
    let gate = bench.account_of(OTHER, user);
    let tenant = Tenant::parse(OTHER).unwrap();
    let body = body.to_string();
    bench.wired.keys.call(&tenant, &gate, verb, body.as_bytes()).await
}

async fn bench() -> (Bench, String, String) {
    let bench = Bench::new().await;
    let other = Tenant::parse(OTHER).unwrap();
    bench.tenants.create(&other, "other").await.unwrap();
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let arn = format!("arn:aws:kms:local:{TENANT}:key/{id}");
    (bench, id, arn)
}

#[tokio::test]
async fn whether_another_accounts_key_exists_is_not_said() {
    let (bench, id, arn) = bench().await;
    let nowhere = arn.replace(&id, "11111111-2222-4333-8444-555555555555");
    for (verb, rest) in [
        ("DescribeKey", json!({})),
        ("Encrypt", json!({"Plaintext": "AAAA"})),
        ("ListGrants", json!({})),
        ("RetireGrant", json!({"GrantId": "a".repeat(64)})),
    ] {
        let mut messages = Vec::new();
        for key in [&arn, &nowhere] {
            let mut body = rest.clone();
            body["KeyId"] = json!(key);
            let error = as_other(&bench, "root", verb, body).await.unwrap_err();
            assert_eq!(error.kind, KmsErrorType::AccessDenied, "{verb}");
            messages.push(error.message.replace(key, "ARN"));
        }
        assert_eq!(messages[0], messages[1]);
    }
    // By id alone a key is one's own, and what the model keeps within the account stays there.
    let error = as_other(&bench, "root", "DescribeKey", json!({"KeyId": id}))
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::NotFound);
    let error = as_other(&bench, "root", "DisableKey", json!({"KeyId": arn}))
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::NotFound);
    let alias = format!("arn:aws:kms:local:{TENANT}:alias/aws/s3");
    let error = as_other(&bench, "root", "DescribeKey", json!({"KeyId": alias}))
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::AccessDenied);
    assert_eq!(
        bench.verb("ListAliases", json!({})).await.unwrap()["Aliases"],
        json!([])
    );
}

#[tokio::test]
async fn a_grant_reaches_into_another_account() {
    let (bench, id, arn) = bench().await;
    let request = json!({"KeyId": id, "GranteePrincipal": format!("arn:aws:iam::{OTHER}:user/a"),
        "Operations": ["Encrypt", "Decrypt", "RetireGrant"]});
    let made = bench.verb("CreateGrant", request).await.unwrap();
    let encrypt = json!({"KeyId": arn, "Plaintext": "AAAA"});
    let sealed = as_other(&bench, "a", "Encrypt", encrypt.clone()).await.unwrap();
    assert_eq!(sealed["KeyId"], arn);
    let decrypt = json!({"CiphertextBlob": sealed["CiphertextBlob"]});
    as_other(&bench, "a", "Decrypt", decrypt.clone()).await.unwrap();
    for verb in ["Decrypt", "RetireGrant"] {
        let body = match verb {
            "Decrypt" => decrypt.clone(),
            _ => json!({"GrantToken": made["GrantToken"]}),
        };
        let error = as_other(&bench, "b", verb, body).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::AccessDenied, "{verb}");
    }
    let retire = json!({"GrantToken": made["GrantToken"]});
    as_other(&bench, "a", "RetireGrant", retire).await.unwrap();
    let error = as_other(&bench, "a", "Encrypt", encrypt).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::AccessDenied);
}

#[tokio::test]
async fn a_policy_lets_another_accounts_root_in() {
    let (bench, id, arn) = bench().await;
    let named =
        |account: &str| json!({"Effect": "Allow", "Principal": {"AWS": account}, "Action": "kms:*", "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [named(TENANT), named(OTHER)]});
    let put = json!({"KeyId": id, "Policy": policy.to_string()});
    bench.verb("PutKeyPolicy", put).await.unwrap();
    as_other(&bench, "root", "DescribeKey", json!({"KeyId": arn}))
        .await
        .unwrap();
    // Its users need their own account's word as well.
    let describe = json!({"KeyId": arn});
    let error = as_other(&bench, "a", "DescribeKey", describe.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::AccessDenied);
    let permit = |tenant: &str| {
        let scope = format!(
            "principal is AccountPrincipal, action == Action::\"DescribeKey\", resource in Tenant::\"{tenant}\""
        );
        format!("@id(\"a-describes\")\npermit ({scope})\nwhen {{ principal.name == \"a\" }};\n")
    };
    // The key's account has no say in what the other permits.
    bench.apply(&permit(TENANT)).await;
    let error = as_other(&bench, "a", "DescribeKey", describe.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::AccessDenied);
    bench.apply(&permit(OTHER)).await;
    as_other(&bench, "a", "DescribeKey", describe.clone()).await.unwrap();
    let error = as_other(&bench, "b", "DescribeKey", describe.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::AccessDenied);
    // Nor has the other in what the key's policy says.
    let put = json!({"KeyId": id, "Policy": crate::iam::Document::default_for(&bench.tenant())});
    bench.verb("PutKeyPolicy", put).await.unwrap();
    let error = as_other(&bench, "a", "DescribeKey", describe).await.unwrap_err();
    assert_eq!(error.kind, KmsErrorType::AccessDenied);
}

// R6
#[tokio::test]
async fn an_account_that_is_stopped_does_nothing_and_nobody_uses_its_keys() {
    let (bench, id, arn) = bench().await;
    let request = json!({"KeyId": id, "GranteePrincipal": format!("arn:aws:iam::{OTHER}:user/a"),
        "Operations": ["Encrypt", "Decrypt"]});
    bench.verb("CreateGrant", request).await.unwrap();
    let encrypt = json!({"KeyId": arn, "Plaintext": "AAAA"});
    let sealed = as_other(&bench, "a", "Encrypt", encrypt.clone()).await.unwrap();
    let decrypt = json!({"CiphertextBlob": sealed["CiphertextBlob"]});
    let (vault, clock) = (bench.wired.vault.clone(), bench.wired.clock.clone());
    let stopping = crate::halts::Stopping::new(vault, bench.wired.keys.approvals().clone(), clock);
    let own = crate::halts::Halt::Tenant(bench.tenant());
    stopping.stop(&own, "stolen", "operator:root").await.unwrap();
    for (verb, body) in [("Encrypt", encrypt.clone()), ("Decrypt", decrypt.clone())] {
        // Another account is told no more than of a key that is not there.
        let error = as_other(&bench, "a", verb, body).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::AccessDenied, "{verb}");
    }
    // Nor do its own callers hand anything on; what stops more is done.
    let as_own = async |verb: &str, body: Value| {
        let (gate, tenant) = (bench.account_of(TENANT, "root"), bench.tenant());
        bench
            .wired
            .keys
            .call(&tenant, &gate, verb, body.to_string().as_bytes())
            .await
    };
    let grant =
        json!({"KeyId": id, "GranteePrincipal": format!("arn:aws:iam::{OTHER}:user/b"), "Operations": ["Encrypt"]});
    for (verb, body) in [
        ("CreateGrant", grant),
        ("DescribeKey", json!({"KeyId": id})),
        ("GenerateRandom", json!({"NumberOfBytes": 8})),
    ] {
        let error = as_own(verb, body).await.unwrap_err();
        assert!(error.message.contains("stopped by an operator"), "{verb}: {error}");
    }
    as_own("DisableKey", json!({"KeyId": id})).await.unwrap();
    bench.verb("EnableKey", json!({"KeyId": id})).await.unwrap();
    stopping.resume(&own, "operator:root").await.unwrap();
    as_other(&bench, "a", "Encrypt", encrypt).await.unwrap();
    // A stopped caller's account is stopped wherever it goes.
    let other = crate::halts::Halt::Tenant(Tenant::parse(OTHER).unwrap());
    stopping.stop(&other, "", "operator:root").await.unwrap();
    let error = as_other(&bench, "a", "Decrypt", decrypt).await.unwrap_err();
    assert!(error.message.contains("stopped by an operator"), "{error}");
}
