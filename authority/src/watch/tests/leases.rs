//! Renewals, acknowledgements and fences, over the store and the view as they are.

use node::contract::watch_up::Up;
use node::contract::{Acknowledged, LeaseGrant, LeaseRenewal, WatchUp};
use tokio::sync::mpsc;

use super::*;
use crate::halts::Halt;
use crate::leases::{Fence, Subject};
use crate::names::EdgeId;
use crate::testing::INCARNATION;

/// An edge that speaks.
struct Speaking {
    up: mpsc::Sender<Result<WatchUp, Status>>,
    stream: EventStream,
}

impl Speaking {
    async fn open(bench: &Bench, id: &str) -> Speaking {
        let edge = bench.edge(id).await;
        bench.settle().await;
        let request = WatchRequest {
            revision: 0,
            bundle_digest: String::new(),
            incarnation: INCARNATION.into(),
            revision_proof: Vec::new(),
            ..WatchRequest::default()
        };
        let (up, messages) = mpsc::channel(8);
        let messages = Box::pin(ReceiverStream::new(messages));
        let stream = bench.wired.watches.open(edge, request, messages).await.unwrap();
        Speaking { up, stream }
    }

    async fn say(&self, up: Up) {
        self.up.send(Ok(WatchUp { up: Some(up) })).await.unwrap();
    }

    async fn acknowledge(&self, revision: u64) {
        self.say(Up::Acknowledged(Acknowledged { revision })).await;
    }

    /// The keys that are granted, with the lengths of their leases.
    async fn renew(&mut self, nonce: u64, keys: &[&str]) -> Vec<(String, u32)> {
        let key_ids = keys.iter().map(|id| (*id).to_owned()).collect();
        self.say(Up::Renewal(LeaseRenewal { nonce, key_ids })).await;
        loop {
            if let Event::Leases(LeaseGrant {
                nonce: answered,
                leases,
                ..
            }) = event(&mut self.stream).await.1
            {
                assert_eq!(answered, nonce);
                return leases
                    .into_iter()
                    .map(|lease| (lease.key_id, lease.duration_ms))
                    .collect();
            }
        }
    }

    /// Until an event of this kind brought it to a revision.
    async fn until(&mut self, kind: fn(&Event) -> bool) -> u64 {
        loop {
            let (revision, event) = event(&mut self.stream).await;
            if kind(&event) {
                return revision;
            }
        }
    }
}

async fn fence(bench: &Bench, subject: Subject) -> Fence {
    let wired = &bench.wired;
    wired.leases.fence(&wired.vault, &wired.world, &subject).await.unwrap()
}

/// Until the authority has heard what was said.
async fn fenced(bench: &Bench, subject: &Subject) {
    let waiting = async {
        while !fence(bench, subject.clone()).await.awaited.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("never fenced");
}

async fn token_key(bench: &Bench) -> String {
    let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    bench.apply(DELEGATE).await;
    id
}

// R35
#[tokio::test]
async fn a_key_is_leased_while_it_is_enabled_and_fenced_when_it_is_acknowledged() {
    let bench = Bench::new().await;
    let id = token_key(&bench).await;
    let mut edge = Speaking::open(&bench, "edge-1").await;
    let raw = bench.raw("ECC_NIST_P256", "SIGN_VERIFY").await;
    bench.settle().await;
    assert_eq!(edge.renew(1, &[&id, &raw, "unknown"]).await, [(id.clone(), 60_000)]);
    let subject = Subject::Key(id.clone());
    let refused = bench
        .wired
        .leases
        .fence(&bench.wired.vault, &bench.wired.world, &subject)
        .await;
    assert_eq!(refused.unwrap_err().code(), "conflict", "it is not stopped");
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    let stands = fence(&bench, subject.clone()).await;
    assert_eq!(stands.awaited[0].edge.as_deref(), Some("edge-1"));
    assert!((60_000..=61_463).contains(&stands.left_ms), "{stands:?}");
    let told = edge
        .until(|event| matches!(event, Event::Key(key) if key.state() == node::contract::KeyState::Disabled))
        .await;
    assert_eq!(told, stands.committed);
    // What it was not told it cannot have applied.
    edge.acknowledge(told - 1).await;
    assert_eq!(edge.renew(2, &[&id]).await, []);
    assert_eq!(fence(&bench, subject.clone()).await.awaited.len(), 1);
    edge.acknowledge(u64::MAX).await;
    fenced(&bench, &subject).await;
    bench.verb("EnableKey", json!({"KeyId": id})).await.unwrap();
    bench.settle().await;
    assert_eq!(edge.renew(3, &[&id]).await.len(), 1);
}

// R19, R35
#[tokio::test]
async fn a_stop_raises_the_floor_below_which_nothing_is_leased() {
    let bench = Bench::new().await;
    let id = token_key(&bench).await;
    let mut edge = Speaking::open(&bench, "edge-1").await;
    assert_eq!(edge.renew(1, &[&id]).await.len(), 1);
    let stopping = stopping(&bench);
    let halt = Halt::parse("caller/oidc:x#y").unwrap();
    let committed = stopping.stop(&halt, "leaked", "operator:root").await.unwrap();
    assert_eq!(stopping.stop(&halt, "again", "operator:root").await.unwrap(), committed);
    bench.settle().await;
    assert_eq!(edge.renew(2, &[&id]).await, [], "it may not have heard of the caller");
    edge.acknowledge(committed).await;
    fenced(&bench, &Subject::Halt(halt.clone())).await;
    assert_eq!(edge.renew(3, &[&id]).await.len(), 1);
    // A tenant's stop lasts until it is resumed, whatever is acknowledged.
    let tenant = Halt::parse("tenant/000000000001").unwrap();
    let committed = stopping.stop(&tenant, "", "operator:root").await.unwrap();
    bench.settle().await;
    edge.acknowledge(u64::MAX).await;
    fenced(&bench, &Subject::Halt(tenant.clone())).await;
    assert!(fence(&bench, Subject::Halt(tenant.clone())).await.committed == committed);
    assert_eq!(edge.renew(4, &[&id]).await, []);
    let refused = bench
        .verb("GenerateRandom", json!({"NumberOfBytes": 8}))
        .await
        .unwrap_err();
    assert_eq!(refused.kind.as_str(), "AccessDeniedException");
    stopping.resume(&tenant, "operator:root").await.unwrap();
    bench.settle().await;
    assert_eq!(edge.renew(5, &[&id]).await.len(), 1);
    assert!(stopping.resume(&tenant, "operator:root").await.is_err());
    // A withdrawn delegation is one key's, at one edge.
    let delegation = Halt::parse(&format!("delegation/{id}/edge-1")).unwrap();
    stopping.stop(&delegation, "", "operator:root").await.unwrap();
    bench.settle().await;
    edge.acknowledge(u64::MAX).await;
    fenced(&bench, &Subject::Halt(delegation)).await;
    assert_eq!(edge.renew(6, &[&id]).await, []);
    let known = bench.edge("edge-1").await;
    let refused = bench.delegate(&known, &id, crate::testing::shared()).await.unwrap_err();
    assert_eq!(refused.code(), "key_disabled");
}

// R35
#[tokio::test]
async fn a_revoked_edge_is_fenced_by_its_last_word() {
    let bench = Bench::new().await;
    let id = token_key(&bench).await;
    let mut edge = Speaking::open(&bench, "edge-1").await;
    assert_eq!(edge.renew(1, &[&id]).await.len(), 1);
    let name = EdgeId::parse("edge-1").unwrap();
    bench.wired.edges.revoke(&name, "stolen").await.unwrap();
    let subject = Subject::Edge(name);
    assert_eq!(fence(&bench, subject.clone()).await.awaited.len(), 1);
    let revision = edge.until(|event| matches!(event, Event::Revoked(_))).await;
    edge.acknowledge(revision).await;
    fenced(&bench, &subject).await;
    let end = timeout(Duration::from_secs(10), edge.stream.next()).await.unwrap();
    assert_eq!(end.unwrap().unwrap_err().code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_bundle_can_withdraw_what_the_one_before_decided() {
    let bench = Bench::new().await;
    let id = token_key(&bench).await;
    let mut edge = Speaking::open(&bench, "edge-1").await;
    assert_eq!(edge.renew(1, &[&id]).await.len(), 1);
    let applicant = crate::bundle::Applicant {
        approvals: bench.wired.keys.approvals(),
        requester: "operator:test",
        reason: None,
        fence: true,
        take_back: false,
    };
    // The same bundle, now with a fence.
    let files = crate::testing::bundle(DELEGATE);
    let outcome = bench
        .wired
        .bundles
        .apply(files, false, &applicant)
        .await
        .unwrap()
        .unwrap();
    bench.settle().await;
    assert_eq!(edge.renew(2, &[&id]).await, []);
    let subject = Subject::Bundle;
    let stands = fence(&bench, subject.clone()).await;
    assert_eq!((Some(stands.committed), stands.awaited.len()), (outcome.revision, 1));
    edge.acknowledge(stands.committed).await;
    fenced(&bench, &subject).await;
    assert_eq!(edge.renew(3, &[&id]).await.len(), 1);
}

// R19, R35
#[tokio::test]
async fn a_stop_demands_no_newer_bundle_and_a_fenced_bundle_does() {
    let bench = Bench::new().await;
    token_key(&bench).await;
    let mut edge = Speaking::open(&bench, "edge-1").await;
    let halt = Halt::parse("caller/oidc:x#y").unwrap();
    let stopped = stopping(&bench).stop(&halt, "leaked", "operator:root").await.unwrap();
    while let told = next(&mut edge.stream).await.unwrap()
        && told.revision < stopped
    {
        assert_eq!(told.floor, 0);
    }
    assert_eq!(next(&mut edge.stream).await.unwrap().floor, 0);
    let applicant = crate::bundle::Applicant {
        approvals: bench.wired.keys.approvals(),
        requester: "operator:test",
        reason: None,
        fence: true,
        take_back: false,
    };
    let files = crate::testing::bundle(DELEGATE);
    let applied = bench
        .wired
        .bundles
        .apply(files, false, &applicant)
        .await
        .unwrap()
        .unwrap();
    while let told = next(&mut edge.stream).await.unwrap()
        && told.floor == 0
    {
        assert!(told.revision <= applied.revision.unwrap());
    }
    bench.settle().await;
    bench.wired.world.reload().await;
    let update = bench.wired.world.since(0).unwrap();
    assert_eq!(Some(update.floor), applied.revision, "read anew it is the same");
}

fn stopping(bench: &Bench) -> crate::halts::Stopping {
    crate::halts::Stopping::new(
        bench.wired.vault.clone(),
        bench.wired.keys.approvals().clone(),
        bench.wired.clock.clone(),
    )
}

/// Until the edge was sent so many events that came after what it said was read.
async fn beats(edge: &mut Speaking) -> Result<(), Status> {
    let told = next(&mut edge.stream).await?;
    assert!(
        !matches!(told.event, Some(Event::Leases(_))),
        "an answer that cannot be known"
    );
    Ok(())
}

// R35
#[tokio::test]
async fn a_view_that_lags_leaves_renewals_unanswered_and_then_ends_the_stream() {
    let bench = Bench::new().await;
    let id = token_key(&bench).await;
    let mut edge = Speaking::open(&bench, "edge-1").await;
    assert_eq!(edge.renew(1, &[&id]).await.len(), 1);
    bench.hold_view();
    let made = bench.verb("CreateKey", json!({})).await.unwrap();
    assert!(made["KeyMetadata"]["KeyId"].is_string());
    let begun = Instant::now();
    let mut nonce = 2;
    // One that cannot be decided is no reason to go.
    let ended = loop {
        let key_ids = vec![id.clone()];
        if edge
            .up
            .try_send(Ok(WatchUp {
                up: Some(Up::Renewal(LeaseRenewal { nonce, key_ids })),
            }))
            .is_ok()
        {
            nonce += 1;
        }
        if let Err(ended) = beats(&mut edge).await {
            break ended;
        }
    };
    assert_eq!(ended.code(), tonic::Code::Unavailable);
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    let refused = bench
        .wired
        .leases
        .fence(&bench.wired.vault, &bench.wired.world, &Subject::Key(id))
        .await;
    assert_eq!(
        refused.unwrap_err().code(),
        "unavailable",
        "the view does not show whose leases run"
    );
}

// R35
#[tokio::test]
async fn a_view_that_comes_late_does_not_end_leases() {
    let bench = Bench::new().await;
    let mut edge = Speaking::open(&bench, "edge-1").await;
    bench.hold_view();
    let tag = |name: &str, value: &str| json!({"TagKey": format!("signet:{name}"), "TagValue": value});
    let body = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY",
        "Tags": [tag("family", "token"), tag("delegation", "shared")]});
    let made = bench.verb("CreateKey", body).await.unwrap();
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    edge.say(Up::Renewal(LeaseRenewal {
        nonce: 7,
        key_ids: vec![id.clone()],
    }))
    .await;
    // Time for it to be heard; where it is heard later, nothing is tested and nothing fails.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    bench.wired.world.reload().await;
    let granted = loop {
        if let Event::Leases(grant) = event(&mut edge.stream).await.1 {
            break grant;
        }
    };
    assert_eq!(
        granted.leases.iter().map(|lease| &lease.key_id).collect::<Vec<_>>(),
        [&id]
    );
    // And the length of a key that is not known is the longest there is.
    let unknown = Halt::parse("delegation/0d6a2f6e-8a5c-4f0e-9d5b-2f4c8a3b1c22").unwrap();
    stopping(&bench).stop(&unknown, "", "operator:root").await.unwrap();
    bench.wired.world.reload().await;
    let earlier = std::collections::BTreeSet::from(["edge-1".to_owned()]);
    let leases = crate::leases::Leases::new(earlier, false);
    let stands = leases
        .fence(&bench.wired.vault, &bench.wired.world, &Subject::Halt(unknown))
        .await
        .unwrap();
    assert!(stands.left_ms > 3_600_000, "{stands:?}");
}

#[tokio::test]
async fn a_tenant_can_be_stopped_however_many_callers_are() {
    let bench = Bench::new().await;
    let stopping = stopping(&bench);
    for n in 0..1_000 {
        let halt = if n % 2 == 0 {
            format!("caller/{n}")
        } else {
            format!("delegation/{}", uuid::Uuid::from_u128(n))
        };
        stopping
            .stop(&Halt::parse(&halt).unwrap(), "", "operator:root")
            .await
            .unwrap();
    }
    let more = Halt::parse("caller/more").unwrap();
    let refused = stopping.stop(&more, "", "operator:root").await.unwrap_err();
    assert_eq!(refused.code(), "conflict");
    for name in ["all", "tenant/000000000001"] {
        stopping
            .stop(&Halt::parse(name).unwrap(), "", "operator:root")
            .await
            .unwrap();
    }
}

// R35
#[tokio::test]
async fn no_revocation_list_is_made_by_a_view_that_lags() {
    let bench = Bench::new().await;
    let list = bench.wired.revocations.list();
    bench.hold_view();
    bench
        .wired
        .edges
        .revoke(
            &{
                bench.edge("edge-1").await;
                EdgeId::parse("edge-1").unwrap()
            },
            "stolen",
        )
        .await
        .unwrap();
    let (mut signer, mut shown) = (None, None);
    let world = &bench.wired.world;
    let made = bench.wired.revocations.make(world, &mut signer, &mut shown).await;
    assert_eq!(made.unwrap_err().code(), "unavailable");
    assert!(list.borrow().is_empty() && shown.is_none());
    world.reload().await;
    bench
        .wired
        .revocations
        .make(world, &mut signer, &mut shown)
        .await
        .unwrap();
    let shown = shown.unwrap();
    assert_eq!((shown.revision, shown.delegations.len()), (world.revision(), 1));
}
