//! The audit spool goes to the authority: what is durable here within a second, in order, again from where the authority has
//! it when the stream was lost. What the authority has made durable need not stay here.
//!
//! The newest checkpoint of the authority's log stays, beside the spool: it is shown to the authority when a stream begins, and
//! `signet audit verify --seen` compares a log with it. Whoever puts the log back to an older state is found out by that.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
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
/// The file with the newest checkpoint, in the state directory.
pub const CHECKPOINT: &str = "audit-checkpoint";

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
    checkpoint: PathBuf,
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
    sent: VecDeque<Chunk>,
}

impl Shipper {
    fn new(edge: Arc<Edge>) -> Shipper {
        let state = &edge.config().state_dir;
        Shipper {
            spool: state.join("audit"),
            checkpoint: state.join(CHECKPOINT),
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
        let mut seen = tokio::fs::read_to_string(&self.checkpoint).await.unwrap_or_default();
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
                    let next = self.ask(&mut stream, &other, std::mem::take(&mut seen)).await?;
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

    /// How far the authority is with a process.
    async fn ask(&mut self, stream: &mut Stream, incarnation: &str, seen: String) -> Result<u64, String> {
        let question = AuditSegment {
            incarnation: incarnation.to_owned(),
            records: Vec::new(),
            seen_checkpoint: seen,
        };
        stream.segments.send(question).await.map_err(text)?;
        let receipt = stream.receipt().await?;
        self.keep_checkpoint(&receipt).await;
        Ok(receipt.next)
    }

    async fn receipt(&mut self, stream: &mut Stream) -> Result<(), String> {
        let receipt = stream.receipt().await?;
        self.keep_checkpoint(&receipt).await;
        let Some(chunk) = stream.sent.pop_front() else {
            return Err("the authority sent a receipt for nothing".to_owned());
        };
        if receipt.incarnation != chunk.incarnation || receipt.next <= chunk.last {
            return Err("the authority's receipt is not for what was sent".to_owned());
        }
        let count = u64::try_from(chunk.records.len()).unwrap_or_default();
        self.shipped = self.shipped.saturating_add(count);
        self.edge.metrics().shipped(count);
        if !self.damaged {
            self.segment = chunk.segment;
            self.edge.spool().shipped(chunk.segment);
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
        let (file, note) = (self.checkpoint.clone(), receipt.checkpoint.clone());
        let kept = blocking(move || keep_note(&file, &note)).await;
        if let Err(error) = kept.and_then(|kept| kept.map_err(text)) {
            tracing::warn!(error, "the audit log's checkpoint could not be kept");
        }
    }
}

impl Stream {
    async fn send(&mut self, chunk: Chunk) -> Result<(), String> {
        let segment = AuditSegment {
            incarnation: chunk.incarnation.clone(),
            records: chunk.records.clone(),
            seen_checkpoint: String::new(),
        };
        self.sent.push_back(chunk);
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

/// Whole or not at all. Where another log's is there, it is kept aside: it is what shows that there was another one.
fn keep_note(file: &Path, note: &str) -> io::Result<()> {
    let origin = |note: &str| note.lines().next().unwrap_or_default().to_owned();
    match std::fs::read_to_string(file) {
        Ok(before) if origin(&before) != origin(note) => {
            tracing::error!(
                before = origin(&before),
                now = origin(note),
                "the authority's audit log is another one than before; the old one's checkpoint is kept"
            );
            std::fs::rename(file, file.with_extension("before"))?;
        }
        _ => {}
    }
    let aside = file.with_extension("new");
    let written = std::fs::File::create(&aside)?;
    io::Write::write_all(&mut &written, note.as_bytes())?;
    written.sync_data()?;
    std::fs::rename(aside, file)
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
