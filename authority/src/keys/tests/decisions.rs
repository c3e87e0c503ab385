//! Operations that are decided twice, or whose decision is about more than the key they name.

use super::*;

const OTHER: &str = "000000000002";

/// What leaves all to the account, and lets the user `a` do these.
fn policy(actions: &[&str]) -> String {
    let allow = |who: &str, actions: Value| {
        let principal = json!({"AWS": format!("arn:aws:iam::{TENANT}:{who}")});
        json!({"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*"})
    };
    let statements = [allow("root", json!("kms:*")), allow("user/a", json!(actions))];
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

async fn multi_region(bench: &Bench, actions: &[&str]) -> String {
    let body = json!({"MultiRegion": true, "Policy": policy(actions)});
    let made = bench.verb_as("root", "CreateKey", body).await.unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

async fn denied(bench: &Bench, verb: &str, body: &Value) {
    let error = bench.verb_as("a", verb, body.clone()).await.expect_err(verb);
    assert_eq!(error.kind, KmsErrorType::AccessDenied, "{verb} {body}");
}

#[tokio::test]
async fn who_replicates_a_key_may_make_keys() {
    let bench = Bench::new().await;
    let id = multi_region(&bench, &["kms:ReplicateKey"]).await;
    let replicate = json!({"KeyId": id, "ReplicaRegion": "eu-1"});
    denied(&bench, "ReplicateKey", &replicate).await;
    let scope =
        format!("principal is AccountPrincipal, action == Action::\"CreateKey\", resource in Tenant::\"{TENANT}\"");
    bench.apply(&format!("@id(\"makes-keys\")\npermit ({scope});\n")).await;
    bench.verb_as("a", "ReplicateKey", replicate).await.unwrap();
}

#[tokio::test]
async fn a_primary_moves_where_both_keys_let_it() {
    let bench = Bench::new().await;
    let id = multi_region(&bench, &["kms:UpdatePrimaryRegion"]).await;
    let replicate = json!({"KeyId": id, "ReplicaRegion": "eu-1"});
    bench.verb_as("root", "ReplicateKey", replicate).await.unwrap();
    let update = json!({"KeyId": id, "PrimaryRegion": "eu-1"});
    denied(&bench, "UpdatePrimaryRegion", &update).await;
    let primary = async || {
        let described = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
        described["KeyMetadata"]["MultiRegionConfiguration"]["PrimaryKey"]["Region"].clone()
    };
    assert_eq!(primary().await, "local");
    let put = json!({"KeyId": id, "Policy": policy(&["kms:UpdatePrimaryRegion"])});
    bench.verb_in("eu-1", "PutKeyPolicy", put).await.unwrap();
    bench.verb_as("a", "UpdatePrimaryRegion", update).await.unwrap();
    assert_eq!(primary().await, "eu-1");
}

#[tokio::test]
async fn a_default_key_is_made_for_those_who_may_see_it() {
    let bench = Bench::new().await;
    let describe = json!({"KeyId": "alias/aws/s3"});
    denied(&bench, "DescribeKey", &describe).await;
    assert!(bench.parts.store.scan("keys/", None, 1).await.unwrap().is_empty());
    bench.verb_as("root", "DescribeKey", describe).await.unwrap();
    assert_eq!(bench.parts.store.scan("keys/", None, 2).await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_may_retire_a_grant_finds_it_from_its_own_account() {
    let bench = Bench::new().await;
    let other = Tenant::parse(OTHER).unwrap();
    bench.tenants.create(&other, "other").await.unwrap();
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let retiring = format!("arn:aws:iam::{OTHER}:user/r");
    let grant = |grantee: &str| {
        json!({"KeyId": id, "GranteePrincipal": format!("arn:aws:iam::{TENANT}:user/{grantee}"),
            "RetiringPrincipal": retiring, "Operations": ["Encrypt"]})
    };
    for grantee in ["a", "b", "c"] {
        bench.verb("CreateGrant", grant(grantee)).await.unwrap();
    }
    let root = bench.account_of(OTHER, "root");
    let list = async |body: Value| {
        let body = body.to_string();
        let keys = &bench.wired.keys;
        keys.call(&other, &root, "ListRetirableGrants", body.as_bytes()).await
    };
    let first = list(json!({"RetiringPrincipal": retiring, "Limit": 2})).await.unwrap();
    let marker = first["NextMarker"].clone();
    let rest = list(json!({"RetiringPrincipal": retiring, "Marker": marker}))
        .await
        .unwrap();
    let grants = [&first, &rest]
        .map(|page| page["Grants"].as_array().unwrap().clone())
        .concat();
    assert_eq!((grants.len(), &rest["Truncated"]), (3, &json!(false)));
    assert_eq!(grants[0]["IssuingAccount"], format!("arn:aws:iam::{TENANT}:root"));
    // Only of one's own account.
    let error = list(json!({"RetiringPrincipal": format!("arn:aws:iam::{TENANT}:user/r")})).await;
    assert_eq!(error.unwrap_err().kind, KmsErrorType::InvalidArn);
    let revoke = json!({"KeyId": id, "GrantId": grants[0]["GrantId"]});
    bench.verb("RevokeGrant", revoke.clone()).await.unwrap();
    let listed = bench.verb("ListGrants", revoke).await.unwrap();
    assert_eq!(listed["Grants"], json!([]));
    let left = list(json!({"RetiringPrincipal": retiring})).await.unwrap();
    assert_eq!(left["Grants"].as_array().unwrap().len(), 2);
    // By grantee only that one's are looked at.
    let of = json!({"KeyId": id, "GranteePrincipal": grants[1]["GranteePrincipal"]});
    let listed = bench.verb("ListGrants", of).await.unwrap();
    assert_eq!(listed["Grants"], json!([grants[1]]));
}
