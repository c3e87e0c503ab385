//! Tells the authority what this process sees of rollouts: when it changed, at most each second, and at once when it stopped using
//! a new version by itself. A new stream tells all of it again.

use std::collections::HashMap;
use std::time::Duration;

use node::contract::{RolloutReport, WatchUp, watch_up::Up};
use policies::rollout::{Figures, MAX_FIGURES};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tonic::Status;

use super::leases::say;
use crate::state::Edge;

/// Between two reports.
const BETWEEN: Duration = Duration::from_secs(1);

/// What one stream has told.
#[derive(Debug)]
pub(super) struct Reports {
    /// By the rollout's id.
    told: HashMap<String, Figures>,
    next: Instant,
}

impl Reports {
    pub(super) fn new() -> Reports {
        Reports {
            told: HashMap::new(),
            next: Instant::now(),
        }
    }

    /// Until [`Reports::send`] may have something to do.
    pub(super) async fn due(&self, edge: &Edge) {
        let reports = edge.world().reports().clone();
        tokio::select! {
            () = tokio::time::sleep_until(self.next) => {}
            () = reports.woken() => {}
        }
    }

    /// Tells what has changed.
    pub(super) fn send(&mut self, edge: &Edge, up: &Sender<WatchUp>) -> Result<(), Status> {
        let now = Instant::now();
        self.next = now.checked_add(BETWEEN).unwrap_or(now);
        let world = edge.world();
        self.told.retain(|id, _| world.trials().any(|trial| trial.id() == id));
        for trial in world.trials() {
            let figures = trial.figures();
            if self.told.get(trial.id()) == Some(&figures) {
                continue;
            }
            match serde_json::to_vec(&figures) {
                Ok(text) if text.len() <= MAX_FIGURES => {
                    let id = trial.id().to_owned();
                    self.told.insert(id.clone(), figures);
                    say(up, Up::Rollout(RolloutReport { id, figures: text }))?;
                }
                unfit => {
                    tracing::error!(rollout = trial.id(), bytes = ?unfit.map(|text| text.len()), "figures cannot be told")
                }
            }
        }
        Ok(())
    }
}
