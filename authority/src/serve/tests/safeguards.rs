//! Safeguards over the wire: who needs the token, and what happens where nothing can be recorded.

use super::*;
use crate::keys::{KeyRecord, State};
use crate::paths;

#[tokio::test]
async fn what_stops_a_key_happens_even_without_a_record_and_nothing_else_does() {
    let site = start().await;
    site.post("/v1/tenants", json!({"id": TENANT})).await;
    let made = site.verb("CreateKey", json!({})).await;
    let key = json!({"KeyId": made["KeyMetadata"]["KeyId"]});
    let recorder = site.running.recorder.clone();
    tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
    let verb = async |verb: &str| {
        site.post(&format!("/v1/keys/{verb}?tenant={TENANT}"), key.clone())
            .await
    };
    let (status, refused) = verb("ScheduleKeyDeletion").await;
    assert_eq!((status, &refused["code"]), (503, &json!("audit_unavailable")));
    assert_eq!(verb("DisableKey").await.0, 200);
    let (status, refused) = verb("EnableKey").await;
    assert_eq!((status, &refused["code"]), (503, &json!("audit_unavailable")));
    let (vault, _) = &site.running.last;
    let keys = vault.all::<KeyRecord>(paths::KEYS).await.unwrap();
    assert!(matches!(&keys[..], [(_, key)] if key.value.state == State::Disabled));
    let quorum = format!("/v1/safeguards/{TENANT}/quorum");
    let body = json!({"required": 0, "lifetime_seconds": 60}).to_string();
    let put = site.send(Method::PUT, &quorum, Some(&site.admin_token), body.into_bytes());
    assert_eq!(put.await.0, 503);
}

// R9
#[tokio::test]
async fn only_a_requests_id_and_an_approvers_signature_stand_for_the_token() {
    let site = start().await;
    let id = format!("apr-{TENANT}-{}", "0".repeat(32));
    let anonymous = async |method: Method, path: &str, body: &str| {
        let (status, answer) = site.send(method, path, None, body.as_bytes().to_vec()).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let decision = r#"{"key":"k","decision":"approve","signature":"AAAA"}"#;
    let decisions = format!("/v1/approvals/{id}/decisions");
    for (method, path, body, expected) in [
        (
            Method::GET,
            "/v1/approvals?tenant=000000000001",
            "",
            (401, "bad_admin_token"),
        ),
        (Method::GET, "/v1/safeguards/000000000001", "", (401, "bad_admin_token")),
        (
            Method::PUT,
            "/v1/safeguards/000000000001/quorum",
            "{}",
            (401, "bad_admin_token"),
        ),
        (
            Method::DELETE,
            "/v1/safeguards/authority/approvers/a",
            "",
            (401, "bad_admin_token"),
        ),
        (Method::GET, &format!("/v1/approvals/{id}"), "", (404, "not_found")),
        (Method::GET, "/v1/approvals/apr-..-x", "", (404, "not_found")),
        (Method::POST, &decisions, decision, (404, "not_found")),
        (
            Method::POST,
            &decisions,
            r#"{"decision":"approve"}"#,
            (400, "bad_request"),
        ),
        (
            Method::POST,
            &decisions,
            &decision.replace("approve", "allow"),
            (400, "bad_request"),
        ),
        (
            Method::POST,
            &decisions,
            &decision.replace("AAAA", "?"),
            (400, "bad_request"),
        ),
        (Method::POST, &decisions, &" ".repeat(5000), (413, "body_too_large")),
        (Method::DELETE, &decisions, "", (405, "method_not_allowed")),
    ] {
        let answer = anonymous(method.clone(), path, body).await;
        assert_eq!((answer.0, answer.1.as_str()), expected, "{method} {path} {body}");
    }
    for (body, expected) in [
        (json!({"required": 1, "lifetime_seconds": 60}), 409),
        (json!({"required": 0, "lifetime_seconds": 0}), 400),
        (json!({"required": 0}), 400),
    ] {
        let path = "/v1/safeguards/authority/quorum";
        let body = body.to_string();
        let (status, answer) = site
            .send(Method::PUT, path, Some(&site.admin_token), body.clone().into_bytes())
            .await;
        assert_eq!(status, expected, "{body} {answer}");
    }
}

#[tokio::test]
async fn a_stop_is_shown_where_people_look_and_one_of_a_tenant_that_is_not_there_is_refused() {
    let site = start().await;
    let key = site.furnish().await;
    let (status, refused) = site.post("/v1/stops", json!({"what": "tenant/000000000009"})).await;
    assert_eq!((status, &refused["code"]), (404, &json!("not_found")));
    assert!(
        refused["detail"].as_str().unwrap().contains("`000000000009`"),
        "{refused}"
    );
    assert_eq!(site.get("/v1/stops").await.1["stops"], json!([]));

    let described = async || {
        let described = site.verb("DescribeKey", json!({"KeyId": key})).await;
        described["KeyMetadata"]["Signet"]["StoppedBy"].clone()
    };
    // What is shown is read from a view that follows the store.
    let shown = async |expected: Value| {
        let found = async {
            loop {
                let (status, ready) = site.send(Method::GET, "/readyz", None, Vec::new()).await;
                assert_eq!(status, 200, "{ready}");
                if ready["stopped"] == expected {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
    };
    shown(json!({"everything": false, "tenants": 0, "callers": 0, "delegations": 0})).await;
    assert_eq!(described().await, Value::Null);
    let stops = [
        "all".to_owned(),
        format!("tenant/{TENANT}"),
        format!("delegation/{key}"),
        "caller/spiffe://example.org/ci".to_owned(),
    ];
    for what in &stops {
        assert_eq!(site.post("/v1/stops", json!({"what": what})).await.0, 200);
    }
    shown(json!({"everything": true, "tenants": 1, "callers": 1, "delegations": 1})).await;
    assert_eq!(described().await, json!(stops[..3]));
    for what in &stops {
        assert_eq!(site.post("/v1/stops/resume", json!({"what": what})).await.0, 200);
    }
    shown(json!({"everything": false, "tenants": 0, "callers": 0, "delegations": 0})).await;
    assert_eq!(described().await, Value::Null);
    site.running.stop().await;
}
