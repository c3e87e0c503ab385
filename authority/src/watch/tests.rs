use serde_json::json;
use tokio_stream::StreamExt;

use super::*;
use crate::edges::Edges;
use crate::testing::{Bench, DELEGATE};

async fn open(bench: &Bench, id: &str, revision: u64, digest: &str) -> EventStream {
    let edge = bench.edge(id).await;
    bench.settle().await;
    watch(bench, edge, revision, digest).await
}

async fn watch(bench: &Bench, edge: KnownEdge, revision: u64, digest: &str) -> EventStream {
    let request = WatchRequest {
        revision,
        bundle_digest: digest.to_owned(),
        incarnation: String::new(),
        revision_proof: Vec::new(),
        ..WatchRequest::default()
    };
    bench.wired.watches.open(edge, request, silent()).await.unwrap()
}

/// An edge that says nothing more.
fn silent() -> Messages {
    Box::pin(tokio_stream::pending())
}

async fn next(stream: &mut EventStream) -> Result<WatchEvent, Status> {
    timeout(Duration::from_secs(10), stream.next())
        .await
        .expect("nothing came")
        .expect("the stream ended")
}

/// The next event that is no heartbeat.
async fn event(stream: &mut EventStream) -> (u64, Event) {
    loop {
        let next = next(stream).await.unwrap();
        match next.event.unwrap() {
            Event::Heartbeat(_) | Event::Stops(_) | Event::Revocations(_) => {}
            event => return (next.revision, event),
        }
    }
}

fn key(event: Event) -> Key {
    match event {
        Event::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

fn snapshot(event: Event) -> Snapshot {
    match event {
        Event::Snapshot(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_edge_gets_a_snapshot_then_changes() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    bench.apply(DELEGATE).await;
    let mut stream = open(&bench, "edge-1", 0, "").await;
    let (revision, first) = event(&mut stream).await;
    let first = snapshot(first);
    assert_eq!(revision, bench.wired.world.revision());
    assert_eq!(first.keys.len(), 1);
    assert_eq!(first.keys[0].aliases, ["alias/token"]);
    assert_eq!(first.keys[0].versions.len(), 2);
    assert!(first.keys[0].tags.is_empty(), "reserved tags are not told");
    assert_eq!(first.delegation_roots.len(), 1);
    assert_eq!(first.bundle.unwrap().files.len(), 4);
    let began = Instant::now();
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    let (later, changed) = event(&mut stream).await;
    assert_eq!(key(changed).state(), node::contract::KeyState::Disabled);
    assert!(later > revision);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "it did not wait for a heartbeat"
    );
    bench
        .apply("permit (principal is Edge, action == Action::\"Delegate\", resource is Key);")
        .await;
    assert!(matches!(event(&mut stream).await.1, Event::Bundle(_)));
}

#[tokio::test]
async fn an_edge_resumes_where_it_was() {
    let bench = Bench::new().await;
    let a = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    bench.key("ECC_NIST_P256", "artifact", "own", "alias/release").await;
    bench.apply(DELEGATE).await;
    let mut stream = open(&bench, "edge-1", 0, "").await;
    let (revision, first) = event(&mut stream).await;
    let digest = snapshot(first).bundle.unwrap().digest;
    drop(stream);
    bench.verb("DisableKey", json!({"KeyId": a})).await.unwrap();
    bench.verb("EnableKey", json!({"KeyId": a})).await.unwrap();
    bench.settle().await;
    let mut stream = open(&bench, "edge-1", revision, &digest).await;
    let (resumed, changed) = event(&mut stream).await;
    let changed = key(changed);
    assert_eq!(
        (changed.id.as_str(), changed.state()),
        (a.as_str(), node::contract::KeyState::Enabled)
    );
    assert_eq!(
        resumed,
        bench.wired.world.revision(),
        "one event for both changes, as the key is now"
    );
    drop(stream);
    // Nothing happened: nothing but heartbeats, which carry the revision.
    let edge = bench.edge("edge-2").await;
    bench.settle().await;
    let mut stream = watch(&bench, edge, bench.wired.world.revision(), &digest).await;
    let beat = next(&mut stream).await.unwrap();
    assert!(matches!(beat.event, Some(Event::Heartbeat(_))));
    assert_eq!(beat.authority_time_ms, bench.now() * 1000);
}

#[tokio::test]
async fn after_a_restart_an_edge_gets_a_snapshot_without_the_bundle_it_holds() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    bench.apply(DELEGATE).await;
    let digest = bench
        .wired
        .bundles
        .in_force()
        .published
        .as_ref()
        .unwrap()
        .digest
        .clone();
    let bench = bench.restart().await;
    assert_eq!(
        bench.wired.bundles.in_force().published.as_ref().unwrap().digest,
        digest
    );
    let mut stream = open(&bench, "edge-1", 3, &digest).await;
    let first = snapshot(event(&mut stream).await.1);
    assert!(first.bundle.is_none());
    assert_eq!(first.keys[0].id, id);
}

#[tokio::test]
async fn a_deleted_key_is_told() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let edge = bench.edge("edge-1").await;
    bench.settle().await;
    let revision = bench.wired.world.revision();
    bench
        .verb("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7}))
        .await
        .unwrap();
    bench.settle().await;
    let mut stream = watch(&bench, edge, revision, "").await;
    assert_eq!(
        key(event(&mut stream).await.1).state(),
        node::contract::KeyState::PendingDeletion
    );
    let mut later = bench.wired.world.grown();
    bench.pass(7 * 86_400);
    bench.upkeep().await;
    later.changed().await.unwrap();
    // The certificate is over by now too, so the stream may end before it tells: a new one tells.
    drop(stream);
    let edge = bench.edge("edge-1").await;
    bench.settle().await;
    let mut stream = watch(&bench, edge, revision, "").await;
    let gone = key(event(&mut stream).await.1);
    assert_eq!((gone.id, gone.deleted), (id, true));
}

#[tokio::test]
async fn a_revoked_edge_is_told_at_once_and_its_stream_ends() {
    let bench = Bench::new().await;
    let mut streams = vec![
        open(&bench, "edge-1", 0, "").await,
        open(&bench, "edge-1b", 0, "").await,
    ];
    for stream in &mut streams {
        event(stream).await;
    }
    let began = Instant::now();
    let id = crate::names::EdgeId::parse("edge-1").unwrap();
    bench.wired.edges.revoke(&id, "stolen").await.unwrap();
    let (_, told) = event(&mut streams[0]).await;
    let Event::Revoked(revoked) = told else {
        panic!("{told:?}")
    };
    assert_eq!(revoked.reason, "stolen");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(
        next(&mut streams[0]).await.unwrap_err().code(),
        tonic::Code::PermissionDenied
    );
    assert!(streams[0].next().await.is_none());
    // The other edge goes on, and may hear of the new revocation list.
    loop {
        match next(&mut streams[1]).await.unwrap().event {
            Some(Event::Heartbeat(_)) => break,
            Some(Event::Revocations(_) | Event::Stops(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_connected_edge_is_told_of_a_disabled_key() {
    let bench = Bench::new().await;
    let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let mut streams = Vec::new();
    for n in 0..20 {
        streams.push(open(&bench, &format!("edge-{n}"), 0, "").await);
    }
    for stream in &mut streams {
        snapshot(event(stream).await.1);
    }
    assert_eq!(bench.wired.watches.connected().len(), 20);
    let began = Instant::now();
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    for stream in &mut streams {
        assert_eq!(key(event(stream).await.1).state(), node::contract::KeyState::Disabled);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

// R19
#[tokio::test]
async fn a_stream_ends_with_its_certificate() {
    let bench = Bench::new().await;
    let mut stream = open(&bench, "edge-1", 0, "").await;
    event(&mut stream).await;
    bench.pass(86_401);
    let status = loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
}

// R35: whoever had its keys has them still.
#[tokio::test]
async fn what_a_revoked_edge_was_delegated_stays_revoked_when_its_name_enrolls_anew() {
    let bench = Bench::new().await;
    let edge = bench.edge("edge-1").await;
    bench.wired.edges.revoke(edge.id(), "stolen").await.unwrap();
    let listed = async || {
        bench.settle().await;
        bench.wired.world.revoked(bench.wired.clock.now()).2
    };
    let before = listed().await;
    assert_eq!(before[0].edge.as_deref(), Some("edge-1"));
    bench.pass(10);
    bench.edge("edge-1").await;
    assert_eq!(listed().await, before, "until the longest delegation has ended");
    bench.pass(90 * 86_400);
    assert_eq!(listed().await, []);
}

// R29
#[tokio::test]
async fn an_edge_that_was_revoked_while_it_was_away_is_told_a_revision_that_it_can_prove() {
    let bench = Bench::new().await;
    let edge = bench.edge("edge-1").await;
    bench.wired.edges.revoke(edge.id(), "stolen").await.unwrap();
    let refusal = tonic::Status::permission_denied("the edge is revoked");
    let refused = bench.wired.watches.refused(refusal).await;
    let (revision, proof) = contract::told_revision(&refused).unwrap();
    assert_eq!(revision, bench.parts.store.revision().await.unwrap());
    let told = Revisions::open(&bench.wired.vault).await.unwrap();
    assert!(told.is_proven(revision, &proof));
}

// R29
#[tokio::test]
async fn an_edge_that_has_seen_more_shows_that_the_store_was_put_back() {
    let bench = Bench::new().await;
    assert_eq!(bench.wired.watches.rolled_back_by(), 0);
    let edge = bench.edge("edge-1").await;
    bench.settle().await;
    let ahead = bench.parts.store.revision().await.unwrap() + 5;
    let mut stream = watch(&bench, edge.clone(), ahead, "").await;
    let first = loop {
        let first = next(&mut stream).await.unwrap();
        if matches!(first.event, Some(Event::Snapshot(_))) {
            break first;
        }
    };
    // What any edge could say is no reason to stop for all.
    assert!(bench.wired.seal.reason().is_none());
    assert_eq!(bench.wired.watches.rolled_back_by(), 0);
    let store = bench.parts.store.clone();
    let told = Revisions::open(&bench.wired.vault).await.unwrap();
    assert!(told.is_proven(first.revision, &first.revision_proof));
    let request = WatchRequest {
        revision: ahead,
        bundle_digest: String::new(),
        incarnation: String::new(),
        revision_proof: told.prove(ahead),
        ..WatchRequest::default()
    };
    let refused = bench.wired.watches.open(edge, request, silent()).await;
    assert_eq!(refused.map(drop).unwrap_err(), Fault::Sealed);
    assert_eq!(bench.wired.watches.rolled_back_by(), 5);
    let reason = bench.wired.seal.reason().unwrap().to_string();
    for part in [
        format!("revision {ahead}"),
        format!("revision {}", ahead - 5),
        "`edge-1`".to_owned(),
    ] {
        assert!(reason.contains(&part), "{part}: {reason}");
    }
    // Streams that are open end, and the next start finds it too.
    let status = loop {
        if let Err(status) = next(&mut stream).await {
            break status;
        }
    };
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(store.get(crate::paths::SEAL).await.unwrap().is_some());
    drop((stream, store, told));
    let again = bench.restart().await;
    assert!(again.wired.seal.reason().is_some());
}

#[tokio::test]
async fn streams_end_when_the_authority_stops() {
    let bench = Bench::new().await;
    let mut stream = open(&bench, "edge-1", 0, "").await;
    event(&mut stream).await;
    bench.stop.send_replace(true);
    let status = loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn changes_of_another_process_on_the_same_store_are_seen() {
    let bench = Bench::new().await;
    let mut stream = open(&bench, "edge-1", 0, "").await;
    event(&mut stream).await;
    // A second vault on the same store stands for another process.
    let vault = Arc::new(Vault::new(bench.parts.store.clone(), bench.parts.hsm.clone()));
    let other = Edges::new(vault, bench.wired.clock.clone(), "example.org".into());
    let id = crate::names::EdgeId::parse("edge-1").unwrap();
    other.revoke(&id, "elsewhere").await.unwrap();
    loop {
        // What came before is sent again as a snapshot.
        if let (_, Event::Revoked(revoked)) = event(&mut stream).await {
            assert_eq!(revoked.reason, "elsewhere");
            break;
        }
    }
}

#[tokio::test]
async fn one_edge_has_a_bounded_number_of_streams() {
    let bench = Bench::new().await;
    let edge = bench.edge("edge-1").await;
    bench.settle().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_PER_EDGE {
        streams.push(watch(&bench, edge.clone(), 0, "").await);
    }
    let request = WatchRequest {
        revision: 0,
        bundle_digest: String::new(),
        incarnation: String::new(),
        revision_proof: Vec::new(),
        ..WatchRequest::default()
    };
    let refused = bench.wired.watches.open(edge.clone(), request, silent()).await;
    assert!(matches!(refused, Err(Fault::Unavailable { .. })));
    drop(streams);
    timeout(Duration::from_secs(10), async {
        while !bench.wired.watches.connected().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    watch(&bench, edge, 0, "").await;
}

mod leases;
