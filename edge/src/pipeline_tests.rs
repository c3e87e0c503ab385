//! Who gets in: limits, credentials and tenants, through the handler.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use node::listen::{Peer, Protocol};
use serde_json::json;

use super::*;
use crate::ids;
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

/// The second of three elements is not asked about, since there is no time left; the first was.
#[tokio::test]
async fn no_rule_is_asked_once_a_batch_is_late_and_what_was_judged_is_on_record() {
    let rig = Rig::ready().await;
    let request = http::Request::post("/v1/tokens/api/batch")
        .header("authorization", format!("Bearer {}", rig.token(&["developer"])))
        .body(Bytes::new());
    let peer = Peer {
        address: "192.0.2.1:1".parse().unwrap(),
        protocol: Protocol::Http1,
        certificates: Arc::new([]),
        secure: true,
    };
    let received = Received::new(request.unwrap(), &peer);
    let mut session = Session::open(&rig.edge, &received).await.unwrap();
    let served = session.profile(Kind::Token, "api").unwrap().clone();
    let subjects = [ids::fresh(), ids::fresh(), ids::fresh()].map(|id| session.subject(&served, id));
    let metered = subjects
        .each_ref()
        .map(|subject| session.meter(b"{}", subject).unwrap());
    let asked: Vec<_> = metered.iter().zip(&subjects).collect();
    let asker = (session.principal.facts(), &session.facts);
    let looks = Cell::new(0);
    // It is looked at before the call about all of them, and before each.
    let late = || looks.replace(looks.get() + 1) > 1;
    let world = session.world.clone();
    let judged = rules::evaluate((&rig.edge, &world), asker, &asked, late).await;
    let ruled: Vec<_> = judged.iter().map(|ruled| ruled.as_ref().ok().map(Vec::len)).collect();
    assert_eq!(ruled, [Some(1), None, None]);
    let guard = world.plugin("claim-guard").unwrap().metrics();
    assert_eq!(guard.started.load(std::sync::atomic::Ordering::Relaxed), 1);
    for (refusal, subject) in judged.into_iter().filter_map(Result::err).zip(&subjects[1..]) {
        assert_eq!(rig.edge.refuse(refusal, subject).code(), "overloaded");
    }
    // What is cleared and not signed in time is on record too, with those that ruled.
    let cleared = session.clear(&[(b"{}", &subjects[0])]).await.pop().unwrap().unwrap();
    drop(subjects);
    session.end_after(Duration::ZERO);
    let subject = session.subject(&served, ids::fresh());
    assert_eq!(session.sign(cleared, &subject).await.unwrap_err().code(), "overloaded");
    let plugins: Vec<_> = rig.records().iter().map(|record| record.plugins.len()).collect();
    assert_eq!(plugins, [0, 0, 1]);
    // Nothing was judged of what comes later, and nothing is recorded of it.
    let later = session.clear(&[(b"{}", &subject)]).await.pop().unwrap();
    assert_eq!(later.unwrap_err().code(), "overloaded");
    assert_eq!(rig.records().len(), 3);
}
