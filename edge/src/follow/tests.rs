//! The edge against an authority that changes its mind, goes away and comes back.

use std::time::Duration;

use node::contract::KeyState;
use serde_json::json;

use super::*;
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

#[tokio::test]
async fn a_revoked_edge_signs_nothing_and_asks_for_a_snapshot() {
    let rig = Rig::ready().await;
    assert_eq!(mint(&rig).await, 201);
    rig.authority.revoke();
    until("revoked", async || {
        code(&rig, "/v1/tokens/plain").await == "edge_revoked"
    })
    .await;
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
    let watched = rig.authority.state().watched.len();
    until("asks again", async || {
        rig.authority.state().watched.len() >= watched + 2
    })
    .await;
    let delegated = {
        let state = rig.authority.state();
        assert!(state.watched[watched..].iter().all(|request| request.revision == 0));
        state.delegated.len()
    };
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "edge_revoked");
    let asked = rig.authority.state().delegated.len();
    assert_eq!(asked, delegated, "a revoked edge asks for no keys");
}

#[tokio::test]
async fn an_edge_that_is_taken_back_signs_again() {
    let rig = Rig::ready().await;
    rig.authority.revoke();
    until("revoked", async || {
        code(&rig, "/v1/tokens/plain").await == "edge_revoked"
    })
    .await;
    rig.authority.take_back();
    until("signs again", async || mint(&rig).await == 201).await;
    assert!(!rig.edge.keyring().is_revoked());
}

/// The store is put back to before the revocation: nobody has taken the edge back (R29, R35).
#[tokio::test]
async fn a_snapshot_of_an_older_state_does_not_take_a_revoked_edge_back() {
    let rig = Rig::ready().await;
    let before = rig.authority.state().revision;
    rig.authority.revoke();
    until("revoked", async || {
        code(&rig, "/v1/tokens/plain").await == "edge_revoked"
    })
    .await;
    let watched = rig.authority.state().watched.len();
    rig.authority.put_back(before);
    until("a stream stands", async || {
        rig.authority.state().watched.len() > watched && rig.get("/metrics").await.text.contains("edge_connected 1")
    })
    .await;
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "edge_revoked");
    rig.authority.delete_key(&rig.keys["second"]);
    until("it follows", async || rig.jwks("second").await.is_empty()).await;
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "edge_revoked");
}

#[tokio::test]
async fn revocation_ends_the_stream_and_a_later_event_of_it_changes_nothing() {
    let rig = Rig::new("");
    let mut position = Position {
        revision: 7,
        proof: Vec::new(),
        revoked_at: None,
        floor: 0,
    };
    let event = |revision, event| WatchEvent {
        revision,
        authority_time_ms: 0,
        floor: 0,
        revision_proof: Vec::new(),
        event: Some(event),
    };
    let revoked = Event::Revoked(node::contract::Revoked {
        reason: "stolen".into(),
    });
    let status = position.apply(&rig.edge, event(7, revoked)).unwrap_err();
    position.ended(&rig.edge, &status);
    assert_eq!(position.revoked_at, Some(7));
    assert!(rig.edge.keyring().is_revoked());
    // Being told again later does not move the mark that a snapshot has to pass.
    position.revision = 9;
    position.ended(&rig.edge, &Status::permission_denied("revoked"));
    assert_eq!(position.revoked_at, Some(7));
    for (revision, still) in [(6, true), (7, true), (8, false)] {
        position
            .apply(&rig.edge, event(revision, Event::Snapshot(Snapshot::default())))
            .unwrap();
        assert_eq!(rig.edge.keyring().is_revoked(), still, "{revision}");
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
        assert!(
            !rig.edge.keyring().is_revoked() && position.revoked_at.is_none(),
            "{code:?}"
        );
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
    let mut position = Position::default();
    let bundle = rig.authority.state().bundle.clone().unwrap();
    let digest = rig.edge.bundle_digest();
    // Nothing here waits, and the compiler holds it: `apply` is no async function.
    let event = WatchEvent {
        revision: 99,
        authority_time_ms: 0,
        floor: 0,
        revision_proof: Vec::new(),
        event: Some(Event::Bundle(bundle)),
    };
    position.apply(&rig.edge, event).unwrap();
    assert_eq!((position.revision, rig.edge.bundle_digest()), (99, digest));
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
    assert_eq!(
        code(&rig, "/v1/tokens/plain").await,
        "unknown_issuer",
        "nobody is believed without a bundle"
    );
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
