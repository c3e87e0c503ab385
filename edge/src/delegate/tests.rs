//! Keys are asked for, renewed and refused as the contract says.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::testing::authority::Lie;
use crate::testing::{Rig, now, until};

fn known(rig: &Rig, profile: &str) -> Arc<LogicalKey> {
    let world = rig.edge.world();
    let served = world.profile(profile).unwrap();
    rig.edge.keyring().resolve(&served.profile).unwrap()
}

fn asked(rig: &Rig, key: &str) -> usize {
    let state = rig.authority.state();
    state.delegated.iter().filter(|id| **id == rig.keys[key]).count()
}

async fn kid(rig: &Rig) -> String {
    let answer = rig.post("/v1/tokens/plain", json!({})).await;
    answer.body["kid"].as_str().unwrap_or_default().to_owned()
}

// R5
#[tokio::test]
async fn an_own_delegation_must_be_of_this_key_edge_process_and_root() {
    let rig = Rig::ready().await;
    let key = known(&rig, "release");
    let before = rig.edge.keyring().signs_until(key.facts.id());
    for (lie, why) in [
        (Lie::OtherEdge, "names another"),
        (Lie::OtherIncarnation, "names another"),
        (Lie::OtherLogicalKey, "names another"),
        (Lie::OtherTenant, "names another"),
        (Lie::OtherPublicKey, "another public key"),
        (Lie::ForeignRoot, "does not lead to a known root"),
        (Lie::SharedForOwn, "a shared key came"),
    ] {
        rig.authority.state().lie = Some(lie);
        let failure = ask::delegation(&rig.edge, &rig.uplink, &key).await.unwrap_err();
        assert!(failure.to_string().contains(why), "{lie:?}: {failure}");
    }
    assert_eq!(
        rig.edge.keyring().signs_until(key.facts.id()),
        before,
        "the good one stays"
    );
    let digest = json!({"digest": format!("sha256:{}", "ab".repeat(32))});
    assert_eq!(rig.post("/v1/signatures/release", digest).await.status, 201);
}

#[tokio::test]
async fn a_shared_delegation_must_be_what_it_says() {
    let rig = Rig::ready().await;
    let key = known(&rig, "plain");
    for (lie, why) in [
        (Lie::OwnForShared, "a certificate came"),
        (Lie::SharedTwice, "came twice"),
        (Lie::SharedUnderAnotherName, "is another key"),
        (Lie::SealedForOtherEdge, "was not sealed to this process"),
        (Lie::SealedForOtherProcess, "was not sealed to this process"),
        (Lie::SealedAsOtherKey, "was not sealed to this process"),
        (Lie::SealedAsOtherVersion, "was not sealed to this process"),
        (Lie::SealedUntilLater, "was not sealed to this process"),
        (Lie::SealedToOtherReceiver, "was not sealed to this process"),
    ] {
        rig.authority.state().lie = Some(lie);
        let failure = ask::delegation(&rig.edge, &rig.uplink, &key).await.unwrap_err();
        assert!(failure.to_string().contains(why), "{lie:?}: {failure}");
        assert_eq!(kid(&rig).await, rig.kid("api"), "the good one stays");
    }
    for (lie, why) in [
        (Lie::Ended, "has ended already"),
        (Lie::SharedEmpty, "nothing in the delegation signs"),
    ] {
        rig.authority.state().lie = Some(lie);
        let failure = ask::delegation(&rig.edge, &rig.uplink, &key).await.unwrap_err();
        assert!(failure.to_string().contains(why), "{lie:?}: {failure}");
        assert_eq!(
            rig.post("/v1/tokens/plain", json!({})).await.code(),
            (503, "key_unavailable")
        );
    }
}

/// An authority whose answers are of no use is asked with backoff, not each second and not in a loop.
#[tokio::test]
async fn useless_answers_back_off() {
    let rig = Rig::ready().await;
    let before = asked(&rig, "api");
    rig.authority.state().lie = Some(Lie::SharedEmpty);
    rig.authority.change_key(&rig.keys["api"], |key| {
        key.add_version(now(), now() + 50_000, now() + 90_000);
    });
    until("asked again", async || asked(&rig, "api") >= before + 3).await;
    let (begun, count) = (std::time::Instant::now(), asked(&rig, "api"));
    for _ in 0..50 {
        rig.edge.wake_delegations();
        tokio::task::yield_now().await;
    }
    until("and again", async || asked(&rig, "api") > count).await;
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
    rig.authority.state().lie = None;
    until("signs again", async || {
        rig.post("/v1/tokens/plain", json!({})).await.status == 201
    })
    .await;
}

#[tokio::test]
async fn a_delegation_is_renewed_at_half_of_its_life() {
    let mut rig = Rig::new("");
    rig.authority.state().lifetime = 3;
    rig.run();
    rig.until_ready().await;
    let first = rig.edge.keyring().signs_until(&rig.keys["release"]);
    until("renewed", async || {
        asked(&rig, "release") >= 2 && asked(&rig, "api") >= 2
    })
    .await;
    assert!(now() <= first, "before it ended");
    until("in use", async || {
        rig.edge.keyring().signs_until(&rig.keys["release"]) > first
    })
    .await;
}

// R34: the authority's clock was hours ahead and is put right.
#[tokio::test]
async fn what_was_delegated_at_a_time_that_was_taken_back_is_asked_for_anew() {
    let mut rig = Rig::new("");
    rig.authority.state().lifetime = 4 * 3600;
    rig.authority.state().ahead = 2 * 3600;
    rig.run();
    rig.until_ready().await;
    let counts = ["release", "api"].map(|key| asked(&rig, key));
    rig.authority.state().ahead = 0;
    rig.edge.hear(now() * 1_000, rig.edge.boot_ms());
    until("asked for anew", async || {
        asked(&rig, "release") > counts[0] && asked(&rig, "api") > counts[1]
    })
    .await;
    until("signs again", async || {
        rig.post("/v1/tokens/plain", json!({})).await.status == 201
    })
    .await;
}

#[tokio::test]
async fn keys_that_no_profile_names_are_not_asked_for() {
    let mut rig = Rig::new("");
    let idle = crate::testing::pki::Key::shared("alias/idle", crate::testing::files::TENANT, "ES256".parse().unwrap());
    let idle = rig.authority.add_key(idle);
    rig.run();
    rig.until_ready().await;
    assert!(!rig.authority.state().delegated.contains(&idle));
}

#[tokio::test]
async fn a_new_version_is_fetched_at_once_and_signs_when_its_time_comes() {
    let rig = Rig::ready().await;
    let first = rig.kid("api");
    let before = asked(&rig, "api");
    let mut second = String::new();
    rig.authority.change_key(&rig.keys["api"], |key| {
        second = key.add_version(now(), now() + 50_000, now() + 90_000);
    });
    until("fetched", async || asked(&rig, "api") > before).await;
    until("published", async || {
        rig.jwks("dev").await == [first.clone(), second.clone()]
    })
    .await;
    assert_eq!(kid(&rig).await, first, "a standby signs nothing");
    // A forced rotation: the same versions, other times. The delegation in hand is enough.
    let asked_before = asked(&rig, "api");
    rig.authority.change_key(&rig.keys["api"], |key| {
        key.announced.versions[0].sign_until = now();
        key.announced.versions[1].sign_from = now();
    });
    until("switched", async || kid(&rig).await == second).await;
    assert_eq!(asked(&rig, "api"), asked_before);
    assert_eq!(rig.jwks("dev").await, [first, second]);
}

#[tokio::test]
async fn a_compromised_version_leaves_at_once() {
    let rig = Rig::ready().await;
    let first = rig.kid("api");
    let token = rig.post("/v1/tokens/plain", json!({})).await.body["token"].clone();
    let mut second = String::new();
    rig.authority.change_key(&rig.keys["api"], |key| {
        key.announced.versions[0].compromised = true;
        second = key.add_version(now() - 1, now() - 1, now() + 90_000);
    });
    until("gone", async || rig.jwks("dev").await == [second.clone()]).await;
    until("the next signs", async || kid(&rig).await == second).await;
    let verified = rig.post("/v1/verify", json!({"token": token})).await;
    assert_eq!(
        (verified.body["valid"].as_bool(), verified.body["code"].as_str()),
        (Some(false), Some("revoked"))
    );
    assert_ne!(first, second);
}

/// After a compromise nothing signs before the next version's time: callers and `/readyz` are told when.
#[tokio::test]
async fn what_waits_for_verifiers_says_for_how_long() {
    let rig = Rig::ready().await;
    // By the edge's clock, which is late by as much as the authority's word was under way.
    let asked = rig.edge.now();
    let ready = rig.get("/readyz").await;
    assert_eq!(ready.body["status"], "ready");
    let left = ready.body["seconds_left"][&rig.keys["api"]].as_u64().unwrap();
    assert!((asked + 3500..=now() + 3600).contains(&(asked + left)), "{left}");
    rig.authority.change_key(&rig.keys["api"], |key| {
        key.announced.versions[0].compromised = true;
        key.add_version(now(), now() + 500, now() + 90_000);
    });
    until("told when", async || {
        let answer = rig.post("/v1/tokens/plain", json!({})).await;
        let wait = answer
            .headers
            .get("retry-after")
            .map(|wait| wait.to_str().unwrap().parse::<u64>());
        answer.code() == (503, "key_unavailable") && wait.is_some_and(|wait| (490..=500).contains(&wait.unwrap()))
    })
    .await;
    let ready = rig.get("/readyz").await;
    assert_eq!(ready.status, 503);
    let waiting = ready.body["waiting_for"].to_string();
    assert!(
        waiting.contains("signs in 4") || waiting.contains("signs in 500"),
        "{waiting}"
    );
    let metrics = rig.get("/metrics").await.text;
    let line = format!("signet_edge_delegation_seconds_left{{key=\"{}\"}} 3", rig.keys["api"]);
    assert!(metrics.contains(&line) && metrics.ends_with("# EOF\n"), "{metrics}");
}
