//! The whole edge through its handler: what is signed, what is refused, and what is on record of it.

use audit::record::{Outcome, VerdictOutcome};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::testing::Rig;
use crate::testing::files::TENANT;

fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_is_minted_and_recorded() {
    let rig = Rig::ready().await;
    let answer = rig
        .post(
            "/v1/tokens/api",
            json!({"subject": "svc", "claims": {"role": "editor"}}),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.body["kid"], rig.kid("api").as_str());
    let claims = claims(&answer.body["token"]);
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["aud"], &claims["jti"]),
        (
            &json!("https://edge.test/i/dev"),
            &json!("svc"),
            &json!("https://api.example"),
            &answer.body["id"]
        )
    );
    // The plugin caps an editor's token at 120 s and adds the plan.
    assert_eq!(claims["plan"], "dev");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 120);

    let records = rig.records();
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(record.outcome, Outcome::Signed);
    assert_eq!(record.request_id.to_string(), answer.body["id"].as_str().unwrap());
    assert_eq!(
        (record.caller.as_ref(), record.tenant.as_ref()),
        ("oidc:https://callers.example#dev:alice", TENANT)
    );
    assert_eq!(record.key.as_deref(), Some(rig.keys["api"].as_str()));
    assert_eq!(record.kid.as_deref(), Some(rig.kid("api").as_str()));
    assert_eq!(record.policies.as_ref(), ["developers"]);
    assert_eq!(
        (record.plugins[0].plugin.as_ref(), &record.plugins[0].outcome),
        ("claim-guard", &VerdictOutcome::Allowed)
    );
    let input = answer.body["token"].as_str().unwrap().rsplit_once('.').unwrap().0;
    assert_eq!(record.digest, Some(signing::digest::sha256(input.as_bytes())));
    let metrics = rig.get("/metrics").await.text;
    assert!(
        metrics.contains("signet_edge_signatures_total{profile=\"api\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("signet_edge_connected 1"), "{metrics}");
}

#[tokio::test]
async fn artifacts_are_signed_under_a_chain_that_anybody_can_fetch() {
    let rig = Rig::ready().await;
    let digest = format!("sha256:{}", "ab".repeat(32));
    let answer = rig.post("/v1/signatures/release", json!({"digest": digest})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.body["certificates"].as_array().unwrap().len(), 3);
    let kid = answer.body["kid"].as_str().unwrap();
    let chain = rig.get(&format!("/v1/delegations/{kid}")).await;
    assert_eq!(chain.body["certificates"], answer.body["certificates"]);
    assert_eq!(
        rig.get("/v1/delegations/nobody").await.code(),
        (404, "unknown_delegation")
    );
    assert_eq!(
        rig.post("/v1/signatures/package", json!({"message": "aGk="}))
            .await
            .status,
        201
    );
    let refused = rig.post("/v1/signatures/package", json!({"digest": digest})).await;
    assert_eq!(refused.code(), (422, "unsupported_digest"));
}

#[tokio::test]
async fn refusals_of_policy_rule_and_quota_are_on_record() {
    let rig = Rig::ready().await;
    let answer = rig.post("/v1/tokens/plain", json!({"subject": "root"})).await;
    assert_eq!(answer.code(), (403, "policy_denied"));
    assert_eq!(answer.body["policies"], json!(["no-root"]));
    assert!(answer.body["detail"].as_str().unwrap().contains("nobody is root"));
    let guest = rig.token(&["guest"]);
    assert_eq!(
        rig.post_as(&guest, "/v1/tokens/plain", json!({})).await.code(),
        (403, "no_permit")
    );
    let answer = rig.post("/v1/tokens/api", json!({"claims": {"role": "admin"}})).await;
    assert_eq!(answer.code(), (403, "rule_refused"));
    assert_eq!(
        (&answer.body["rule"], &answer.body["rule_code"]),
        (&json!("claim-guard"), &json!("role_not_allowed"))
    );
    for _ in 0..2 {
        assert_eq!(rig.post("/v1/tokens/limited", json!({})).await.status, 201);
    }
    let answer = rig.post("/v1/tokens/limited", json!({})).await;
    assert_eq!(answer.code(), (429, "quota_exceeded"));
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 1000);
    assert_eq!(answer.headers["ratelimit-policy"], "\"profile\";q=2;w=3600");

    let records = rig.records();
    let refused: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.outcome {
            Outcome::Refused { code } => {
                Some((code.as_ref(), record.profile.as_deref().unwrap(), record.kid.is_some()))
            }
            Outcome::Signed | Outcome::Performed => None,
        })
        .collect();
    assert_eq!(
        refused,
        [
            ("policy_denied", "plain", false),
            ("no_permit", "plain", false),
            ("rule_refused", "api", false),
            ("quota_exceeded", "limited", false)
        ]
    );
    assert_eq!(records[0].policies.as_ref(), ["no-root"]);
    let VerdictOutcome::Refused { code } = &records[2].plugins[0].outcome else {
        panic!("{:?}", records[2])
    };
    assert_eq!(code, "role_not_allowed");
}

#[tokio::test]
async fn bad_input_is_named_and_nothing_panics() {
    let rig = Rig::ready().await;
    for (body, status, code) in [
        (json!({"subject": 7}), 400, "bad_request"),
        (json!({"nothing": 7}), 400, "bad_request"),
        (json!([]), 400, "bad_request"),
        (json!({"lifetime": 100_000}), 422, "lifetime_too_long"),
        (json!({"audience": "https://else.example"}), 422, "audience_not_allowed"),
        (json!({"claims": {"iss": "me"}}), 422, "invalid_claims"),
        (json!({"claims": {"free": 1}}), 422, "claim_not_allowed"),
    ] {
        let answer = rig.post("/v1/tokens/plain", body.clone()).await;
        assert_eq!(answer.code(), (status, code), "{body}");
    }
    for path in [
        "/v1/tokens/",
        "/v1/tokens/%2e%2e",
        "/v1/tokens/plain\u{7f}",
        "/v1/nothing",
    ] {
        let Ok(request) = http::Request::post(path)
            .header("content-type", "application/json")
            .body(Bytes::new())
        else {
            continue;
        };
        assert!(rig.send(request).await.status.is_client_error(), "{path}");
    }
    let plain = http::Request::post("/v1/tokens/plain").body(Bytes::new()).unwrap();
    assert_eq!(rig.send(plain).await.code(), (415, "unsupported_media_type"));
    assert_eq!(rig.get("/v1/tokens/plain").await.code(), (405, "method_not_allowed"));
    assert!(rig.records().is_empty());
}

#[tokio::test]
async fn a_batch_fails_element_by_element() {
    let rig = Rig::ready().await;
    let requests = json!([{"subject": "a"}, {"subject": "root"}, {"subject": 7}, {"subject": "b"}]);
    let answer = rig.post("/v1/tokens/plain/batch", json!({"requests": requests})).await;
    assert_eq!(answer.status, 200);
    let results = answer.body["results"].as_array().unwrap();
    let codes: Vec<_> = results
        .iter()
        .map(|one| one["code"].as_str().unwrap_or("signed"))
        .collect();
    assert_eq!(codes, ["signed", "policy_denied", "bad_request", "signed"]);
    assert_ne!(results[0]["id"], results[3]["id"]);
    assert_eq!(results[1]["status"], 403);
    let metrics = rig.get("/metrics").await.text;
    for code in ["policy_denied", "bad_request"] {
        assert!(
            metrics.contains(&format!("signet_edge_refusals_total{{code=\"{code}\"}} 1")),
            "{metrics}"
        );
    }
    assert_eq!(rig.records().len(), 3, "two signatures and a denial");
}

// R35
#[tokio::test]
async fn what_a_batch_signed_before_a_stop_does_not_leave_after_it() {
    let rig = Rig::ready().await;
    let before = rig.edge.spool().status().appended;
    let batch = rig.post("/v1/tokens/plain/batch", json!({"requests": vec![json!({}); 40]}));
    let stop = async {
        while rig.edge.spool().status().appended == before {
            tokio::task::yield_now().await;
        }
        let everything = node::contract::Stops {
            everything: true,
            ..Default::default()
        };
        rig.edge.keyring().stop(everything.into());
    };
    let (answer, ()) = tokio::join!(batch, stop);
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 40);
    for result in results {
        assert_eq!(
            (&result["code"], &result["status"]),
            (&json!("key_disabled"), &json!(409))
        );
        assert!(result.get("token").is_none());
    }
    let records = rig.records();
    let signed: Vec<_> = records
        .iter()
        .filter(|record| record.outcome == Outcome::Signed)
        .collect();
    assert!(
        !signed.is_empty() && signed.len() < 40,
        "the stop came between: {}",
        signed.len()
    );
    // The refusal of what was signed already names the same request.
    for record in signed {
        let of_it = records.iter().filter(|other| other.request_id == record.request_id);
        assert_eq!(of_it.count(), 2);
    }
    let metrics = rig.get("/metrics").await.text;
    assert!(metrics.contains("signatures_total{profile=\"plain\"} 0"), "{metrics}");
}

#[tokio::test]
async fn artifacts_of_a_batch_are_recorded_and_in_their_order() {
    let rig = Rig::ready().await;
    let digest = |n: usize| json!({"digest": format!("sha256:{}", format!("{n:02x}").repeat(32))});
    let requests: Vec<_> = (0..40)
        .map(digest)
        .chain([json!({"digest": "x"}), digest(40)])
        .collect();
    let answer = rig
        .post("/v1/signatures/release/batch", json!({"requests": requests}))
        .await;
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 42);
    let records = rig.written();
    assert_eq!(records.len(), 41, "durable before they leave");
    let signed = results.iter().filter(|result| result.get("signature").is_some());
    for (n, result) in signed.enumerate() {
        let record = records
            .iter()
            .find(|record| record.request_id.to_string() == result["id"].as_str().unwrap());
        assert_eq!(record.unwrap().digest, Some(signing::digest::sha256(&[n as u8; 32])));
    }
    assert!(results[40].get("signature").is_none());
}

#[tokio::test]
async fn a_batch_counts_as_many_as_it_holds() {
    let rig = Rig::with_limits("[limits]\nper_caller = { rate = \"1/h\", burst = 4 }").await;
    let batch = |count: usize| json!({"requests": vec![json!({}); count]});
    assert_eq!(rig.post("/v1/tokens/plain/batch", batch(3)).await.status, 200);
    assert_eq!(
        rig.post("/v1/tokens/plain/batch", batch(2)).await.code(),
        (429, "rate_limited")
    );
    assert_eq!(rig.records().len(), 3);
}

/// A 429 would promise that waiting helps.
#[tokio::test]
async fn a_batch_larger_than_a_burst_is_told_so() {
    let rig = Rig::with_limits("[limits]\nper_tenant = { rate = \"1/h\", burst = 4 }").await;
    let batch = |count: usize| json!({"requests": vec![json!({}); count]});
    let never = rig.post("/v1/tokens/plain/batch", batch(5)).await;
    assert_eq!(never.code(), (422, "invalid_request"));
    assert!(never.text.contains("per tenant lets 4 signatures"), "{}", never.text);
    assert!(!never.headers.contains_key("retry-after"));
    assert_eq!(rig.post("/v1/tokens/plain/batch", batch(3)).await.status, 200);
}

#[tokio::test]
async fn without_the_audit_trail_nothing_is_signed() {
    let rig = Rig::ready().await;
    let records = rig.records().len();
    rig.edge.spool().close();
    let answer = rig.post("/v1/tokens/plain", json!({})).await;
    assert_eq!(answer.code(), (503, "audit_unavailable"));
    assert!(answer.body.get("token").is_none());
    assert_eq!(records, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_s_record_is_durable_before_its_signature_leaves() {
    let rig = Rig::ready().await;
    let digest = json!({"digest": format!("sha256:{}", "ab".repeat(32))});
    for _ in 0..5 {
        let durable = rig.edge.spool().status().durable;
        let answer = rig.post("/v1/signatures/release", digest.clone()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(rig.edge.spool().status().durable, durable + 1);
        // Of this very signature, and on the disk without anybody asking for it.
        let last = rig.written().pop().unwrap();
        assert_eq!(answer.body["id"], last.request_id.to_string());
    }
    rig.edge.spool().close();
    let answer = rig.post("/v1/signatures/release", digest).await;
    assert_eq!(answer.code(), (503, "audit_unavailable"));
}

// R10
#[tokio::test]
async fn no_debug_output_holds_a_credential() {
    let rig = Rig::ready().await;
    let token = rig.token(&["developer"]);
    let answer = rig.post_as(&token, "/v1/tokens/plain", json!({})).await;
    let request = http::Request::post("/v1/tokens/plain").header("authorization", format!("Bearer {token}"));
    let request = request.body(Bytes::from_static(b"canary-body")).unwrap();
    let peer = node::listen::Peer {
        address: "192.0.2.1:1".parse().unwrap(),
        protocol: node::listen::Protocol::Http1,
        certificates: std::sync::Arc::new([]),
        secure: true,
    };
    let received = crate::receive::Received::new(request, &peer);
    let session = crate::pipeline::Session::open(&rig.edge, &received).await.unwrap();
    let shown = format!("{received:?} {session:?} {:?}", rig.edge);
    assert!(!shown.contains(&token) && !shown.contains("canary-body"), "{shown}");
    assert!(!shown.contains(answer.body["token"].as_str().unwrap()));
    let state = rig.authority.state();
    for pair in state.keys.values().flat_map(|key| &key.material) {
        let secret = pair.export().unwrap();
        assert!(!shown.contains(&format!("{:?}", &secret.expose()[..8])));
    }
}

// R30
#[tokio::test]
async fn an_edge_whose_audit_spool_takes_nothing_is_not_ready() {
    let rig = Rig::ready().await;
    assert_eq!(rig.get("/readyz").await.status, 200);
    rig.edge.spool().close();
    let ready = rig.get("/readyz").await;
    assert!(
        ready.status == 503 && ready.text.contains("audit spool"),
        "{}",
        ready.text
    );
    assert_eq!(
        rig.post("/v1/tokens/plain", json!({})).await.code(),
        (503, "audit_unavailable")
    );
}
