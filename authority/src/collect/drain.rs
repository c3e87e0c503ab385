//! The authority's own spool goes into the log as an edge's does, and is freed as it arrives.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use audit::log::Shipment;
use audit::read::ReadError;
use audit::ship::{Chunk, Outbox};
use audit::spool::Spool;
use tokio::task::JoinHandle;

use super::{Collector, Unshipped};
use crate::kms::Chain;

/// Between two looks at the spool.
const LOOK: Duration = Duration::from_millis(200);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Chunks on their way at once.
const WINDOW: usize = 64;

/// Brings the spool's records to the log until told to end.
pub(crate) struct Drain {
    task: JoinHandle<()>,
    ending: Arc<AtomicBool>,
}

struct Source {
    collector: Arc<Collector>,
    spool: Arc<Spool>,
    directory: PathBuf,
    own: Chain,
    /// Nothing below is looked at again.
    segment: u64,
    /// Damage was met: nothing is removed any more.
    damaged: bool,
}

impl Drain {
    /// Of the spool in `directory` that this process writes as its `own`.
    pub(crate) fn start(collector: Arc<Collector>, spool: Arc<Spool>, directory: PathBuf, own: Chain) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let end = ending.clone();
        let source = Source {
            collector,
            spool,
            directory,
            own,
            segment: 0,
            damaged: false,
        };
        Self {
            task: tokio::spawn(source.run(end)),
            ending,
        }
    }

    /// After the spool was closed: brings the rest, if the log takes it.
    pub(crate) async fn finish(self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = self.task.await;
    }
}

impl Source {
    async fn run(mut self, ending: Arc<AtomicBool>) {
        loop {
            let last = ending.load(Ordering::SeqCst);
            let failed = self.pass(&ending, last).await;
            if last {
                return;
            }
            if let Err(error) = failed {
                tracing::warn!(
                    error,
                    "this authority's audit records do not reach its log; it is tried again"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// From the first segment that is not known to be held, until something fails or the end has come.
    async fn pass(&mut self, ending: &AtomicBool, last: bool) -> Result<(), String> {
        let (directory, segment) = (self.directory.clone(), self.segment);
        let mut outbox = blocking(move || Outbox::open(&directory, segment))
            .await?
            .map_err(text)?;
        let mut at: Option<(String, u64)> = None;
        loop {
            let (read, chunks);
            (outbox, read, chunks) = self.read(outbox, at.take()).await?;
            at = read;
            match (&mut at, chunks) {
                (Some((incarnation, from)), chunks) if chunks.is_empty() && *from == 0 => {
                    let incarnation = incarnation.clone();
                    let next = self.ask(&incarnation).await?;
                    at = Some((incarnation, next));
                }
                (_, chunks) if chunks.is_empty() => {
                    if last || ending.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    tokio::time::sleep(LOOK).await;
                }
                (_, chunks) => self.bring(chunks).await?,
            }
        }
    }

    /// The next chunks of the process that is under way; or the next process, whose place in the log is not known yet (0).
    async fn read(
        &mut self,
        mut outbox: Outbox,
        at: Option<(String, u64)>,
    ) -> Result<(Outbox, Option<(String, u64)>, Vec<Chunk>), String> {
        let own = self.own.incarnation.clone();
        let durable = self.spool.status().durable;
        let read = blocking(move || {
            let mut chunks = Vec::new();
            let found = read(&mut outbox, (&own, durable), &at, &mut chunks);
            let (other, failed) = match found {
                Ok(other) => (other.filter(|_| chunks.is_empty()), None),
                Err(error) => (None, Some(error)),
            };
            let next = other.map(|other| (other, 0)).or(at);
            (outbox, next, chunks, failed)
        });
        let (outbox, next, chunks, failed) = read.await?;
        match failed {
            Some(error @ ReadError::Damaged { .. }) => {
                tracing::error!(%error, "the audit spool is damaged; what can be read goes to the log, and nothing is removed");
                self.damaged = true;
            }
            Some(error) => return Err(text(error)),
            None => {}
        }
        Ok((outbox, next, chunks))
    }

    fn shipment(&self, incarnation: &str, records: Vec<Vec<u8>>) -> Shipment {
        Shipment {
            edge: self.own.edge.clone(),
            incarnation: incarnation.to_owned(),
            records,
        }
    }

    async fn ask(&self, incarnation: &str) -> Result<u64, String> {
        let asked = self.collector.offer(self.shipment(incarnation, Vec::new())).await;
        Ok(asked.map_err(text)?.await.map_err(text)?.next)
    }

    async fn bring(&mut self, chunks: Vec<Chunk>) -> Result<(), String> {
        let mut receipts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let offered = self
                .collector
                .offer(self.shipment(&chunk.incarnation, chunk.records))
                .await;
            receipts.push((offered.map_err(text)?, chunk.segment));
        }
        for (receipt, segment) in receipts {
            receipt.await.map_err(text)?;
            if !self.damaged {
                self.segment = segment;
                self.spool.shipped(segment);
            }
        }
        Ok(())
    }
}

/// Fills `chunks` with those of the process that is under way; answers another process where that one has nothing more.
fn read(
    outbox: &mut Outbox,
    own: (&str, u64),
    at: &Option<(String, u64)>,
    chunks: &mut Vec<Chunk>,
) -> Result<Option<String>, ReadError> {
    if let Some((of, from)) = at {
        while chunks.len() < WINDOW {
            match outbox.chunk(own, of, *from)? {
                Some(chunk) => chunks.push(chunk),
                None => break,
            }
        }
    }
    let next = outbox.incarnation(own.0, own.1)?;
    let is_new = |next: &&str| at.as_ref().is_none_or(|(of, _)| of != next);
    Ok(next.filter(is_new).map(str::to_owned))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl From<Unshipped> for String {
    fn from(error: Unshipped) -> Self {
        error.to_string()
    }
}
