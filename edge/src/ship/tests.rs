use serde_json::json;
use tokio::task::JoinHandle;

use super::seen::CHECKPOINT;
use super::*;
use crate::testing::{Rig, until};

struct Shipping {
    rig: Rig,
    task: JoinHandle<()>,
}

impl Shipping {
    async fn start() -> Shipping {
        Shipping::of(Rig::ready().await)
    }

    fn of(rig: Rig) -> Shipping {
        let task = tokio::spawn(keep(rig.edge.clone(), rig.uplink.clone()));
        Shipping { rig, task }
    }

    async fn sign(&self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.rig.post("/v1/tokens/plain", json!({})).await.status, 201);
        }
    }

    /// Ends the stream; the edge opens another one.
    async fn reconnect(&self) {
        let streams = || self.rig.authority.state().audit.streams;
        let before = streams();
        self.rig.authority.state().audit.losing = true;
        self.sign(1).await;
        until("the stream is lost", async || streams() > before).await;
        self.rig.authority.state().audit.losing = false;
    }

    /// The newest checkpoint as it lies there.
    fn kept(&self) -> String {
        std::fs::read_to_string(self.rig.edge.config().state_dir.join(CHECKPOINT)).unwrap_or_default()
    }

    fn held(&self) -> u64 {
        self.rig.authority.state().audit.held("0a")
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn records_reach_the_authority_in_order_and_its_checkpoint_stays_here() {
    let shipping = Shipping::start().await;
    shipping.sign(20).await;
    until("all records", async || shipping.held() == 21).await;
    shipping.sign(5).await;
    until("the ones after them", async || shipping.held() == 26).await;
    assert_eq!(shipping.kept(), "example.org/audit\n1\n");
    // The receipt comes back after the authority has the records.
    until("the metric", async || {
        let edge = &shipping.rig.edge;
        let text = edge.metrics().render(&edge.world(), &Default::default());
        text.contains("signet_edge_audit_shipped_total 26")
    })
    .await;
}

#[tokio::test]
async fn a_lost_stream_is_taken_up_where_the_authority_has_it() {
    let shipping = Shipping::start().await;
    shipping.sign(10).await;
    until("the first", async || shipping.held() == 11).await;
    // Receipts are lost on the way: the records are there, and the edge does not know.
    shipping.rig.authority.state().audit.losing = true;
    shipping.sign(10).await;
    until("the next", async || shipping.held() == 21).await;
    shipping.rig.authority.state().audit.losing = false;
    shipping.sign(1).await;
    until("the last", async || shipping.held() == 22).await;
    let audit = &shipping.rig.authority.state().audit;
    assert_eq!(audit.twice, 0, "asked first, and nothing sent twice");
    assert!(
        audit.seen.iter().any(|seen| seen == "example.org/audit\n1\n"),
        "{:?}",
        audit.seen
    );
}

#[tokio::test]
async fn an_edge_without_its_authority_goes_on_and_keeps_its_records() {
    let shipping = Shipping::start().await;
    shipping.rig.authority.go(true);
    shipping.sign(10).await;
    shipping.rig.edge.spool().flush().unwrap();
    assert_eq!(shipping.rig.written().len(), 10);
    shipping.rig.authority.go(false);
    until("what had to wait", async || shipping.held() == 11).await;
}

#[tokio::test]
async fn an_edge_that_comes_back_to_a_log_shows_what_it_saw_of_it() {
    let shipping = Shipping::start().await;
    let note = |log: &str, size: u64| format!("{log}\n{size}\n");
    until("the first log's", async || {
        shipping.kept() == note("example.org/audit", 1)
    })
    .await;
    // Its authority has gone, and another one answers; then the first is back.
    for (log, size, seen_before) in [
        ("other.example/audit", 5, None),
        ("example.org/audit", 7, Some(note("example.org/audit", 1))),
        ("other.example/audit", 9, Some(note("other.example/audit", 5))),
    ] {
        shipping.rig.authority.state().audit.note = Some(note(log, size));
        shipping.rig.authority.state().audit.seen.clear();
        shipping.reconnect().await;
        until("the log's checkpoint", async || shipping.kept() == note(log, size)).await;
        let seen = shipping.rig.authority.state().audit.seen.clone();
        assert!(
            seen_before.iter().all(|before| seen.contains(before)),
            "{log}: {seen:?}"
        );
        // Before the authority has another log it may be shown this one's; nothing of another log ever.
        let of_log = |seen: &&String| seen.starts_with(&format!("{log}\n"));
        assert_eq!(seen.iter().filter(of_log).count(), seen.len(), "{log}: {seen:?}");
    }
}

// R30
#[tokio::test]
async fn a_damaged_segment_is_never_removed() {
    let small = audit::spool::Settings {
        segment_bytes: 4 << 10,
        max_bytes: 1 << 20,
        keep_shipped: 0,
        ..audit::spool::Settings::default()
    };
    let mut rig = Rig::on_spool("", small);
    rig.run();
    rig.until_ready().await;
    let sign = async |rig: &Rig| {
        assert_eq!(rig.post("/v1/tokens/plain", json!({})).await.status, 201);
        rig.edge.spool().flush().unwrap();
    };
    for _ in 0..60 {
        sign(&rig).await;
    }
    let spool = rig.edge.config().state_dir.join("audit");
    let segments = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = segments
        .filter(|path| path.extension().is_some_and(|end| end == "spool"))
        .collect();
    segments.sort();
    assert!(segments.len() > 4, "{segments:?}");
    let mut bytes = std::fs::read(&segments[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[1], &bytes).unwrap();

    let shipping = Shipping::of(rig);
    until("all but what cannot be read", async || shipping.held() == 61).await;
    sign(&shipping.rig).await;
    until("its receipt", async || {
        let metrics = shipping.rig.edge.metrics();
        let text = metrics.render(&shipping.rig.edge.world(), &Default::default());
        shipping.held() == 62 && text.contains("signet_edge_audit_shipped_total 61")
    })
    .await;
    // Removing follows the next batch, whose end the next flush waits for.
    for _ in 0..3 {
        sign(&shipping.rig).await;
    }
    assert_eq!(shipping.rig.authority.state().audit.gaps, 1);
    assert_eq!(std::fs::read(&segments[1]).unwrap(), bytes);
}
