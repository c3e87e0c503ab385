//! The key-state table: which operation works on a key in which state, and what the others answer. Each operation's refusal
//! of a key that is not there stands with it.

use super::*;

const OK: &str = "";
const DISABLED: &str = "DisabledException";
const STATE: &str = "KMSInvalidStateException";
const UNSUPPORTED: &str = "UnsupportedOperationException";
const DRY: &str = "DryRunOperationException";

struct Row {
    verb: &'static str,
    /// What the verb takes beside the key.
    body: Value,
    /// What it answers when the key is enabled, disabled, pending deletion, and pending import.
    answers: [&'static str; 4],
}

fn row(verb: &'static str, body: Value, answers: [&'static str; 4]) -> Row {
    Row { verb, body, answers }
}

/// Symmetric keys; of the last state the origin is external.
fn table() -> Vec<Row> {
    let used = [DRY, DISABLED, STATE, STATE];
    let read = [OK; 4];
    let changed = [OK, OK, STATE, OK];
    let rotated = [OK, DISABLED, STATE, UNSUPPORTED];
    let dry = |body: Value| {
        let mut body = body;
        body["DryRun"] = json!(true);
        body
    };
    let ignoring = json!({"DryRunModifiers": ["IGNORE_CIPHERTEXT"]});
    vec![
        row("Encrypt", dry(json!({"Plaintext": "AAAA"})), used),
        row("Decrypt", dry(ignoring), used),
        row("GenerateDataKey", dry(json!({"KeySpec": "AES_256"})), used),
        row(
            "GenerateDataKeyWithoutPlaintext",
            dry(json!({"KeySpec": "AES_256"})),
            used,
        ),
        row(
            "GenerateDataKeyPair",
            dry(json!({"KeyPairSpec": "ECC_NIST_P256"})),
            used,
        ),
        row(
            "GenerateDataKeyPairWithoutPlaintext",
            dry(json!({"KeyPairSpec": "ECC_NIST_P256"})),
            used,
        ),
        row(
            "CreateGrant",
            dry(json!({"GranteePrincipal": TENANT, "Operations": ["Encrypt"]})),
            used,
        ),
        row("DescribeKey", json!({}), read),
        row("GetKeyPolicy", json!({}), read),
        row("ListKeyPolicies", json!({}), read),
        row(
            "PutKeyPolicy",
            json!({"Policy": crate::iam::Document::default_for(&Tenant::parse(TENANT).unwrap())}),
            read,
        ),
        row("GetKeyRotationStatus", json!({}), read),
        row("ListKeyRotations", json!({}), read),
        row("ListGrants", json!({}), read),
        row("ListResourceTags", json!({}), read),
        row("GetKeyLastUsage", json!({}), read),
        row("ListAliases", json!({}), read),
        row(
            "TagResource",
            json!({"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
            changed,
        ),
        row("UntagResource", json!({"TagKeys": ["a"]}), changed),
        row("UpdateKeyDescription", json!({"Description": "d"}), changed),
        row("ScheduleKeyDeletion", json!({"PendingWindowInDays": 7}), changed),
        row("CancelKeyDeletion", json!({}), [STATE, STATE, OK, STATE]),
        row("EnableKey", json!({}), [OK, OK, STATE, STATE]),
        row("DisableKey", json!({}), [OK, OK, STATE, STATE]),
        row("EnableKeyRotation", json!({}), rotated),
        row("DisableKeyRotation", json!({}), rotated),
        row("RotateKeyOnDemand", json!({}), [OK, DISABLED, STATE, STATE]),
        row(
            "GetParametersForImport",
            json!({"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}),
            [UNSUPPORTED, UNSUPPORTED, UNSUPPORTED, OK],
        ),
        row(
            "DeleteImportedKeyMaterial",
            json!({}),
            [UNSUPPORTED, UNSUPPORTED, UNSUPPORTED, OK],
        ),
        row("ReplicateKey", json!({"ReplicaRegion": "eu-1"}), [UNSUPPORTED; 4]),
        row(
            "UpdatePrimaryRegion",
            json!({"PrimaryRegion": "eu-1"}),
            [UNSUPPORTED; 4],
        ),
    ]
}

async fn key(bench: &Bench, state: usize) -> String {
    let origin = if state == 3 { "EXTERNAL" } else { "AWS_KMS" };
    let made = bench.verb("CreateKey", json!({"Origin": origin})).await.unwrap();
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    match state {
        1 => bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap(),
        2 => bench.verb("ScheduleKeyDeletion", json!({"KeyId": id})).await.unwrap(),
        _ => Value::Null,
    };
    id
}

fn with_key(body: &Value, id: &str) -> Value {
    let mut body = body.clone();
    body["KeyId"] = json!(id);
    body
}

#[tokio::test]
async fn each_operation_works_in_its_states_only() {
    let bench = Bench::new().await;
    for row in table() {
        for (state, answer) in row.answers.iter().enumerate() {
            let id = key(&bench, state).await;
            let result = bench.verb(row.verb, with_key(&row.body, &id)).await;
            let kind = result.as_ref().err().map_or(OK, |error| error.kind.as_str());
            assert_eq!(kind, *answer, "{} in state {state}: {result:?}", row.verb);
        }
    }
}

#[tokio::test]
async fn aliases_and_re_encryption_look_at_the_state_too() {
    let bench = Bench::new().await;
    let from = key(&bench, 0).await;
    let sealed = bench
        .verb("Encrypt", json!({"KeyId": from, "Plaintext": "AAAA"}))
        .await
        .unwrap();
    bench
        .verb("CreateAlias", json!({"AliasName": "alias/moves", "TargetKeyId": from}))
        .await
        .unwrap();
    for (state, alias, moved) in [(1, OK, DISABLED), (2, STATE, STATE), (3, OK, STATE)] {
        let id = key(&bench, state).await;
        let kind = |result: Result<Value, KmsError>| result.err().map_or(OK, |error| error.kind.as_str());
        let name = format!("alias/s{state}");
        let create = json!({"AliasName": name, "TargetKeyId": id});
        assert_eq!(kind(bench.verb("CreateAlias", create).await), alias, "{state}");
        let update = json!({"AliasName": "alias/moves", "TargetKeyId": id});
        assert_eq!(kind(bench.verb("UpdateAlias", update).await), alias, "{state}");
        let request = json!({"CiphertextBlob": sealed["CiphertextBlob"], "DestinationKeyId": id});
        assert_eq!(kind(bench.verb("ReEncrypt", request).await), moved, "{state}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_is_not_found() {
    let bench = Bench::new().await;
    let nowhere = "11111111-2222-4333-8444-555555555555";
    for row in table() {
        for (name, kind) in [
            (nowhere.to_owned(), "NotFoundException"),
            (format!("arn:aws:kms:local:{TENANT}:key/{nowhere}"), "NotFoundException"),
            ("nothing".to_owned(), "NotFoundException"),
            ("arn:aws:kms:local".to_owned(), "InvalidArnException"),
        ] {
            assert_eq!(
                refused(&bench, row.verb, with_key(&row.body, &name)).await,
                kind,
                "{} {name}",
                row.verb
            );
        }
    }
}

// A multi-Region key's own operations.
#[tokio::test]
async fn a_primary_key_that_is_disabled_goes_nowhere() {
    let bench = Bench::new().await;
    let made = bench.verb("CreateKey", json!({"MultiRegion": true})).await.unwrap();
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    let requests = [
        ("ReplicateKey", json!({"KeyId": id, "ReplicaRegion": "eu-1"})),
        ("UpdatePrimaryRegion", json!({"KeyId": id, "PrimaryRegion": "eu-1"})),
    ];
    for (verb, request) in &requests {
        assert_eq!(refused(&bench, verb, request.clone()).await, DISABLED);
    }
    bench.verb("ScheduleKeyDeletion", json!({"KeyId": id})).await.unwrap();
    for (verb, request) in requests {
        assert_eq!(refused(&bench, verb, request).await, STATE);
    }
}
