use super::*;
use crate::kms::access_key::Status;
use crate::names::Tenant;
use crate::testing;

const CI: &str = r#"
@id("ci-signs")
permit (principal is AccountPrincipal, action in [Action::"Sign", Action::"DescribeKey"], resource is Key in Tenant::"000000000001")
when { principal.kind == "user" && principal.name == "ci" };
"#;

async fn issue(site: &Site, user: &str, role: &str) -> Issued {
    let keys = &site.bench.wired.access_keys;
    keys.create(&site.bench.tenant(), Some(user), role).await.unwrap()
}

#[tokio::test]
async fn a_user_may_what_the_accounts_policies_say_and_an_admin_everything_in_the_account() {
    let site = Site::new().await;
    site.bench.publish(testing::bundle(CI), false).await.unwrap();
    let id = site.new_key().await;
    let ci = issue(&site, "ci", "").await;
    let admin = issue(&site, "ada", "admin").await;
    let as_ci = Sender {
        key: &ci,
        ..site.sender()
    };
    assert_eq!(site.ask(as_ci, "DescribeKey", json!({"KeyId": id})).await.0, 200);
    let (status, answer) = site.ask(as_ci, "DisableKey", json!({"KeyId": id})).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("AccessDeniedException")));
    let expected = format!(
        "User: arn:aws:iam::000000000001:user/ci is not authorized to perform: kms:DisableKey on resource: \
         arn:aws:kms:{REGION}:000000000001:key/{id} because no identity-based policy allows the kms:DisableKey action"
    );
    assert_eq!(answer["message"], expected);
    assert_eq!(
        site.ask(as_ci, "ListKeys", json!({})).await.1["__type"],
        "AccessDeniedException"
    );
    let as_admin = Sender {
        key: &admin,
        ..site.sender()
    };
    assert_eq!(site.ask(as_admin, "DisableKey", json!({"KeyId": id})).await.0, 200);
    let records = site.records().await;
    let refused: Vec<_> = records.iter().filter(|record| record["outcome"] == "refused").collect();
    assert_eq!((refused.len(), &refused[0]["key"]), (2, &json!(id)));
}

#[tokio::test]
async fn a_denial_says_which_side_denied() {
    let site = Site::new().await;
    let ci = issue(&site, "ci", "").await;
    let as_ci = Sender {
        key: &ci,
        ..site.sender()
    };
    let statement = |effect: &str, who: &str, action: &str| {
        let principal = json!({"AWS": format!("arn:aws:iam::000000000001:{who}")});
        json!({"Effect": effect, "Principal": principal, "Action": action, "Resource": "*"})
    };
    let all = statement("Allow", "root", "kms:*");
    for (statements, why) in [
        (
            vec![all.clone(), statement("Deny", "user/ci", "kms:DescribeKey")],
            "with an explicit deny in a resource-based policy: denied by the policy `signet:key-policy-denies`",
        ),
        (
            vec![statement("Allow", "root", "kms:PutKeyPolicy")],
            "because no resource-based policy allows the kms:DescribeKey action: denied by the policy",
        ),
        (
            vec![all],
            "because no identity-based policy allows the kms:DescribeKey action",
        ),
    ] {
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let made = site.good("CreateKey", json!({"Policy": policy})).await;
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
        let (_, answer) = site.ask(as_ci, "DescribeKey", json!({"KeyId": id})).await;
        let expected = format!(
            "User: arn:aws:iam::000000000001:user/ci is not authorized to perform: kms:DescribeKey on resource: \
             arn:aws:kms:{REGION}:000000000001:key/{id} {why}"
        );
        assert!(answer["message"].as_str().unwrap().starts_with(&expected), "{answer}");
    }
}

// R6
#[tokio::test]
async fn an_account_does_not_reach_into_another() {
    let site = Site::new().await;
    let id = site.new_key().await;
    let other = Tenant::parse("000000000002").unwrap();
    site.bench.tenants.create(&other, "other").await.unwrap();
    let stranger = site.bench.wired.access_keys.create(&other, None, "").await.unwrap();
    let as_stranger = Sender {
        key: &stranger,
        ..site.sender()
    };
    let arn = format!("arn:aws:kms:{REGION}:000000000001:key/{id}");
    // An id names a key of one's own; of an ARN it is not said whether the key is there.
    let nowhere = arn.replace(&id, "11111111-2222-4333-8444-555555555555");
    for (reference, kind) in [
        (&id, "NotFoundException"),
        (&arn, "AccessDeniedException"),
        (&nowhere, "AccessDeniedException"),
    ] {
        let (_, answer) = site.ask(as_stranger, "DescribeKey", json!({"KeyId": reference})).await;
        assert_eq!(answer["__type"], kind, "{reference}");
    }
    assert_eq!(site.ask(as_stranger, "ListKeys", json!({})).await.1["Keys"], json!([]));
    // Nor does a key's ARN of another region name it here.
    let elsewhere = arn.replace(REGION, "eu-west-1");
    let (_, answer) = site
        .ask(site.sender(), "DescribeKey", json!({"KeyId": elsewhere}))
        .await;
    assert_eq!(answer["__type"], "NotFoundException");
}

// R19
#[tokio::test]
async fn a_stopped_access_key_is_refused_with_the_next_request() {
    let site = Site::new().await;
    let keys = &site.bench.wired.access_keys;
    let user = issue(&site, "ada", "admin").await;
    let sender = Sender {
        key: &user,
        ..site.sender()
    };
    let ask = async || site.ask(sender, "ListKeys", json!({})).await;
    assert_eq!(ask().await.0, 200);
    keys.set_status(&user.record.id, Status::Inactive).await.unwrap();
    assert_eq!(ask().await.1["__type"], "UnrecognizedClientException");
    keys.set_status(&user.record.id, Status::Active).await.unwrap();
    assert_eq!(ask().await.0, 200);
    keys.delete(&user.record.id).await.unwrap();
    assert_eq!(ask().await.1["__type"], "UnrecognizedClientException");
}
