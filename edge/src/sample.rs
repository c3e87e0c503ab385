//! Samples of requests that plugins judged, for trying new versions of the plugins on them: taken only where the bundle asks for it,
//! redacted before they are kept, and held in memory, a bounded number, until a task of its own seals and ships them.
//!
//! No request waits for its sample, or fails because of it. What the authority does not take is lost: a sample is not an audit record.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use node::contract::SampleBatch;
use node::sampling::{self, MAX_BATCH, MAX_IN_BATCH};
use policies::bundle::Sampling;
use runtime::sample::{Answered, Sample, batch, in_batch};
use runtime::{Request, RuleError, Verdict};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::redact::redacted;
use crate::jitter;
use crate::metrics::Metrics;
use crate::state::Edge;
use crate::uplink::Uplink;

mod redact;

/// Between two shipments, unless a batch is full.
const EVERY: Duration = Duration::from_secs(2);
/// How long the authority may take for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one sample: what a request can have is larger than what is worth keeping.
const MAX_SAMPLE: usize = 16 << 10;
/// Bytes of all samples that wait: then new ones are dropped.
const MAX_WAITING: usize = 1 << 20;

/// What becomes the sample of one request while its rules are asked.
#[derive(Debug)]
pub struct Sampler {
    sampling: Arc<Sampling>,
    answers: Vec<Answered>,
}

impl Sampler {
    /// Of a request that the bundle wants.
    pub fn new(sampling: &Arc<Sampling>) -> Sampler {
        Sampler {
            sampling: sampling.clone(),
            answers: Vec::new(),
        }
    }

    /// What the next rule answered.
    pub fn answered(&mut self, plugin: &str, judged: &Result<Verdict, RuleError>) {
        self.answers.push(Answered {
            plugin: plugin.to_owned(),
            answer: judged.into(),
        });
    }
}

/// Samples that wait to be shipped.
#[derive(Default)]
pub struct Samples {
    waiting: Mutex<Waiting>,
    full: Notify,
}

/// What is kept of requests is in it (R10).
impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiting {
    /// What all of them were taken by.
    sampling: Option<Arc<Sampling>>,
    samples: VecDeque<Vec<u8>>,
    /// Of all of them in batches.
    bytes: usize,
}

/// Samples that are shipped together.
struct Batch {
    sampling: Arc<Sampling>,
    bytes: Vec<u8>,
    count: u32,
}

impl Samples {
    /// Takes a sample, redacted, or counts why not.
    pub fn offer(&self, sampler: Sampler, request: &Request<'_>, metrics: &Metrics) {
        let Sampler { sampling, answers } = sampler;
        let request = redacted(request, &sampling);
        let sample = Sample { request, answers }.encode();
        let Some(sample) = sample.filter(|sample| sample.len() <= MAX_SAMPLE) else {
            return metrics.samples("too_large", 1);
        };
        let mut waiting = self.lock();
        metrics.samples("lost", waiting.belong_to(Some(&sampling)));
        let bytes = waiting.bytes.saturating_add(in_batch(sample.len()));
        if bytes > MAX_WAITING {
            return metrics.samples("dropped", 1);
        }
        waiting.bytes = bytes;
        waiting.samples.push_back(sample);
        metrics.samples("taken", 1);
        if bytes > MAX_BATCH || waiting.samples.len() >= MAX_IN_BATCH {
            self.full.notify_one();
        }
    }

    /// The oldest that fit into one batch, of those that the bundle in use still wants as they are.
    fn take(&self, current: Option<&Arc<Sampling>>, metrics: &Metrics) -> Option<Batch> {
        let mut waiting = self.lock();
        metrics.samples("lost", waiting.belong_to(current));
        let sampling = waiting.sampling.clone()?;
        // Never more at once than the authority keeps.
        let most = usize::try_from(sampling.keep).unwrap_or(usize::MAX).min(MAX_IN_BATCH);
        let mut taken = Vec::new();
        // A batch has a byte before its samples.
        let mut bytes = 1_usize;
        while let Some(next) = waiting.samples.front().map(|sample| in_batch(sample.len())) {
            let with = bytes.saturating_add(next);
            if with > MAX_BATCH || taken.len() >= most {
                break;
            }
            bytes = with;
            waiting.bytes = waiting.bytes.saturating_sub(next);
            taken.extend(waiting.samples.pop_front());
        }
        let count = u32::try_from(taken.len()).ok().filter(|count| *count > 0)?;
        Some(Batch {
            sampling,
            bytes: batch(taken.iter().map(Vec::as_slice)),
            count,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// What was taken by another bundle's words, which may have kept more, is forgotten: how many those are.
    fn belong_to(&mut self, sampling: Option<&Arc<Sampling>>) -> u64 {
        if self.sampling.as_ref() == sampling {
            return 0;
        }
        let forgotten = std::mem::take(self).samples.len();
        self.sampling = sampling.cloned();
        u64::try_from(forgotten).unwrap_or(u64::MAX)
    }
}

/// Ships samples until the process ends.
pub async fn keep(edge: Arc<Edge>, uplink: Arc<Uplink>) {
    loop {
        // Either is a reason to look.
        let _ = timeout(jitter::around(EVERY), edge.samples().full.notified()).await;
        ship_all(&edge, &uplink).await;
    }
}

/// Ships what waits, until one batch is lost.
async fn ship_all(edge: &Edge, uplink: &Uplink) {
    loop {
        // Nothing of the bundle is held while the authority is waited for.
        let sampling = edge.world().sampling().cloned();
        let Some(batch) = edge.samples().take(sampling.as_ref(), edge.metrics()) else {
            return;
        };
        let count = u64::from(batch.count);
        if let Err(error) = ship(edge, uplink, batch).await {
            edge.metrics().samples("lost", count);
            tracing::warn!(error, count, "samples of requests are lost");
            return;
        }
        edge.metrics().samples("shipped", count);
    }
}

async fn ship(edge: &Edge, uplink: &Uplink, batch: Batch) -> Result<(), String> {
    let identity = edge.identity();
    let sealed = sampling::seal(&batch.sampling.key, &identity.edge_id, &batch.bytes);
    let sealed = sealed.map_err(|_| "nothing can be sealed to the bundle's sampling key".to_owned())?;
    let batch = SampleBatch {
        key: batch.sampling.key.to_vec(),
        encapsulated: sealed.encapsulated,
        ciphertext: sealed.ciphertext,
        samples: batch.count,
    };
    let mut client = uplink.client().map_err(|status| status.message().to_owned())?;
    match timeout(PATIENCE, client.ship_samples(batch)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
        Err(_) => Err("the authority did not answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests;
