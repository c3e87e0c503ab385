//! What one edge process holds, shared by its listeners and its background tasks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use audit::spool::Spool;
use node::contract;
use node::handover::Receiver;
use node::identity::TrustRuleError;
use signing::revocation::RevocationList;
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::forward::Turns;
use crate::identity::Identity;
use crate::keyring::{Delegation, Keyring, State};
use crate::metrics::Metrics;
use crate::prove::Proofs;
use crate::record::MOST_WAITING;
use crate::rollout::Trial;
use crate::sample::Samples;
use crate::uplink::Uplink;
use crate::world::World;

mod loading;

/// For how long a request waits for the bundle that must judge it: as long as it would be told to wait before it comes again.
const LOADING: Duration = Duration::from_secs(1);

/// The last revocation list that came.
#[derive(Debug, Default)]
pub struct Revocations {
    /// As it is handed on; empty before the first came.
    pub jws: String,
    /// What it says.
    pub list: RevocationList,
}

/// The newest bundle that came.
#[derive(Debug, Default)]
struct Offered {
    /// How many came.
    serial: u64,
    /// Its digest; empty where it could not be taken into use, so that the next one is sent, whichever it is.
    digest: String,
    /// It, until it is being loaded.
    waiting: Option<contract::Bundle>,
}

/// One edge.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    clock: Clock,
    uplink: Arc<Uplink>,
    keyring: Keyring,
    world: ArcSwap<World>,
    offered: Mutex<Offered>,
    offer: Notify,
    /// What the newest bundle is waiting for, while it is.
    loading: Mutex<Option<String>>,
    /// The last bundle whose loading has ended, well or not, by its number.
    loaded: watch::Sender<u64>,
    host: runtime::Host,
    spool: Spool,
    waiting: Semaphore,
    proofs: Proofs,
    turns: Turns,
    samples: Samples,
    metrics: Metrics,
    incarnation: String,
    receiver: Receiver,
    roots: ArcSwap<Vec<Vec<u8>>>,
    revocations: ArcSwap<Revocations>,
    connected: AtomicBool,
    wake: Notify,
    wake_leases: Notify,
    wake_shipping: Notify,
    ready: watch::Sender<bool>,
}

impl Edge {
    /// An edge that knows nothing yet. `incarnation` (128 bits in hex) and `receiver` are fresh for each start.
    pub fn new(
        config: Config,
        uplink: Arc<Uplink>,
        host: runtime::Host,
        spool: Spool,
        incarnation: String,
        receiver: Receiver,
    ) -> Result<Arc<Edge>, TrustRuleError> {
        Ok(Arc::new(Edge {
            config,
            clock: Clock::default(),
            uplink,
            keyring: Keyring::new(),
            world: ArcSwap::from_pointee(World::empty()?),
            offered: Mutex::default(),
            offer: Notify::new(),
            loading: Mutex::default(),
            loaded: watch::Sender::default(),
            host,
            spool,
            waiting: Semaphore::new(MOST_WAITING),
            proofs: Proofs::default(),
            turns: Turns::default(),
            samples: Samples::default(),
            metrics: Metrics::new(),
            incarnation,
            receiver,
            roots: ArcSwap::default(),
            revocations: ArcSwap::default(),
            connected: AtomicBool::new(false),
            wake: Notify::new(),
            wake_leases: Notify::new(),
            wake_shipping: Notify::new(),
            ready: watch::Sender::new(false),
        }))
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who this edge is to the authority.
    pub fn identity(&self) -> Arc<Identity> {
        self.uplink.identity()
    }

    /// This process, as delegations and records name it.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// What shared keys are sealed to.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// The delegated keys.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The bundle in use.
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// The bundle to judge a request by. Where what it decides would not be signed, since a newer one withdrew it and is still on its
    /// way into use, that one is waited for: for a second, and only while there is something to wait for.
    pub async fn judging_world(&self) -> Arc<World> {
        let world = self.world();
        if self.keyring.takes_bundle(world.serial()) {
            return world;
        }
        let (newest, mut loaded) = (self.offered().serial, self.loaded.subscribe());
        // Too late is as never: what the bundle before decides is refused when it is to be signed.
        let _ = tokio::time::timeout(LOADING, loaded.wait_for(|serial| *serial >= newest)).await;
        self.world()
    }

    /// What runs plugins.
    pub fn host(&self) -> &runtime::Host {
        &self.host
    }

    /// The audit spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The way to the authority.
    pub fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    /// Turns at having the authority sign.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Turns at waiting for the audit disk.
    pub fn waiting(&self) -> &Semaphore {
        &self.waiting
    }

    /// Who waits for a proof that a record is in the log.
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Sampled requests that wait to be shipped.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Unix seconds.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// CLOCK_BOOTTIME, milliseconds: what leases are measured with.
    pub fn boot_ms(&self) -> u64 {
        self.clock.boot_ms()
    }

    /// Takes the authority's time from its answer to what was sent at `sent` on [`Edge::boot_ms`].
    pub fn hear(&self, authority_ms: u64, sent: u64) {
        self.clock.hear(authority_ms, sent);
    }

    /// Says so once when this machine's clock and the authority's differ by more than 5 s.
    pub fn compare_clocks(&self, authority_ms: u64) {
        self.clock.compare(authority_ms);
    }

    /// The clock, to be moved.
    #[cfg(test)]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// SHA-256 of the bundle in use, hex; empty if there is none.
    #[cfg(test)]
    pub fn bundle_digest(&self) -> String {
        self.world.load().digest().to_owned()
    }

    /// What delegation chains must end in, DER.
    pub fn delegation_roots(&self) -> Arc<Vec<Vec<u8>>> {
        self.roots.load_full()
    }

    /// The authority's delegation roots, DER.
    pub fn set_delegation_roots(&self, roots: Vec<Vec<u8>>) {
        self.roots.store(Arc::new(roots));
    }

    /// Has a bundle taken into use by [`Edge::load_bundles`], off the watch stream; one that waits already is skipped.
    pub fn offer_bundle(&self, bundle: contract::Bundle) {
        // Rollback does not wait for the bundle to be loaded.
        let world = self.world.load();
        let aborted = |id: &str| {
            bundle
                .rollouts
                .iter()
                .any(|rollout| rollout.aborted && rollout.id == id)
        };
        world
            .trials()
            .filter(|trial| aborted(trial.id()))
            .for_each(Trial::abort);
        let mut offered = self.offered();
        offered.serial = offered.serial.saturating_add(1);
        offered.digest.clone_from(&bundle.digest);
        offered.waiting = Some(bundle);
        self.offer.notify_one();
    }

    /// SHA-256 of the newest bundle that came, hex: in use, or on its way there. Empty before the first, and where the newest
    /// could not be taken into use: what the authority sends then is wanted even if it is the one in use.
    pub fn offered_digest(&self) -> String {
        self.offered().digest.clone()
    }

    fn offered(&self) -> MutexGuard<'_, Offered> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a bundle older than the newest that came has judged is signed no more, at once: until that one is in use, nothing
    /// is.
    pub fn demand_newest_bundle(&self) {
        self.keyring.demand_bundle(self.offered().serial);
    }

    /// Whether the watch stream stands.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
        self.metrics.connected(connected);
    }

    /// Whether the watch stream stands.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// What is not to be believed any more.
    pub fn revocations(&self) -> Arc<Revocations> {
        self.revocations.load_full()
    }

    /// Replaces the revocation list, if the new one is the authority's and no older than the one that is held: another authority
    /// may be behind. One that has ended gives way to any.
    pub fn set_revocations(&self, jws: String) {
        let now = self.now();
        match RevocationList::verify(&jws, &self.delegation_roots(), now) {
            Ok(list) => {
                let held = &self.revocations.load().list;
                if now < held.exp && (list.revision, list.iat) < (held.revision, held.iat) {
                    tracing::info!(
                        list.revision,
                        held.revision,
                        "a revocation list is older than the one that is held"
                    );
                    return;
                }
                self.revocations.store(Arc::new(Revocations { jws, list }));
            }
            Err(error) => tracing::warn!(%error, "a revocation list is not used; the one before stays"),
        }
    }

    /// The keys that leases are asked for: those that profiles sign with, here or at the authority.
    pub fn leased_keys(&self) -> Vec<String> {
        crate::delegate::signing(self).into_keys().collect()
    }

    /// How long this edge may sign with every key of its profiles, milliseconds; none where it has none to sign with.
    pub fn lease_left(&self) -> Option<u64> {
        let boot = self.boot_ms();
        let keys = self.leased_keys();
        keys.iter().map(|id| self.keyring.lease_left(id, boot)).min()
    }

    /// Something changed that leases depend on.
    pub fn wake_leases(&self) {
        self.wake_leases.notify_one();
    }

    /// Until [`Edge::wake_leases`] is called.
    pub async fn leases_woken(&self) {
        self.wake_leases.notified().await;
    }

    /// A record should be shipped at once.
    pub fn wake_shipping(&self) {
        self.wake_shipping.notify_one();
    }

    /// Until [`Edge::wake_shipping`] is called.
    pub async fn shipping_woken(&self) {
        self.wake_shipping.notified().await;
    }

    /// Something changed that delegations depend on.
    pub fn wake_delegations(&self) {
        self.wake.notify_one();
    }

    /// Until [`Edge::wake_delegations`] is called.
    pub async fn delegations_woken(&self) {
        self.wake.notified().await;
    }

    /// What this edge waits for before it can sign for every profile; empty when it is ready. A key that is stopped on purpose
    /// is nothing to wait for.
    pub fn waiting_for(&self) -> Vec<String> {
        if self.keyring.is_revoked() {
            return vec!["nothing: the authority has revoked this edge".into()];
        }
        if let Some(error) = self.spool.status().refusing {
            return vec![format!("its audit spool, without which nothing is signed: {error}")];
        }
        let world = self.world.load();
        if world.digest().is_empty() || !self.keyring.takes_bundle(world.serial()) {
            let loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
            let what = loading.clone();
            return vec![what.unwrap_or_else(|| "a bundle from the authority".into())];
        }
        let (now, boot) = (self.now(), self.boot_ms());
        let waits = world.profiles().filter_map(|profile| {
            let wait = match self.keyring.resolve(profile) {
                None => format!(
                    "key `{}` of profile `{}`: the authority has none",
                    profile.key, profile.name
                ),
                // What is stopped on purpose is nothing to wait for.
                Some(key) if key.state != State::Enabled || self.keyring.is_stopped(&key) => return None,
                Some(key) if let Some(from) = self.keyring.signs_from(key.facts.id(), now) => {
                    let id = key.facts.id();
                    match from.checked_sub(now).filter(|wait| *wait > 0) {
                        Some(wait) => format!(
                            "key `{id}` for profile `{}`: its version signs in {wait} s, when verifiers have learnt it",
                            profile.name
                        ),
                        None if self.keyring.lease_left(id, boot) > 0 => return None,
                        None => format!("a lease of key `{id}` for profile `{}`", profile.name),
                    }
                }
                Some(key) => format!(
                    "a delegation of key `{}` for profile `{}`",
                    key.facts.id(),
                    profile.name
                ),
            };
            Some(wait)
        });
        waits.collect()
    }

    /// For how many seconds the delegation of each key that a profile names runs, by the key's id; 0 where there is none. An HSM
    /// that is away stops an edge then; an authority that is away stops it when its leases end ([`Edge::lease_left`]).
    pub fn seconds_left(&self) -> BTreeMap<String, u64> {
        let (world, now) = (self.world.load(), self.now());
        let keys = world.profiles().filter_map(|profile| self.keyring.resolve(profile));
        let delegated = keys.filter(|key| key.delegation != Delegation::None && key.state == State::Enabled);
        let left = delegated.map(|key| {
            let until = self.keyring.signs_until(key.facts.id());
            (key.facts.id().to_owned(), until.saturating_sub(now))
        });
        left.collect()
    }

    /// Re-computes readiness; called by the task that keeps delegations.
    pub fn settled(&self) {
        let ready = self.waiting_for().is_empty();
        self.metrics.ready(ready);
        self.ready
            .send_if_modified(|before| std::mem::replace(before, ready) != ready);
    }

    /// Until every profile can be signed for.
    pub async fn until_ready(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as `self`.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Each second: forgets idle limiter keys.
    pub async fn sweep(self: Arc<Edge>) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            self.world.load().throttle().sweep();
        }
    }
}
