//! An edge as its authority sees it: a node certificate, a connection of its own, a stream on which it follows the keys,
//! renews its leases and acknowledges what it has applied. It has no callers and signs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use node::boottime;
use node::channel::{self, Peer};
use node::contract::authority_client::AuthorityClient;
use node::contract::watch_event::Event;
use node::contract::watch_up::Up;
use node::contract::{
    Acknowledged, EnrollRequest, Key, KeyState, LeaseGrant, LeaseRenewal, WatchEvent, WatchRequest, WatchUp,
};
use node::lease::{Deadline, Renewals};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use signing::algorithm::Algorithm;
use signing::encoding::hex;
use signing::key::{SigningKey, random_bytes};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::super::bench;
use crate::LoadError;

/// As an edge's own: how soon a silent authority is asked whether it is there, and messages that wait for the network.
const ALIVE: Duration = Duration::from_secs(3);
const QUEUED: usize = 64;
/// Between two tries to open a first stream, and for how long there are any.
const AGAIN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// What edges tell the bench.
#[derive(Debug)]
pub(super) enum Told {
    /// An edge has leases of all keys.
    Leased,
    /// An edge has learned at this time that the watched key signs, or that it does not.
    State(bool, Instant),
    /// A stream has ended, so that no figure of this fleet means anything.
    Ended(String),
}

/// What edges count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Renewals that were answered.
    pub(super) renewals: AtomicU64,
    /// Leases that ran out before they were renewed.
    pub(super) lapsed: AtomicU64,
}

/// What all edges of a fleet have in common.
pub(super) struct Common {
    /// The key that is stopped and started.
    pub(super) watched: String,
    /// Keys that leases are held of.
    pub(super) keys: usize,
    pub(super) told: Sender<Told>,
    pub(super) counts: Counts,
}

/// A gRPC channel, made when it is first used; `shown` is a node's certificate.
pub(super) fn connect(
    peer: &Peer,
    root: CertificateDer<'static>,
    shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Channel, LoadError> {
    let tls = Arc::new(channel::tls([root], shown).map_err(bench)?);
    let dialled = Arc::new(peer.clone());
    let channel = channel::lazy(peer, ALIVE, move || {
        let (peer, tls) = (dialled.clone(), tls.clone());
        async move { peer.dial(tls).await }
    });
    channel.map_err(bench)
}

/// Trades a join token for a certificate, on a stranger's channel; answers the new edge's own.
pub(super) async fn enroll(stranger: Channel, peer: &Peer, join_token: String) -> Result<Channel, LoadError> {
    let key = SigningKey::generate(Algorithm::Es256).map_err(bench)?;
    let request = EnrollRequest {
        join_token,
        csr: signing::csr::create(&key).map_err(bench)?,
        ..EnrollRequest::default()
    };
    let answer = AuthorityClient::new(stranger).enroll(request).await;
    let answer = answer.map_err(|status| bench(format!("an edge was not enrolled: {}", status.message())))?;
    let mut chain: Vec<_> = answer
        .into_inner()
        .certificates
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    let root = chain.pop().ok_or_else(|| bench("an edge was given no certificate"))?;
    let secret = key.export().map_err(bench)?;
    let key = PrivateKeyDer::Pkcs8(secret.expose().to_vec().into());
    connect(peer, root, Some((chain, key)))
}

/// One edge's view.
struct View {
    common: Arc<Common>,
    up: Sender<WatchUp>,
    keys: HashMap<String, Held>,
    renewals: Renewals,
    asked: HashMap<u64, Vec<String>>,
    jitter: u64,
    acknowledged: u64,
    is_leased: bool,
}

#[derive(Default)]
struct Held {
    is_enabled: bool,
    lease: Deadline,
}

/// Follows the authority until the stream ends, and says why it did. Until the edge has had its leases once, it tries again:
/// an authority that a whole fleet comes to at once is slow.
pub(super) async fn follow(channel: Channel, common: Arc<Common>) {
    let (begun, mut is_leased) = (Instant::now(), false);
    loop {
        let ended = stream(channel.clone(), &common, &mut is_leased).await;
        let why = ended
            .err()
            .unwrap_or_else(|| Status::unavailable("the authority closed the stream"));
        if is_leased || begun.elapsed() > PATIENCE {
            let why = format!("{:?}: {}", why.code(), why.message());
            let _ = common.told.send(Told::Ended(why)).await;
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn stream(channel: Channel, common: &Arc<Common>, is_leased: &mut bool) -> Result<(), Status> {
    let (up, messages) = mpsc::channel(QUEUED);
    let incarnation: [u8; 16] = random_bytes().map_err(|error| Status::internal(error.to_string()))?;
    let request = WatchRequest {
        incarnation: hex(&incarnation),
        ..WatchRequest::default()
    };
    say(&up, Up::Request(request))?;
    let mut client = AuthorityClient::new(channel);
    let mut events = client.watch(ReceiverStream::new(messages)).await?.into_inner();
    let mut view = View {
        common: common.clone(),
        up,
        keys: HashMap::new(),
        renewals: Renewals::default(),
        asked: HashMap::new(),
        jitter: percent(),
        acknowledged: 0,
        is_leased: false,
    };
    loop {
        let due = Duration::from_millis(view.renewals.due_in(boottime::now_ms(), view.jitter));
        let event = tokio::select! {
            event = events.message() => event?,
            () = tokio::time::sleep(due), if !view.keys.is_empty() => {
                view.renew()?;
                continue;
            }
        };
        let Some(event) = event else { return Ok(()) };
        view.take(event).await?;
        *is_leased = view.is_leased;
    }
}

impl View {
    /// Applies an event, acknowledges it, and asks for leases that are lacking, in the order of a real edge.
    async fn take(&mut self, event: WatchEvent) -> Result<(), Status> {
        match event.event {
            Some(Event::Leases(grant)) => return self.granted(grant).await,
            Some(Event::Revoked(revoked)) => return Err(Status::permission_denied(revoked.reason)),
            Some(Event::Snapshot(snapshot)) => {
                self.keys.clear();
                for key in snapshot.keys {
                    self.put(key).await?;
                }
            }
            Some(Event::Key(key)) => self.put(key).await?,
            _ => {}
        }
        if event.revision > self.acknowledged {
            self.acknowledged = event.revision;
            let revision = event.revision;
            say(&self.up, Up::Acknowledged(Acknowledged { revision }))?;
        }
        let now = boottime::now_ms();
        if self.asked.is_empty() && self.keys.values().any(|key| key.is_enabled && !key.lease.holds(now)) {
            self.renew()?;
        }
        Ok(())
    }

    async fn put(&mut self, key: Key) -> Result<(), Status> {
        let is_enabled = key.state() == KeyState::Enabled && !key.deleted;
        let is_watched = key.id == self.common.watched;
        let held = self.keys.entry(key.id).or_default();
        held.is_enabled = is_enabled;
        if !is_enabled {
            held.lease.set(0);
        }
        match is_watched {
            true => self.tell(Told::State(is_enabled, Instant::now())).await,
            false => Ok(()),
        }
    }

    fn renew(&mut self) -> Result<(), Status> {
        let nonce: [u8; 8] = random_bytes().map_err(|error| Status::internal(error.to_string()))?;
        let nonce = u64::from_le_bytes(nonce);
        let enabled = self.keys.iter().filter(|(_, key)| key.is_enabled);
        let key_ids: Vec<_> = enabled.map(|(id, _)| id.clone()).collect();
        // Noted first: a lease counts from before its renewal was sent.
        self.renewals.sent(nonce, boottime::now_ms());
        self.asked.retain(|nonce, _| self.renewals.is_under_way(*nonce));
        self.asked.insert(nonce, key_ids.clone());
        self.jitter = percent();
        say(&self.up, Up::Renewal(LeaseRenewal { nonce, key_ids }))
    }

    async fn granted(&mut self, grant: LeaseGrant) -> Result<(), Status> {
        let asked = self.asked.remove(&grant.nonce).unwrap_or_default();
        let Some(sent) = self.renewals.answered(grant.nonce) else {
            return Ok(());
        };
        self.asked.retain(|nonce, _| self.renewals.is_under_way(*nonce));
        let now = boottime::now_ms();
        let granted: HashMap<_, _> = grant
            .leases
            .into_iter()
            .map(|lease| (lease.key_id, lease.duration_ms))
            .collect();
        for id in asked {
            let until = granted
                .get(&id)
                .map(|duration| sent.saturating_add(u64::from(*duration)));
            if let Some(key) = self.keys.get(&id).filter(|key| key.is_enabled) {
                self.common.counts.note(&key.lease, now);
                key.lease.set(until.unwrap_or(0));
            }
        }
        self.common.counts.renewals.fetch_add(1, Ordering::Relaxed);
        self.renewals
            .granted(sent, granted.values().min().map(|shortest| u64::from(*shortest)));
        if !self.is_leased && granted.len() == self.common.keys {
            self.is_leased = true;
            self.tell(Told::Leased).await?;
        }
        Ok(())
    }

    async fn tell(&self, told: Told) -> Result<(), Status> {
        let sent = self.common.told.send(told).await;
        sent.map_err(|_| Status::cancelled("the bench is over"))
    }
}

impl Counts {
    /// A lease that was held once and is over when the next one comes has run out.
    fn note(&self, lease: &Deadline, now: u64) {
        // From 0 on it was never held, or given up because the key was disabled.
        if lease.left(0) != 0 && !lease.holds(now) {
            self.lapsed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn say(up: &Sender<WatchUp>, what: Up) -> Result<(), Status> {
    let sent = up.try_send(WatchUp { up: Some(what) });
    sent.map_err(|_| Status::unavailable("the stream to the authority takes nothing more"))
}

/// So that a fleet that came together does not stay together.
fn percent() -> u64 {
    let random: [u8; 1] = random_bytes().unwrap_or([100]);
    u64::from(u8::from_le_bytes(random)).saturating_mul(100) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_out_only_if_it_was_held() {
        let (counts, lease) = (Counts::default(), Deadline::default());
        counts.note(&lease, 5);
        lease.set(10);
        counts.note(&lease, 9);
        assert_eq!(counts.lapsed.load(Ordering::Relaxed), 0);
        counts.note(&lease, 10);
        assert_eq!(counts.lapsed.load(Ordering::Relaxed), 1);
    }
}
