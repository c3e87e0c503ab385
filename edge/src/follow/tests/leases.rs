//! Leases, stops and time, as an edge lives through them.

use node::contract::{self, Stops};
use serde_json::Value;

use super::*;
use crate::testing::now;

fn tell(rig: &Rig, event: Event) {
    let mut state = rig.authority.state();
    state.revision += 1;
    let revision = state.revision;
    state.tell(revision, event);
}

/// `iat` of a new token.
async fn issued_at(rig: &Rig) -> u64 {
    let answer = rig.post("/v1/tokens/plain", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let token = answer.body["token"].as_str().unwrap().to_owned();
    let payload = signing::encoding::from_base64url(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["iat"]
        .as_u64()
        .unwrap()
}

// R34, R35
#[tokio::test]
async fn an_edge_that_is_cut_off_stops_when_its_leases_end() {
    let mut rig = Rig::new("");
    rig.authority.state().lease_ms = 5_000;
    rig.run();
    rig.until_ready().await;
    rig.authority.go(true);
    until("cut off", async || !rig.edge.is_connected()).await;
    assert_eq!(mint(&rig).await, 201, "cut off, it goes on");
    rig.advance(6);
    let refused = rig.post("/v1/tokens/plain", json!({})).await;
    assert_eq!(refused.code(), (503, "key_unavailable"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.text.contains("lease"), "{}", refused.text);
    let ready = rig.get("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.body["authority"]["connected"]),
        (503, &json!(false))
    );
    assert!(ready.text.contains("a lease of key"), "{}", ready.text);
    rig.authority.go(false);
    until("signs again", async || mint(&rig).await == 201).await;
}

// R35
#[tokio::test]
async fn what_was_applied_is_acknowledged_and_a_key_that_is_refused_ends_at_once() {
    let rig = Rig::ready().await;
    set_state(&rig, "api", KeyState::Disabled);
    let revision = rig.authority.state().revision;
    until("acknowledged", async || {
        rig.authority.state().acknowledged.contains(&revision)
    })
    .await;
    assert_eq!(code(&rig, "/v1/tokens/plain").await, "key_disabled", "by then it holds");
    // The authority says no to a renewal: the lease that runs ends too.
    rig.authority.state().lease_ms = 0;
    rig.advance(30);
    until("refused", async || {
        code(&rig, "/v1/tokens/second").await == "key_unavailable"
    })
    .await;
}

// R6, R35
#[tokio::test]
async fn stopped_callers_tenants_and_delegations_get_nothing_until_they_are_resumed() {
    let rig = Rig::ready().await;
    let caller = "oidc:https://callers.example#dev:alice".to_owned();
    let api = rig.keys["api"].clone();
    let stops = [
        (
            Stops {
                callers: vec![caller],
                ..Stops::default()
            },
            (403, "forbidden"),
            json!({"everything": false, "tenants": 0, "callers": 1, "keys": 0}),
        ),
        (
            Stops {
                tenants: vec![files::TENANT.into()],
                ..Stops::default()
            },
            (403, "forbidden"),
            json!({"everything": false, "tenants": 1, "callers": 0, "keys": 0}),
        ),
        (
            Stops {
                everything: true,
                ..Stops::default()
            },
            (403, "forbidden"),
            json!({"everything": true, "tenants": 0, "callers": 0, "keys": 0}),
        ),
        (
            Stops {
                key_ids: vec![api],
                ..Stops::default()
            },
            (409, "key_disabled"),
            json!({"everything": false, "tenants": 0, "callers": 0, "keys": 1}),
        ),
    ];
    for (stops, refusal, shown) in stops {
        tell(&rig, Event::Stops(stops));
        until("stopped", async || {
            rig.post("/v1/tokens/plain", json!({})).await.code() == refusal
        })
        .await;
        let ready = rig.get("/readyz").await;
        assert_eq!(
            (ready.status.as_u16(), &ready.body["stopped"]),
            (200, &shown),
            "an edge that obeys is well, and says why it signs nothing"
        );
        let record = rig.records().pop().unwrap();
        let code = refusal.1.into();
        assert_eq!(record.outcome, audit::record::Outcome::Refused { code });
        assert_eq!(record.caller, "oidc:https://callers.example#dev:alice");
        assert_eq!(
            rig.jwks("dev").await,
            [rig.kid("api")],
            "what it signed goes on verifying"
        );
        tell(&rig, Event::Stops(Stops::default()));
        until("resumed", async || mint(&rig).await == 201).await;
        assert_eq!(rig.get("/readyz").await.body["stopped"], Value::Null);
    }
}

// R35
#[tokio::test]
async fn a_raised_floor_withdraws_what_the_bundle_before_decided() {
    let rig = Rig::ready().await;
    let first = rig.edge.world().serial();
    // Nothing newer came: the bundle in use is the one.
    rig.authority.state().floor = 11;
    tell(&rig, Event::Heartbeat(node::contract::Heartbeat {}));
    let revision = rig.authority.state().revision;
    until("acknowledged", async || {
        rig.authority.state().acknowledged.contains(&revision)
    })
    .await;
    assert!(rig.edge.keyring().takes_bundle(first));
    assert_eq!(mint(&rig).await, 201);
    let mut newer = files::bundle(&rig.caller, "[limits]\nper_caller = \"1000000/s\"");
    rig.authority.state().floor = 12;
    rig.authority.publish(newer.clone());
    until("raised", async || !rig.edge.keyring().takes_bundle(first)).await;
    until("the new one is in use", async || mint(&rig).await == 201).await;
    assert!(rig.edge.world().serial() > first);
    // One that cannot be used leaves nothing to sign by.
    newer.push(("profiles/bad.toml".into(), b"kind = \"token\"".to_vec()));
    rig.authority.state().floor = 13;
    rig.authority.publish(newer);
    until("nothing is signed", async || {
        rig.post("/v1/tokens/plain", json!({})).await.code() == (503, "not_ready")
    })
    .await;
}

#[tokio::test]
async fn who_asks_while_the_bundle_that_must_judge_is_taken_into_use_waits_for_it() {
    let rig = Rig::ready().await;
    let first = rig.edge.world().serial();
    let newer = contract::Bundle {
        digest: "newer".into(),
        files: files::bundle(&rig.caller, "[limits]\nper_caller = \"1000000/s\"")
            .into_iter()
            .map(|(path, content)| contract::File {
                path,
                content,
                ..contract::File::default()
            })
            .collect(),
        ..contract::Bundle::default()
    };
    rig.edge.offer_bundle(newer.clone());
    rig.edge.demand_newest_bundle();
    assert!(!rig.edge.keyring().takes_bundle(first));
    let answer = rig.post("/v1/tokens/plain", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert!(rig.edge.world().serial() > first);
    // One that cannot be used is not waited for: there is nothing to come.
    let mut bad = newer;
    bad.files.push(contract::File {
        path: "profiles/bad.toml".into(),
        content: b"kind = \"token\"".to_vec(),
        ..contract::File::default()
    });
    rig.edge.offer_bundle(bad);
    rig.edge.demand_newest_bundle();
    for _ in 0..60 {
        assert_eq!(rig.post("/v1/tokens/plain", json!({})).await.code(), (503, "not_ready"));
    }
}

// R34
#[tokio::test]
async fn steps_of_the_wall_clock_change_neither_leases_nor_tokens() {
    let rig = Rig::ready().await;
    for step in [3_600, -7_200] {
        rig.edge.clock().step_wall(step);
        assert!(issued_at(&rig).await.abs_diff(now()) <= 5, "{step}");
    }
    // An authority that is an hour ahead of this machine is right.
    let mut rig = Rig::new("");
    rig.authority.state().ahead = 3_600;
    rig.run();
    until("it goes by the authority's time", async || {
        rig.edge.now().abs_diff(now() + 3_600) <= 5
    })
    .await;
}

#[tokio::test]
async fn a_delegation_is_shown_as_stopped_and_not_at_all_once_its_key_is_compromised() {
    let rig = Rig::ready().await;
    let digest = json!({"digest": format!("sha256:{}", "ab".repeat(32))});
    let signed = rig.post("/v1/signatures/release", digest).await.body;
    let path = format!("/v1/delegations/{}", signed["kid"].as_str().unwrap());
    assert_eq!(rig.get(&path).await.body["state"], "active");
    set_state(&rig, "release", KeyState::Disabled);
    until("stopped", async || rig.get(&path).await.body["state"] == "stopped").await;
    rig.authority
        .change_key(&rig.keys["release"], |key| key.announced.compromised = true);
    until("gone", async || {
        rig.get(&path).await.code() == (404, "unknown_delegation")
    })
    .await;
}

#[tokio::test]
async fn a_shared_key_is_shown_as_active_stopped_and_gone_as_well() {
    let rig = Rig::ready().await;
    let path = format!("/v1/delegations/{}", rig.kid("api"));
    let shown = rig.get(&path).await.body;
    assert_eq!(
        (&shown["state"], &shown["certificates"]),
        (&json!("active"), &json!([]))
    );
    assert!(
        shown["public_key"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN PUBLIC KEY"),
        "{shown}"
    );
    let id = rig.keys["api"].clone();
    tell(
        &rig,
        Event::Stops(Stops {
            everything: true,
            ..Stops::default()
        }),
    );
    until("stopped", async || rig.get(&path).await.body["state"] == "stopped").await;
    tell(
        &rig,
        Event::Stops(Stops {
            key_ids: vec![id.clone()],
            ..Stops::default()
        }),
    );
    until("its tokens go on verifying", async || {
        rig.get(&path).await.body["state"] == "stopped" && mint(&rig).await == 409
    })
    .await;
    tell(&rig, Event::Stops(Stops::default()));
    until("given back", async || rig.get(&path).await.body["state"] == "active").await;
    set_state(&rig, "api", KeyState::Disabled);
    until("disabled", async || rig.get(&path).await.body["state"] == "stopped").await;
    rig.authority
        .change_key(&id, |key| key.announced.versions[0].compromised = true);
    until("gone", async || {
        rig.get(&path).await.code() == (404, "unknown_delegation")
    })
    .await;
}

// R35
#[tokio::test]
async fn an_edge_names_the_newest_bundle_it_was_offered_and_none_where_that_failed() {
    let rig = Rig::new("");
    // Nothing takes bundles into use here: the one that came is still loading.
    let following = tokio::spawn(follow(rig.edge.clone(), rig.uplink.clone()));
    let offered = rig.authority.state().bundle.clone().unwrap().digest;
    until("offered", async || rig.edge.offered_digest() == offered).await;
    let seen = rig.authority.state().watched.len();
    rig.authority.go(true);
    rig.authority.go(false);
    until("asks again", async || rig.authority.state().watched.len() > seen).await;
    let last = rig.authority.state().watched.last().cloned().unwrap();
    assert_eq!((last.bundle_digest, rig.edge.bundle_digest()), (offered, String::new()));
    following.abort();

    let rig = Rig::ready().await;
    let (first, bundle) = {
        let state = rig.authority.state();
        (state.revision, state.bundle.clone().unwrap())
    };
    // The newest one fails, and nothing older counts.
    let mut bad = files::bundle(&rig.caller, "");
    bad.push(("profiles/bad.toml".into(), b"kind = \"token\"".to_vec()));
    rig.authority.state().floor = 11;
    rig.authority.publish(bad);
    until("nothing is signed", async || {
        rig.post("/v1/tokens/plain", json!({})).await.code() == (503, "not_ready")
    })
    .await;
    until("it has failed", async || rig.edge.offered_digest().is_empty()).await;
    // The operator goes back to the one that the edge has in use.
    assert_eq!(rig.edge.bundle_digest(), bundle.digest);
    rig.authority.state().bundle = Some(bundle);
    rig.authority.put_back(first);
    until("signs again", async || mint(&rig).await == 201).await;
}

#[tokio::test]
async fn an_event_that_is_not_understood_ends_the_stream_and_is_not_acknowledged() {
    let rig = Rig::new("");
    let mut position = Position::default();
    let unknown = WatchEvent {
        revision: 9,
        authority_time_ms: 0,
        floor: 9,
        revision_proof: Vec::new(),
        event: None,
    };
    let ended = position.apply(&rig.edge, unknown).unwrap_err();
    assert_eq!(ended.code(), Code::Unimplemented);
    assert_eq!((position.revision, position.floor), (0, 0));
    position.ended(&rig.edge, &ended);
    assert!(!rig.edge.keyring().is_revoked());
}

#[tokio::test]
async fn an_older_revocation_list_does_not_replace_a_newer_one_before_that_ends() {
    let rig = Rig::ready().await;
    let list = |revision: u64, iat: u64, exp: u64| signing::revocation::RevocationList {
        iss: "signet://example.org".into(),
        iat,
        exp,
        revision,
        ..Default::default()
    };
    let sign = |list: signing::revocation::RevocationList| rig.authority.pki.revocations(&list);
    let held = || (rig.edge.revocations().list.revision, rig.edge.revocations().list.iat);
    let now = rig.edge.now();
    for (offered, kept) in [
        (list(7, now - 20, now + 600), (7, now - 20)),
        (list(6, now, now + 600), (7, now - 20)),
        (list(7, now - 30, now + 600), (7, now - 20)),
        (list(7, now - 10, now + 600), (7, now - 10)),
        (list(8, now - 15, now + 60), (8, now - 15)),
        (list(7, now, now + 600), (8, now - 15)),
    ] {
        rig.edge.set_revocations(sign(offered));
        assert_eq!(held(), kept);
    }
    rig.advance(61);
    rig.edge.set_revocations(sign(list(7, now, now + 600)));
    assert_eq!(held(), (7, now), "the newer one has ended");
}
