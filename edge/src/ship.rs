//! The audit spool goes to the authority: what is durable here within a second, in order, again from where the authority has
//! it when the stream was lost. What the authority has made durable need not stay here.
//!
//! The newest checkpoint of each authority's log stays, beside the spool ([`seen`]): it is shown to that authority, and to no other,
//! when a stream begins, and `signet audit verify --seen` compares a log with it. Whoever puts the log back to an older state is
//! found out by that.

mod seen;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use audit::read::ReadError;
use audit::ship::{Chunk, Outbox};
use node::contract::{AuditReceipt, AuditSegment};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::jitter::Backoff;
use crate::state::Edge;
use crate::uplink::Uplink;
use seen::Seen;

/// Between two looks at the spool.
const LOOK: Duration = Duration::from_millis(200);
/// How long the authority may take for a receipt.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest wait between two streams. One that lasted longer was no failure to be punished.
const LONGEST: Duration = Duration::from_secs(10);
/// Segments on their way at once.
const WINDOW: usize = 32;
/// Between two writings of the checkpoint.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// Ships until the process ends.
pub async fn keep(edge: Arc<Edge>, uplink: Arc<Uplink>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), LONGEST);
    let mut shipper = Shipper::new(edge);
    loop {
        let (begun, before) = (Instant::now(), shipper.shipped);
        let ended = shipper.stream(&uplink).await;
        shipper.edge.proofs().ship_to(None);
        let error = match ended {
            Ok(()) => "the authority closed the stream".to_owned(),
            Err(error) => error,
        };
        if shipper.shipped > before || begun.elapsed() > LONGEST {
            backoff.reset();
        } else {
            tracing::warn!(error, "audit records do not reach the authority; it is tried again");
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

struct Shipper {
    edge: Arc<Edge>,
    spool: PathBuf,
    seen: Seen,
    kept: Option<Instant>,
    /// Records that the authority has receipted to this process.
    shipped: u64,
    /// Nothing below is looked at again.
    segment: u64,
    /// Damage was met: nothing is removed any more.
    damaged: bool,
}

/// One stream.
struct Stream {
    segments: mpsc::Sender<AuditSegment>,
    receipts: Streaming<AuditReceipt>,
    sent: VecDeque<Sent>,
}

/// A chunk that is on its way.
struct Sent {
    incarnation: String,
    last: u64,
    count: u64,
    segment: u64,
}

impl Shipper {
    fn new(edge: Arc<Edge>) -> Shipper {
        let state = &edge.config().state_dir;
        Shipper {
            spool: state.join("audit"),
            seen: Seen::new(state),
            kept: None,
            shipped: 0,
            segment: 0,
            damaged: false,
            edge,
        }
    }

    async fn stream(&mut self, uplink: &Uplink) -> Result<(), String> {
        let (directory, segment) = (self.spool.clone(), self.segment);
        let mut outbox = blocking(move || Outbox::open(&directory, segment))
            .await?
            .map_err(text)?;
        // Nobody is called before there is something to say: the spool of an edge that starts has a first record.
        let (segments, outgoing) = mpsc::channel(WINDOW);
        let mut client = uplink.client().map_err(said)?;
        let opened = timeout(PATIENCE, client.ship_audit(ReceiverStream::new(outgoing))).await;
        let mut stream = Stream {
            segments,
            receipts: opened.map_err(text)?.map_err(said)?.into_inner(),
            sent: VecDeque::new(),
        };
        self.edge.proofs().ship_to(Some(client));
        let mut at: Option<(String, u64)> = None;
        let mut first = true;
        loop {
            let (found, chunk);
            (outbox, found, chunk) = self.read(outbox, at.clone()).await?;
            match (chunk, found) {
                (Some(chunk), _) => {
                    stream.send(chunk).await?;
                    if stream.sent.len() >= WINDOW {
                        self.receipt(&mut stream).await?;
                    }
                }
                (None, Some(other)) => {
                    while !stream.sent.is_empty() {
                        self.receipt(&mut stream).await?;
                    }
                    let next = self.ask(&mut stream, &other, std::mem::take(&mut first)).await?;
                    at = Some((other, next));
                }
                (None, None) if stream.sent.is_empty() => {
                    // What somebody waits for is shipped before the next look.
                    let _ = timeout(LOOK, self.edge.shipping_woken()).await;
                }
                (None, None) => self.receipt(&mut stream).await?,
            }
        }
    }

    /// The next chunk of the process that is under way, or another process that comes after it.
    async fn read(
        &mut self,
        mut outbox: Outbox,
        at: Option<(String, u64)>,
    ) -> Result<(Outbox, Option<String>, Option<Chunk>), String> {
        let own = self.edge.incarnation().to_owned();
        let durable = self.edge.spool().status().durable;
        let read = blocking(move || {
            let read = read(&mut outbox, (&own, durable), at.as_ref());
            (outbox, read)
        });
        let (outbox, read) = read.await?;
        match read {
            Ok((other, chunk)) => Ok((outbox, other, chunk)),
            Err(error @ ReadError::Damaged { .. }) => {
                tracing::error!(%error, "the audit spool is damaged; what can be read is shipped, and nothing is removed");
                self.damaged = true;
                Ok((outbox, None, None))
            }
            Err(error) => Err(text(error)),
        }
    }

    /// How far the authority is with a process. The first receipt of a stream says which log it has: of several authorities each has
    /// its own. It is shown what was seen of that one before a newer checkpoint takes its place, and before any record.
    async fn ask(&mut self, stream: &mut Stream, incarnation: &str, first: bool) -> Result<u64, String> {
        let mut receipt = stream.ask(incarnation, String::new()).await?;
        if first {
            let (seen, now) = (self.seen.clone(), receipt.checkpoint.clone());
            if let Some(before) = blocking(move || seen.of_log(&now)).await? {
                // Its receipt says nothing new of the log: the first one's checkpoint is what is kept, now that this was taken.
                receipt.next = stream.ask(incarnation, before).await?.next;
            }
            self.kept = None;
        }
        self.keep_checkpoint(&receipt).await;
        Ok(receipt.next)
    }

    async fn receipt(&mut self, stream: &mut Stream) -> Result<(), String> {
        let receipt = stream.receipt().await?;
        self.keep_checkpoint(&receipt).await;
        let Some(sent) = stream.sent.pop_front() else {
            return Err("the authority sent a receipt for nothing".to_owned());
        };
        if receipt.incarnation != sent.incarnation || receipt.next <= sent.last {
            return Err("the authority's receipt is not for what was sent".to_owned());
        }
        self.shipped = self.shipped.saturating_add(sent.count);
        self.edge.metrics().shipped(sent.count);
        if !self.damaged {
            self.segment = sent.segment;
            self.edge.spool().shipped(sent.segment);
        }
        Ok(())
    }

    /// Losing one costs nothing but that an older one is compared with.
    async fn keep_checkpoint(&mut self, receipt: &AuditReceipt) {
        let due = self.kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY);
        if receipt.checkpoint.is_empty() || !due {
            return;
        }
        self.kept = Some(Instant::now());
        let (seen, note) = (self.seen.clone(), receipt.checkpoint.clone());
        let kept = blocking(move || seen.keep(&note)).await;
        if let Err(error) = kept.and_then(|kept| kept.map_err(text)) {
            tracing::warn!(error, "the audit log's checkpoint could not be kept");
        }
    }
}

impl Stream {
    async fn ask(&mut self, incarnation: &str, seen_checkpoint: String) -> Result<AuditReceipt, String> {
        let question = AuditSegment {
            incarnation: incarnation.to_owned(),
            records: Vec::new(),
            seen_checkpoint,
        };
        self.segments.send(question).await.map_err(text)?;
        self.receipt().await
    }

    async fn send(&mut self, chunk: Chunk) -> Result<(), String> {
        self.sent.push_back(Sent {
            incarnation: chunk.incarnation.clone(),
            last: chunk.last,
            count: u64::try_from(chunk.records.len()).unwrap_or_default(),
            segment: chunk.segment,
        });
        let segment = AuditSegment {
            incarnation: chunk.incarnation,
            records: chunk.records,
            seen_checkpoint: String::new(),
        };
        self.segments
            .send(segment)
            .await
            .map_err(|_| "the stream ended".to_owned())
    }

    async fn receipt(&mut self) -> Result<AuditReceipt, String> {
        let receipt = timeout(PATIENCE, self.receipts.message()).await.map_err(text)?;
        receipt
            .map_err(said)?
            .ok_or_else(|| "the authority closed the stream".to_owned())
    }
}

fn read(
    outbox: &mut Outbox,
    own: (&str, u64),
    at: Option<&(String, u64)>,
) -> Result<(Option<String>, Option<Chunk>), ReadError> {
    if let Some((of, from)) = at
        && let Some(chunk) = outbox.chunk(own, of, *from)?
    {
        return Ok((None, Some(chunk)));
    }
    let next = outbox.incarnation(own.0, own.1)?;
    let other = next.filter(|next| at.is_none_or(|(of, _)| of != next));
    Ok((other.map(str::to_owned), None))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn said(status: Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests;
