//! What a family, a delegation and a custody allow (R1, R38), and the versions of shared keys.

use super::*;

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
        ("ECC_NIST_P521", &[("signet:custody", "token")], "ValidationException"),
        ("RSA_2048", &[("signet:custody", "token")], "ValidationException"),
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
