//! Which of several authorities on one store does what time makes due.
//!
//! One row names it and has a token that grows with each change of hands. The leader rewrites the row now and then; who has seen it
//! unchanged for a while, by its own clock, takes its place. That alone would let two believe that they lead, for a while. So every
//! commit of such work is fenced: it demands the row as its leader last wrote it ([`crate::sealed::fenced`]), and whoever was
//! replaced commits nothing more. No clocks are compared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Held, Stamp, Vault, fenced};

/// How often a leader rewrites the row. Each time is a commit, which every edge is told of.
const RENEW: Duration = Duration::from_secs(4);
/// How long the row stays as it is before another takes the place.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Leader {
    /// The replica's name, for people.
    replica: String,
    /// The process, of which a replica has had several.
    incarnation: String,
    /// Raised by one with each change of hands.
    token: u64,
}

/// One replica's view of who leads.
#[derive(Debug)]
pub(crate) struct Leadership {
    vault: Arc<Vault>,
    replica: String,
    incarnation: String,
    /// The row as this process last wrote it.
    held: Option<(Stamp, Instant)>,
    /// The row's revision as last seen, and since when.
    seen: Option<(u64, Instant)>,
}

/// What to do about a row.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is this process's, and fresh.
    Lead,
    /// Write it, with this token.
    Write(u64),
    /// It is another's.
    Wait,
}

impl Leadership {
    /// For a process that does not lead yet.
    pub(crate) fn new(vault: Arc<Vault>, replica: &str) -> Self {
        Self {
            vault,
            replica: replica.to_owned(),
            incarnation: uuid::Uuid::new_v4().simple().to_string(),
            held: None,
            seen: None,
        }
    }

    /// Runs `work` if this process leads, fenced; alone on its store it does, without a row. `None`: another leads.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn lead<T>(&mut self, now: Instant, work: impl Future<Output = T>) -> Result<Option<T>, Fault> {
        if !self.vault.store().is_shared() {
            return Ok(Some(work.await));
        }
        Ok(match self.take(now).await? {
            Some(seen) => Some(fenced(paths::LEADER, seen, work).await),
            None => None,
        })
    }

    /// Gives the place up, so that another has it at once.
    pub(crate) async fn resign(&mut self) {
        if let Some((stamp, _)) = self.held.take() {
            let change = Change::new().unchanged(paths::LEADER, stamp).delete(paths::LEADER);
            if let Err(fault) = self.vault.commit(change).await {
                fault.log("giving up the upkeep");
            }
        }
    }

    async fn take(&mut self, now: Instant) -> Result<Option<Stamp>, Fault> {
        let row = self.vault.get::<Leader>(paths::LEADER).await?;
        let token = match self.step(row.as_ref(), now) {
            Step::Wait => return Ok(None),
            Step::Lead => return Ok(self.held.map(|(stamp, _)| stamp)),
            Step::Write(token) => token,
        };
        let leader = Leader {
            replica: self.replica.clone(),
            incarnation: self.incarnation.clone(),
            token,
        };
        let before = row.map(|row| row.stamp);
        let began = self.held.is_none();
        let revision = match self
            .vault
            .commit(Change::new().set(paths::LEADER, &leader, before))
            .await
        {
            Ok(revision) => revision,
            // Another was first, or this one's own answer was late: the next look tells.
            Err(Fault::Raced { .. }) => {
                self.held = None;
                return Ok(None);
            }
            Err(fault) => {
                self.held = None;
                return Err(fault);
            }
        };
        if began {
            tracing::info!(replica = self.replica, token, "this authority does the upkeep now");
        }
        let stamp = Stamp {
            version: before.map_or(1, |before| before.version.saturating_add(1)),
            revision,
        };
        self.held = Some((stamp, now));
        Ok(Some(stamp))
    }

    /// What the row and the time since it last changed ask for.
    fn step(&mut self, row: Option<&Held<Leader>>, now: Instant) -> Step {
        let Some(row) = row else {
            self.held = None;
            return Step::Write(1);
        };
        let (leader, revision) = (&row.value, row.stamp.revision);
        if leader.incarnation == self.incarnation {
            return match self.held {
                Some((stamp, since)) if stamp.revision == revision && now.duration_since(since) < RENEW => Step::Lead,
                _ => Step::Write(leader.token),
            };
        }
        self.held = None;
        match self.seen {
            Some((seen, since)) if seen == revision => {
                if now.duration_since(since) < PATIENCE {
                    return Step::Wait;
                }
                tracing::warn!(before = leader.replica, "the authority that did the upkeep is silent");
                Step::Write(leader.token.saturating_add(1))
            }
            _ => {
                self.seen = Some((revision, now));
                Step::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests;
