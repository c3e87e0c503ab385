//! The edge against an authority that changes its mind, goes away and comes back.

use std::time::Duration;

use node::contract::KeyState;
use serde_json::json;

use super::*;
use crate::testing::objects::Wrong;
use crate::testing::store::proof;
use crate::testing::{Rig, files, until};

async fn mint(rig: &Rig) -> u16 {
    rig.post("/v1/tokens/plain", json!({})).await.status.as_u16()
}

async fn code(rig: &Rig, path: &str) -> String {
    rig.post(path, json!({})).await.code().1.to_owned()
}

fn set_state(rig: &Rig, key: &str, state: KeyState) {
    rig.authority
        .change_key(&rig.keys[key], |key| key.announced.state = state.into());
}

#[tokio::test]
async fn a_key_that_is_disabled_signs_nothing_until_it_is_enabled() {
    let rig = Rig::ready().await;
    for state in [KeyState::Disabled, KeyState::PendingDeletion, KeyState::Unspecified] {
        assert_eq!(mint(&rig).await, 201);
        set_state(&rig, "api", state);
        until("409", async || {
            rig.post("/v1/tokens/plain", json!({})).await.code() == (409, "key_disabled")
        })
        .await;
        assert_eq!(
            rig.post("/v1/tokens/second", json!({})).await.status,
            201,
            "other keys go on"
        );
        assert_eq!(rig.jwks("dev").await, [rig.kid("api")], "its tokens go on verifying");
        set_state(&rig, "api", KeyState::Enabled);
        until("signs again", async || mint(&rig).await == 201).await;
    }
}

#[tokio::test]
async fn a_deleted_key_is_gone_and_so_is_one_that_is_not_understood() {
    let rig = Rig::ready().await;
    rig.authority.delete_key(&rig.keys["second"]);
    until("gone", async || {
        code(&rig, "/v1/tokens/second").await == "key_unavailable"
    })
    .await;
    assert!(rig.jwks("second").await.is_empty());
    rig.authority
        .change_key(&rig.keys["api"], |key| key.announced.algorithm = "ML-DSA-65".into());
    until("left out", async || {
        code(&rig, "/v1/tokens/plain").await == "key_unavailable"
    })
    .await;
    assert!(rig.jwks("dev").await.is_empty());
    assert_eq!(rig.edge.keyring().signs_until(&rig.keys["api"]), 0);
}

async fn until_revoked(rig: &Rig) {
    until("revoked", async || {
        code(rig, "/v1/tokens/plain").await == "edge_revoked"
    })
    .await;
}

/// So many more streams were asked for.
async fn until_asked_again(rig: &Rig, times: usize) -> Vec<WatchRequest> {
    let before = rig.authority.state().watched.len();
    until("asks again", async || {
        rig.authority.state().watched.len() >= before + times
    })
    .await;
    rig.authority.state().watched[before..].to_vec()
}

#[tokio::test]
async fn a_revoked_edge_signs_nothing_and_says_when_it_was_revoked() {
    let rig = Rig::ready().await;
    assert_eq!(mint(&rig).await, 201);
    rig.authority.revoke();
    until_revoked(&rig).await;
    for key in rig.keys.values() {
        assert_eq!(rig.edge.keyring().signs_until(key), 0, "material is forgotten");
    }
    let digest = json!({"digest": format!("sha256:{}", "ab".repeat(32))});
    assert_eq!(
        rig.post("/v1/signatures/release", digest).await.code(),
        (503, "edge_revoked")
    );
    let ready = rig.get("/readyz").await;
    assert!(ready.text.contains("revoked") && ready.status == 503);
    let delegated = rig.authority.state().delegated.len();
    let revoked = rig.authority.state().revision;
    // An authority whose store is older than that knows by it that it was put back (R29).
    for request in until_asked_again(&rig, 2).await {
        assert_eq!((request.revision, request.revision_proof), (revoked, proof(revoked)));
    }
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "edge_revoked");
    let asked = rig.authority.state().delegated.len();
    assert_eq!(asked, delegated, "a revoked edge asks for no keys");
}

// R29, R35: the store is put back to before the revocation, and goes on from there: nobody has taken the edge back.
#[tokio::test]
async fn a_revoked_edge_that_is_let_in_again_signs_nothing() {
    let rig = Rig::ready().await;
    let before = rig.authority.state().revision;
    rig.authority.revoke();
    until_revoked(&rig).await;
    rig.authority.put_back(before);
    for _ in 0..3 {
        set_state(&rig, "second", KeyState::Disabled);
        set_state(&rig, "second", KeyState::Enabled);
        // The streams that it has asked for by now are over: none was followed.
        until_asked_again(&rig, 2).await;
        assert_eq!(code(&rig, "/v1/tokens/plain").await, "edge_revoked");
        assert!(rig.get("/readyz").await.text.contains("revoked"));
    }
    assert!(
        rig.authority.state().revision > before + 2,
        "further than the revocation was"
    );
}

#[tokio::test]
async fn an_edge_that_hears_of_its_revocation_when_it_asks_knows_the_revision_too() {
    let rig = Rig::new("");
    let mut position = Position {
        revision: 7,
        ..Position::default()
    };
    let mut refusal = Status::permission_denied("the edge is revoked");
    node::contract::tell_revision(&mut refusal, 9, &proof(9));
    position.ended(&rig.edge, &refusal);
    assert!(position.revoked && rig.edge.keyring().is_revoked());
    assert_eq!((position.revision, &position.proof), (9, &proof(9)));
    // An older authority does not say it, and another one may be behind.
    position.ended(&rig.edge, &Status::permission_denied("revoked"));
    node::contract::tell_revision(&mut refusal, 8, &proof(8));
    position.ended(&rig.edge, &refusal);
    assert_eq!((position.revision, &position.proof), (9, &proof(9)));
    for revision in [8, 9, 10] {
        let event = WatchEvent {
            revision,
            event: Some(Event::Snapshot(Snapshot::default())),
            ..WatchEvent::default()
        };
        let status = position.apply(&rig.edge, event).unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(rig.edge.keyring().is_revoked(), "{revision}");
    }
}

#[tokio::test]
async fn other_failures_of_the_stream_revoke_nothing() {
    let rig = Rig::new("");
    let mut position = Position::default();
    for code in [
        Code::Unavailable,
        Code::Unauthenticated,
        Code::Internal,
        Code::Cancelled,
        Code::Unimplemented,
    ] {
        position.ended(&rig.edge, &Status::new(code, "no"));
        assert!(!rig.edge.keyring().is_revoked() && !position.revoked, "{code:?}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_resumed_where_it_ended() {
    let rig = Rig::ready().await;
    let (revision, digest) = {
        let state = rig.authority.state();
        (state.revision, state.bundle.clone().unwrap().digest)
    };
    rig.authority.go(true);
    set_state(&rig, "api", KeyState::Disabled);
    assert_eq!(mint(&rig).await, 201, "cut off, it goes on");
    rig.authority.go(false);
    until("what it missed", async || {
        code(&rig, "/v1/tokens/plain").await == "key_disabled"
    })
    .await;
    let last = rig.authority.state().watched.last().cloned().unwrap();
    assert_eq!(
        (last.revision, last.bundle_digest, last.incarnation.as_str()),
        (revision, digest, "0a")
    );
}

#[tokio::test]
async fn while_the_authority_is_away_the_edge_signs_until_its_delegations_end() {
    let rig = Rig::ready().await;
    rig.authority.go(true);
    rig.advance(3_500);
    assert_eq!(mint(&rig).await, 201);
    let digest = json!({"digest": format!("sha256:{}", "ab".repeat(32))});
    assert_eq!(rig.post("/v1/signatures/release", digest.clone()).await.status, 201);
    rig.advance(200);
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "key_unavailable");
    assert_eq!(
        rig.post("/v1/signatures/release", digest).await.code(),
        (503, "key_unavailable")
    );
    rig.edge.wake_delegations();
    until("dropped", async || {
        rig.keys.values().all(|key| rig.edge.keyring().signs_until(key) == 0)
    })
    .await;
    assert_eq!(
        rig.jwks("dev").await,
        [rig.kid("api")],
        "what was signed goes on verifying"
    );
    rig.authority.state().lifetime = 20_000;
    rig.authority.go(false);
    until("signs again", async || mint(&rig).await == 201).await;
}

// R31
#[tokio::test]
async fn a_key_that_is_stopped_does_not_stand_behind_a_bundle() {
    let rig = Rig::ready().await;
    let in_use = rig.edge.bundle_digest();
    // The next bundle waits for a plugin that the authority does not give yet.
    let mut files = files::bundle(&rig.caller, "");
    let plugin = files.iter_mut().find(|(path, _)| path.ends_with(".wasm")).unwrap();
    // A custom section without content, named `x` (core specification, 5.5.3).
    plugin.1.extend([0, 2, 1, b'x']);
    rig.authority.state().objects.wrong = Some(Wrong::Absent);
    rig.authority.publish_named(files);
    until("it is asked for", async || rig.authority.state().objects.files() > 0).await;
    set_state(&rig, "api", KeyState::Disabled);
    let stopped = rig.authority.state().revision;
    until("the stop is acknowledged", async || {
        rig.authority.state().acknowledged.contains(&stopped)
    })
    .await;
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "key_disabled");
    assert_eq!(rig.edge.bundle_digest(), in_use, "the bundle waits still");
    rig.authority.state().objects.wrong = None;
    until("the bundle is in use", async || rig.edge.bundle_digest() != in_use).await;
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "key_disabled");
}

// R31
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_swapped_while_requests_are_in_flight() {
    let rig = std::sync::Arc::new(Rig::ready().await);
    let first = rig.edge.bundle_digest();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let rig = rig.clone();
        callers.spawn(async move {
            for _ in 0..100 {
                assert_eq!(rig.post("/v1/tokens/api", json!({})).await.status, 201);
            }
        });
    }
    let mut files = files::bundle(&rig.caller, "[limits]\nper_caller = \"1000000/s\"");
    rig.authority.publish(files.clone());
    until("swapped", async || rig.edge.bundle_digest() != first).await;
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // A bundle that does not hold together leaves the last good one in use.
    let second = rig.edge.bundle_digest();
    files.push(("profiles/bad.toml".into(), b"kind = \"token\"".to_vec()));
    rig.authority.publish(files);
    until("refused", async || {
        rig.get("/metrics")
            .await
            .text
            .contains("bundles_total{code=\"refused\"} 1")
    })
    .await;
    assert_eq!(rig.edge.bundle_digest(), second);
    assert_eq!(mint(&rig).await, 201);
}

// R31
#[tokio::test]
async fn an_authority_that_answers_nobody_is_not_hammered() {
    let mut rig = Rig::new("");
    rig.authority.go(true);
    rig.run();
    until("tries", async || rig.authority.state().watched.len() >= 4).await;
    let begun = std::time::Instant::now();
    until("tries", async || rig.authority.state().watched.len() >= 6).await;
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    // A good token is not to be thrown away for that.
    let refused = rig.post("/v1/tokens/plain", json!({})).await;
    assert_eq!(refused.code(), (503, "not_ready"));
    assert!(refused.headers.contains_key("retry-after"));
}

// R29
#[tokio::test]
async fn a_revision_is_kept_with_the_proof_that_came_with_it() {
    let rig = Rig::new("");
    let mut position = Position::default();
    for (revision, proof) in [(5, b"five"), (9, b"nine"), (7, b"late")] {
        let event = WatchEvent {
            revision,
            authority_time_ms: 0,
            floor: 0,
            revision_proof: proof.to_vec(),
            event: Some(Event::Heartbeat(node::contract::Heartbeat {})),
        };
        position.apply(&rig.edge, event).unwrap();
    }
    assert_eq!((position.revision, position.proof.as_slice()), (9, &b"nine"[..]));
}

mod leases;
