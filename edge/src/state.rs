//! What one edge process holds, shared by its listeners and its background tasks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use audit::spool::Spool;
use node::contract;
use node::handover::Receiver;
use node::identity::TrustRuleError;
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::identity::Identity;
use crate::keyring::{Delegation, Keyring, State};
use crate::metrics::Metrics;
use crate::record::MOST_WAITING;
use crate::uplink::Uplink;
use crate::world::{LoadError, World};

/// The authority's clock and ours may differ by so much before we say so.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// One edge.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    clock: Clock,
    uplink: Arc<Uplink>,
    keyring: Keyring,
    world: ArcSwap<World>,
    /// The newest bundle that came and is not in use yet.
    offered: Mutex<Option<contract::Bundle>>,
    offer: Notify,
    host: runtime::Host,
    spool: Spool,
    waiting: Semaphore,
    metrics: Metrics,
    incarnation: String,
    receiver: Receiver,
    roots: ArcSwap<Vec<Vec<u8>>>,
    clock_warned: AtomicBool,
    wake: Notify,
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
            host,
            spool,
            waiting: Semaphore::new(MOST_WAITING),
            metrics: Metrics::new(),
            incarnation,
            receiver,
            roots: ArcSwap::default(),
            clock_warned: AtomicBool::new(false),
            wake: Notify::new(),
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

    /// The audit spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Turns at waiting for the audit disk.
    pub fn waiting(&self) -> &Semaphore {
        &self.waiting
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

    /// Lets time pass.
    #[cfg(test)]
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(seconds);
    }

    /// SHA-256 of the bundle in use, hex; empty if there is none.
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
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = Some(bundle);
        self.offer.notify_one();
    }

    /// Takes the bundles that are offered into use, one after the other. Runs until the process ends.
    pub async fn load_bundles(self: Arc<Edge>) {
        loop {
            let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner).take();
            match offered {
                Some(bundle) => {
                    self.load_bundle(bundle).await;
                    self.wake_delegations();
                }
                None => self.offer.notified().await,
            }
        }
    }

    /// Takes a bundle into use, or keeps the one in use and says why.
    async fn load_bundle(self: &Arc<Edge>, bundle: contract::Bundle) {
        let edge = self.clone();
        let files: Vec<_> = bundle.files.into_iter().map(|file| (file.path, file.content)).collect();
        let loaded = tokio::task::spawn_blocking(move || {
            let before = edge.world();
            let world = World::load(&files, &edge.config.public_url, &edge.host, &edge.metrics, &before)?;
            // At once, because the world's trust rules hold already.
            edge.world.store(Arc::new(world));
            Ok::<_, LoadError>(edge.world())
        });
        match loaded.await {
            Ok(Ok(world)) => {
                let profiles = world.profiles().count();
                tracing::info!(digest = world.digest(), profiles, "a bundle is in use");
                self.metrics.bundle(true);
                world.trust().warm(self.now()).await;
            }
            Ok(Err(error)) => {
                tracing::error!(digest = bundle.digest, %error, "a bundle is not used; the last good one stays");
                self.metrics.bundle(false);
            }
            Err(error) => {
                tracing::error!(digest = bundle.digest, %error, "loading a bundle panicked; the last good one stays");
                self.metrics.bundle(false);
            }
        }
    }

    /// Says so once when this machine's clock and the authority's differ by more than 5 s.
    pub fn observe_time(&self, authority_ms: u64) {
        let difference = self.now_ms().abs_diff(authority_ms);
        let wrong = difference > CLOCK_TOLERANCE_MS;
        if wrong && !self.clock_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                difference_ms = difference,
                "this machine's clock and the authority's differ by more than 5 s"
            );
        } else if !wrong {
            self.clock_warned.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the watch stream stands.
    pub fn set_connected(&self, connected: bool) {
        self.metrics.connected(connected);
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
        let world = self.world.load();
        if world.digest().is_empty() {
            return vec!["a bundle from the authority".into()];
        }
        let now = self.now();
        let waits = world.profiles().filter_map(|profile| {
            let wait = match self.keyring.resolve(profile) {
                None => format!(
                    "key `{}` of profile `{}`: the authority has none",
                    profile.key, profile.name
                ),
                Some(key) if key.state != State::Enabled => return None,
                Some(key) if let Some(from) = self.keyring.signs_from(key.facts.id(), now) => {
                    let wait = from.checked_sub(now).filter(|wait| *wait > 0)?;
                    format!(
                        "key `{}` for profile `{}`: its version signs in {wait} s, when verifiers have learnt it",
                        key.facts.id(),
                        profile.name
                    )
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

    /// For how many seconds this edge could sign on if its authority were gone from now on, by the id of each key that a profile
    /// names and an edge holds; 0 where it cannot.
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
