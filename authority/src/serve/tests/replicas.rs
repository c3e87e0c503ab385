//! Two authorities on one store, in one process: each wired on its own, with a view of its own.

use std::time::{Duration, Instant};

use node::contract::WatchRequest;
use node::contract::watch_event::Event;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::StreamExt;

use crate::init;
use crate::keys::KeyRecord;
use crate::paths;
use crate::seal::Seal;
use crate::sealed::Change;
use crate::serve::Wired;
use crate::serve::others::look as look_at_others;
use crate::serve::upkeep::look;
use crate::testing::{Bench, config, pool};

// R29: what one finds out, and what it is told to forget, every other one knows.
#[tokio::test]
async fn the_seal_and_the_admin_token_are_those_of_all() {
    let bench = Bench::new().await;
    let vault = &bench.wired.vault;
    let (here, there) = (Seal::open(), Seal::open());
    let mut headers = http::HeaderMap::new();
    let mut shows = |token: &str| {
        let bearer = format!("Bearer {token}").parse().unwrap();
        headers.insert(http::header::AUTHORIZATION, bearer);
        bench.wired.token.verify(&headers).is_ok()
    };
    let mut seen = 0;
    let fresh = init::new_admin_token(vault, &bench.clock()).await.unwrap();
    assert!(!shows(&fresh));
    look_at_others(vault, &here, &bench.wired.token, &mut seen)
        .await
        .unwrap();
    assert!(shows(&fresh));
    let newest = bench.parts.store.revision().await.unwrap();
    assert!(seen == newest && !here.is_closed());
    // The store beneath is put back: this process has seen more of it.
    seen = newest + 5;
    look_at_others(vault, &here, &bench.wired.token, &mut seen)
        .await
        .unwrap();
    let reason = here.reason().unwrap().to_string();
    assert!(
        reason.contains(&format!("this process has seen revision {}", newest + 5)),
        "{reason}"
    );
    look_at_others(vault, &there, &bench.wired.token, &mut 0).await.unwrap();
    assert_eq!(there.reason(), here.reason(), "another authority is sealed with it");
}

// R35: an edge that comes from an authority whose view is newer is told nothing that it knows better.
#[tokio::test]
async fn an_edge_from_another_authority_is_told_nothing_older() {
    let bench = Bench::new().await;
    let key = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let edge = bench.edge("edge-1").await;
    let (_stop, stopped) = watch::channel(false);
    let (other, commits) = Wired::join(&config(bench.dir()), &bench.parts, pool(), stopped)
        .await
        .unwrap();
    // It knows what was until here, and does not follow yet.
    other.world.reload().await;
    bench.verb("DisableKey", json!({"KeyId": key})).await.unwrap();
    bench.settle().await;
    let newest = bench.wired.world.revision();
    assert!(other.world.revision() < newest);
    let request = WatchRequest {
        revision: newest,
        bundle_digest: String::new(),
        incarnation: String::new(),
        revision_proof: Vec::new(),
        ..WatchRequest::default()
    };
    let mut stream = other
        .watches
        .open(edge, request, Box::pin(tokio_stream::pending()))
        .await
        .unwrap();
    let mut heard = Vec::new();
    for _ in 0..2 {
        let event = timeout(Duration::from_secs(10), stream.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        heard.push((event.revision, matches!(event.event, Some(Event::Heartbeat(_)))));
    }
    assert_eq!(
        heard,
        [(newest, true), (newest, true)],
        "with a key that is disabled as it was before"
    );
    // When it has caught up, what comes next is told.
    let follow = tokio::spawn(other.follow(commits));
    bench.verb("EnableKey", json!({"KeyId": key})).await.unwrap();
    loop {
        let event = timeout(Duration::from_secs(10), stream.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(event.revision >= newest);
        if matches!(event.event, Some(Event::Key(_))) {
            break;
        }
    }
    follow.abort();
}

/// The fence aside: two that both believe that they lead, at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_rotate_a_key_once() {
    let bench = Bench::new().await;
    let shared = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let raw = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let enable = json!({"KeyId": raw, "RotationPeriodInDays": 90});
    bench.verb("EnableKeyRotation", enable).await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let (other, commits) = Wired::join(&config(bench.dir()), &bench.parts, pool(), stopped)
        .await
        .unwrap();
    let follow = tokio::spawn(other.follow(commits));
    let versions = || async {
        let path = paths::key(&bench.tenant(), &shared);
        let held = bench.wired.vault.get::<KeyRecord>(&path).await.unwrap().unwrap();
        held.value
            .versions
            .iter()
            .map(|version| version.number)
            .collect::<Vec<_>>()
    };
    let before = versions().await;
    bench.pass(91 * 86_400);
    let mut grown = other.world.grown();
    let newest = bench.parts.store.revision().await.unwrap();
    grown.wait_for(|revision| *revision >= newest).await.unwrap();
    for _ in 0..3 {
        tokio::join!(
            look(&bench.wired.keys, &bench.wired.world, &bench.wired.clock),
            look(&other.keys, &other.world, &other.clock),
        );
    }
    let rotations = bench.verb("ListKeyRotations", json!({"KeyId": raw})).await.unwrap();
    assert_eq!(rotations["Rotations"].as_array().unwrap().len(), 1, "{rotations}");
    // 91 days are beyond every version: one goes on and one stands by, whoever made it, and none twice.
    let after = versions().await;
    let newest_before = before.iter().max().unwrap();
    let made: Vec<_> = after.iter().filter(|number| *number > newest_before).collect();
    let alone = 2;
    assert!(made.len() <= alone && !made.is_empty(), "{before:?} {after:?}");
    bench.settle().await;
    look(&bench.wired.keys, &bench.wired.world, &bench.wired.clock).await;
    assert_eq!(versions().await, after, "nothing is due any more");
    follow.abort();
}

/// What a start costs with very many keys, printed: `SIGNET_KEYS=100000 cargo nextest run -E 'test(many_keys)' --success-output immediate`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_do_not_hold_up_a_start() {
    let count: usize = std::env::var("SIGNET_KEYS").map_or(2000, |count| count.parse().unwrap());
    let bench = Bench::new().await;
    let first = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let tenant = bench.tenant();
    let held = bench
        .wired
        .vault
        .get::<KeyRecord>(&paths::key(&tenant, &first))
        .await
        .unwrap()
        .unwrap();
    for batch in (1..count).collect::<Vec<_>>().chunks(500) {
        let mut change = Change::new();
        for _ in batch {
            let mut record = held.value.clone();
            record.id = uuid::Uuid::new_v4().to_string();
            change = change.create(paths::key(&tenant, &record.row()), &record);
        }
        bench.wired.vault.commit(change).await.unwrap();
    }
    let (clock, hand) = (bench.clock(), bench.hand.clone());
    let dir = bench.end().await;
    let begun = Instant::now();
    let parts = crate::testing::parts(&dir, clock).await;
    let (_stop, stopped) = watch::channel(false);
    let (wired, commits) = Wired::join(&config(&dir), &parts, pool(), stopped).await.unwrap();
    let used = json!({"KeyId": first, "Plaintext": "c2VjcmV0"}).to_string();
    wired
        .keys
        .call(&tenant, &crate::testing::Open, "Encrypt", used.as_bytes())
        .await
        .unwrap();
    let serving = begun.elapsed();
    let follow = tokio::spawn(wired.follow(commits));
    wired.world.grown().wait_for(|revision| *revision > 0).await.unwrap();
    eprintln!(
        "{count} keys: a key is used {serving:?} after the start, edges are told of all after {:?}",
        begun.elapsed()
    );
    assert_eq!(wired.world.key_count(), count);
    follow.abort();
    drop(hand);
}
