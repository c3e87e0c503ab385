use super::*;
use crate::keys::{KeyRecord, State};
use crate::paths;

#[tokio::test]
async fn a_signed_request_is_executed_in_the_region_it_was_signed_for() {
    let site = Site::new().await;
    let id = site.new_key().await;
    let described = site.good("DescribeKey", json!({"KeyId": id})).await;
    let arn = format!("arn:aws:kms:{REGION}:000000000001:key/{id}");
    assert_eq!(described["KeyMetadata"]["Arn"], arn);
    let message = json!({"KeyId": arn, "Message": "aGVsbG8=", "SigningAlgorithm": "ECDSA_SHA_256"});
    let signed = site.good("Sign", message.clone()).await;
    let mut verify = message;
    verify["Signature"] = signed["Signature"].clone();
    assert_eq!(site.good("Verify", verify).await["SignatureValid"], true);
    assert_eq!(
        site.good("ListKeys", json!({"Limit": 1})).await["Keys"][0]["KeyArn"],
        arn
    );
}

// R9
#[tokio::test]
async fn what_is_not_proven_or_not_understood_is_refused_and_changes_nothing() {
    let site = Site::new().await;
    let create = r#"{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}"#;
    let good = || site.request(site.sender(), "CreateKey", create);
    let edited = |edit: &dyn Fn(&mut Request<Bytes>)| {
        let mut request = good();
        edit(&mut request);
        request
    };
    let wrong = Issued {
        record: site.root.record.clone(),
        secret: signing::key::Secret::new(vec![b'x'; 40]),
    };
    let sent = |sender: Sender<'_>| site.request(sender, "CreateKey", create);
    let fields = |fields: &[(&str, &str)]| site.signed(site.sender(), fields, create);
    let (host, json_type) = (("host", "localhost"), ("content-type", "application/x-amz-json-1.1"));
    let target = ("x-amz-target", "TrentService.CreateKey");
    let cases = [
        (
            "unsigned",
            edited(&|r| drop(r.headers_mut().remove("authorization"))),
            "MissingAuthenticationTokenException",
        ),
        (
            "wrong secret",
            sent(Sender {
                key: &wrong,
                ..site.sender()
            }),
            "InvalidSignatureException",
        ),
        (
            "late",
            sent(Sender {
                skew: -301,
                ..site.sender()
            }),
            "InvalidSignatureException",
        ),
        (
            "early",
            sent(Sender {
                skew: 301,
                ..site.sender()
            }),
            "InvalidSignatureException",
        ),
        (
            "for sts",
            sent(Sender {
                service: "sts",
                ..site.sender()
            }),
            "InvalidSignatureException",
        ),
        (
            "no region",
            sent(Sender {
                region: "eu-central-1-eu-central-1-eu-central-1",
                ..site.sender()
            }),
            "InvalidSignatureException",
        ),
        (
            "stray token",
            sent(Sender {
                token: Some("AAAA"),
                ..site.sender()
            }),
            "UnrecognizedClientException",
        ),
        (
            "another body",
            edited(&|r| *r.body_mut() = Bytes::from_static(b"{}")),
            "InvalidSignatureException",
        ),
        (
            "two signatures",
            edited(&|r| {
                let field = r.headers()["authorization"].clone();
                r.headers_mut().append("authorization", field);
            }),
            "IncompleteSignatureException",
        ),
        (
            "presigned",
            edited(&|r| *r.uri_mut() = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00".parse().unwrap()),
            "IncompleteSignatureException",
        ),
        (
            "unsigned payload",
            fields(&[host, json_type, target, ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]),
            "IncompleteSignatureException",
        ),
        (
            "unknown",
            site.request(site.sender(), "CreateKeys", create),
            "UnknownOperationException",
        ),
        (
            "of ours only",
            site.request(site.sender(), "MarkVersionCompromised", create),
            "UnknownOperationException",
        ),
        ("no target", fields(&[host, json_type]), "UnknownOperationException"),
        (
            "two targets",
            fields(&[host, json_type, target, ("x-amz-target", "TrentService.ListKeys")]),
            "IncompleteSignatureException",
        ),
        (
            "another service",
            fields(&[host, json_type, ("x-amz-target", "Kinesis.CreateKey")]),
            "UnknownOperationException",
        ),
        (
            "another type",
            fields(&[host, ("content-type", "text/plain"), target]),
            "UnknownOperationException",
        ),
        (
            "not JSON",
            site.request(site.sender(), "CreateKey", "{"),
            "SerializationException",
        ),
        (
            "wrong type",
            site.request(site.sender(), "CreateKey", r#"{"KeySpec":5}"#),
            "SerializationException",
        ),
        (
            "no object",
            site.request(site.sender(), "CreateKey", "[]"),
            "SerializationException",
        ),
        (
            "nested deeply",
            site.request(site.sender(), "CreateKey", &"[".repeat(10_000)),
            "SerializationException",
        ),
        (
            "wrong value",
            site.request(site.sender(), "CreateKey", r#"{"KeySpec":"RSA_1"}"#),
            "ValidationException",
        ),
        (
            "custom store",
            site.request(site.sender(), "DescribeCustomKeyStores", "{}"),
            "UnsupportedOperationException",
        ),
    ];
    for (what, request, expected) in cases {
        assert_eq!(site.refused(request).await, (400, expected.to_owned()), "{what}");
    }
    assert_eq!(
        site.good("ListKeys", json!({})).await["Keys"],
        json!([]),
        "nothing was made"
    );
    // A media type's parameters do not matter.
    let lenient = fields(&[
        host,
        ("content-type", "Application/X-Amz-Json-1.1; charset=utf-8"),
        target,
    ]);
    assert_eq!(site.answer(lenient).await.0, 200);
    // Nor does the protocol's version, as with the service's own kind.
    let older = fields(&[host, ("content-type", "application/x-amz-json-1.0"), target]);
    assert_eq!(site.answer(older).await.0, 200);
}

/// Clients send the same bytes again when no answer came: that is no replay to be refused, until its window is over.
#[tokio::test]
async fn an_identical_request_is_taken_again_inside_its_window() {
    let site = Site::new().await;
    let id = site.new_key().await;
    let message = json!({"KeyId": id, "Message": "aGVsbG8=", "SigningAlgorithm": "ECDSA_SHA_256"});
    let request = site.request(site.sender(), "Sign", &message.to_string());
    for later in [0, 0, 299] {
        site.bench.pass(later);
        let (status, answer) = site.answer(request.clone()).await;
        assert_eq!(status, 200, "{answer}");
    }
    site.bench.pass(2);
    let refused = (400, "InvalidSignatureException".to_owned());
    assert_eq!(site.refused(request).await, refused);
}

#[tokio::test]
async fn only_the_regions_that_are_configured_are_served() {
    let mut config = KmsConfig::new("127.0.0.1:0".parse().unwrap(), None);
    config.regions = vec!["eu-west-1".to_owned(), REGION.to_owned()];
    let site = Site::with(config).await;
    site.good("ListKeys", json!({})).await;
    let sender = Sender {
        region: "us-east-1",
        ..site.sender()
    };
    let (status, answer) = site.ask(sender, "ListKeys", json!({})).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("InvalidSignatureException")));
    assert!(answer["message"].as_str().unwrap().contains("'us-east-1'"), "{answer}");
}

#[tokio::test]
async fn a_spent_quota_is_a_throttling_exception() {
    let mut config = KmsConfig::new("127.0.0.1:0".parse().unwrap(), None);
    config.quota = node::config::parse("quota.toml", "management = { rate = \"1/h\", burst = 2 }").unwrap();
    let site = Site::with(config).await;
    for _ in 0..2 {
        site.good("ListKeys", json!({})).await;
    }
    let refused = site.refused(site.request(site.sender(), "ListKeys", "{}")).await;
    assert_eq!(refused, (400, "ThrottlingException".to_owned()));
    site.good("ListAliases", json!({})).await;
    for kind in [
        "UnknownOperationException",
        "UnknownOperationException",
        "ThrottlingException",
    ] {
        assert_eq!(site.refused(site.request(site.sender(), "Nothing", "{}")).await.1, kind);
    }
    // What is over a quota is counted only: it could fill the spool otherwise.
    assert_eq!(site.records().await.len(), 5);
    let counted = site.metrics.render().unwrap();
    let line = "test_kms_refusals_total{code=\"ThrottlingException\"} 2";
    assert!(counted.lines().any(|found| found == line), "{counted}");
}

// R6: every operation of a known principal is on record, refusals too.
// R10: and nothing of its body.
#[tokio::test]
async fn every_operation_is_on_record() {
    let site = Site::new().await;
    let id = site.new_key().await;
    let body = json!({"KeyId": id, "Message": "Y2FuYXJ5", "SigningAlgorithm": "ECDSA_SHA_256"});
    let mut request = site.request(site.sender(), "Sign", &body.to_string());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request
        .headers_mut()
        .insert("traceparent", HeaderValue::from_static(trace));
    let response = site.send(request).await;
    let request_id = response.headers()["x-amzn-requestid"].to_str().unwrap().to_owned();
    site.refused(site.request(site.sender(), "DescribeKey", r#"{"KeyId":"alias/none"}"#))
        .await;
    site.refused(site.request(site.sender(), "Nonsense", "{}")).await;
    site.refused(site.request(
        Sender {
            service: "sts",
            ..site.sender()
        },
        "ListKeys",
        "{}",
    ))
    .await;
    let counted = site.metrics.render().unwrap();
    assert!(
        counted.contains("test_kms_requests_total{operation=\"kms:Sign\"} 1"),
        "{counted}"
    );
    assert!(
        counted.contains("test_kms_refusals_total{code=\"NotFoundException\"} 1"),
        "{counted}"
    );
    let records = site.records().await;
    let told: Vec<_> = records
        .iter()
        .map(|record| (record["profile"].as_str().unwrap(), record["outcome"].as_str().unwrap()))
        .collect();
    let expected = [
        ("kms:CreateKey", "performed"),
        ("kms:Sign", "performed"),
        ("kms:DescribeKey", "refused"),
        ("kms:Unknown", "refused"),
    ];
    assert_eq!(told, expected, "who is not known is not on record");
    let sign = &records[1];
    assert_eq!(
        (sign["key"].as_str(), sign["caller"].as_str()),
        (Some(id.as_str()), Some("arn:aws:iam::000000000001:root"))
    );
    assert_eq!(
        (&sign["policies"], &sign["edge"]),
        (
            &json!(["signet:account-admin", "signet:key-policy-allows"]),
            &json!("authority")
        )
    );
    assert_eq!(
        (sign["request_id"].as_str().unwrap(), sign["tenant"].as_str()),
        (request_id.as_str(), Some("000000000001"))
    );
    assert_eq!(sign["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(records[2]["code"], "NotFoundException");
    assert!(!json!(records).to_string().contains("Y2FuYXJ5"));
}

/// Stopping a key waits for no disk; starting it again does.
#[tokio::test]
async fn what_stops_a_key_happens_even_without_a_record() {
    let site = Site::new().await;
    let id = site.new_key().await;
    site.close().await;
    let body = json!({ "KeyId": id }).to_string();
    let ask = |operation: &str| site.request(site.sender(), operation, &body);
    assert_eq!(site.answer(ask("DisableKey")).await.0, 200);
    let refused = site.refused(ask("EnableKey")).await;
    assert_eq!(refused, (500, "KMSInternalException".to_owned()));
    let keys = site.bench.wired.vault.all::<KeyRecord>(paths::KEYS).await.unwrap();
    assert!(matches!(&keys[..], [(_, key)] if key.value.state == State::Disabled));
}

// R30: what cannot be recorded does not happen.
#[tokio::test]
async fn without_a_record_nothing_is_done() {
    let site = Site::new().await;
    site.records().await;
    let refused = site
        .refused(site.request(
            site.sender(),
            "CreateKey",
            r#"{"KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}"#,
        ))
        .await;
    assert_eq!(refused, (500, "KMSInternalException".to_owned()));
    let keys = site.bench.verb("ListKeys", json!({})).await.unwrap();
    assert_eq!(keys["Keys"], json!([]));
}
