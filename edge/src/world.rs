//! One applied bundle: everything a request is judged by. A request holds one world from beginning to end, so that it never
//! sees half of a change.

use std::collections::HashMap;
use std::sync::Arc;

use node::identity::TrustRuleError;
use policies::bundle::{Plugin as PluginDeclaration, Sampling};
use policies::engine::Engine;
use policies::profile::Profile;
use prometheus_client::metrics::counter::Counter;
use runtime::Plugin;
use signing::digest::sha256;

pub use self::plan::{Material, Plan, Wanted};
use crate::rollout::{Reports, Trial};
use crate::throttle::Throttle;
use crate::trust::Trust;

mod plan;

/// A bundle, ready to judge requests.
#[derive(Debug)]
pub struct World {
    digest: String,
    serial: u64,
    engine: Option<Engine>,
    profiles: HashMap<String, Arc<Served>>,
    plugins: HashMap<String, Loaded>,
    issuers: HashMap<String, Issuer>,
    trust: Trust,
    throttle: Throttle,
    reports: Reports,
    sampling: Option<Arc<Sampling>>,
}

/// A profile, and the counter of its signatures.
#[derive(Debug)]
pub struct Served {
    /// The bundle's.
    pub profile: Arc<Profile>,
    /// Signatures that were recorded and answered.
    pub signatures: Counter,
}

/// An issuer that this fleet signs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// `iss`, and the base of discovery.
    pub url: String,
    /// Seconds for which verifiers may keep the JWKS.
    pub jwks_cache: u64,
}

#[derive(Debug, Clone)]
struct Loaded {
    version: Version,
    /// A new version that is on its way.
    trial: Option<Arc<Trial>>,
}

/// A plugin as the bundle declares it, or would with a new component, and as it is called.
#[derive(Debug, Clone)]
pub struct Version {
    /// What it was loaded from.
    pub declaration: PluginDeclaration,
    /// It.
    pub plugin: Arc<Plugin>,
}

/// Why a bundle was not taken into use; the one before stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bundle's own mistakes, each with file and field.
    #[error("{0}")]
    Invalid(String),
    /// A plugin cannot be loaded here.
    #[error("plugin `{name}`: {source}")]
    Plugin {
        /// Its name.
        name: String,
        /// Why.
        source: runtime::LoadError,
    },
}

impl World {
    /// Before the first bundle: nobody is believed and nothing is permitted.
    pub fn empty() -> Result<World, TrustRuleError> {
        Ok(World {
            digest: String::new(),
            serial: 0,
            engine: None,
            profiles: HashMap::new(),
            plugins: HashMap::new(),
            issuers: HashMap::new(),
            trust: Trust::nobody()?,
            throttle: Throttle::default(),
            reports: Reports::default(),
            sampling: None,
        })
    }

    /// A file that plugins of this bundle were made of, by its SHA-256: what a new bundle need not fetch.
    pub fn object(&self, digest: &[u8; 32]) -> Option<Arc<[u8]>> {
        let candidates = self.trials().filter_map(Trial::candidate);
        let versions = self.plugins.values().map(|loaded| &loaded.version).chain(candidates);
        versions.into_iter().find_map(|version| {
            if version.plugin.digest() == digest {
                return Some(version.declaration.wasm.clone());
            }
            let mut tables = version.declaration.tables.values();
            tables
                .find(|table| sha256(&table.text) == *digest)
                .map(|table| table.text.clone())
        })
    }

    /// A version that is loaded already: in use, or on its way.
    fn version(&self, declaration: &PluginDeclaration) -> Option<&Version> {
        let loaded = self.plugins.get(&declaration.name)?;
        let candidate = loaded.trial.as_ref().and_then(|trial| trial.candidate());
        [Some(&loaded.version), candidate]
            .into_iter()
            .flatten()
            .find(|version| version.declaration == *declaration)
    }

    /// With the number that this edge gave its bundle.
    #[must_use]
    pub fn numbered(self, serial: u64) -> World {
        World { serial, ..self }
    }

    /// The bundle's number at this edge: later ones have higher ones. 0 before the first came.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// SHA-256 of the bundle, hex; empty before the first one came.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The policies; absent before the first bundle came, when nothing is permitted.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Every profile.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.served().map(|served| &served.profile)
    }

    /// Every profile with its counter.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.profiles.values()
    }

    /// The profile of that name.
    pub fn profile(&self, name: &str) -> Option<&Arc<Served>> {
        self.profiles.get(name)
    }

    /// A loaded plugin.
    pub fn plugin(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.plugins.get(name).map(|loaded| &loaded.version.plugin)
    }

    /// The new version of a plugin that is on its way.
    pub fn trial(&self, name: &str) -> Option<&Arc<Trial>> {
        self.plugins.get(name)?.trial.as_ref()
    }

    /// Every new version that is on its way.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.plugins.values().filter_map(|loaded| loaded.trial.as_deref())
    }

    /// What wakes whoever tells the authority about them.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Which requests are kept, of those that plugins judge; none unless the bundle asks for it.
    pub fn sampling(&self) -> Option<&Arc<Sampling>> {
        self.sampling.as_ref()
    }

    /// Every loaded plugin, for metrics.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &Plugin)> {
        self.plugins
            .iter()
            .map(|(name, loaded)| (name.as_str(), loaded.version.plugin.as_ref()))
    }

    /// An issuer that this fleet signs as.
    pub fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.get(name)
    }

    /// Whom this edge believes.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Limits and quotas.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }
}
