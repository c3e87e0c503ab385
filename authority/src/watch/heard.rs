//! What an edge says on its stream: renewals of leases, and what it has applied.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use node::contract::watch_event::Event;
use node::contract::watch_up::Up;
use node::contract::{Lease, LeaseGrant, LeaseRenewal, WatchUp};
use node::lease::{Holder, MOST_KEYS};
use tokio::time::{Instant, timeout};
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::{End, Feed};
use crate::names::check_incarnation;

/// What an edge sends.
pub type Messages = Pin<Box<dyn Stream<Item = Result<WatchUp, Status>> + Send>>;

/// The state that renewals were decided by, and the keys that are granted, with the lengths of their leases in milliseconds.
type Decided = (u64, Vec<(Arc<str>, u64)>);

/// How long reading the state anew may take before a renewal is left without an answer.
const READ: Duration = Duration::from_secs(2);
/// How long renewals go unanswered before the stream ends: an edge asks again each second.
const UNDECIDED: Duration = Duration::from_secs(4);
/// How long a revoked edge has to say that it signs nothing more.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Feed {
    /// The edge's process, as leases name it.
    pub(super) fn holder(&self) -> Holder {
        Holder {
            edge: self.edge.id().as_str().into(),
            incarnation: self.incarnation.clone(),
        }
    }

    pub(super) async fn hear(&mut self, message: WatchUp) -> Result<(), End> {
        match message.up {
            Some(Up::Acknowledged(done)) => {
                self.acknowledged(done.revision);
                Ok(())
            }
            Some(Up::Renewal(renewal)) => self.renew(renewal).await,
            Some(Up::Rollout(report)) => {
                self.watches
                    .rollouts
                    .report(self.edge.id().as_str(), &self.incarnation, report);
                Ok(())
            }
            Some(Up::Request(_)) => Err(invalid("a stream has one request, its first message")),
            // Of a later version: what is not understood is not granted.
            None => Ok(()),
        }
    }

    /// An edge cannot have applied what it was not told.
    fn acknowledged(&mut self, revision: u64) {
        self.acknowledged = self.acknowledged.max(revision.min(self.told));
        self.watches.leases.acknowledge(&self.holder(), self.acknowledged);
    }

    async fn renew(&mut self, renewal: LeaseRenewal) -> Result<(), End> {
        if renewal.key_ids.len() > MOST_KEYS {
            return Err(invalid("a renewal names at most 1,000 keys"));
        }
        let began = Instant::now();
        check_incarnation(&self.incarnation).map_err(|fault| End::Told(fault.into()))?;
        // An answer without a key would end its lease. Where several authorities are on one store, the edge finds another.
        let Some((revision, granted)) = self.decide(&renewal.key_ids).await? else {
            let since = *self.undecided.get_or_insert(began);
            return match since.elapsed() < UNDECIDED {
                true => Ok(()),
                false => Err(End::Told(Status::unavailable(
                    "the state of keys cannot be read here now",
                ))),
            };
        };
        self.undecided = None;
        let leases = granted.into_iter().map(|(id, duration)| Lease {
            key_id: id.to_string(),
            duration_ms: u32::try_from(duration).unwrap_or(u32::MAX),
        });
        let grant = LeaseGrant {
            nonce: renewal.nonce,
            revision,
            leases: leases.collect(),
        };
        self.send(self.revision, Event::Leases(grant)).await
    }

    /// Which of the keys may be signed with, by a state that is not older than this call: the view, once it shows what the
    /// store had after it began. None where that cannot be known now.
    async fn decide(&mut self, key_ids: &[String]) -> Result<Option<Decided>, End> {
        let begun = Instant::now();
        let mut keys = self.watches.world.lease_lengths(key_ids);
        loop {
            // Before anything is read: whoever asks after a stop was committed has to see it.
            if !self.watches.leases.begin(&self.holder(), self.acknowledged, &keys) {
                tracing::warn!(
                    edge = %self.edge.id(),
                    "too many processes of this edge may hold leases: a new one gets none until those have run out"
                );
                return Ok(Some((self.revision, Vec::new())));
            }
            let Ok(revision) = self.watches.world.catch_up().await else {
                return Ok(None);
            };
            if self.watches.seal.is_closed() {
                return Ok(None);
            }
            self.demand_standing().await?;
            // A view that was behind knew other keys, or other lengths: those are not noted yet.
            let shown = self.watches.world.lease_lengths(key_ids);
            if shown == keys {
                let edge = self.edge.id().as_str();
                let signable = self.watches.world.signable(edge, self.acknowledged, &keys);
                return Ok(Some((revision, signable)));
            }
            if begun.elapsed() >= READ {
                return Ok(None);
            }
            keys = shown;
        }
    }

    /// Waits a moment for a revoked edge to say that it has obeyed.
    pub(super) async fn last_word(&mut self, revision: u64) {
        let obeyed = async {
            while self.acknowledged < revision {
                match self.messages.next().await {
                    Some(Ok(WatchUp {
                        up: Some(Up::Acknowledged(done)),
                    })) => self.acknowledged(done.revision),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
            }
        };
        timeout(LAST_WORD, obeyed).await.ok();
    }
}

fn invalid(message: &str) -> End {
    End::Told(Status::invalid_argument(message))
}
