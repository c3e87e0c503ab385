//! A bundle on its way to a world: read and checked first, so that what its plugins need can be had, then built.

use std::collections::HashMap;
use std::sync::Arc;

use node::contract;
use policies::bundle::{Bundle, Isolation, Plugin as Declaration};
use policies::engine::Engine;
use policies::rollout::fingerprint;
use runtime::{Artifact, Host, LoadFailure, PluginSource};
use signing::digest::sha256;

use super::{Issuer, LoadError, Loaded, Served, Version, World};
use crate::metrics::Metrics;
use crate::rollout::Trial;
use crate::rules;
use crate::throttle::Throttle;

/// A bundle that holds together, with the new versions of plugins that are on their way.
#[derive(Debug)]
pub struct Plan {
    bundle: Bundle,
    engine: Engine,
    rollouts: Vec<contract::Rollout>,
}

/// A component that is not loaded yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component.
    pub component: [u8; 32],
}

/// What a world is built with.
#[derive(Debug)]
pub struct Material<'a> {
    /// How callers and verifiers reach this fleet.
    pub public_url: &'a str,
    /// What runs plugins, and compiles those without machine code.
    pub host: &'a Host,
    /// What counts.
    pub metrics: &'a Metrics,
    /// Machine code, by the SHA-256 of its component.
    pub compiled: &'a HashMap<[u8; 32], Artifact>,
}

impl Plan {
    /// Reads and validates a bundle's files. Slow: never call it on the serving path.
    pub fn of(files: &[(String, Vec<u8>)], rollouts: Vec<contract::Rollout>) -> Result<Plan, LoadError> {
        let bundle = Bundle::parse(files).map_err(|errors| invalid(&errors))?;
        let engine = Engine::new(&bundle).map_err(|errors| invalid(&errors))?;
        Ok(Plan {
            bundle,
            engine,
            rollouts,
        })
    }

    /// The components that the world before has not loaded.
    pub fn wanted(&self, previous: &World) -> Vec<Wanted> {
        let current = self.bundle.plugins.iter().cloned();
        let new = self.bundle.plugins.iter().filter_map(|declaration| {
            let rollout = self.rollout(declaration)?;
            let runs = !rollout.aborted && rollout.base == fingerprint(declaration);
            runs.then(|| candidate(declaration, rollout))
        });
        let missing = current
            .chain(new)
            .filter(|declaration| previous.version(declaration).is_none());
        let wanted = missing.map(|declaration| Wanted {
            component: sha256(&declaration.wasm),
            plugin: declaration.name,
        });
        wanted.collect()
    }

    fn rollout(&self, declaration: &Declaration) -> Option<&contract::Rollout> {
        self.rollouts.iter().find(|rollout| rollout.plugin == declaration.name)
    }

    /// Loads the plugins that the world before has not. Slow, where one has to be compiled: never call it on the serving path.
    pub fn build(self, material: &Material<'_>, previous: &World) -> Result<World, LoadError> {
        let load = |declaration: &Declaration| match previous.version(declaration) {
            Some(version) => Ok(version.clone()),
            None => load(material, declaration),
        };
        let mut plugins = HashMap::new();
        for declaration in &self.bundle.plugins {
            let version = load(declaration)?;
            let trial = self.rollout(declaration).and_then(|rollout| {
                let before = previous.trial(&declaration.name);
                Trial::begin(rollout, declaration, before, load, material.metrics, &previous.reports)
            });
            plugins.insert(declaration.name.clone(), Loaded { version, trial });
        }
        let Plan { bundle, engine, .. } = self;
        let profiles = bundle.profiles.iter().map(|profile| {
            let served = Served {
                profile: profile.clone(),
                signatures: material.metrics.signatures(&profile.name),
            };
            (profile.name.clone(), Arc::new(served))
        });
        // Last, because it takes effect at once: nothing after it can fail.
        let trust = previous.trust.replace(&bundle).map_err(LoadError::Invalid)?;
        Ok(World {
            digest: bundle.digest.clone(),
            serial: 0,
            issuers: issuers(&bundle, material.public_url),
            throttle: Throttle::new(&bundle.limits, &bundle.profiles, Some(&previous.throttle)),
            profiles: profiles.collect(),
            engine: Some(engine),
            plugins,
            trust,
            reports: previous.reports.clone(),
            sampling: bundle.sampling,
        })
    }
}

fn invalid(errors: &[impl ToString]) -> LoadError {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    LoadError::Invalid(errors.join("; "))
}

fn issuers(bundle: &Bundle, public_url: &str) -> HashMap<String, Issuer> {
    let issuers = bundle.issuers.iter().map(|issuer| {
        let url = issuer.url.clone();
        let url = url.unwrap_or_else(|| format!("{public_url}/i/{}", issuer.name));
        let jwks_cache = issuer.jwks_cache.as_secs();
        (issuer.name.clone(), Issuer { url, jwks_cache })
    });
    issuers.collect()
}

/// A plugin as the bundle would declare it with the component of a rollout.
fn candidate(declaration: &Declaration, rollout: &contract::Rollout) -> Declaration {
    Declaration {
        wasm: rollout.component.as_slice().into(),
        ..declaration.clone()
    }
}

/// Loads a plugin from the machine code that there is, or compiles it. Code that does not fit this host's engine, although it was
/// endorsed, gives way to the compiler, if there is one.
fn load(material: &Material<'_>, declaration: &Declaration) -> Result<Version, LoadError> {
    let compiled = material.compiled.get(&sha256(&declaration.wasm));
    let mut loaded = compiled.map(|artifact| material.host.load_compiled(source(declaration), artifact.clone()));
    if let Some(Err(error)) = &loaded
        && matches!(error.reason, LoadFailure::Compiler(_))
    {
        tracing::error!(plugin = declaration.name, %error, "machine code of a plugin is not loaded");
        material.metrics.artifact("refused");
        loaded = None;
    }
    let is_local = loaded.is_none();
    let loaded = loaded.unwrap_or_else(|| material.host.load(source(declaration)));
    let plugin = loaded.map_err(|source| LoadError::Plugin {
        name: declaration.name.clone(),
        source,
    })?;
    material.metrics.artifact(if is_local { "local" } else { "authority" });
    Ok(Version {
        declaration: declaration.clone(),
        plugin: Arc::new(plugin),
    })
}

fn source(declaration: &Declaration) -> PluginSource {
    let config = declaration.config.iter();
    let tables = declaration.tables.iter();
    PluginSource {
        name: declaration.name.clone(),
        wasm: declaration.wasm.to_vec(),
        config: config
            .map(|(name, value)| (name.clone(), rules::config(value)))
            .collect(),
        imports: declaration.imports.clone(),
        tables: tables
            .map(|(name, table)| (name.clone(), rules::table(table)))
            .collect(),
        deadline: declaration.deadline,
        memory: usize::try_from(declaration.memory).unwrap_or(usize::MAX),
        isolated: declaration.isolation == Isolation::Process,
    }
}
