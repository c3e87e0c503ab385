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
use crate::fault::Fault;
use crate::keys::Keys;
use crate::kms::{Entry, Recorder};
use crate::leader::Leadership;
use crate::samples::Samples;
use crate::seal::Seal;
use crate::sealed::Vault;
use crate::world::World;

mod seen;
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
    vault: Arc<Vault>,
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
            vault: wired.vault.clone(),
            keys: wired.keys.clone(),
            world: wired.world.clone(),
            edges: wired.edges.clone(),
            samples: wired.samples.clone(),
            seal: wired.seal.clone(),
            clock: wired.clock.clone(),
            recorder,
        }
    }

    /// Looks each second until `stop` turns true. What fails is tried again at the next look. After a step of the wall clock, before
    /// this process started too, nothing is due for a while ([`steady`]). A sealed authority changes nothing,
    /// and of several on one store only the leader does, but for the uses of keys and for samples, which each has for itself.
    pub(crate) async fn keep(self, mut leadership: Leadership, mut stop: watch::Receiver<bool>) {
        let (mut looks, mut belief) = (0_u64, Belief::default());
        while !*stop.borrow_and_update() {
            if !self.seal.is_closed() {
                match self.believes(&mut belief).await {
                    Ok(false) => {}
                    Ok(true) => {
                        if let Err(fault) = leadership.lead(Instant::now(), self.due(looks, &mut belief)).await {
                            fault.log("upkeep");
                        }
                    }
                    Err(fault) => fault.log("asking the store for the time that it has seen"),
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

    /// Whether the clock can be believed now. The store is asked once; until it has answered nothing is due.
    async fn believes(&self, belief: &mut Belief) -> Result<bool, Fault> {
        let (wall, boot) = (self.clock.now_ms(), boottime::now_ms());
        let steady = match &mut belief.steady {
            Some(steady) => steady,
            steady => {
                let seen = seen::last(&self.vault).await?;
                steady.insert(Steady::since(seen, wall, boot))
            }
        };
        Ok(match steady.look(wall, boot) {
            Look::Steady => true,
            Look::Doubted => false,
            Look::Stepped(by_ms) => {
                tracing::error!(
                    by_ms,
                    "the wall clock has stepped, or is far from the last time that the store has seen: what time makes due waits until \
                     it is back, or has stood for ten minutes"
                );
                false
            }
        })
    }

    async fn due(&self, looks: u64, belief: &mut Belief) {
        let now = self.clock.now_ms();
        if belief.written.is_none_or(|at| now.abs_diff(at) >= seen::EVERY_MS) {
            // Also where it failed: then it is written an hour later, as any time that nobody needs to know.
            belief.written = Some(now);
            if let Err(fault) = seen::write(&self.vault, now).await {
                fault.log("writing down the time");
            }
        }
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

/// What is known of the time.
#[derive(Default)]
struct Belief {
    /// None until the store has said what it has seen.
    steady: Option<Steady>,
    /// What this process told the store last, Unix milliseconds.
    written: Option<u64>,
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::admin::Gauges;
    use crate::serve::open_recorder;
    use crate::testing::{self, Bench};

    const THREE_YEARS: u64 = 3 * 365 * 86_400;

    // R34: what is rotated years ahead signs no sooner, so a clock that is wrong when the authority starts must not bring that about.
    #[tokio::test]
    async fn a_start_with_a_clock_years_ahead_makes_nothing_due() {
        let bench = Bench::new().await;
        let metrics = Gauges::new().metrics;
        let recorder = open_recorder(&testing::config(bench.dir()), bench.clock(), &metrics).unwrap();
        let upkeep = Upkeep::of(&bench.wired, recorder);
        let seen = async || seen::last(&bench.wired.vault).await.unwrap();
        let mut belief = Belief::default();
        assert!(
            upkeep.believes(&mut belief).await.unwrap(),
            "a new store has seen no time"
        );
        upkeep.due(1, &mut belief).await;
        let now = bench.now() * 1_000;
        assert_eq!(seen().await, Some(now));
        bench.pass(60);
        upkeep.due(2, &mut belief).await;
        assert_eq!(seen().await, Some(now), "written now and then");

        bench.pass(THREE_YEARS);
        let mut restarted = Belief::default();
        assert!(!upkeep.believes(&mut restarted).await.unwrap());
        assert!(!upkeep.believes(&mut restarted).await.unwrap());
        assert_eq!(seen().await, Some(now), "what is not believed is not told");
        bench.hand.fetch_sub(THREE_YEARS, Ordering::SeqCst);
        let mut set_right = Belief::default();
        assert!(upkeep.believes(&mut set_right).await.unwrap());
        bench.pass(7_200);
        let mut after_two_hours = Belief::default();
        assert!(upkeep.believes(&mut after_two_hours).await.unwrap());
        upkeep.due(1, &mut after_two_hours).await;
        assert_eq!(seen().await, Some(now + 7_260_000));
    }
}
