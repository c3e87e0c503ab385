//! From a request to a batch at the authority: what is in it, what never is, and what becomes of samples that nobody takes.

use node::handover::Sealed;
use policies::bundle::Bundle;
use runtime::sample::{Told, unbatch};
use runtime::{Argument, ArtifactForm, ArtifactRequest, Caller, Payload, Protocol};
use serde_json::json;
use signing::encoding::base64url;

use super::*;
use crate::testing::{EDGE, Rig, until};

/// Of a bundle with this in it, with `key`.
pub(super) fn sampling(key: &[u8], text: &str) -> Arc<Sampling> {
    let bundle = Bundle::parse(&[("bundle.toml".into(), section(key, text).into_bytes())]);
    bundle.unwrap().sampling.unwrap()
}

fn section(key: &[u8], text: &str) -> String {
    format!("\n[sampling]\nrate = 1.0\nkey = \"{}\"\n{text}\n", base64url(key))
}

/// An edge whose bundle asks for samples.
async fn rig(key: &[u8], text: &str) -> Rig {
    let rig = Rig::ready().await;
    let mut files = crate::testing::files::bundle(&rig.caller, "");
    files[0].1.extend_from_slice(section(key, text).as_bytes());
    rig.authority.publish(files);
    until("samples are asked for", async || rig.edge.world().sampling().is_some()).await;
    rig.until_ready().await;
    rig
}

async fn shows(rig: &Rig, code: &str, count: u64) -> bool {
    let line = format!("signet_edge_samples_total{{code=\"{code}\"}} {count}");
    rig.get("/metrics").await.text.lines().any(|found| found == line)
}

// R10
#[tokio::test]
async fn what_was_asked_and_answered_reaches_the_authority_sealed_and_redacted() {
    let (public, private) = sampling::generate().unwrap();
    let rig = rig(&public, "fields = [\"token.claims.role\"]").await;
    let body = |role: &str| json!({"subject": "canary-subject", "claims": {"role": role, "note": "canary-note"}});
    assert_eq!(rig.post("/v1/tokens/api", body("editor")).await.status, 201);
    assert_eq!(
        rig.post("/v1/tokens/api", body("admin")).await.code(),
        (403, "rule_refused")
    );
    // No plugin judges it.
    assert_eq!(rig.post("/v1/tokens/plain", json!({})).await.status, 201);
    until("both are shipped", async || shows(&rig, "shipped", 2).await).await;
    let batches = rig.authority.state().samples.clone();
    assert_eq!(batches.iter().map(|batch| batch.samples).sum::<u32>(), 2);
    let mut plain = Vec::new();
    for batch in batches {
        assert_eq!(batch.key, public);
        let has = |text: &[u8]| batch.ciphertext.windows(text.len()).any(|window| window == text);
        assert!(!has(b"canary") && !has(b"editor"));
        let sealed = Sealed {
            encapsulated: batch.encapsulated,
            ciphertext: batch.ciphertext,
        };
        plain.push(sampling::open(&private, EDGE, &sealed).unwrap());
    }
    let encoded: Vec<_> = plain.iter().flat_map(|batch| unbatch(batch).unwrap()).collect();
    let samples: Vec<_> = encoded.iter().map(|sample| Sample::decode(sample).unwrap()).collect();
    assert!(!format!("{samples:?}").contains("canary"));
    let seen: Vec<_> = samples
        .iter()
        .map(|sample| {
            let Payload::Token(token) = &sample.request.payload else {
                panic!()
            };
            assert_eq!(token.subject, Some("[redacted]"));
            let [answered] = &sample.answers[..] else {
                panic!("{sample:?}")
            };
            assert_eq!(
                (sample.request.profile, answered.plugin.as_str()),
                ("api", "claim-guard")
            );
            (token.claims.clone(), answered.answer.clone())
        })
        .collect();
    let claims = |role| vec![("note", Argument::Text("[redacted]")), ("role", Argument::Text(role))];
    assert_eq!(seen[0].0, claims("editor"));
    assert!(
        matches!(&seen[0].1, Told::Allowed { cap: Some(120), claims } if claims[..] == ["plan"]),
        "{seen:?}"
    );
    assert_eq!(seen[1].0, claims("admin"));
    assert!(matches!(seen[1].1, Told::Refused(_)), "{seen:?}");
}

#[tokio::test]
async fn nothing_is_kept_unless_the_bundle_asks_and_nothing_any_more_once_it_does_not() {
    let key = sampling::generate().unwrap().0;
    let rig = rig(&key, "plugins = [\"protected-artifact\"]").await;
    assert_eq!(rig.post("/v1/tokens/api", json!({})).await.status, 201);
    assert!(
        !rig.get("/metrics").await.text.contains("signet_edge_samples_total{"),
        "of another plugin"
    );
    let all = sampling(&key, "");
    rig.edge
        .samples()
        .offer(Sampler::new(&all), &request(&[0; 32]), rig.edge.metrics());
    let take = |sampling: Option<&Arc<Sampling>>| rig.edge.samples().take(sampling, rig.edge.metrics());
    assert!(take(None).is_none());
    assert!(take(Some(&all)).is_none(), "it was forgotten");
    assert!(shows(&rig, "lost", 1).await);
}

#[tokio::test]
async fn what_the_authority_does_not_take_is_lost_and_hinders_nobody() {
    let rig = rig(&sampling::generate().unwrap().0, "").await;
    rig.authority.state().takes_no_samples = true;
    assert_eq!(rig.post("/v1/tokens/api", json!({})).await.status, 201);
    until("it is lost", async || shows(&rig, "lost", 1).await).await;
    rig.authority.state().takes_no_samples = false;
    assert_eq!(rig.post("/v1/tokens/api", json!({})).await.status, 201);
    until("the next is not", async || shows(&rig, "shipped", 1).await).await;
    assert!(shows(&rig, "taken", 2).await);
}

fn request(digest: &[u8]) -> Request<'_> {
    Request {
        profile: "release",
        key: "key",
        format: "der",
        tenant: "000000000001",
        caller: Caller {
            id: "id",
            kind: "oidc",
            issuer: "issuer",
            subject: "subject",
            attributes: Vec::new(),
        },
        payload: Payload::Artifact(ArtifactRequest {
            form: ArtifactForm::Digest,
            algorithm: "sha256",
            digest,
        }),
        time: 7,
        request_id: "id",
        trace_id: None,
        source_address: "192.0.2.1",
        protocol: Protocol::Http2,
    }
}

// R37
#[test]
fn what_waits_is_bounded_and_leaves_in_batches_that_are_too() {
    let by = sampling(&[7; 32], "fields = [\"artifact.digest\"]\nkeep = 100");
    let (samples, metrics) = (Samples::default(), Metrics::new());
    samples.offer(Sampler::new(&by), &request(&[7; MAX_SAMPLE]), &metrics);
    assert!(samples.take(Some(&by), &metrics).is_none(), "too large");
    for _ in 0..50_000 {
        samples.offer(Sampler::new(&by), &request(&[7; 32]), &metrics);
    }
    assert!(samples.lock().bytes <= MAX_WAITING);
    let mut left = 0;
    while let Some(batch) = samples.take(Some(&by), &metrics) {
        assert!(batch.bytes.len() <= MAX_BATCH && (1..=100).contains(&batch.count));
        assert_eq!(unbatch(&batch.bytes).unwrap().len(), batch.count as usize);
        left += batch.count;
    }
    assert!((1000..50_000).contains(&left), "{left}");
    {
        let waiting = samples.lock();
        assert_eq!((waiting.bytes, waiting.samples.len()), (0, 0));
    }
    let large = sampling(&[7; 32], "fields = [\"artifact.digest\"]");
    for _ in 0..20 {
        samples.offer(Sampler::new(&large), &request(&[7; 10_000]), &metrics);
    }
    while let Some(batch) = samples.take(Some(&large), &metrics) {
        assert!(batch.bytes.len() <= MAX_BATCH);
    }
    assert!(samples.lock().samples.is_empty());
}

#[test]
fn a_bundle_that_keeps_less_forgets_what_one_before_kept() {
    let (wide, narrow) = (sampling(&[7; 32], "fields = [\"trace_id\"]"), sampling(&[7; 32], ""));
    let (samples, metrics) = (Samples::default(), Metrics::new());
    samples.offer(Sampler::new(&wide), &request(&[7; 32]), &metrics);
    samples.offer(Sampler::new(&narrow), &request(&[7; 32]), &metrics);
    assert_eq!(samples.lock().samples.len(), 1);
    // The same words in another bundle are the same.
    let same = sampling(&[7; 32], "");
    assert_eq!(samples.take(Some(&same), &metrics).unwrap().count, 1);
}
