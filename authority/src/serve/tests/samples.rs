//! Samples of requests over the wire: from an edge to an operator, and what is on record of those that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use node::contract::SampleBatch;
use signing::encoding::base64url;

use super::*;

const KEY: [u8; 32] = [7; 32];

fn batch(key: [u8; 32], samples: u32) -> SampleBatch {
    SampleBatch {
        key: key.to_vec(),
        encapsulated: vec![8; 32],
        ciphertext: vec![9; 100],
        samples,
    }
}

impl Site {
    async fn ask_for_samples(&self) {
        let mut files = testing::bundle(DELEGATE);
        let section = format!("[sampling]\nrate = 0.5\nkey = \"{}\"\n", base64url(&KEY));
        files[0].1.extend_from_slice(section.as_bytes());
        let shape =
            |(path, content): (String, Vec<u8>)| json!({"path": path, "content_base64": STANDARD.encode(content)});
        let files: Vec<_> = files.into_iter().map(shape).collect();
        let body = json!({"files": files}).to_string().into_bytes();
        let (status, answer) = self
            .send(Method::PUT, "/v1/bundle", Some(&self.admin_token), body)
            .await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn ship(&self, node: &Node, batch: SampleBatch) -> Result<(), Code> {
        let shipped = self.client(Some(node)).ship_samples(batch).await;
        shipped.map(drop).map_err(|status| status.code())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_comes_to_operators_as_it_was_sent_and_a_refused_one_on_record_once() {
    let site = start().await;
    site.furnish().await;
    let (one, two) = (site.enroll("edge-1").await, site.enroll("edge-2").await);
    assert_eq!(site.ship(&one, batch(KEY, 1)).await, Err(Code::FailedPrecondition));
    site.ask_for_samples().await;
    for _ in 0..3 {
        assert_eq!(site.ship(&one, batch([1; 32], 1)).await, Err(Code::FailedPrecondition));
    }
    assert_eq!(site.ship(&two, batch(KEY, 0)).await, Err(Code::InvalidArgument));
    let stranger = site.client(None).ship_samples(batch(KEY, 1)).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
    assert_eq!(site.ship(&one, batch(KEY, 5)).await, Ok(()));
    assert_eq!(site.ship(&two, batch(KEY, 6)).await, Ok(()));

    let (status, page) = site.get("/v1/samples?from=0").await;
    assert_eq!((status, &page["next"]), (200, &Value::Null), "{page}");
    let seen: Vec<_> = page["batches"].as_array().unwrap().iter().collect();
    assert_eq!(seen.len(), 2, "{page}");
    for (kept, (edge, samples)) in seen.into_iter().zip([("edge-1", 5), ("edge-2", 6)]) {
        assert_eq!(
            (&kept["edge"], &kept["samples"]),
            (&json!(edge), &json!(samples)),
            "{page}"
        );
        assert_eq!(kept["ciphertext"], base64url(&[9; 100]));
    }

    // Recorded later, and so everything before it is there.
    site.records("profile=admin:ReadSamples").await;
    let refused = site.records("profile=edges:ShipSamples").await;
    let shown: Vec<_> = refused
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            (text("caller"), text("outcome"), text("code"))
        })
        .collect();
    let of = |edge: &str, code: &str| (format!("edge:{edge}"), "refused".to_owned(), code.to_owned());
    assert_eq!(shown, [of("edge-1", "conflict"), of("edge-2", "bad_request")]);
}
