//! Bad input: each kind gets its own problem document, and the edge goes on serving.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use system_tests::{Answer, Dev, within};

fn check(answer: Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{answer:?}");
}

#[test]
fn requests_that_cannot_be_understood() {
    let dev = Dev::start();
    let api = || dev.curl("/v1/tokens/api");
    check(api().post("{"), 400, "malformed_json");
    check(api().post(""), 400, "malformed_json");
    check(api().post("[]"), 400, "bad_request");
    check(api().post(r#"{"subject":1}"#), 400, "bad_request");
    check(api().post(r#"{"subject":"alice","surprise":1}"#), 400, "bad_request");
    check(api().post(r#"{"subject":"alice","subject":"bob"}"#), 400, "bad_request");
    check(api().post(r#"{"subject":"alice","lifetime":"5m"}"#), 400, "bad_request");
    check(api().post(r#"{"subject":"alice","lifetime":1.5}"#), 400, "bad_request");
    check(
        api().header("Content-Type: text/plain").send_body("POST", "{}"),
        415,
        "unsupported_media_type",
    );
    check(
        api().post(&format!(r#"{{"subject":"{}"}}"#, "a".repeat(200 << 10))),
        413,
        "body_too_large",
    );
    check(api().get(), 405, "method_not_allowed");
    check(dev.curl("/v1/nothing").get(), 404, "not_found");
    check(
        dev.curl("/v1/tokens/nothing").post(r#"{"subject":"alice"}"#),
        404,
        "unknown_profile",
    );
    // A profile of the other kind is not there under this path.
    check(
        dev.curl("/v1/tokens/release").post(r#"{"subject":"alice"}"#),
        404,
        "unknown_profile",
    );
    let chunked = api()
        .arg("--http1.1")
        .header("Transfer-Encoding: chunked")
        .post(r#"{"subject":"alice"}"#);
    assert_eq!(chunked.status, 411, "{chunked:?}");
    let fat = api()
        .arg("--http1.1")
        .header(&format!("X-Fat: {}", "a".repeat(100 << 10)))
        .post(r#"{"subject":"alice"}"#);
    assert_eq!(fat.status, 431, "{fat:?}");
    dev.mint("api", r#"{"subject":"alice"}"#);
}

#[test]
fn requests_that_the_profile_does_not_allow() {
    let dev = Dev::start();
    let api = |body: &str| dev.curl("/v1/tokens/api").post(body);
    check(api(r#"{"subject":"alice","lifetime":3601}"#), 422, "lifetime_too_long");
    for lifetime in [0, -1] {
        check(
            api(&json!({"subject": "alice", "lifetime": lifetime}).to_string()),
            422,
            "invalid_request",
        );
    }
    for claim in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"] {
        check(
            api(&json!({"subject": "alice", "claims": {claim: "x"}}).to_string()),
            422,
            "invalid_claims",
        );
    }
    check(
        dev.curl("/v1/tokens/limited")
            .post(r#"{"subject":"alice","claims":{"scope":"read"}}"#),
        422,
        "claim_not_allowed",
    );
    let sign =
        |profile: &str, body: serde_json::Value| dev.curl(&format!("/v1/signatures/{profile}")).post(&body.to_string());
    check(
        sign("release", json!({"digest": format!("sha384:{}", "0".repeat(96))})),
        422,
        "unsupported_digest",
    );
    check(sign("release", json!({"digest": "sha256:00"})), 422, "invalid_request");
    check(sign("release", json!({})), 422, "invalid_request");
    check(
        sign("package", json!({"digest": format!("sha256:{}", "0".repeat(64))})),
        422,
        "unsupported_digest",
    );
    check(
        sign("release", json!({"message": "not base64!"})),
        422,
        "invalid_request",
    );
    check(
        sign(
            "package",
            json!({"message": BASE64_STANDARD.encode(vec![0; (64 << 10) + 1])}),
        ),
        422,
        "invalid_request",
    );
}

#[test]
fn a_policy_a_rule_and_a_quota_refuse_by_name() {
    let dev = Dev::start();
    let policy = dev.curl("/v1/tokens/api").post(r#"{"subject":"root"}"#);
    assert_eq!(
        (policy.status, policy.problem().as_str()),
        (403, "policy_denied"),
        "{policy:?}"
    );
    assert_eq!(policy.json()["policies"], json!(["no-root-subject"]));

    let rule = dev
        .curl("/v1/tokens/api")
        .post(r#"{"subject":"alice","claims":{"role":"admin"}}"#);
    assert_eq!(
        (rule.status, rule.problem().as_str()),
        (403, "rule_refused"),
        "{rule:?}"
    );
    assert_eq!(rule.json()["rule"], "claim-guard");
    assert_eq!(rule.json()["rule_code"], "role_not_allowed");

    for _ in 0..3 {
        dev.mint("limited", r#"{"subject":"alice"}"#);
    }
    let quota = dev.curl("/v1/tokens/limited").post(r#"{"subject":"alice"}"#);
    assert_eq!(
        (quota.status, quota.problem().as_str()),
        (429, "quota_exceeded"),
        "{quota:?}"
    );
    let retry: u64 = quota.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry), "{quota:?}");
    assert!(
        quota.field("ratelimit").is_some() && quota.field("ratelimit-policy").is_some(),
        "{quota:?}"
    );

    // What was refused after authentication is on record, with what refused it.
    within(2, "the refusals are on record", || {
        let records = dev.cli(&["audit", "tail", "--json"]).success();
        ["no-root-subject", "claim-guard", "quota_exceeded"]
            .iter()
            .all(|word| records.contains(word))
    });
    let verified = dev.cli(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn a_rule_narrows_what_it_permits() {
    let dev = Dev::start();
    let answer = dev
        .curl("/v1/tokens/api")
        .post(r#"{"subject":"alice","claims":{"role":"editor"},"lifetime":3000}"#);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let verified = dev.curl("/v1/verify").post(&json!({"token": token}).to_string()).json();
    assert_eq!(verified["valid"], true, "{verified}");
    let claims = &verified["claims"];
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 120);
    assert_eq!(claims["plan"], "dev");
}

#[test]
fn verify_says_why_not() {
    let dev = Dev::start();
    let verify = |body: serde_json::Value| {
        let answer = dev.curl("/v1/verify").post(&body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    for profile in ["api", "session", "cdn"] {
        let token = dev.mint(profile, r#"{"subject":"alice","audience":"https://a.example"}"#);
        assert_eq!(
            verify(json!({"token": token, "audience": "https://a.example"}))["valid"],
            true,
            "{profile}"
        );
        let elsewhere = verify(json!({"token": token, "audience": "https://b.example"}));
        assert_eq!(
            (&elsewhere["valid"], &elsewhere["code"]),
            (&json!(false), &json!("wrong_audience")),
            "{profile}"
        );
        let mut forged = token.clone();
        forged.truncate(token.len() - 8);
        assert_eq!(
            verify(json!({"token": format!("{forged}AAAAAAAA")}))["valid"],
            false,
            "{profile}"
        );
    }
    // A caller's own credential is not a token of ours (R5).
    assert_eq!(verify(json!({"token": dev.token()}))["valid"], false);

    let digest = format!("sha256:{}", "ab".repeat(32));
    let signed = dev
        .curl("/v1/signatures/release")
        .post(&json!({"digest": digest}).to_string())
        .json();
    let body = |digest: &str| json!({"digest": digest, "signature": signed["signature"], "certificates": signed["certificates"]});
    assert_eq!(verify(body(&digest))["valid"], true);
    assert_eq!(verify(body(&format!("sha256:{}", "cd".repeat(32))))["valid"], false);
    assert_eq!(dev.curl("/v1/verify").post("{}").status, 422);
}
