//! Who gets in: limits, credentials and tenants, through the handler.

use bytes::Bytes;
use serde_json::json;

use crate::testing::Rig;

#[tokio::test]
async fn limits_refuse_before_anything_is_understood() {
    let rig = Rig::with_limits(
        "[limits]\nper_address = { rate = \"1/h\", burst = 5 }\nper_caller = { rate = \"1/h\", burst = 2 }",
    )
    .await;
    assert_eq!(rig.post("/v1/tokens/plain", json!({})).await.status, 201);
    assert_eq!(rig.post("/v1/tokens/plain", json!({})).await.status, 201);
    let answer = rig.post("/v1/tokens/plain", json!({})).await;
    assert_eq!(answer.code(), (429, "rate_limited"));
    assert_eq!(answer.headers["ratelimit-policy"], "\"caller\";q=2;w=7200");
    let other = rig.token_of("https://callers.example", "dev:bob", json!({"roles": ["developer"]}));
    assert_eq!(rig.post_as(&other, "/v1/tokens/plain", json!({})).await.status, 201);
    assert_eq!(rig.post_as(&other, "/v1/tokens/plain", json!({})).await.status, 201);
    let answer = rig.get("/livez").await;
    assert_eq!(answer.headers["ratelimit-policy"], "\"address\";q=5;w=18000");
    assert_eq!(
        rig.records().len(),
        4,
        "a caller beyond its limit cannot fill the audit trail"
    );
}

#[tokio::test]
async fn callers_are_believed_by_their_own_credentials_only() {
    let rig = Rig::ready().await;
    let request = http::Request::post("/v1/tokens/plain").header("content-type", "application/json");
    let answer = rig.send(request.body(Bytes::from_static(b"{}")).unwrap()).await;
    assert_eq!(answer.code(), (401, "missing_credentials"));
    assert!(answer.headers.contains_key("www-authenticate"));
    for (issuer, subject, code) in [
        ("https://nobody.example", "dev:a", "unknown_issuer"),
        ("https://callers.example", "ops:a", "subject_not_allowed"),
    ] {
        let token = rig.token_of(issuer, subject, json!({}));
        assert_eq!(
            rig.post_as(&token, "/v1/tokens/plain", json!({})).await.code(),
            (401, code)
        );
    }
    let forged = format!("{}x", rig.token(&["developer"]));
    assert_eq!(rig.post_as(&forged, "/v1/tokens/plain", json!({})).await.status, 401);
    // R10
    assert!(!rig.get("/metrics").await.text.contains("developer"));
    assert!(rig.records().is_empty());
}

#[tokio::test]
async fn a_tenant_sees_and_uses_its_own_only() {
    let rig = Rig::ready().await;
    let other = rig.token_of("https://others.example", "dev:eve", json!({"roles": ["developer"]}));
    assert_eq!(
        rig.post_as(&other, "/v1/tokens/plain", json!({})).await.code(),
        (404, "unknown_profile")
    );
    assert_eq!(
        rig.post("/v1/tokens/other", json!({})).await.code(),
        (404, "unknown_profile")
    );
    // Both tenants have an `alias/api`: each gets its own key.
    let answer = rig.post_as(&other, "/v1/tokens/other", json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), answer.body["kid"].as_str()),
        (201, Some(rig.kid("other").as_str()))
    );
    assert_eq!(
        rig.post("/v1/tokens/release", json!({})).await.code(),
        (404, "unknown_profile")
    );
}
