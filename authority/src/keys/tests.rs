use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use signing::algorithm::DigestAlgorithm;
use signing::digest::Digest;
use signing::key::PublicKey;
use signing::signature::der_to_fixed;

use super::*;
use crate::testing::{Bench, TENANT};

mod asymmetric;
mod encrypt;
mod import;
mod policy;

const DAY: u64 = 86_400;

async fn refused(bench: &Bench, verb: &str, body: Value) -> &'static str {
    let error = bench
        .verb(verb, body.clone())
        .await
        .expect_err(&format!("{verb} {body} was not refused"));
    assert_eq!(error.body()["__type"], error.kind.as_str());
    let silent = [
        KmsErrorType::InvalidCiphertext,
        KmsErrorType::InvalidSignature,
        KmsErrorType::InvalidMac,
    ];
    assert_eq!(error.message.is_empty(), silent.contains(&error.kind), "{error}");
    error.kind.as_str()
}

fn usage(spec: &str) -> &'static str {
    match spec {
        "SYMMETRIC_DEFAULT" => "ENCRYPT_DECRYPT",
        _ if spec.starts_with("HMAC") => "GENERATE_VERIFY_MAC",
        _ => "SIGN_VERIFY",
    }
}

fn tags(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(name, value)| json!({"TagKey": name, "TagValue": value}))
        .collect()
}

#[tokio::test]
async fn a_key_is_described_as_kms_does() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    let arn = format!("arn:aws:kms:local:{TENANT}:key/{id}");
    for name in [
        id.clone(),
        arn.clone(),
        "alias/a".into(),
        format!("arn:aws:kms:local:{TENANT}:alias/a"),
    ] {
        let metadata = bench.verb("DescribeKey", json!({"KeyId": name})).await.unwrap()["KeyMetadata"].clone();
        assert_eq!(metadata["Arn"], json!(arn));
        assert_eq!(metadata["KeyState"], "Enabled");
        assert_eq!(metadata["KeySpec"], "ECC_NIST_P256");
        assert_eq!(metadata["SigningAlgorithms"], json!(["ECDSA_SHA_256"]));
        assert_eq!(metadata["AWSAccountId"], TENANT);
    }
}

#[tokio::test]
async fn what_names_no_key_finds_none() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    for (name, kind) in [
        ("alias/b".to_owned(), "NotFoundException"),
        ("../keys".to_owned(), "NotFoundException"),
        (id.to_uppercase(), "NotFoundException"),
        (format!("arn:aws:kms:local:000000000002:key/{id}"), "NotFoundException"),
        (format!("arn:aws:kms:elsewhere:{TENANT}:key/{id}"), "NotFoundException"),
        (format!("arn:aws:s3:local:{TENANT}:key/{id}"), "InvalidArnException"),
        (format!("arn:aws:kms:local:{TENANT}:ca/{id}"), "InvalidArnException"),
    ] {
        assert_eq!(
            refused(&bench, "DescribeKey", json!({"KeyId": name})).await,
            kind,
            "{name}"
        );
    }
}

#[tokio::test]
async fn signatures_verify_and_stop_when_disabled() {
    let bench = Bench::new().await;
    for (spec, algorithm) in [
        ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_P384", "ECDSA_SHA_384"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ] {
        let id = bench.key(spec, "raw", "none", &format!("alias/{spec}")).await;
        let message = STANDARD.encode("message");
        let request = json!({"KeyId": id, "Message": message, "SigningAlgorithm": algorithm});
        let signature = bench.verb("Sign", request.clone()).await.unwrap()["Signature"]
            .as_str()
            .unwrap()
            .to_owned();
        let public = bench.verb("GetPublicKey", json!({"KeyId": id})).await.unwrap()["PublicKey"].clone();
        let public = PublicKey::from_spki_der(&STANDARD.decode(public.as_str().unwrap()).unwrap()).unwrap();
        let der = STANDARD.decode(&signature).unwrap();
        let fixed = if public.algorithm().is_ecdsa() {
            der_to_fixed(public.algorithm(), &der).unwrap()
        } else {
            der
        };
        public.verify(b"message", &fixed).unwrap();
        let mut verify =
            json!({"KeyId": id, "Message": message, "SigningAlgorithm": algorithm, "Signature": signature});
        assert_eq!(
            bench.verb("Verify", verify.clone()).await.unwrap()["SignatureValid"],
            true
        );
        verify["Message"] = json!(STANDARD.encode("another"));
        assert_eq!(refused(&bench, "Verify", verify).await, "KMSInvalidSignatureException");
        bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
        assert_eq!(refused(&bench, "Sign", request.clone()).await, "DisabledException");
        bench.verb("EnableKey", json!({"KeyId": id})).await.unwrap();
        bench.verb("Sign", request).await.unwrap();
    }
}

#[tokio::test]
async fn a_digest_is_signed_as_its_message_and_only_of_the_keys_hash() {
    let bench = Bench::new().await;
    let custody = tags(&[("signet:custody", "token")]);
    for tags in [json!([]), custody] {
        let made = bench
            .verb(
                "CreateKey",
                json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": tags}),
            )
            .await
            .unwrap();
        let id = made["KeyMetadata"]["KeyId"].clone();
        let digest = Digest::of(DigestAlgorithm::Sha256, b"message");
        let sign = |bytes: &[u8]| json!({"KeyId": id, "Message": STANDARD.encode(bytes), "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"});
        let signed = bench.verb("Sign", sign(digest.as_bytes())).await.unwrap();
        let verify = json!({"KeyId": id, "Message": STANDARD.encode("message"), "SigningAlgorithm": "ECDSA_SHA_256",
            "Signature": signed["Signature"]});
        bench.verb("Verify", verify).await.unwrap();
        assert_eq!(refused(&bench, "Sign", sign(&[1; 48])).await, "ValidationException");
        assert_eq!(refused(&bench, "Sign", sign(&[])).await, "ValidationException");
    }
    let id = bench.key("ECC_NIST_EDWARDS25519", "raw", "none", "alias/ed").await;
    let request = json!({"KeyId": id, "Message": STANDARD.encode([1; 64]), "MessageType": "DIGEST", "SigningAlgorithm": "ED25519_SHA_512"});
    assert_eq!(refused(&bench, "Sign", request).await, "ValidationException");
}

#[tokio::test]
async fn macs_verify() {
    let bench = Bench::new().await;
    let id = bench.key("HMAC_256", "raw", "none", "alias/mac").await;
    let request = json!({"KeyId": id, "Message": STANDARD.encode("m"), "MacAlgorithm": "HMAC_SHA_256"});
    let mac = bench.verb("GenerateMac", request.clone()).await.unwrap()["Mac"].clone();
    let mut verify = request;
    verify["Mac"] = mac;
    assert_eq!(bench.verb("VerifyMac", verify.clone()).await.unwrap()["MacValid"], true);
    verify["Mac"] = json!(STANDARD.encode([0; 32]));
    assert_eq!(refused(&bench, "VerifyMac", verify).await, "KMSInvalidMacException");
    assert_eq!(
        refused(&bench, "GetPublicKey", json!({"KeyId": id})).await,
        "UnsupportedOperationException"
    );
}

// R1, R38
#[tokio::test]
async fn a_key_signs_for_its_family_and_with_its_algorithm_only() {
    let bench = Bench::new().await;
    for (spec, family, delegation) in [
        ("ECC_NIST_P256", "token", "shared"),
        ("ECC_NIST_P256", "artifact", "own"),
        ("ECC_NIST_P256", "artifact", "shared"),
    ] {
        let id = bench
            .key(spec, family, delegation, &format!("alias/{family}-{delegation}"))
            .await;
        for kind in ["RAW", "DIGEST"] {
            let request = json!({"KeyId": id, "Message": STANDARD.encode([7; 32]), "MessageType": kind, "SigningAlgorithm": "ECDSA_SHA_256"});
            assert_eq!(refused(&bench, "Sign", request).await, "InvalidKeyUsageException");
        }
    }
    let secret = bench.key("HMAC_256", "token", "shared", "alias/cdn").await;
    let request = json!({"KeyId": secret, "Message": STANDARD.encode("m"), "MacAlgorithm": "HMAC_SHA_256"});
    assert_eq!(
        refused(&bench, "GenerateMac", request).await,
        "InvalidKeyUsageException"
    );
    let raw = bench.key("ECC_NIST_P256", "raw", "none", "alias/raw").await;
    let request = json!({"KeyId": raw, "Message": STANDARD.encode("m"), "SigningAlgorithm": "ECDSA_SHA_384"});
    assert_eq!(refused(&bench, "Sign", request).await, "InvalidKeyUsageException");
    let request = json!({"KeyId": raw, "Message": STANDARD.encode("m"), "MacAlgorithm": "HMAC_SHA_256"});
    assert_eq!(
        refused(&bench, "GenerateMac", request).await,
        "InvalidKeyUsageException"
    );
}

// R38
#[tokio::test]
async fn no_verb_reaches_a_ca_key() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "artifact", "own", "alias/release").await;
    assert!(
        bench
            .parts
            .store
            .get(&format!("ca/{TENANT}/{id}"))
            .await
            .unwrap()
            .is_some()
    );
    for (verb, _) in VERBS {
        for name in [
            format!("ca/{TENANT}/{id}"),
            format!("ca/{id}"),
            format!("../ca/{TENANT}/{id}"),
            format!("alias/../ca/{id}"),
        ] {
            let body = json!({"KeyId": name, "Message": "AA==", "SigningAlgorithm": "ECDSA_SHA_256", "MacAlgorithm": "HMAC_SHA_256"});
            let body = serde_json::to_vec(&body).unwrap();
            let result = bench
                .wired
                .keys
                .call(&bench.tenant(), &crate::testing::Open, verb, &body)
                .await;
            assert!(result.is_err(), "{verb} {name}");
        }
    }
    assert_eq!(
        refused(&bench, "GetPublicKey", json!({"KeyId": id})).await,
        "UnsupportedOperationException"
    );
}

#[tokio::test]
async fn combinations_that_make_no_sense_are_refused() {
    let bench = Bench::new().await;
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let cases: &[Case] = &[
        (
            "ECC_NIST_P256",
            &[("signet:family", "raw"), ("signet:delegation", "shared")],
            "ValidationException",
        ),
        ("ECC_NIST_P256", &[("signet:family", "token")], "ValidationException"),
        (
            "ECC_NIST_P256",
            &[("signet:family", "both"), ("signet:delegation", "own")],
            "ValidationException",
        ),
        (
            "HMAC_256",
            &[("signet:family", "token"), ("signet:delegation", "own")],
            "ValidationException",
        ),
        (
            "ECC_NIST_EDWARDS25519",
            &[("signet:custody", "token")],
            "ValidationException",
        ),
        (
            "ECC_NIST_P256",
            &[
                ("signet:family", "token"),
                ("signet:delegation", "shared"),
                ("signet:custody", "token"),
            ],
            "ValidationException",
        ),
        ("ECC_NIST_P256", &[("signet:colour", "red")], "TagException"),
        ("ECC_NIST_P256", &[("a", "1"), ("a", "2")], "TagException"),
        ("ECC_NIST_P256", &[("aws:a", "1")], "TagException"),
        (
            "RSA_2048",
            &[("signet:family", "token"), ("signet:delegation", "shared")],
            "ValidationException",
        ),
        (
            "SYMMETRIC_DEFAULT",
            &[("signet:custody", "token")],
            "ValidationException",
        ),
    ];
    for (spec, pairs, kind) in cases {
        assert_eq!(
            refused(
                &bench,
                "CreateKey",
                json!({"KeySpec": spec, "KeyUsage": usage(spec), "Tags": tags(pairs)})
            )
            .await,
            *kind,
            "{spec} {pairs:?}"
        );
    }
    let more = [
        json!({"KeySpec": "ECC_NIST_P256"}),
        json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "GENERATE_VERIFY_MAC"}),
        json!({"KeyUsage": "SIGN_VERIFY"}),
        json!({"KeySpec": "HMAC_256", "CustomerMasterKeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}),
        json!({"Origin": "ELSEWHERE"}),
        json!({"Surprise": 1}),
        json!({"KeySpec": 7}),
        json!({"Description": "x".repeat(8193)}),
    ];
    for body in more {
        assert_eq!(refused(&bench, "CreateKey", body).await, "ValidationException");
    }
    for body in [
        json!({"Origin": "AWS_CLOUDHSM"}),
        json!({"Origin": "EXTERNAL_KEY_STORE"}),
        json!({"CustomKeyStoreId": "cks-1"}),
        json!({"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}),
    ] {
        assert_eq!(
            refused(&bench, "CreateKey", body).await,
            "UnsupportedOperationException"
        );
    }
    assert_eq!(refused(&bench, "Seal", json!({})).await, "UnknownOperationException");
    let keys = &bench.wired.keys;
    for body in [&b"not json"[..], b"[]", b"{} {}", b"{\"KeySpec\":"] {
        let error = keys
            .call(&bench.tenant(), &crate::testing::Open, "CreateKey", body)
            .await
            .unwrap_err();
        assert_eq!(error.kind, KmsErrorType::Validation);
    }
    let nobody = Tenant::parse("000000000009").unwrap();
    let body = b"{}";
    let error = keys
        .call(&nobody, &crate::testing::Open, "CreateKey", body)
        .await
        .unwrap_err();
    assert_eq!(error.kind, KmsErrorType::NotFound);
}

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
    for prefix in ["keys/", "material/", "aliases/", "ca/", "grants/", "usage/"] {
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
    assert_eq!(
        refused(&bench, "CreateAlias", set("a", &b)).await,
        "InvalidAliasNameException"
    );
    assert_eq!(
        refused(&bench, "CreateAlias", set("alias/aws/s3", &b)).await,
        "InvalidAliasNameException"
    );
    assert_eq!(
        refused(&bench, "UpdateAlias", set("alias/a", &other)).await,
        "KMSInvalidStateException"
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

#[tokio::test]
async fn versions_follow_the_timeline() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let versions = async || {
        bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap()["KeyMetadata"]["Signet"]["Versions"].clone()
    };
    let states = |versions: &Value| -> Vec<String> {
        versions
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["State"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(states(&versions().await), ["Standby", "Standby"]);
    bench.pass(900);
    bench.upkeep().await;
    let first = versions().await;
    assert_eq!(states(&first), ["Signing", "Standby"]);
    bench.pass(DAY);
    bench.upkeep().await;
    assert_eq!(states(&versions().await), ["Retiring", "Signing", "Standby"]);
    // The first leaves when the last token it signed has expired, and its material with it.
    bench.pass(DAY + 300);
    bench.upkeep().await;
    assert_eq!(states(&versions().await), ["Retiring", "Signing", "Standby"]);
    assert!(
        bench
            .parts
            .store
            .get(&format!("material/{TENANT}/{id}/0000000001"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(!versions().await.to_string().contains(first[0]["Kid"].as_str().unwrap()));
    // By hand: as soon as verifiers know the standby it signs, what signed stays for verifying.
    bench.pass(900);
    let before = versions().await;
    bench.verb("RotateKeyOnDemand", json!({"KeyId": id})).await.unwrap();
    let after = versions().await;
    assert_eq!(states(&after), ["Retiring", "Retiring", "Signing", "Standby"]);
    assert_eq!(after[2]["Kid"], before[2]["Kid"]);
    // Compromised: at once, and the standby after it.
    let kid = after[2]["Kid"].clone();
    bench.pass(900);
    bench
        .verb("MarkVersionCompromised", json!({"KeyId": id, "Kid": kid}))
        .await
        .unwrap();
    assert_eq!(
        states(&versions().await),
        ["Retiring", "Retiring", "Compromised", "Signing", "Standby"]
    );
    assert_eq!(
        refused(&bench, "MarkVersionCompromised", json!({"KeyId": id, "Kid": "none"})).await,
        "NotFoundException"
    );
    let raw = bench.key("ECC_NIST_P256", "raw", "none", "alias/raw").await;
    assert_eq!(
        refused(&bench, "RotateKeyOnDemand", json!({"KeyId": raw})).await,
        "UnsupportedOperationException"
    );
}

// R10
#[tokio::test]
async fn no_secret_is_in_the_store_file() {
    let bench = Bench::new().await;
    let id = bench.key("HMAC_256", "token", "shared", "alias/cdn").await;
    let row = bench
        .wired
        .vault
        .get::<KeyRecord>(&crate::paths::key(&bench.tenant(), &id))
        .await
        .unwrap()
        .unwrap()
        .value;
    let secret = secret(&bench.wired.vault, &row, &row.versions[0]).await.unwrap();
    let file = std::fs::read(bench.path().join("store.redb")).unwrap();
    assert!(!file.windows(secret.len()).any(|window| window == secret.expose()));
    assert!(
        !file.windows(9).any(|window| window == b"alias/cdn\""),
        "even metadata is sealed"
    );
}

#[tokio::test]
async fn a_restart_finds_every_key() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "raw", "none", "alias/a").await;
    let request = json!({"KeyId": "alias/a", "Message": STANDARD.encode("m"), "SigningAlgorithm": "ECDSA_SHA_256"});
    let signature = bench.verb("Sign", request.clone()).await.unwrap()["Signature"].clone();
    let bench = bench.restart().await;
    let mut verify = request;
    verify["Signature"] = signature;
    verify["KeyId"] = json!(id);
    bench.verb("Verify", verify).await.unwrap();
}
