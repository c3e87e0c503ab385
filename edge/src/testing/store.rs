//! What the fake authority remembers, and whom it tells.

use std::collections::BTreeMap;

use node::contract::watch_event::Event;
use node::contract::{
    self, Bundle, Lease, LeaseGrant, LeaseRenewal, SignInHsmRequest, Snapshot, WatchEvent, WatchRequest,
};
use signing::key::PublicKey;
use tokio::sync::mpsc;
use tonic::Status;

use super::pki::Key;

pub type Events = mpsc::Sender<Result<WatchEvent, Status>>;

/// What the authority does wrong, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    OtherEdge,
    OtherIncarnation,
    OtherLogicalKey,
    OtherTenant,
    OtherPublicKey,
    ForeignRoot,
    SharedForOwn,
    OwnForShared,
    SharedTwice,
    SharedUnderAnotherName,
    SharedEmpty,
    SealedForOtherEdge,
    SealedForOtherProcess,
    SealedAsOtherKey,
    SealedAsOtherVersion,
    SealedUntilLater,
    SealedToOtherReceiver,
    Ended,
    WrongSignature,
}

#[derive(Default)]
pub struct State {
    /// Of the edge's certificate, had it one.
    pub node_key: Option<PublicKey>,
    pub revision: u64,
    pub keys: BTreeMap<String, Key>,
    pub bundle: Option<Bundle>,
    pub revoked: bool,
    pub gone: bool,
    pub lie: Option<Lie>,
    /// Seconds that a delegation lasts.
    pub lifetime: u64,
    pub watched: Vec<WatchRequest>,
    /// What the edge told about rollouts.
    pub reports: Vec<contract::RolloutReport>,
    pub delegated: Vec<String>,
    pub log: Vec<(u64, Event)>,
    pub streams: Vec<Events>,
    pub audit: super::log::Log,
    pub objects: super::objects::Objects,
    /// What edges sampled.
    pub samples: Vec<contract::SampleBatch>,
    pub takes_no_samples: bool,
    /// Seconds by which its clock is ahead of this machine's.
    pub ahead: u64,
    /// Milliseconds of a lease; 0: none is granted.
    pub lease_ms: u32,
    /// What edges acknowledged.
    pub acknowledged: Vec<u64>,
    pub floor: u64,
    /// Signatures it was asked for.
    pub signed: Vec<SignInHsmRequest>,
    /// It takes such calls and never answers.
    pub silent: bool,
    /// What it answers to such calls, in place of a signature.
    pub refusal: Option<Status>,
}

impl State {
    pub fn commit(&mut self, event: Event) {
        self.revision += 1;
        self.log.push((self.revision, event.clone()));
        self.tell(self.revision, event);
    }

    pub fn tell(&mut self, revision: u64, event: Event) {
        let event = self.event_at(revision, event);
        self.streams.retain(|stream| stream.try_send(Ok(event.clone())).is_ok());
    }

    pub fn event_at(&self, revision: u64, event: Event) -> WatchEvent {
        WatchEvent {
            revision,
            authority_time_ms: (super::now() + self.ahead) * 1000,
            revision_proof: proof(revision),
            floor: self.floor,
            event: Some(event),
        }
    }

    /// The answer to a renewal: enabled keys get a lease.
    pub fn lease(&self, renewal: LeaseRenewal) -> WatchEvent {
        let may = |id: &String| {
            let key = self.keys.get(id);
            key.is_some_and(|key| key.announced.state() == contract::KeyState::Enabled) && self.lease_ms > 0
        };
        let granted = renewal.key_ids.into_iter().filter(may).map(|key_id| Lease {
            key_id,
            duration_ms: self.lease_ms,
        });
        let grant = LeaseGrant {
            nonce: renewal.nonce,
            revision: self.revision,
            leases: granted.collect(),
        };
        self.event_at(self.revision, Event::Leases(grant))
    }

    pub fn hang_up(&mut self, status: Status) {
        for stream in self.streams.drain(..) {
            let _ = stream.try_send(Err(status.clone()));
        }
    }

    pub fn snapshot(&self, roots: Vec<Vec<u8>>, held: &str) -> Event {
        Event::Snapshot(Snapshot {
            bundle: self.bundle.clone().filter(|bundle| bundle.digest != held),
            keys: self.keys.values().map(|key| key.announced.clone()).collect(),
            delegation_roots: roots,
        })
    }
}

/// What shows the authority that it told this revision.
pub fn proof(revision: u64) -> Vec<u8> {
    format!("told {revision}").into_bytes()
}
