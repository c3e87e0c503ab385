//! Everything an authority is made of, joined, before anything listens.

use std::sync::Arc;
use std::time::Duration;

use node::telemetry::Metrics;
use tokio::sync::{broadcast, watch};

use super::{Parts, StartError};
use crate::admin::{Admin, AdminToken, Gauges};
use crate::anchor::Anchor;
use crate::artifacts::Artifacts;
use crate::backup::service::Backups;
use crate::bundle::Bundles;
use crate::clock::Clock;
use crate::collect::{Collector, Drain};
use crate::config::{Config, KmsConfig};
use crate::delegate::Delegations;
use crate::edge_trust::EdgeTrust;
use crate::edges::{EdgeRecord, Edges};
use crate::enroll::Enrollment;
use crate::halts::Stopping;
use crate::init;
use crate::issue::Issuer;
use crate::keys::{KeySettings, Keys};
use crate::kms::access_key::AccessKeys;
use crate::kms::{Kms, Recorder};
use crate::leases::Leases;
use crate::log_place::LogPlace;
use crate::paths;
use crate::revisions::Revisions;
use crate::revocation::Revocations;
use crate::rollout::Rollouts;
use crate::samples::Samples;
use crate::seal::Seal;
use crate::sealed::{Committed, Vault};
use crate::tenants::Tenants;
use crate::watch::Watches;
use crate::world::World;

/// Between two tries to take up a bundle.
const RETRY: Duration = Duration::from_secs(1);

/// The parts, made and joined.
pub(crate) struct Wired {
    pub(crate) vault: Arc<Vault>,
    pub(crate) token: AdminToken,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) artifacts: Arc<Artifacts>,
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) access_keys: Arc<AccessKeys>,
    pub(crate) edges: Arc<Edges>,
    pub(crate) edge_trust: Arc<EdgeTrust>,
    pub(crate) world: Arc<World>,
    pub(crate) rollouts: Arc<Rollouts>,
    pub(crate) samples: Arc<Samples>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) seal: Arc<Seal>,
    pub(crate) anchor: Anchor,
    pub(crate) clock: Clock,
}

impl Wired {
    /// Loads what is stored; answers the commits that the view of edges is to follow as well.
    pub(crate) async fn join(
        config: &Config,
        parts: &Parts,
        pool: runtime::Pool,
        stop: watch::Receiver<bool>,
    ) -> Result<(Self, broadcast::Receiver<Committed>), StartError> {
        let clock = parts.clock.clone();
        let vault = Arc::new(Vault::new(parts.store.clone(), parts.hsm.clone()));
        let roots = init::load_roots(&vault, &config.trust_domain).await?;
        let anchor = config.anchor();
        let seal = Seal::examine(&vault, &anchor).await?;
        let revisions = Arc::new(Revisions::open(&vault).await?);
        let token = AdminToken::new(&init::admin_token_hash(&vault).await?)?;
        let issuer = Arc::new(Issuer::new(
            parts.hsm.clone(),
            roots,
            config.trust_domain.clone(),
            clock.clone(),
        ));
        let schedule = config.rotation.schedule();
        let host = runtime::Host::within(pool)?;
        let settings = KeySettings {
            region: config.region.clone(),
            served: config
                .kms
                .as_ref()
                .map(|kms| kms.regions.clone())
                .unwrap_or_default()
                .into(),
            schedule,
        };
        let artifacts = Artifacts::open(config.artifacts_dir(), host, issuer.clone(), clock.clone()).await?;
        let bundles = Bundles::open(vault.clone(), artifacts.clone(), clock.clone(), settings.clone()).await?;
        let bundles = Arc::new(bundles);
        let samples = Samples::open(config.samples_dir(), bundles.clone(), clock.clone());
        let keys = Arc::new(Keys::new(vault.clone(), issuer.clone(), clock.clone(), settings));
        let access_keys = Arc::new(AccessKeys::new(vault.clone(), clock.clone()));
        let edges = Arc::new(Edges::new(vault.clone(), clock.clone(), config.trust_domain.clone()));
        let edge_trust = Arc::new(EdgeTrust::new(vault.clone(), clock.clone()));
        let (world, commits) = World::new(vault.clone());
        let rollouts = Arc::new(Rollouts::new(
            vault.clone(),
            bundles.clone(),
            world.clone(),
            clock.clone(),
        ));
        let delegation_roots = vec![issuer.roots().delegations.der().to_vec()];
        // From the store: the view of edges knows nothing yet.
        let edges_before = vault.all::<EdgeRecord>(paths::EDGES).await?;
        let edges_before = edges_before.into_iter().map(|(_, held)| held.value.id.to_string());
        let leases = Arc::new(Leases::new(edges_before.collect(), vault.store().is_shared()));
        let revocations = Arc::new(Revocations::new(vault.clone(), issuer.clone(), clock.clone()));
        let watches = Arc::new(Watches::new(
            vault.clone(),
            world.clone(),
            clock.clone(),
            (revisions, seal.clone()),
            (leases.clone(), rollouts.clone(), revocations.list()),
            delegation_roots,
            stop,
        ));
        Ok((
            Self {
                vault,
                token,
                issuer,
                artifacts,
                bundles,
                keys,
                access_keys,
                edges,
                edge_trust,
                world,
                rollouts,
                samples,
                watches,
                leases,
                revocations,
                seal,
                anchor,
                clock,
            },
            commits,
        ))
    }

    /// Keeps the view of edges, and takes up the bundles that it shows, whoever published them.
    pub(crate) fn follow(&self, commits: broadcast::Receiver<Committed>) -> impl Future<Output = ()> + use<> {
        let (tell, mut told) = watch::channel(());
        let view = self.world.clone().follow(commits, move || tell.send_replace(()));
        let bundles = self.bundles.clone();
        let take_up = async move {
            while told.changed().await.is_ok() {
                while let Err(fault) = bundles.reload().await {
                    fault.log("taking up a bundle");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        async move {
            tokio::join!(view, take_up);
        }
    }

    pub(crate) fn enrollment(&self, config: &Config) -> Enrollment {
        let lifetime = config.enrollment.certificate_lifetime.get();
        Enrollment::new(
            self.edges.clone(),
            self.edge_trust.clone(),
            self.issuer.clone(),
            lifetime,
        )
    }

    pub(crate) fn delegations(&self, config: &Config) -> Delegations {
        Delegations::new(
            self.vault.clone(),
            self.issuer.clone(),
            self.bundles.clone(),
            self.world.clone(),
            self.clock.clone(),
            config.delegation.lifetime.get(),
        )
    }

    /// The record of what is done and refused, whose counters `metrics` shows. Opens its audit spool: blocks on the disk.
    pub(crate) fn recorder(&self, config: &Config, metrics: &Metrics) -> Result<Arc<Recorder>, StartError> {
        open_recorder(config, self.clock.clone(), metrics)
    }

    /// The audit log, and what brings this authority's own records to it. None while the authority is sealed: of its store nothing
    /// is to be believed, and a replay wants the spool as it is.
    pub(crate) async fn log(
        &self,
        config: &Config,
        metrics: &Metrics,
        recorder: &Arc<Recorder>,
    ) -> Result<(Option<Arc<Collector>>, Option<Drain>), StartError> {
        if self.seal.is_closed() {
            return Ok((None, None));
        }
        let alarming = recorder.clone();
        let alarm = Box::new(move |what: &'static str| alarming.alarm(what));
        let place = LogPlace::of(config).map_err(|(field, message)| StartError::Config { field, message })?;
        let place = (place, config.store.replica(), config.trust_domain.as_str());
        let log = Collector::open(&self.vault, place, metrics, alarm).await?;
        let (spool, own) = recorder.source();
        let drain = Drain::start(log.clone(), spool, config.audit_dir(), own);
        Ok((Some(log), Some(drain)))
    }

    /// The key API.
    pub(crate) fn key_api(&self, config: &KmsConfig, recorder: Arc<Recorder>) -> Kms {
        let parts = crate::kms::Parts {
            vault: self.vault.clone(),
            keys: self.keys.clone(),
            bundles: self.bundles.clone(),
            access_keys: self.access_keys.clone(),
            recorder,
            seal: self.seal.clone(),
            clock: self.clock.clone(),
        };
        Kms::new(config, parts)
    }

    pub(crate) fn into_admin(self, gauges: Gauges, recorder: Arc<Recorder>, log: Option<Arc<Collector>>) -> Admin {
        Admin {
            log,
            backups: Backups::new(self.vault.clone()),
            recorder,
            seal: self.seal,
            token: self.token,
            tenants: Tenants::new(self.vault.clone(), self.clock.clone()),
            stopping: Stopping::new(self.vault.clone(), self.keys.approvals().clone(), self.clock.clone()),
            leases: self.leases,
            revocations: self.revocations.list(),
            vault: self.vault,
            keys: self.keys,
            access_keys: self.access_keys,
            edges: self.edges,
            edge_trust: self.edge_trust,
            bundles: self.bundles,
            issuer: self.issuer,
            watches: self.watches,
            rollouts: self.rollouts,
            samples: self.samples,
            world: self.world,
            clock: self.clock,
            gauges,
        }
    }
}

/// Opens the audit spool of a configuration, which one process has at a time. Blocks on the disk.
pub(crate) fn open_recorder(config: &Config, clock: Clock, metrics: &Metrics) -> Result<Arc<Recorder>, StartError> {
    let directory = config.audit_dir();
    super::make_private_dir(&directory)?;
    let bounds = config.kms.as_ref().map(|kms| kms.audit).unwrap_or_default();
    Ok(Arc::new(Recorder::open(
        &directory,
        config.store.replica(),
        bounds.settings(),
        clock,
        metrics,
    )?))
}
