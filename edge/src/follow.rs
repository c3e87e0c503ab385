//! The watch stream: the edge's view of keys, bundle and its own standing follows the authority's.
//!
//! The authority's changes are applied in the order they come. A stream that ends is made again with jittered backoff and
//! resumes from the last revision applied. Delegations are kept by [`crate::delegate`]; what a lost stream means for them
//! is written there.
//!
//! A revoked edge stays revoked until its process is started anew: whoever is taken back has a new certificate, which that
//! process does not know, so that only a store that was put back to before the revocation would let it in again (R29). It
//! goes on asking, and says at which revision it was revoked, by which such an authority is sealed.

use std::sync::Arc;
use std::time::Duration;

use node::contract::watch_event::Event;
use node::contract::watch_up::Up;
use node::contract::{Acknowledged, Snapshot, WatchEvent, WatchRequest, WatchUp, told_revision};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use self::leases::{Leases, say};
use self::reports::Reports;
use crate::announced::logical_key;
use crate::fetch;
use crate::jitter::Backoff;
use crate::state::Edge;
use crate::uplink::Uplink;

mod leases;
mod reports;

/// The authority sends something at least each second; a stream silent for this long is taken for dead.
const SILENCE: Duration = Duration::from_secs(5);
/// The longest wait between two streams. One that lasted longer was no failure to be punished.
const LONGEST: Duration = Duration::from_secs(10);

/// Messages to the authority that wait for the network.
const QUEUED: usize = 64;
/// How long the authority may take to hear that this edge has obeyed a revocation.
const LAST_WORD: Duration = Duration::from_secs(2);

/// How far this edge has followed.
#[derive(Debug, Default)]
struct Position {
    /// The last revision that the authority told: it is applied, but for that of this edge's revocation. 0 asks for a snapshot.
    revision: u64,
    /// What the authority proved that revision with.
    proof: Vec<u8>,
    /// Whether the authority has revoked this edge.
    revoked: bool,
    /// The authority's floor when it was last seen.
    floor: u64,
}

/// Follows the authority until the process ends.
pub async fn follow(edge: Arc<Edge>, uplink: Arc<Uplink>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), LONGEST);
    let mut position = Position::default();
    loop {
        let (begun, before) = (Instant::now(), position.revision);
        let ended = stream(&edge, &uplink, &mut position).await;
        edge.set_connected(false);
        uplink.leave();
        position.ended(&edge, &ended);
        if position.revision > before || begun.elapsed() > LONGEST {
            backoff.reset();
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Reads one stream until it ends, and says why it did.
async fn stream(edge: &Arc<Edge>, uplink: &Uplink, position: &mut Position) -> Status {
    match events(edge, uplink, position).await {
        Ok(()) => Status::unavailable("the authority closed the stream"),
        Err(status) => status,
    }
}

async fn events(edge: &Arc<Edge>, uplink: &Uplink, position: &mut Position) -> Result<(), Status> {
    let request = WatchRequest {
        revision: position.revision,
        bundle_digest: edge.offered_digest(),
        incarnation: edge.incarnation().to_owned(),
        revision_proof: position.proof.clone(),
        compile_target: Some(fetch::told(edge.host().target())),
    };
    let mut acknowledged = request.revision;
    let mut client = uplink.client()?;
    let silent = || Status::deadline_exceeded("the authority sent nothing for 5 s");
    let (up, messages) = mpsc::channel(QUEUED);
    let opened = edge.boot_ms();
    say(&up, Up::Request(request))?;
    let call = timeout(SILENCE, client.watch(ReceiverStream::new(messages)));
    let mut events = call.await.map_err(|_| silent())??.into_inner();
    let mut leases = Leases::new();
    let mut reports = Reports::new();
    let mut heard = Instant::now();
    let mut first = Some(opened);
    loop {
        let event = tokio::select! {
            event = events.message() => event?,
            () = leases.due(edge) => {
                leases.renew(edge, &up)?;
                continue;
            }
            () = reports.due(edge) => {
                reports.send(edge, &up)?;
                continue;
            }
            () = sleep_until(heard.checked_add(SILENCE).unwrap_or(heard)) => return Err(silent()),
        };
        let Some(event) = event else { return Ok(()) };
        heard = Instant::now();
        if let Some(opened) = first.take() {
            edge.hear(event.authority_time_ms, opened);
        }
        let (revision, time) = (event.revision, event.authority_time_ms);
        match event.event {
            Some(Event::Leases(grant)) => {
                leases.granted(edge, grant, time);
                continue;
            }
            Some(Event::Revoked(revoked)) => {
                edge.keyring().revoke();
                position.told(revision, event.revision_proof);
                acknowledge(&up, revision)?;
                // The authority ends the stream when it has heard it.
                timeout(LAST_WORD, async { while let Ok(Some(_)) = events.message().await {} })
                    .await
                    .ok();
                return Err(Status::permission_denied(revoked.reason));
            }
            _ => position.apply(edge, event)?,
        }
        edge.set_connected(true);
        if revision > acknowledged {
            acknowledged = revision;
            acknowledge(&up, acknowledged)?;
        }
        edge.wake_leases();
    }
}

/// Only what has been applied is acknowledged: the authority takes a stop for done by that.
fn acknowledge(up: &Sender<WatchUp>, revision: u64) -> Result<(), Status> {
    say(up, Up::Acknowledged(Acknowledged { revision }))
}

impl Position {
    /// Applies one event. Nothing here waits: a key that is stopped must not stand behind a bundle that is compiled.
    fn apply(&mut self, edge: &Edge, event: WatchEvent) -> Result<(), Status> {
        if self.revoked {
            let why = "the authority lets in an edge that it has revoked: its state is not newer than the revocation";
            return Err(Status::failed_precondition(why));
        }
        edge.compare_clocks(event.authority_time_ms);
        let proof = event.revision_proof;
        match event.event {
            Some(Event::Snapshot(snapshot)) => start_anew(edge, snapshot),
            Some(Event::Bundle(bundle)) => edge.offer_bundle(bundle),
            Some(Event::Key(key)) => {
                let (id, compromised) = (key.id.clone(), key.compromised);
                match logical_key(key) {
                    Some(key) => {
                        tracing::info!(key = id, state = ?key.state, "the authority changed a key");
                        edge.keyring().put(key);
                        edge.wake_delegations();
                    }
                    // Gone, or now something this edge does not understand: what it knew before counts no more.
                    None => edge.keyring().remove(&id),
                }
                if compromised {
                    edge.keyring().withdraw(&id);
                }
            }
            Some(Event::Stops(stops)) => {
                edge.keyring().stop(stops.into());
                edge.wake_delegations();
            }
            Some(Event::Revocations(list)) => edge.set_revocations(list.jws),
            // The first two are acted upon before they come here.
            Some(Event::Revoked(_) | Event::Leases(_) | Event::Heartbeat(_)) => {}
            // To acknowledge it would say that what it stops is stopped.
            None => {
                let why =
                    "the authority sent an event that this version of the edge does not know; install a newer one";
                return Err(Status::unimplemented(why));
            }
        }
        if event.floor > self.floor {
            self.floor = event.floor;
            edge.demand_newest_bundle();
        }
        self.told(event.revision, proof);
        Ok(())
    }

    fn told(&mut self, revision: u64, proof: Vec<u8>) {
        if revision >= self.revision {
            (self.revision, self.proof) = (revision, proof);
        }
    }

    /// Draws the conclusion from how a stream ended. `PermissionDenied` is said of a revoked edge alone; whatever else ends
    /// a stream leaves the edge to its delegations.
    fn ended(&mut self, edge: &Edge, status: &Status) {
        let reason = status.message();
        if status.code() != Code::PermissionDenied {
            tracing::warn!(code = ?status.code(), reason, "the watch stream ended; it is made again");
            return;
        }
        if let Some((revision, proof)) = told_revision(status) {
            self.told(revision, proof);
        }
        if !std::mem::replace(&mut self.revoked, true) {
            tracing::error!(
                reason,
                "the authority has revoked this edge; it forgets its keys, and signs nothing until it is enrolled and started anew"
            );
        }
        edge.keyring().revoke();
    }
}

/// What the snapshot says is all that this edge knows.
fn start_anew(edge: &Edge, snapshot: Snapshot) {
    edge.set_delegation_roots(snapshot.delegation_roots);
    let compromised: Vec<_> = snapshot
        .keys
        .iter()
        .filter(|key| key.compromised)
        .map(|key| key.id.clone())
        .collect();
    edge.keyring()
        .replace(snapshot.keys.into_iter().filter_map(logical_key).collect());
    compromised.iter().for_each(|id| edge.keyring().withdraw(id));
    if let Some(bundle) = snapshot.bundle {
        edge.offer_bundle(bundle);
    }
    edge.wake_delegations();
}

#[cfg(test)]
mod tests;
