//! The watch stream: the edge's view of keys, bundle and its own standing follows the authority's.
//!
//! The authority's changes are applied in the order they come. A stream that ends is made again with jittered backoff and
//! resumes from the last revision applied. Delegations are kept by [`crate::delegate`]; what a lost stream means for them
//! is written there.
//!
//! A revoked edge goes on asking, from revision 0. It signs again only when the authority lets it in and sends a snapshot
//! of a later revision than the edge knew when it was revoked: taking an edge back is a commit of its own, and a store that
//! was put back to before the revocation has none (R29). Else it stays revoked until its process is started anew.

use std::sync::Arc;
use std::time::Duration;

use node::contract::watch_event::Event;
use node::contract::watch_up::Up;
use node::contract::{Acknowledged, Snapshot, WatchEvent, WatchRequest, WatchUp};
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
    /// The last revision applied; 0 asks for a snapshot.
    revision: u64,
    /// What the authority proved that revision with.
    proof: Vec<u8>,
    /// What was applied when the authority revoked this edge.
    revoked_at: Option<u64>,
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
        revision: match position.revoked_at {
            None => position.revision,
            Some(_) => 0,
        },
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
        if position.revision > acknowledged {
            acknowledged = position.revision;
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
    ///
    /// The revocation of this edge is an error, because it ends the stream.
    fn apply(&mut self, edge: &Edge, event: WatchEvent) -> Result<(), Status> {
        edge.compare_clocks(event.authority_time_ms);
        let proof = event.revision_proof;
        match event.event {
            Some(Event::Snapshot(snapshot)) => self.snapshot(edge, snapshot, event.revision),
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
            Some(Event::Revoked(revoked)) => return Err(Status::permission_denied(revoked.reason)),
            Some(Event::Heartbeat(_) | Event::Leases(_)) => {}
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
        if event.revision >= self.revision {
            (self.revision, self.proof) = (event.revision, proof);
        }
        Ok(())
    }

    fn snapshot(&mut self, edge: &Edge, snapshot: Snapshot, revision: u64) {
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
        match self.revoked_at {
            Some(revoked_at) if revision <= revoked_at => {
                tracing::error!(
                    revision,
                    revoked_at,
                    "the authority's state is not newer than the revocation of this edge, which stays revoked"
                );
            }
            Some(_) => {
                tracing::warn!(revision, "the authority has taken this edge back");
                self.revoked_at = None;
                edge.keyring().reinstate();
            }
            None => {}
        }
        if let Some(bundle) = snapshot.bundle {
            edge.offer_bundle(bundle);
        }
        edge.wake_delegations();
    }

    /// Draws the conclusion from how a stream ended. `PermissionDenied` is said of a revoked edge alone; whatever else ends
    /// a stream leaves the edge to its delegations.
    fn ended(&mut self, edge: &Edge, status: &Status) {
        let reason = status.message();
        if status.code() != Code::PermissionDenied {
            tracing::warn!(code = ?status.code(), reason, "the watch stream ended; it is made again");
            return;
        }
        if self.revoked_at.is_none() {
            tracing::error!(reason, "the authority has revoked this edge; it forgets its keys");
            self.revoked_at = Some(self.revision);
        }
        edge.keyring().revoke();
    }
}

#[cfg(test)]
mod tests;
