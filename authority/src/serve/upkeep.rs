//! What time makes due: versions to rotate, keys to delete, material to expire, requests that nobody approved, old tokens
//! to forget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use node::boottime;

use self::steady::{Look, Steady};
use super::Wired;
use crate::admin::about;
use crate::approvals::{Approval, Approvals};
use crate::clock::Clock;
use crate::edges::Edges;
use crate::keys::Keys;
use crate::kms::{Entry, Recorder};
use crate::leader::Leadership;
use crate::samples::Samples;
use crate::seal::Seal;
use crate::world::World;

mod steady;

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);
/// Looks between two sweeps of tokens.
const SWEEP_EVERY: u64 = 600;
/// Looks between two for requests that nobody approved in time. They count as over at once, looked at or not.
const EXPIRE_EVERY: u64 = 10;
/// Looks between two writings of keys' uses: what a process that is killed loses.
const USES_EVERY: u64 = 60;
/// Looks between two for samples that are too old.
const TRIM_EVERY: u64 = 60;

/// What the upkeep is done with.
pub(crate) struct Upkeep {
    keys: Arc<Keys>,
    world: Arc<World>,
    edges: Arc<Edges>,
    samples: Arc<Samples>,
    seal: Arc<Seal>,
    clock: Clock,
    recorder: Arc<Recorder>,
}

impl Upkeep {
    /// Of the parts of an authority.
    pub(crate) fn of(wired: &Wired, recorder: Arc<Recorder>) -> Self {
        Self {
            keys: wired.keys.clone(),
            world: wired.world.clone(),
            edges: wired.edges.clone(),
            samples: wired.samples.clone(),
            seal: wired.seal.clone(),
            clock: wired.clock.clone(),
            recorder,
        }
    }

    /// Looks each second until `stop` turns true. What fails is tried again at the next look. After a step of the wall clock nothing
    /// is due for a while ([`steady`]). A sealed authority changes nothing,
    /// and of several on one store only the leader does, but for the uses of keys and for samples, which each has for itself.
    pub(crate) async fn keep(self, mut leadership: Leadership, mut stop: watch::Receiver<bool>) {
        let (mut looks, mut steady): (u64, Steady) = (0, Steady::default());
        while !*stop.borrow_and_update() {
            if !self.seal.is_closed() {
                let believed = match steady.look(self.clock.now_ms(), boottime::now_ms()) {
                    Look::Steady => true,
                    Look::Doubted => false,
                    Look::Stepped(by_ms) => {
                        tracing::error!(
                            by_ms,
                            "the wall clock has stepped: what time makes due waits until it is back, or has stood for ten minutes"
                        );
                        false
                    }
                };
                if believed && let Err(fault) = leadership.lead(Instant::now(), self.due(looks)).await {
                    fault.log("upkeep");
                }
                if looks.is_multiple_of(USES_EVERY) {
                    write_uses(&self.keys).await;
                }
                if looks.is_multiple_of(TRIM_EVERY) {
                    let samples = self.samples.clone();
                    // It says itself what it cannot remove.
                    let _ = tokio::task::spawn_blocking(move || samples.trim()).await;
                }
                looks = looks.wrapping_add(1);
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = stop.changed() => break,
            }
        }
        leadership.resign().await;
    }

    async fn due(&self, looks: u64) {
        look(&self.keys, &self.world, &self.clock).await;
        if looks.is_multiple_of(SWEEP_EVERY)
            && let Err(fault) = self.edges.sweep_tokens().await
        {
            fault.log("forgetting old join tokens");
        }
        if looks.is_multiple_of(EXPIRE_EVERY) {
            expire(self.keys.approvals(), &self.recorder).await;
        }
    }
}

/// Writes down who used keys for what.
pub(crate) async fn write_uses(keys: &Keys) {
    if let Err(fault) = keys.write_uses().await {
        fault.log("writing down the uses of keys");
    }
}

/// One look at every key that is due, as far as the view knows; the rows decide whether it is.
pub(crate) async fn look(keys: &Keys, world: &World, clock: &Clock) {
    let now = clock.now();
    for (tenant, row) in world.keys_due(now, |key| keys.rotation_is_due(key)) {
        if let Err(fault) = keys.upkeep(&tenant, &row).await {
            fault.log("upkeep of a key");
        }
    }
}

/// Ends requests that nobody approved in time, and puts that on record.
async fn expire(approvals: &Approvals, recorder: &Recorder) {
    match approvals.expire().await {
        Ok(ended) => ended.iter().for_each(|approval| record_expiry(recorder, approval)),
        Err(fault) => fault.log("ending requests for approval"),
    }
}

fn record_expiry(recorder: &Recorder, approval: &Approval) {
    let recorded = recorder.record(Entry {
        operation: "approvals:Expire",
        caller: "signet",
        account: approval.domain.as_str(),
        decided: about(approval),
        digest: None,
        refused: None,
        request_id: uuid::Uuid::new_v4(),
        headers: &http::HeaderMap::new(),
    });
    if let Err(refusal) = recorded {
        let detail = refusal.detail.unwrap_or_default();
        tracing::error!(id = approval.id, detail, "a request's end is not on record");
    }
}
