use std::collections::BTreeSet;

use audit::record::Event;
use serde_json::json;

use super::*;
use crate::testing::{EDGE, Rig, until};

/// An edge that ships to a log, and what checks the log's checkpoints.
async fn rig() -> (Rig, audit::note::VerifierKey, JoinSet<()>) {
    let rig = Rig::ready().await;
    let key = rig.authority.state().audit.keep();
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::ship::keep(rig.edge.clone(), rig.uplink.clone()));
    tasks.spawn(keep(rig.edge.clone()));
    (rig, key, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_carries_the_proof_of_its_own_record_and_of_no_other() {
    let (rig, key, _tasks) = rig().await;
    for _ in 0..3 {
        let answer = rig.post("/v1/tokens/witnessed", json!({})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let proof: Proof = serde_json::from_value(answer.body["proof"].clone()).unwrap();
        let proven = proof.check(&key).unwrap();
        let Event::Use(used) = &proven.record.event else {
            panic!("{:?}", proven.record)
        };
        let input = answer.body["token"].as_str().unwrap().rsplit_once('.').unwrap().0;
        assert_eq!(answer.body["id"], used.request_id.to_string());
        assert_eq!(used.digest, Some(signing::digest::sha256(input.as_bytes())));
        assert_eq!(proven.record.edge, EDGE);
    }
    for other in ["/v1/tokens/plain", "/v1/tokens/second"] {
        let answer = rig.post(other, json!({})).await;
        assert_eq!((answer.status.as_u16(), answer.body.get("proof")), (201, None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_a_proof_for_each() {
    let (rig, key, _tasks) = rig().await;
    let requests = json!({"requests": vec![json!({}); 20]});
    let answer = rig.post("/v1/tokens/witnessed/batch", requests).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut sequences = BTreeSet::new();
    for result in answer.body["results"].as_array().unwrap() {
        let proof: Proof = serde_json::from_value(result["proof"].clone()).unwrap();
        let record = proof.check(&key).unwrap().record;
        let Event::Use(used) = &record.event else {
            panic!("{record:?}")
        };
        assert_eq!(result["id"], used.request_id.to_string());
        sequences.insert(record.sequence);
    }
    assert_eq!(sequences.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_proof_nothing_leaves() {
    let (rig, _, _tasks) = rig().await;
    rig.authority.state().audit.mute = true;
    let answer = rig.post("/v1/tokens/witnessed", json!({})).await;
    assert_eq!(answer.code(), (503, "audit_unavailable"));
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(answer.body.get("token").is_none(), "{}", answer.text);
    let outcomes: Vec<_> = rig.records().into_iter().map(|draft| draft.outcome).collect();
    let refused = audit::record::Outcome::Refused {
        code: "audit_unavailable".into(),
    };
    assert_eq!(outcomes, [audit::record::Outcome::Signed, refused]);
    // The others need none, and this one signs when there is one.
    assert_eq!(rig.post("/v1/tokens/plain", json!({})).await.status, 201);
    rig.authority.state().audit.mute = false;
    assert_eq!(rig.post("/v1/tokens/witnessed", json!({})).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_another_record_under_the_number_proves_nothing() {
    let forges: [fn(&mut audit::record::Draft<'static>); 2] = [
        |used| used.request_id = uuid::Uuid::nil(),
        |used| used.digest = Some([7; 32]),
    ];
    for forge in forges {
        let (rig, _, _tasks) = rig().await;
        rig.authority.state().audit.forges = Some(forge);
        let answer = rig.post("/v1/tokens/witnessed", json!({})).await;
        assert_eq!(answer.code(), (503, "audit_unavailable"), "{}", answer.text);
        assert!(answer.body.get("token").is_none(), "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_stopped_while_the_proof_is_waited_for_signs_nothing() {
    let (rig, _, _tasks) = rig().await;
    rig.authority.state().audit.mute = true;
    let stop = async {
        until("the record", async || rig.written().len() == 1).await;
        let everything = node::contract::Stops {
            everything: true,
            ..Default::default()
        };
        rig.edge.keyring().stop(everything.into());
        rig.authority.state().audit.mute = false;
    };
    let (answer, ()) = tokio::join!(rig.post("/v1/tokens/witnessed", json!({})), stop);
    assert_eq!(answer.code(), (409, "key_disabled"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_or_is_another_s_is_no_proof() {
    let (rig, _, _tasks) = rig().await;
    let answer = rig.post("/v1/tokens/witnessed", json!({})).await;
    let proof = answer.body["proof"].clone();
    let good: Proof = serde_json::from_value(proof.clone()).unwrap();
    let sequence = good.check_unsigned().unwrap().record.sequence;
    let settled = |proof: &serde_json::Value, own: (&str, &str), asked: u64| {
        let (reply, mut got) = oneshot::channel();
        let wanted = vec![Wanted { sequence: asked, reply }];
        let proofs = vec![serde_json::to_vec(proof).unwrap(), b"{}".to_vec()];
        let left = settle(wanted, own, &ProveResponse { proofs });
        assert_eq!(left.len(), usize::from(got.try_recv().is_err()));
        left.is_empty()
    };
    let own = (EDGE, "0a");
    assert!(settled(&proof, own, sequence));
    assert!(!settled(&proof, own, sequence + 1), "not asked for");
    assert!(!settled(&proof, ("edge-2", "0a"), sequence));
    assert!(!settled(&proof, (EDGE, "0b"), sequence));
    let mut tampered = proof.clone();
    tampered["leaf_index"] = json!(proof["leaf_index"].as_u64().unwrap() + 1);
    assert!(!settled(&tampered, own, sequence));
    let mut long = proof;
    long["checkpoint"] = json!("x".repeat(MAX_PROOF));
    assert!(!settled(&long, own, sequence));
}

#[tokio::test]
async fn those_that_wait_go_together_and_whoever_left_is_forgotten() {
    let proofs = Proofs::default();
    let mut waiting = JoinSet::new();
    let proofs = Arc::new(proofs);
    for sequence in 0..u64::try_from(MOST).unwrap() + 2 {
        let proofs = proofs.clone();
        waiting.spawn(async move { proofs.of(sequence).await });
    }
    while proofs.waiting().len() < MOST + 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(proofs.next().await.len(), MOST);
    waiting.shutdown().await;
    let asked = tokio::join!(timeout(Duration::from_secs(20), proofs.next()), async {
        let _ = timeout(Duration::from_millis(20), proofs.of(7)).await;
    });
    assert_eq!(asked.0.unwrap()[0].sequence, 7, "and none of those before");
    assert_eq!(proofs.room.available_permits(), MOST_WAITING);
}
