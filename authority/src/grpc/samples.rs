//! Samples that an edge sends: each edge in its turn, so that none keeps the others' out, and what is refused on record.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use node::contract::{SampleBatch, SampleReceipt};
use tokio::time::timeout;
use uuid::Uuid;

use super::Service;
use crate::edges::KnownEdge;
use crate::fault::Fault;
use crate::kms::{Decided, Entry};
use crate::names::EdgeId;

/// The operation in the record.
const SHIP: &str = "edges:ShipSamples";
/// Batches of all edges that are written or wait, each of up to 48 KiB.
pub(super) const WAITING: usize = 256;
/// Batches that are written at once, and those of one edge among them.
pub(super) const AT_ONCE: usize = 4;
pub(super) const SHARE: usize = 1;
/// The longest that one waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// Between two records of what is refused to one edge.
const AGAIN: Duration = Duration::from_secs(60);

impl Service {
    /// Keeps a batch. What is refused is on record, of each edge once a minute; all of it is counted.
    pub(super) async fn keep_samples(&self, edge: &KnownEdge, batch: SampleBatch) -> Result<SampleReceipt, Fault> {
        let kept = self.take_samples(edge.id(), batch).await;
        match &kept {
            Err(fault @ (Fault::Invalid { .. } | Fault::State { .. })) => {
                if self.refused_samples.is_due(edge.id(), Instant::now()) {
                    self.record_refused(edge.id(), fault.code());
                } else {
                    self.recorder.count(SHIP, Some(fault.code()));
                }
            }
            // Nobody's decision.
            Err(fault) => self.recorder.count(SHIP, Some(fault.code())),
            Ok(_) => self.recorder.count(SHIP, None),
        }
        kept
    }

    async fn take_samples(&self, edge: &EdgeId, batch: SampleBatch) -> Result<SampleReceipt, Fault> {
        let Ok(Ok(_turn)) = timeout(TURN, self.sampling_turns.take(edge.clone())).await else {
            return Err(Fault::Busy {
                part: "authority",
                detail: format!("samples of the edge `{edge}` had no turn"),
            });
        };
        let (samples, edge) = (self.samples.clone(), edge.clone());
        let taken = tokio::task::spawn_blocking(move || samples.take(edge.as_str(), &batch)).await;
        taken.map_err(|error| Fault::internal(error.to_string()))??;
        Ok(SampleReceipt {})
    }

    /// It is refused in any case: where it cannot be recorded, the log has it.
    fn record_refused(&self, edge: &EdgeId, code: &str) {
        let recorded = self.recorder.record(Entry {
            operation: SHIP,
            caller: &format!("edge:{edge}"),
            account: "",
            decided: Decided::default(),
            digest: None,
            refused: Some(code),
            request_id: Uuid::new_v4(),
            headers: &HeaderMap::new(),
        });
        if let Err(refusal) = recorded {
            let detail = refusal.detail.unwrap_or_default();
            tracing::error!(%edge, code, detail, "refused samples are not on record");
        }
    }
}

/// When what an edge sent was last put on record as refused: an edge that sends nothing else would fill the record.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<HashMap<EdgeId, Instant>>);

impl Refused {
    /// Whether it is to be put on record now.
    fn is_due(&self, edge: &EdgeId, now: Instant) -> bool {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.retain(|_, recorded| now.saturating_duration_since(*recorded) < AGAIN);
        let is_due = !lately.contains_key(edge);
        if is_due {
            lately.insert(edge.clone(), now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edges_refusals_are_due_once_a_minute_and_forgotten_then() {
        let (refused, now) = (Refused::default(), Instant::now());
        let edge = |id: &str| EdgeId::parse(id).unwrap();
        assert!(refused.is_due(&edge("edge-1"), now));
        assert!(!refused.is_due(&edge("edge-1"), now + AGAIN - Duration::from_secs(1)));
        assert!(refused.is_due(&edge("edge-2"), now + AGAIN / 2));
        assert!(refused.is_due(&edge("edge-1"), now + AGAIN));
        assert!(refused.is_due(&edge("edge-3"), now + 5 * AGAIN));
        assert_eq!(refused.0.lock().unwrap().len(), 1);
    }
}
