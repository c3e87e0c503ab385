//! The fake authority's audit log: it takes each record once, and only what follows.

use std::collections::BTreeMap;

use audit::log::objects::Directory;
use audit::log::read::View;
use audit::log::{self, Shipment};
use audit::note::{NoteKey, VerifierKey};
use audit::record::{Draft, Event, Record};
use node::contract::{AuditReceipt, AuditSegment, ProveRequest};
use signing::algorithm::Algorithm;
use signing::key::SigningKey;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::EDGE;
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
    /// Streams that were opened.
    pub streams: usize,
    /// Takes records and sends no receipts.
    pub losing: bool,
    /// The checkpoint that receipts carry, where it is another than the first.
    pub note: Option<String>,
    /// Proves nothing.
    pub mute: bool,
    /// Puts another record into the real log than was shipped, under the same number.
    pub forges: Option<fn(&mut Draft<'static>)>,
    real: Option<Real>,
}

/// What the records are in as well, once something is to be proven.
struct Real {
    log: log::Log,
    directory: TempDir,
}

impl Log {
    pub fn held(&self, incarnation: &str) -> u64 {
        self.last.get(incarnation).map_or(0, |(last, _)| *last)
    }

    /// From now on records go into a log of their own, which this key signs.
    pub fn keep(&mut self) -> VerifierKey {
        let key = NoteKey::new("example.org/audit", SigningKey::generate(Algorithm::EdDsa).unwrap()).unwrap();
        let verifier = key.verifier().clone();
        let directory = tempfile::tempdir().unwrap();
        let objects = Directory::open(directory.path()).unwrap().unwrap();
        let log = log::Log::open(Box::new(objects), key).unwrap();
        self.real = Some(Real { log, directory });
        verifier
    }

    pub fn prove(&mut self, request: &ProveRequest) -> Vec<Vec<u8>> {
        let Some(real) = self.real.as_mut().filter(|_| !self.mute) else {
            return Vec::new();
        };
        real.log.publish().unwrap();
        let view = View::open(real.directory.path(), None).unwrap();
        let proofs = view.prove_newest((EDGE, &request.incarnation), &request.sequences, 0);
        let proofs = proofs.unwrap().into_iter();
        proofs.map(|proof| serde_json::to_vec(&proof).unwrap()).collect()
    }

    fn take(&mut self, segment: AuditSegment) -> AuditReceipt {
        if !segment.seen_checkpoint.is_empty() {
            self.seen.push(segment.seen_checkpoint);
        }
        if let Some(real) = &mut self.real {
            let shipment = Shipment {
                edge: EDGE.to_owned(),
                incarnation: segment.incarnation.clone(),
                records: match self.forges {
                    Some(forge) => segment.records.iter().map(|record| forged(record, forge)).collect(),
                    None => segment.records.clone(),
                },
            };
            let taken = real.log.take(vec![shipment]).unwrap().remove(0);
            // What follows a forged one does not fit.
            assert!(taken.is_ok() || self.forges.is_some());
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
            checkpoint: self.note.clone().unwrap_or_else(|| "example.org/audit\n1\n".into()),
        }
    }
}

fn forged(encoded: &[u8], forge: fn(&mut Draft<'static>)) -> Vec<u8> {
    let mut record = Record::decode(encoded).unwrap();
    if let Event::Use(used) = &mut record.event {
        forge(used);
    }
    record.encode().unwrap()
}

pub type Receipts = ReceiverStream<Result<AuditReceipt, Status>>;

pub fn take(fake: Fake, request: Request<Streaming<AuditSegment>>) -> Response<Receipts> {
    let (answers, receipts) = mpsc::channel(8);
    let mut segments = request.into_inner();
    fake.state().audit.streams += 1;
    tokio::spawn(async move {
        let mut told = String::new();
        while let Ok(Some(segment)) = segments.message().await {
            let (mut receipt, losing) = {
                let mut state = fake.state();
                (state.audit.take(segment), state.audit.losing)
            };
            // As the real one: a checkpoint is told once a stream.
            match receipt.checkpoint == told {
                true => receipt.checkpoint.clear(),
                false => told.clone_from(&receipt.checkpoint),
            }
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
