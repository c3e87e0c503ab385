//! The watch stream of one edge: a snapshot or what it missed, then each change as it happens, a heartbeat each second, and
//! at once the word that it is revoked.
//!
//! An event carries the revision it brings the edge to; of several events that belong together only the last carries the
//! new one, so that a stream that breaks between them sends them all again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use node::contract;
use node::contract::watch_event::Event;
use node::contract::{
    Bundle, CompileTarget, Heartbeat, Key, RevocationList, Revoked, Snapshot, WatchEvent, WatchRequest,
};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

pub use self::heard::Messages;
use crate::clock::Clock;
use crate::edges::KnownEdge;
use crate::fault::Fault;
use crate::leases::Leases;
use crate::revisions::Revisions;
use crate::rollout::Rollouts;
use crate::seal::{Reason, Seal};
use crate::sealed::Vault;
use crate::world::{Update, World, revocation};

mod heard;

/// Sent when nothing else was, so that a dead stream is noticed.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Events that wait for a slow edge, and how long one may wait before the stream is given up.
const QUEUED: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

/// Streams that one edge may have at once: the one it uses, and those whose end has not been noticed.
const STREAMS_PER_EDGE: usize = 8;

/// Bytes of each part of what an edge says it compiles for.
const MAX_TARGET: usize = 128;

/// What an edge's stream yields.
pub type EventStream = ReceiverStream<Result<WatchEvent, Status>>;

/// All watch streams.
pub struct Watches {
    vault: Arc<Vault>,
    world: Arc<World>,
    clock: Clock,
    revisions: Arc<Revisions>,
    seal: Arc<Seal>,
    delegation_roots: Vec<Vec<u8>>,
    leases: Arc<Leases>,
    rollouts: Arc<Rollouts>,
    revocations: watch::Receiver<String>,
    stop: watch::Receiver<bool>,
    connected: Mutex<HashMap<String, usize>>,
    targets: Mutex<HashMap<String, CompileTarget>>,
    ahead: AtomicU64,
}

impl Watches {
    /// Streams end when `stop` turns true.
    pub fn new(
        vault: Arc<Vault>,
        world: Arc<World>,
        clock: Clock,
        (revisions, seal): (Arc<Revisions>, Arc<Seal>),
        (leases, rollouts, revocations): (Arc<Leases>, Arc<Rollouts>, watch::Receiver<String>),
        delegation_roots: Vec<Vec<u8>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            vault,
            world,
            clock,
            revisions,
            seal,
            delegation_roots,
            leases,
            rollouts,
            revocations,
            stop,
            connected: Mutex::default(),
            targets: Mutex::default(),
            ahead: AtomicU64::new(0),
        }
    }

    /// The edges that have a stream open now, and how many each.
    pub fn connected(&self) -> HashMap<String, usize> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What plugins must be compiled for at an edge that has a stream open; none of one that did not say.
    pub fn target(&self, edge: &str) -> Option<CompileTarget> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.get(edge).cloned()
    }

    fn set_target(&self, edge: &str, target: Option<CompileTarget>) {
        let is_sane = |target: &CompileTarget| target.name.len().max(target.compatibility.len()) <= MAX_TARGET;
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        match target.filter(is_sane) {
            Some(target) => drop(targets.insert(edge.to_owned(), target)),
            None => drop(targets.remove(edge)),
        }
    }

    /// How far ahead of this store an edge has been, in revisions: above 0, the store was put back to an older state (R29), and
    /// the authority is sealed.
    pub fn rolled_back_by(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Opens the stream of an edge that has been authenticated just now.
    pub async fn open(
        self: &Arc<Self>,
        edge: KnownEdge,
        request: WatchRequest,
        messages: Messages,
    ) -> Result<EventStream, Fault> {
        if self
            .connected()
            .get(edge.id().as_str())
            .is_some_and(|streams| *streams >= STREAMS_PER_EDGE)
        {
            let detail = format!("the edge `{}` has {STREAMS_PER_EDGE} streams open", edge.id());
            return Err(Fault::Unavailable { part: "watch", detail });
        }
        let at_least = self.vault.store().revision().await?;
        if request.revision > at_least {
            self.is_ahead(&edge, &request, at_least).await?;
        }
        let (events, stream) = mpsc::channel(QUEUED);
        let revision = if request.revision > at_least {
            0
        } else {
            request.revision
        };
        let feed = Feed {
            watches: self.clone(),
            incarnation: request.incarnation.into(),
            events,
            messages,
            revision,
            told: revision,
            acknowledged: revision,
            floor: 0,
            undecided: None,
            bundle_digest: request.bundle_digest,
            at_least,
            edge,
        };
        // What it said on a stream that broke may not have come.
        self.leases.acknowledge(&feed.holder(), revision);
        self.count(feed.edge.id().as_str(), true);
        self.set_target(feed.edge.id().as_str(), request.compile_target);
        tokio::spawn(feed.run());
        Ok(ReceiverStream::new(stream))
    }

    /// The refusal of an edge that is revoked, with the revision that it has seen by this: should the store be put back to before
    /// its revocation, it says so.
    pub async fn refused(&self, refusal: Status) -> Status {
        let mut refusal = refusal;
        match self.vault.store().revision().await {
            Ok(revision) => contract::tell_revision(&mut refusal, revision, &self.revisions.prove(revision)),
            Err(error) => tracing::warn!(%error, "a revoked edge is not told the revision"),
        }
        refusal
    }

    /// Of an edge that has seen a newer state than this store holds: the store was put back, and what was revoked since may be
    /// back too, so nothing is handed out any more. An edge that only says so is told everything anew.
    async fn is_ahead(&self, edge: &KnownEdge, request: &WatchRequest, store: u64) -> Result<(), Fault> {
        let seen = request.revision;
        if !self.revisions.is_proven(seen, &request.revision_proof) {
            tracing::warn!(edge = %edge.id(), seen, store, "the edge names a revision that it was not told");
            return Ok(());
        }
        self.ahead.fetch_max(seen.saturating_sub(store), Ordering::Relaxed);
        let witness = format!("the edge `{}`", edge.id());
        self.seal
            .close(&self.vault, Reason::RolledBack { store, seen, witness })
            .await;
        Err(Fault::Sealed)
    }

    fn count(&self, edge: &str, opened: bool) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = connected.entry(edge.to_owned()).or_default();
        *streams = if opened {
            streams.saturating_add(1)
        } else {
            streams.saturating_sub(1)
        };
        if *streams == 0 {
            connected.remove(edge);
            self.set_target(edge, None);
        }
    }
}

/// Why a stream ends.
enum End {
    /// The edge went, or is too slow.
    Gone,
    /// With this status.
    Told(Status),
}

/// Feeds one stream.
struct Feed {
    watches: Arc<Watches>,
    edge: KnownEdge,
    /// The edge's process.
    incarnation: Arc<str>,
    events: Sender<Result<WatchEvent, Status>>,
    messages: Messages,
    /// What the edge has been told.
    revision: u64,
    /// The highest revision that an event carried, and that the edge has acknowledged.
    told: u64,
    acknowledged: u64,
    floor: u64,
    /// The newest bundle that the edge was sent.
    bundle_digest: String,
    /// Since when no renewal could be decided.
    undecided: Option<Instant>,
    /// The view may say something about this edge only once it shows this revision.
    at_least: u64,
}

impl Feed {
    async fn run(mut self) {
        let id = self.edge.id().to_string();
        let end = self.feed().await;
        self.watches.count(&id, false);
        if let Err(End::Told(status)) = end {
            timeout(PATIENCE, self.events.send(Err(status))).await.ok();
        }
    }

    async fn feed(&mut self) -> Result<(), End> {
        let mut grown = self.watches.world.grown();
        let mut stop = self.watches.stop.clone();
        let mut sealed = self.watches.seal.closed();
        let mut revocations = self.watches.revocations.clone();
        revocations.mark_changed();
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            grown.borrow_and_update();
            if *stop.borrow_and_update() {
                return Err(End::Told(Status::unavailable("the authority is stopping")));
            }
            if *sealed.borrow_and_update() {
                return Err(End::Told(Fault::Sealed.into()));
            }
            self.demand_standing().await?;
            // A view that is older than what the edge was told elsewhere would bring back what was stopped since.
            if self.watches.world.revision() >= self.at_least
                && let Some(update) = self.watches.world.since(self.revision)
            {
                self.update(update).await?;
            }
            // When all else has been told: it is for others than this edge.
            if revocations.has_changed().unwrap_or(false) {
                let jws = revocations.borrow_and_update().clone();
                if !jws.is_empty() {
                    self.send(self.revision, Event::Revocations(RevocationList { jws }))
                        .await?;
                }
            }
            tokio::select! {
                _ = grown.changed() => {}
                _ = stop.changed() => {}
                _ = sealed.changed() => {}
                Ok(()) = revocations.changed() => revocations.mark_changed(),
                message = self.messages.next() => match message {
                    Some(Ok(message)) => self.hear(message).await?,
                    Some(Err(_)) => return Err(End::Gone),
                    // It has no more to say, and goes on listening.
                    None => self.messages = Box::pin(tokio_stream::pending()),
                },
                () = self.events.closed() => return Err(End::Gone),
                _ = beat.tick() => self.send(self.revision, Event::Heartbeat(Heartbeat {})).await?,
            }
        }
    }

    /// Ends the stream of an edge that is revoked, or whose certificate is over or no longer counts (R19).
    async fn demand_standing(&mut self) -> Result<(), End> {
        let over = |why: &str| {
            Err(End::Told(Status::unauthenticated(format!(
                "the node certificate {why}"
            ))))
        };
        if self.watches.clock.now() > self.edge.not_after() {
            return over("has ended; renew it");
        }
        if self.watches.world.revision() < self.at_least {
            return Ok(());
        }
        let record = self.watches.world.edge(self.edge.id().as_str());
        if let Some(reason) = revocation(record.as_ref()) {
            let revision = self.watches.world.revision();
            self.send(revision, Event::Revoked(Revoked { reason })).await?;
            self.last_word(revision).await;
            let status = Status::permission_denied(format!("the edge `{}` is revoked", self.edge.id()));
            return Err(End::Told(status));
        }
        match record {
            Some(record)
                if record
                    .certificates
                    .iter()
                    .any(|issued| issued.serial == self.edge.serial()) =>
            {
                Ok(())
            }
            _ => over("has been replaced; enroll anew"),
        }
    }

    /// Sends one state of the world. Only the last event carries its revision and its floor: what is stopped has come before.
    async fn update(&mut self, update: Update) -> Result<(), End> {
        let told = update.halts.told(self.edge.id().as_str());
        let mut events = vec![Event::Stops(told)];
        let bundle = self.unless_held(update.bundle);
        let keys = update.keys.iter().map(|key| Key::clone(key));
        if update.everything {
            events.push(Event::Snapshot(Snapshot {
                bundle,
                keys: keys.collect(),
                delegation_roots: self.watches.delegation_roots.clone(),
            }));
        } else {
            events.extend(bundle.map(Event::Bundle));
            events.extend(keys.map(Event::Key));
        }
        let last = events.pop().unwrap_or(Event::Heartbeat(Heartbeat {}));
        for event in events {
            self.send(self.revision, event).await?;
        }
        self.floor = update.floor;
        self.send(update.revision, last).await?;
        self.revision = update.revision;
        Ok(())
    }

    /// The bundle to send; none where the edge holds that very one.
    fn unless_held(&mut self, bundle: Option<Arc<Bundle>>) -> Option<Bundle> {
        let bundle = bundle.filter(|bundle| bundle.digest != self.bundle_digest)?;
        self.bundle_digest.clone_from(&bundle.digest);
        Some(Bundle::clone(&bundle))
    }

    async fn send(&mut self, revision: u64, event: Event) -> Result<(), End> {
        self.told = self.told.max(revision);
        let event = WatchEvent {
            revision,
            floor: self.floor,
            authority_time_ms: self.watches.clock.now_ms(),
            revision_proof: self.watches.revisions.prove(revision),
            event: Some(event),
        };
        match timeout(PATIENCE, self.events.send(Ok(event))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}

#[cfg(test)]
mod tests;
