use serde_json::json;

use super::super::operation;
use super::*;

fn read(name: &str, body: Value) -> Result<Value, Rejected> {
    operation(name).unwrap().read(body.to_string().as_bytes())
}

fn violation(name: &str, body: Value) -> String {
    match read(name, body) {
        Err(Rejected::Constraint(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn mistake(name: &str, body: Value) -> String {
    match read(name, body) {
        Err(Rejected::Type(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn one(value: &str, at: &str, constraint: &str) -> String {
    format!("1 validation error detected: Value{value} at '{at}' failed to satisfy constraint: {constraint}")
}

#[test]
fn what_the_model_does_not_know_is_left_out() {
    let clean = read(
        "DescribeKey",
        json!({"KeyId": "a", "Surprise": {"x": 1}, "GrantTokens": null}),
    )
    .unwrap();
    assert_eq!(clean, json!({"KeyId": "a"}));
    assert_eq!(operation("ListKeys").unwrap().read(b"").unwrap(), json!({}));
    let tags = json!({"Tags": [{"TagKey": "a", "TagValue": "", "Extra": true}]});
    assert_eq!(
        read("CreateKey", tags).unwrap(),
        json!({"Tags": [{"TagKey": "a", "TagValue": ""}]})
    );
}

#[test]
fn constraints_are_told_in_the_services_words() {
    let cases = [
        (
            "DescribeKey",
            json!({}),
            one(" null", "keyId", "Member must not be null"),
        ),
        (
            "DescribeKey",
            json!({"KeyId": ""}),
            one(" ''", "keyId", "Member must have length greater than or equal to 1"),
        ),
        (
            "GenerateRandom",
            json!({"NumberOfBytes": 1025}),
            one(
                " '1025'",
                "numberOfBytes",
                "Member must have value less than or equal to 1024",
            ),
        ),
        (
            "Sign",
            json!({"KeyId": "a", "Message": "QQ==", "SigningAlgorithm": "ECDSA_SHA_256", "MessageType": "RAWER"}),
            one(
                " 'RAWER'",
                "messageType",
                "Member must satisfy enum value set: [RAW, DIGEST, EXTERNAL_MU]",
            ),
        ),
        (
            "CreateAlias",
            json!({"AliasName": "alias/a b", "TargetKeyId": "a"}),
            one(
                " 'alias/a b'",
                "aliasName",
                "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
            ),
        ),
        (
            "CreateKey",
            json!({"Tags": [{"TagKey": "a", "TagValue": "b"}, {"TagKey": "", "TagValue": "b"}]}),
            one(
                " ''",
                "tags.2.member.tagKey",
                "Member must have length greater than or equal to 1",
            ),
        ),
        (
            "ListKeys",
            json!({"ResourceOwners": ["SELF", "US"]}),
            one(
                " '[SELF, US]'",
                "resourceOwners",
                "Member must satisfy constraint: [Member must satisfy enum value set: [SELF, OTHER_ACCOUNTS_VIA_RAM]]",
            ),
        ),
        (
            "Decrypt",
            json!({"CiphertextBlob": ""}),
            one(
                " 'java.nio.HeapByteBuffer[pos=0 lim=0 cap=0]'",
                "ciphertextBlob",
                "Member must have length greater than or equal to 1",
            ),
        ),
    ];
    for (name, body, expected) in cases {
        assert_eq!(violation(name, body), expected);
    }
}

// R10
#[test]
fn a_plaintext_is_not_repeated() {
    let body = json!({"KeyId": "a", "Plaintext": STANDARD.encode([b'x'; 4097])});
    assert_eq!(
        violation("Encrypt", body),
        one("", "plaintext", "Member must have length less than or equal to 4096")
    );
}

#[test]
fn several_violations_are_counted_and_joined() {
    let message = violation("CreateAlias", json!({"AliasName": ""}));
    assert!(
        message.starts_with("3 validation errors detected: Value '' at 'aliasName'"),
        "{message}"
    );
    assert_eq!(message.matches("; Value ").count(), 2, "{message}");
    assert!(message.ends_with("; Value null at 'targetKeyId' failed to satisfy constraint: Member must not be null"));
    let many = vec![json!({"TagKey": "", "TagValue": "x"}); 10_000];
    let message = violation("CreateKey", json!({ "Tags": many }));
    assert!(message.len() < 20_000, "bounded: {}", message.len());
}

#[test]
fn wrong_types_are_told_apart_from_wrong_values() {
    let cases = [
        (json!({"KeyId": 5}), "NUMBER_VALUE cannot be converted to String"),
        (json!({"KeyId": true}), "TRUE_VALUE cannot be converted to String"),
        (json!({"KeyId": ["a"]}), "Start of list found where not expected"),
        (
            json!({"KeyId": {}}),
            "Start of structure or map found where not expected.",
        ),
        (
            json!({"KeyId": "a", "Message": 5}),
            "only base-64-encoded strings are convertible to bytes",
        ),
        (
            json!({"KeyId": "a", "Message": "%%"}),
            "only base-64-encoded strings are convertible to bytes",
        ),
        (
            json!({"KeyId": "a", "DryRun": "true"}),
            "STRING_VALUE cannot be converted to Boolean",
        ),
        (json!({"KeyId": "a", "GrantTokens": "x"}), "Unexpected field type"),
        (json!([]), "Start of list found where not expected"),
        (json!("x"), "Unexpected field type"),
    ];
    for (body, expected) in cases {
        assert_eq!(mistake("Sign", body), expected);
    }
    assert_eq!(
        mistake("ListKeys", json!({"Limit": "5"})),
        "STRING_VALUE cannot be converted to Integer"
    );
    for bad in [&b"{"[..], b"nonsense", b"{} {}", b"\xff", b"{\"KeyId\":\"\\ud800\"}"] {
        assert!(matches!(
            operation("DescribeKey").unwrap().read(bad),
            Err(Rejected::Type(_))
        ));
    }
}

#[test]
fn numbers_are_read_as_the_service_reads_them() {
    assert_eq!(read("ListKeys", json!({"Limit": 3.9})).unwrap(), json!({"Limit": 3}));
    assert!(violation("ListKeys", json!({"Limit": 1e300})).contains("less than or equal to 1000"));
    let body = json!({"KeyId": "a", "ImportToken": "QQ==", "EncryptedKeyMaterial": "QQ==", "ValidTo": 1.5e9});
    assert_eq!(read("ImportKeyMaterial", body).unwrap()["ValidTo"], json!(1.5e9));
}
