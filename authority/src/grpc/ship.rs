//! An edge's audit records on their way into the log: one segment after the other, each answered in turn.

use std::sync::Arc;
use std::time::Duration;

use audit::log::{Receipt, Shipment};
use node::contract::{AuditReceipt, AuditSegment};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::collect::{Collector, Unshipped};

/// What the edge gets.
pub(super) type Receipts = ReceiverStream<Result<AuditReceipt, Status>>;

/// Segments of one stream that may wait for their receipts.
const WINDOW: usize = 64;
/// How long a stream lasts: then the edge shows its certificate anew (R19).
const LIFE: Duration = Duration::from_secs(600);

/// Takes segments of this edge until either side goes, something is refused, or the stream is too old.
pub(super) fn take(
    edge: &str,
    log: Arc<Collector>,
    segments: Streaming<AuditSegment>,
    mut stop: watch::Receiver<bool>,
) -> Receipts {
    let (answers, receipts) = mpsc::channel(WINDOW);
    let edge = edge.to_owned();
    tokio::spawn(async move {
        let taking = tokio::time::timeout(LIFE, run(&edge, &log, segments, &answers));
        let ended = tokio::select! {
            ended = taking => ended,
            // What has no receipt yet is shipped again.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if let Ok(Err(status)) = ended {
            tracing::warn!(edge, code = ?status.code(), "audit records of an edge are not taken: {}", status.message());
            // It may have gone.
            let _ = answers.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receipts)
}

async fn run(
    edge: &str,
    log: &Arc<Collector>,
    mut segments: Streaming<AuditSegment>,
    answers: &mpsc::Sender<Result<AuditReceipt, Status>>,
) -> Result<(), Status> {
    let (waiting, mut order) = mpsc::channel(WINDOW);
    let offering = async {
        while let Some(segment) = segments.message().await? {
            if !segment.seen_checkpoint.is_empty() {
                log.seen(edge, &segment.seen_checkpoint).map_err(status)?;
            }
            let incarnation = segment.incarnation.clone();
            let shipment = Shipment {
                edge: edge.to_owned(),
                incarnation: segment.incarnation,
                records: segment.records,
            };
            let receipt = log.offer(shipment).await.map_err(status)?;
            if waiting.send((incarnation, receipt)).await.is_err() {
                break;
            }
        }
        drop(waiting);
        Ok(())
    };
    let answering = async {
        let mut told = String::new();
        while let Some((incarnation, receipt)) = order.recv().await {
            let Receipt { next, .. } = receipt.await.map_err(status)?;
            let note = log.note();
            let checkpoint = if note == told { String::new() } else { note.clone() };
            told = note;
            let receipt = AuditReceipt {
                incarnation,
                next,
                checkpoint,
            };
            if answers.send(Ok(receipt)).await.is_err() {
                return Ok(());
            }
        }
        Ok::<_, Status>(())
    };
    tokio::try_join!(offering, answering).map(drop)
}

fn status(error: Unshipped) -> Status {
    match error {
        Unshipped::Refused(_) => Status::failed_precondition(error.to_string()),
        Unshipped::Unavailable(_) => Status::unavailable(error.to_string()),
    }
}
