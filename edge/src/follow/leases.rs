//! Renews this edge's leases on the watch stream, for the keys that its profiles sign with.

use std::collections::HashMap;
use std::time::Duration;

use node::contract::{LeaseGrant, LeaseRenewal, WatchUp, watch_up::Up};
use node::lease::{LONGEST_MS, MOST_KEYS, Renewals};
use tokio::sync::mpsc::Sender;
use tonic::Status;

use crate::jitter;
use crate::state::Edge;

/// Renewals whose keys are remembered; as many as [`Renewals`] waits for.
const MOST_ASKED: usize = 32;
/// Between two looks, at most: timers do not run while a machine is suspended, leases do.
const LOOK: Duration = Duration::from_secs(1);

/// The renewals of one stream.
#[derive(Debug)]
pub(super) struct Leases {
    renewals: Renewals,
    /// What each renewal that is under way asks for.
    asked: HashMap<u64, Vec<String>>,
    /// How much sooner than it must the next renewal is, so that a fleet that came together does not stay together.
    jitter: u64,
    /// Something woke this: a key that has no lease is asked for without waiting.
    woken: bool,
}

impl Leases {
    pub(super) fn new() -> Leases {
        Leases {
            renewals: Renewals::default(),
            asked: HashMap::new(),
            jitter: jitter::percent(),
            woken: false,
        }
    }

    /// Until [`Leases::renew`] has something to do.
    pub(super) async fn due(&mut self, edge: &Edge) {
        let wait = self.renewals.due_in(edge.boot_ms(), self.jitter);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait).min(LOOK)) => {}
            () = edge.leases_woken() => self.woken = true,
        }
    }

    /// Asks for what is due.
    pub(super) fn renew(&mut self, edge: &Edge, up: &Sender<WatchUp>) -> Result<(), Status> {
        let now = edge.boot_ms();
        let keys = edge.leased_keys();
        let lacks = |id: &String| edge.keyring().lease_left(id, now) == 0;
        let woken = std::mem::take(&mut self.woken) && self.asked.is_empty() && keys.iter().any(lacks);
        if keys.is_empty() || !(woken || self.renewals.due_in(now, self.jitter) == 0) {
            return Ok(());
        }
        if self.asked.len() >= MOST_ASKED {
            self.asked.clear();
        }
        self.jitter = jitter::percent();
        for keys in keys.chunks(MOST_KEYS) {
            let nonce = jitter::nonce();
            let renewal = LeaseRenewal {
                nonce,
                key_ids: keys.to_vec(),
            };
            // Noted first: the lease counts from before it was sent.
            self.renewals.sent(nonce, now);
            self.asked.insert(nonce, keys.to_vec());
            say(up, Up::Renewal(renewal))?;
        }
        edge.metrics().lease_renewed("sent");
        Ok(())
    }

    /// Takes the answer to a renewal in; `authority_ms` is the authority's time when it answered.
    pub(super) fn granted(&mut self, edge: &Edge, grant: LeaseGrant, authority_ms: u64) {
        let asked = self.asked.remove(&grant.nonce).unwrap_or_default();
        let Some(sent) = self.renewals.answered(grant.nonce) else {
            edge.metrics().lease_renewed("late");
            return;
        };
        self.asked.retain(|nonce, _| self.renewals.is_under_way(*nonce));
        edge.hear(authority_ms, sent);
        let granted: HashMap<_, _> = grant
            .leases
            .into_iter()
            .map(|lease| (lease.key_id, u64::from(lease.duration_ms).min(LONGEST_MS)))
            .collect();
        let ends = asked.into_iter().map(|id| {
            let until = granted.get(&id).map_or(0, |duration| sent.saturating_add(*duration));
            (id, until)
        });
        edge.keyring().lease(ends);
        self.renewals.granted(sent, granted.values().min().copied());
        edge.metrics().lease_renewed("granted");
        edge.settled();
    }
}

/// Sends a message up the stream; one that takes no more is given up.
pub(super) fn say(up: &Sender<WatchUp>, what: Up) -> Result<(), Status> {
    let sent = up.try_send(WatchUp { up: Some(what) });
    sent.map_err(|_| Status::unavailable("the stream to the authority takes nothing more"))
}
