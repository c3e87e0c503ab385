//! From a bundle that came to one in use: what it names is fetched, machine code for its plugins had, and then it is taken into use
//! whole. The one in use serves meanwhile. A newer bundle that comes ends the waiting for an older one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use node::contract;
use runtime::Artifact;
use tokio::time::{Instant, sleep};

use super::Edge;
use crate::config::Compile;
use crate::fetch::{self, Failure};
use crate::jitter::Backoff;
use crate::world::{LoadError, Material, Plan, Wanted, World};

/// Waits between two tries.
const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(30);
/// For how long machine code is asked for where this edge may compile by itself, and how many failures that takes. An authority
/// that compiles says so, and takes as long as it would take here.
const PATIENCE: Duration = Duration::from_secs(300);
const TRIES: usize = 3;
/// Most bytes of one file, and of a bundle with the new versions of its plugins.
const MAX_FILE: u64 = policies::bundle::MAX_PLUGIN_BYTES as u64;
const MAX_ALL: u64 = 128 << 20;

impl Edge {
    /// Takes the bundles that are offered into use, one after the other. Runs until the process ends.
    pub async fn load_bundles(self: Arc<Edge>) {
        loop {
            let (serial, waiting) = {
                let mut offered = self.offered();
                (offered.serial, offered.waiting.take())
            };
            match waiting {
                Some(bundle) => {
                    self.load_bundle(serial, bundle).await;
                    self.loaded.send_replace(serial);
                    self.waits_for(None);
                    self.wake_delegations();
                    self.wake_leases();
                }
                None => self.offer.notified().await,
            }
        }
    }

    /// Takes a bundle into use, or keeps the one in use and says why.
    async fn load_bundle(self: &Arc<Edge>, serial: u64, bundle: contract::Bundle) {
        let digest = bundle.digest.clone();
        match self.load(serial, bundle).await {
            Ok(Some(world)) => {
                let profiles = world.profiles().count();
                tracing::info!(digest = world.digest(), profiles, "a bundle is in use");
                self.metrics.bundle(true);
                world.trust().warm(self.now()).await;
                return;
            }
            // It is the newer one's turn.
            Ok(None) => return,
            Err(error) => {
                tracing::error!(digest, %error, "a bundle is not used; the last good one stays");
                self.metrics.bundle(false);
            }
        }
        let mut offered = self.offered();
        if offered.serial == serial {
            offered.digest.clear();
        }
    }

    /// The bundle in use, once it is; none where a newer one came before.
    async fn load(self: &Arc<Edge>, serial: u64, bundle: contract::Bundle) -> Result<Option<Arc<World>>, LoadError> {
        let files = tokio::select! {
            files = self.complete(bundle.files, bundle.rollouts) => files?,
            () = self.overtaken(serial) => return Ok(None),
        };
        let edge = self.clone();
        let (plan, wanted) = blocking(move || {
            let plan = Plan::of(&files.0, files.1)?;
            let wanted = plan.wanted(&edge.world());
            Ok((plan, wanted))
        })
        .await?;
        let compiled = tokio::select! {
            compiled = self.compiled(wanted) => compiled,
            () = self.overtaken(serial) => return Ok(None),
        };
        let edge = self.clone();
        let built = blocking(move || {
            let material = Material {
                public_url: &edge.config.public_url,
                host: &edge.host,
                metrics: &edge.metrics,
                compiled: &compiled,
            };
            let world = plan.build(&material, &edge.world())?.numbered(serial);
            // At once, because the world's trust rules hold already.
            edge.world.store(Arc::new(world));
            Ok(edge.world())
        });
        built.await.map(Some)
    }

    /// Until a bundle came that is newer than this one.
    async fn overtaken(&self, serial: u64) {
        while self.offered().serial <= serial {
            self.offer.notified().await;
        }
    }

    /// The files and rollouts with all that they name, from the bundle in use or from the authority.
    async fn complete(
        &self,
        files: Vec<contract::File>,
        mut rollouts: Vec<contract::Rollout>,
    ) -> Result<Complete, LoadError> {
        let sizes = files.iter().map(|file| file.size);
        let sizes = sizes.chain(rollouts.iter().map(|rollout| rollout.component_size));
        let (largest, all) = sizes.fold((0, 0_u64), |(largest, all), size| {
            (size.max(largest), all.saturating_add(size))
        });
        if largest > MAX_FILE || all > MAX_ALL {
            let what = format!("it names files of up to {largest} bytes, {all} in all, more than a bundle has");
            return Err(LoadError::Invalid(what));
        }
        let held = self.world();
        let mut complete = Vec::with_capacity(files.len());
        for file in files {
            let content = match file.digest.is_empty() {
                true => file.content,
                false => self.object(&held, &file.path, &file.digest, file.size).await?,
            };
            complete.push((file.path, content));
        }
        for rollout in &mut rollouts {
            if !rollout.component_digest.is_empty() {
                let what = format!("the new version of plugin `{}`", rollout.plugin);
                let digest = std::mem::take(&mut rollout.component_digest);
                rollout.component = self.object(&held, &what, &digest, rollout.component_size).await?;
            }
        }
        Ok((complete, rollouts))
    }

    /// One of them. The authority is asked until it gives it: there is nobody else to ask.
    async fn object(&self, held: &World, what: &str, digest: &[u8], size: u64) -> Result<Vec<u8>, LoadError> {
        let named = <[u8; 32]>::try_from(digest);
        let digest = named.map_err(|_| LoadError::Invalid(format!("{what}: its digest is no SHA-256")))?;
        if let Some(content) = held.object(&digest) {
            return Ok(content.to_vec());
        }
        let mut backoff = Backoff::new(FIRST, LAST);
        self.waits_for(Some(format!("{what} of the bundle, {size} bytes, from the authority")));
        loop {
            match fetch::object(self, digest, size).await {
                Ok(content) => return Ok(content),
                Err(failure) => {
                    tracing::warn!(what, size, %failure, "a file of the bundle did not come; it is asked for again");
                    self.waits_for(Some(format!("{what} of the bundle, {size} bytes: {failure}")));
                }
            }
            sleep(backoff.next()).await;
        }
    }

    /// The machine code that the authority has, by the component's SHA-256: of all that is wanted where this edge compiles nothing
    /// by itself.
    async fn compiled(&self, wanted: Vec<Wanted>) -> HashMap<[u8; 32], Artifact> {
        let mut compiled = HashMap::new();
        for Wanted { plugin, component } in wanted {
            if self.config.plugins.compile == Compile::Local || compiled.contains_key(&component) {
                continue;
            }
            if let Some(artifact) = self.artifact(&plugin, &component).await {
                compiled.insert(component, artifact);
            }
        }
        compiled
    }

    /// Machine code of one component; none where this edge is to compile it.
    async fn artifact(&self, plugin: &str, component: &[u8; 32]) -> Option<Artifact> {
        let may_compile = self.config.plugins.compile == Compile::Any;
        let (mut backoff, begun, mut failures) = (Backoff::new(FIRST, LAST), Instant::now(), 0_usize);
        self.waits_for(Some(format!("machine code of plugin `{plugin}`, from the authority")));
        loop {
            let failure = match fetch::compiled(self, component, self.host.target()).await {
                Ok(artifact) => return Some(artifact),
                Err(failure) => failure,
            };
            if failure.is_refusal() {
                tracing::error!(plugin, %failure, "machine code of a plugin is not loaded");
                self.metrics.artifact("refused");
            }
            failures = failures.saturating_add(usize::from(!failure.is_for_later()));
            let is_over = failure.is_final() || failures >= TRIES || begun.elapsed() > PATIENCE;
            if may_compile && is_over {
                tracing::warn!(plugin, %failure, "a plugin is compiled here: there is no machine code from the authority");
                return None;
            }
            self.say_once(plugin, &failure);
            sleep(backoff.next()).await;
        }
    }

    fn say_once(&self, plugin: &str, failure: &Failure) {
        let what = format!("machine code of plugin `{plugin}`: {failure}");
        if self.waits_for(Some(what.clone())) {
            tracing::warn!("waiting for {what}");
        }
    }

    /// What a bundle is waiting for, for whoever asks; answers whether it is something else than before.
    fn waits_for(&self, what: Option<String>) -> bool {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *loading != what;
        *loading = what;
        is_new
    }
}

/// Files, and the new versions of plugins.
type Complete = (Vec<(String, Vec<u8>)>, Vec<contract::Rollout>);

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(LoadError::Invalid(format!("loading it panicked: {error}"))))
}

#[cfg(test)]
mod tests;
