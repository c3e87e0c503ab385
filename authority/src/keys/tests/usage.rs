//! What is counted of keys' use, and the reports that are made of it.

use super::*;
use crate::iam::Document;
use crate::keys::{MAX_DAYS, Page, People, Question};
use crate::testing::Open;

const OTHER: &str = "000000000002";

fn question(days: u64) -> Question {
    Question {
        days,
        key: None,
        limit: 100,
        after: None,
    }
}

fn of_key(key: &str) -> Question {
    Question {
        key: Some(key.to_owned()),
        ..question(MAX_DAYS)
    }
}

async fn rotation(bench: &Bench, asked: &Question) -> Page {
    bench
        .wired
        .keys
        .report_rotation(&bench.tenant(), &Open, asked)
        .await
        .unwrap()
}

/// Version, whether it is the current one, decryptions, share.
fn shares(page: &Page) -> Vec<(u64, bool, u64, Option<f64>)> {
    page.rows
        .iter()
        .map(|row| {
            (
                row["version"].as_u64().unwrap(),
                row["current"].as_bool().unwrap(),
                row["decryptions"].as_u64().unwrap(),
                row["share"].as_f64(),
            )
        })
        .collect()
}

async fn encrypt(bench: &Bench, id: &str) -> Value {
    let body = json!({"KeyId": id, "Plaintext": STANDARD.encode("secret")});
    bench.verb("Encrypt", body).await.unwrap()["CiphertextBlob"].clone()
}

async fn decrypt(bench: &Bench, blob: &Value) {
    bench.verb("Decrypt", json!({"CiphertextBlob": blob})).await.unwrap();
}

#[tokio::test]
async fn each_version_has_its_part_of_the_decryptions() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    bench.raw("RSA_2048", "ENCRYPT_DECRYPT").await;
    let old = encrypt(&bench, &id).await;
    decrypt(&bench, &old).await;
    bench.pass(10 * DAY);
    bench.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    let new = encrypt(&bench, &id).await;
    decrypt(&bench, &old).await;
    decrypt(&bench, &new).await;
    let moved = bench
        .verb("ReEncrypt", json!({"CiphertextBlob": old, "DestinationKeyId": id}))
        .await
        .unwrap();
    decrypt(&bench, &moved["CiphertextBlob"]).await;
    // What does not open is no decryption, and neither is what is only tried.
    assert_eq!(
        refused(
            &bench,
            "Decrypt",
            json!({"CiphertextBlob": old, "EncryptionContext": {"a": "b"}})
        )
        .await,
        "InvalidCiphertextException"
    );
    refused(&bench, "Decrypt", json!({"CiphertextBlob": old, "DryRun": true})).await;

    let expected = [(1, false, 2, Some(0.5)), (2, true, 2, Some(0.5))];
    let page = rotation(&bench, &question(MAX_DAYS)).await;
    assert_eq!(shares(&page), expected);
    // What was moved is told apart: it is no use that is left.
    assert_eq!(
        (&page.rows[0]["reencryptions"], &page.rows[1]["reencryptions"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(page.rows[0]["made_by"], "creation");
    assert_eq!(page.rows[1]["made_by"], "rotation on demand");
    let recent = [(1, false, 1, Some(0.3333)), (2, true, 2, Some(0.6666))];
    assert_eq!(shares(&rotation(&bench, &question(10)).await), recent);

    // Half of it written down, half not; and all of it after a restart.
    bench.wired.keys.write_uses().await.unwrap();
    decrypt(&bench, &new).await;
    let expected = [(1, false, 2, Some(0.4)), (2, true, 3, Some(0.6))];
    assert_eq!(shares(&rotation(&bench, &of_key(&id)).await), expected);
    bench.wired.keys.write_uses().await.unwrap();
    let bench = bench.restart().await;
    assert_eq!(shares(&rotation(&bench, &of_key(&id)).await), expected);
    decrypt(&bench, &new).await;
    let arn = format!("arn:aws:kms:local:{TENANT}:key/{id}");
    assert_eq!(shares(&rotation(&bench, &of_key(&arn)).await)[1].2, 4);

    // After the window only the time of the last one is known.
    bench.pass(MAX_DAYS * DAY);
    let over = rotation(&bench, &question(MAX_DAYS)).await;
    assert_eq!(shares(&over), [(1, false, 0, None), (2, true, 0, None)]);
    assert!(over.rows[0]["last_used"].is_string());
}

#[tokio::test]
async fn a_deleted_key_leaves_nothing_of_its_use() {
    let bench = Bench::new().await;
    let (written, held) = (
        bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await,
        bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await,
    );
    encrypt(&bench, &written).await;
    bench.wired.keys.write_uses().await.unwrap();
    for id in [&written, &held] {
        encrypt(&bench, id).await;
        let delete = json!({"KeyId": id, "PendingWindowInDays": 7});
        bench.verb("ScheduleKeyDeletion", delete).await.unwrap();
    }
    // Both uses are counted after the keys are gone, as if the requests had been under way.
    let lost = bench.wired.keys.uses_held();
    bench.pass(7 * DAY);
    bench.upkeep().await;
    bench.wired.keys.hold_uses(lost);
    bench.wired.keys.write_uses().await.unwrap();
    assert!(bench.parts.store.scan("usage/", None, 10).await.unwrap().is_empty());
    // And what was held for them does not come again.
    assert!(bench.wired.keys.uses_held().is_empty());
}

#[tokio::test]
async fn unused_keys_are_those_that_nothing_was_done_with() {
    let bench = Bench::new().await;
    let never = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let used = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    bench.key("ECC_NIST_P256", "token", "shared", "alias/at-edges").await;
    let owned = json!({"KeyId": never, "Tags": [
        {"TagKey": "signet:owner", "TagValue": "payments"}, {"TagKey": "signet:contact", "TagValue": "pay@example.org"}]});
    bench.verb("TagResource", owned).await.unwrap();
    let elsewhere = bench.verb_in("eu-1", "CreateKey", json!({})).await.unwrap();
    let elsewhere = elsewhere["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    bench.pass(29 * DAY);
    encrypt(&bench, &used).await;
    let unused = async |asked: Question| {
        bench
            .wired
            .keys
            .report_unused(&bench.tenant(), &Open, &asked)
            .await
            .unwrap()
    };
    assert_eq!(unused(question(30)).await.rows, [] as [Value; 0]);
    bench.pass(DAY);
    let found = unused(question(30)).await;
    let mut ids = [never.clone(), elsewhere];
    ids.sort();
    assert_eq!(
        found
            .rows
            .iter()
            .map(|row| row["key"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ids
    );
    let row = found.rows.iter().find(|row| row["key"] == never).unwrap();
    let expected = json!({
        "tenant": TENANT, "region": "local", "key": never, "aliases": [], "owner": "payments", "contact": "pay@example.org",
        "spec": "SYMMETRIC_DEFAULT", "state": "Enabled", "created_at": "2027-01-15T08:00:00Z", "last_operation": null,
        "last_used": null, "unused_days": 30,
    });
    assert_eq!(*row, expected);
    bench.pass(28 * DAY);
    assert_eq!(unused(question(30)).await.rows.len(), 2);
    bench.pass(DAY);
    let all = unused(question(30)).await.rows;
    assert_eq!(all.iter().filter(|row| row["last_operation"] == "Encrypt").count(), 1);
    // In pages of any size it is the same.
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = unused(Question {
            limit: 1,
            after,
            ..question(30)
        })
        .await;
        paged.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn a_key_has_an_owner_who_may_change() {
    let bench = Bench::new().await;
    let signet = async |id: &str| {
        let described = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
        let signet = &described["KeyMetadata"]["Signet"];
        (
            signet["Owner"].clone(),
            signet["Contact"].clone(),
            signet["CreatedBy"].clone(),
        )
    };
    let by_operator = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    assert_eq!(
        signet(&by_operator).await,
        (json!("operator"), json!(""), json!("operator"))
    );
    let made = bench.verb_as("root", "CreateKey", json!({})).await.unwrap();
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let root = json!(format!("arn:aws:iam::{TENANT}:root"));
    assert_eq!(signet(&id).await, (root.clone(), json!(""), root.clone()));
    // Nobody sees tags that nobody set.
    assert_eq!(
        bench.verb("ListResourceTags", json!({"KeyId": id})).await.unwrap()["Tags"],
        json!([])
    );
    let tags = tags(&[("signet:owner", "team a"), ("signet:contact", "a@example.org")]);
    let named = bench.verb_as("root", "CreateKey", json!({"Tags": tags})).await.unwrap();
    let named = named["KeyMetadata"]["KeyId"].as_str().unwrap();
    assert_eq!(
        signet(named).await,
        (json!("team a"), json!("a@example.org"), root.clone())
    );
    bench
        .verb_as("root", "TagResource", json!({"KeyId": id, "Tags": tags}))
        .await
        .unwrap();
    assert_eq!(signet(&id).await.0, "team a");
    let untag = json!({"KeyId": id, "TagKeys": ["signet:owner", "signet:contact"]});
    bench.verb_as("root", "UntagResource", untag).await.unwrap();
    assert_eq!(signet(&id).await, (root.clone(), json!(""), root));
    // The rest of what is reserved is for life.
    let family = super::tags(&[("signet:owner", "b"), ("signet:family", "token")]);
    assert_eq!(
        refused(&bench, "TagResource", json!({"KeyId": id, "Tags": family})).await,
        "TagException"
    );
    assert_ne!(signet(&id).await.0, "b");
}

#[tokio::test]
async fn usage_is_counted_by_day_and_operation() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    encrypt(&bench, &id).await;
    encrypt(&bench, &id).await;
    refused(&bench, "Decrypt", json!({"CiphertextBlob": "AAAA"})).await;
    refused(
        &bench,
        "Encrypt",
        json!({"KeyId": id, "Plaintext": "AAAA", "DryRun": true}),
    )
    .await;
    // A tenant that is not there is asked for: the others' counts are written all the same.
    let nobody = Tenant::parse(OTHER).unwrap();
    assert!(bench.wired.keys.call(&nobody, &Open, "CreateKey", b"{}").await.is_err());
    let usage = async |days: u64| {
        let page = bench
            .wired
            .keys
            .report_usage(&bench.tenant(), &question(days))
            .await
            .unwrap();
        let cells = page.rows.iter().map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (
                text("day"),
                text("operation"),
                row["performed"].as_u64().unwrap(),
                row["failed"].as_u64().unwrap(),
            )
        });
        cells.collect::<Vec<_>>()
    };
    let row = |day: &str, operation: &str, performed: u64, failed: u64| {
        (day.to_owned(), operation.to_owned(), performed, failed)
    };
    let first = [
        row("2027-01-15", "CreateKey", 1, 0),
        row("2027-01-15", "Decrypt", 0, 1),
        row("2027-01-15", "Encrypt", 2, 0),
    ];
    assert_eq!(usage(1).await, first);
    bench.pass(DAY);
    encrypt(&bench, &id).await;
    let second = row("2027-01-16", "Encrypt", 1, 0);
    assert_eq!(usage(1).await, std::slice::from_ref(&second));
    assert_eq!(usage(2).await, [&first[..], &[second]].concat());
    // A day is forgotten when it has left the window.
    bench.pass((MAX_DAYS - 1) * DAY);
    encrypt(&bench, &id).await;
    assert_eq!(usage(MAX_DAYS).await.len(), 2);
    let prefix = crate::paths::activities(&bench.tenant());
    assert_eq!(bench.parts.store.scan(&prefix, None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_days_row_that_does_not_open_stops_no_others() {
    let bench = Bench::new().await;
    let other = Tenant::parse(OTHER).unwrap();
    bench.tenants.create(&other, "other").await.unwrap();
    let path = |tenant: &Tenant| crate::paths::activity(tenant, bench.now() / DAY);
    let broken = crate::store::Transaction::new().put(path(&bench.tenant()), "broken");
    bench.parts.store.commit(broken).await.unwrap();
    let keys = &bench.wired.keys;
    for tenant in [&bench.tenant(), &other] {
        keys.call(tenant, &Open, "ListKeys", b"{}").await.unwrap();
    }
    keys.write_uses().await.unwrap();
    assert!(bench.parts.store.get(&path(&other)).await.unwrap().is_some());
}

#[tokio::test]
async fn re_encrypting_under_the_same_key_is_one_use_of_it() {
    let bench = Bench::new().await;
    let (id, target) = (
        bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await,
        bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await,
    );
    let blob = encrypt(&bench, &id).await;
    for to in [&id, &target] {
        let body = json!({"CiphertextBlob": blob, "DestinationKeyId": to});
        bench.verb("ReEncrypt", body).await.unwrap();
    }
    let held = bench.wired.keys.uses_held();
    let counted = |id: &String| {
        let (_, tally) = held.iter().find(|(path, _)| path.contains(id)).unwrap();
        tally.principals["operator"].operations["ReEncrypt"]
    };
    // Away from it as well, which is another.
    assert_eq!((counted(&id), counted(&target)), (2, 1));
}

const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Sid": "account", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000001:root"}, "Action": "kms:*", "Resource": "*"},
    {"Sid": "ada", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000001:user/ada"}, "Action": "kms:Decrypt", "Resource": "*",
     "Condition": {"StringEquals": {"kms:EncryptionContext:app": "web"}}},
    {"Sid": "no-eve", "Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::000000000001:user/eve"}, "Action": "kms:Decrypt", "Resource": "*"}]}"#;

#[tokio::test]
async fn an_access_review_says_who_may_and_who_did() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    Document::parse(POLICY).unwrap();
    bench
        .verb("PutKeyPolicy", json!({"KeyId": id, "Policy": POLICY}))
        .await
        .unwrap();
    let grantee = format!("arn:aws:iam::{TENANT}:user/bob");
    let grant = json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": ["Encrypt"], "Name": "for-bob"});
    bench.verb("CreateGrant", grant).await.unwrap();
    bench
        .verb_as("bob", "Encrypt", json!({"KeyId": id, "Plaintext": "AAAA"}))
        .await
        .unwrap();
    bench
        .verb_as("root", "Encrypt", json!({"KeyId": id, "Plaintext": "AAAA"}))
        .await
        .unwrap();
    assert!(
        bench
            .verb_as("eve", "Encrypt", json!({"KeyId": id, "Plaintext": "AAAA"}))
            .await
            .is_err()
    );
    let users = [("ada", ""), ("bob", ""), ("eve", "admin"), ("eve", "admin")];
    let in_force = bench.wired.bundles.in_force();
    let people = People {
        known: &People::of_account(&bench.tenant(), users, ["ci"]),
        engine: &in_force.engine,
    };
    let page = bench
        .wired
        .keys
        .report_access(&bench.tenant(), &Open, &people, &question(MAX_DAYS))
        .await
        .unwrap();
    let rows = |kind: &str| {
        let rows = page.rows.iter().filter(|row| row["kind"] == kind);
        let rows = rows.map(|row| {
            let principal = row["principal"]
                .as_str()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
                .to_owned();
            let operations: Vec<_> = row["operations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|o| o.as_str().unwrap())
                .collect();
            (principal, operations.join(" "), row["uses"].as_u64().unwrap())
        });
        rows.collect::<Vec<_>>()
    };
    let all = "CreateGrant RetireGrant DescribeKey Encrypt Decrypt ReEncryptFrom ReEncryptTo GenerateDataKey \
               GenerateDataKeyWithoutPlaintext GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext PutKeyPolicy \
               ScheduleKeyDeletion";
    let but_decrypt = all.replace("Decrypt ", "");
    let row = |principal: &str, operations: &str, uses: u64| (principal.to_owned(), operations.to_owned(), uses);
    // What requests are answered: an administrator of the account whom the key's policy denies one thing, a user with a
    // grant, and nobody whose context is not known.
    assert_eq!(
        rows("decision"),
        [
            row("root", all, 1),
            row("user/bob", "Encrypt", 1),
            row("user/eve", &but_decrypt, 0)
        ]
    );
    assert_eq!(
        rows("statement"),
        [
            row("root", all, 1),
            row("user/ada", "Decrypt", 0),
            row("user/eve", "Decrypt", 0)
        ]
    );
    assert_eq!(rows("grant"), [row("user/bob", "Encrypt", 1)]);
    assert_eq!(
        rows("use"),
        [row("root", "Encrypt=1", 1), row("user/bob", "Encrypt=1", 1)]
    );
    let statement = |name: &str| page.rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(statement("ada")["conditional"], true);
    assert_eq!(
        (&statement("no-eve")["effect"], &statement("no-eve")["conditional"]),
        (&json!("deny"), &json!(false))
    );
}
