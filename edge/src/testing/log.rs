//! The fake authority's audit log: it takes each record once, and only what follows.

use std::collections::BTreeMap;

use audit::record::Record;
use node::contract::{AuditReceipt, AuditSegment};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::authority::Fake;

#[derive(Default)]
pub struct Log {
    last: BTreeMap<String, (u64, [u8; 32])>,
    /// Checkpoints that edges showed.
    pub seen: Vec<String>,
    /// Records that came again.
    pub twice: usize,
    /// Records before which others are missing.
    pub gaps: usize,
    /// Takes records and sends no receipts.
    pub losing: bool,
}

impl Log {
    pub fn held(&self, incarnation: &str) -> u64 {
        self.last.get(incarnation).map_or(0, |(last, _)| *last)
    }

    fn take(&mut self, segment: AuditSegment) -> AuditReceipt {
        if !segment.seen_checkpoint.is_empty() {
            self.seen.push(segment.seen_checkpoint);
        }
        for encoded in &segment.records {
            let record = Record::decode(encoded).unwrap();
            let (last, hash) = self.last.entry(record.incarnation.clone()).or_default();
            if record.sequence <= *last {
                self.twice += 1;
                continue;
            }
            if record.sequence == *last + 1 {
                assert_eq!(record.previous, *hash);
            } else {
                self.gaps += 1;
            }
            (*last, *hash) = (record.sequence, record.hash().unwrap());
        }
        AuditReceipt {
            next: self.held(&segment.incarnation) + 1,
            incarnation: segment.incarnation,
            checkpoint: "example.org/audit\n1\n".into(),
        }
    }
}

pub type Receipts = ReceiverStream<Result<AuditReceipt, Status>>;

pub fn take(fake: Fake, request: Request<Streaming<AuditSegment>>) -> Response<Receipts> {
    let (answers, receipts) = mpsc::channel(8);
    let mut segments = request.into_inner();
    tokio::spawn(async move {
        while let Ok(Some(segment)) = segments.message().await {
            let (receipt, losing) = {
                let mut state = fake.state();
                (state.audit.take(segment), state.audit.losing)
            };
            if losing {
                let _ = answers.send(Err(Status::unavailable("lost"))).await;
                return;
            }
            if answers.send(Ok(receipt)).await.is_err() {
                return;
            }
        }
    });
    Response::new(ReceiverStream::new(receipts))
}
