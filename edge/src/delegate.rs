//! Keeps this edge supplied with the keys its profiles sign with: asked for early, renewed at half-life, dropped in time.
//!
//! While the HSM is away the edge goes on signing with what it has until each delegation ends; while the authority is away,
//! until each lease does. Then that key answers `key_unavailable`. Nothing here is written to disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;

use crate::jitter::{self, Backoff};
use crate::keyring::{Delegation, LogicalKey, State};
use crate::state::Edge;
use crate::uplink::Uplink;

mod ask;

/// How far a certificate's `notBefore` lies before its making, seconds: a clock that goes back by less harms none.
const BACKDATED: u64 = 60;
/// Between two looks at what is due when nothing wakes the task sooner.
const IDLE: Duration = Duration::from_secs(1);
/// Keys asked for at once: an authority that answers one of them late does not hold up the rest.
const AT_ONCE: usize = 8;

/// When one key is asked for next.
struct Next {
    due: Instant,
    backoff: Backoff,
    /// The published versions when it was last asked for: a new one is fetched at once, not at half-life.
    versions: Vec<String>,
    /// The call that is under way.
    call: Option<task::Id>,
}

impl Next {
    fn now() -> Next {
        Next {
            due: Instant::now(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            versions: Vec::new(),
            call: None,
        }
    }

    fn is_due(&self, edge: &Edge, key: &LogicalKey) -> bool {
        if self.call.is_some() {
            return false;
        }
        if self.due <= Instant::now() {
            return true;
        }
        // After a failure only time makes it due; else a new version does, or having nothing to sign with.
        let failing = self.backoff.is_running();
        !failing && (self.versions != kids(key) || edge.keyring().signs_until(key.facts.id()) <= edge.now())
    }

    fn answered(&mut self, edge: &Edge, key_id: &str, answer: Result<u64, ask::Failure>) {
        self.call = None;
        match answer {
            Ok(until) => {
                let half = until.saturating_sub(edge.now()).checked_div(2).unwrap_or(0).max(1);
                self.due = after(jitter::around(Duration::from_secs(half)));
                self.backoff.reset();
            }
            Err(failure) => {
                tracing::warn!(key = key_id, reason = %failure, "no delegation; it is asked for again");
                self.due = after(self.backoff.next());
            }
        }
    }
}

fn kids(key: &LogicalKey) -> Vec<String> {
    key.versions.iter().map(|version| version.kid.clone()).collect()
}

fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}

/// Runs until the process ends.
pub async fn keep(edge: Arc<Edge>, uplink: Arc<Uplink>) {
    let mut calls = Calls::default();
    let mut latest = 0;
    loop {
        forget_the_future(&edge, &mut latest);
        calls.begin(&edge, &uplink);
        edge.keyring().expire(edge.now());
        edge.settled();
        tokio::select! {
            () = tokio::time::sleep(IDLE) => {}
            () = edge.delegations_woken() => {}
            Some(ended) = calls.under_way.join_next() => calls.end(&edge, ended),
        }
    }
}

/// Where the authority's clock was ahead and was put right, what was delegated meanwhile is valid at a time that has not come:
/// no verifier takes its chain, and it would last too long. `latest` is the latest time seen, Unix seconds.
fn forget_the_future(edge: &Edge, latest: &mut u64) {
    let now = edge.now();
    if now.saturating_add(BACKDATED) < *latest {
        tracing::warn!(
            seconds = latest.saturating_sub(now),
            "the authority's clock went back; every delegation is asked for anew"
        );
        edge.keyring().forget();
        *latest = 0;
    }
    *latest = now.max(*latest);
}

/// An answer, and whose it is.
type Ended = (String, Result<u64, ask::Failure>);

#[derive(Default)]
struct Calls {
    plan: HashMap<String, Next>,
    under_way: JoinSet<Ended>,
}

impl Calls {
    /// Asks for what is due.
    fn begin(&mut self, edge: &Arc<Edge>, uplink: &Arc<Uplink>) {
        let wanted = wanted(edge);
        self.plan
            .retain(|id, next| next.call.is_some() || wanted.contains_key(id));
        for (id, key) in wanted {
            if self.under_way.len() >= AT_ONCE {
                return;
            }
            let next = self.plan.entry(id.clone()).or_insert_with(Next::now);
            if next.is_due(edge, &key) {
                next.versions = kids(&key);
                let (edge, uplink) = (edge.clone(), uplink.clone());
                let call = async move { (id, ask::delegation(&edge, &uplink, &key).await) };
                next.call = Some(self.under_way.spawn(call).id());
            }
        }
    }

    fn end(&mut self, edge: &Edge, ended: Result<Ended, JoinError>) {
        match ended {
            Ok((id, answer)) => {
                if let Some(next) = self.plan.get_mut(&id) {
                    next.answered(edge, &id, answer);
                }
            }
            Err(error) => {
                let failed = self.plan.iter_mut().find(|(_, next)| next.call == Some(error.id()));
                if let Some((id, next)) = failed {
                    next.answered(edge, id, Err(ask::Failure::Unusable(error.to_string())));
                }
            }
        }
    }
}

/// The enabled keys that a profile of the bundle names, and that an edge can hold.
fn wanted(edge: &Edge) -> HashMap<String, Arc<LogicalKey>> {
    let mut keys = signing(edge);
    keys.retain(|_, key| key.delegation != Delegation::None);
    keys
}

/// The enabled keys that a profile of the bundle names.
pub fn signing(edge: &Edge) -> HashMap<String, Arc<LogicalKey>> {
    if edge.keyring().is_revoked() {
        return HashMap::new();
    }
    let world = edge.world();
    let profiles = world.profiles();
    let keys = profiles.filter_map(|profile| edge.keyring().resolve(profile));
    let may_sign = |key: &LogicalKey| key.state == State::Enabled && !edge.keyring().is_stopped(key);
    keys.filter(|key| may_sign(key))
        .map(|key| (key.facts.id().to_owned(), key))
        .collect()
}

#[cfg(test)]
mod tests;
