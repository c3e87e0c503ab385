//! What a configuration stands for: the HSM, the store and the clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use signing::key::Secret;

use super::{StartError, make_private_dir};
use crate::anchor::Anchor;
use crate::clock::Clock;
use crate::config::{Config, HsmConfig, Pkcs11Config, SoftwareConfig, StoreConfig};
use crate::hsm::software::Software;
use crate::hsm::worker::{PinSource, Worker, WorkerConfig};
use crate::hsm::{Hsm, HsmError, HsmErrorKind, Queued, Verified};
use crate::store::{EtcdStore, RedbStore, Store};
use crate::{paths, secret_file};

/// The embedded store's file in the data directory.
const STORE_FILE: &str = "store.redb";
/// The software HSM's file in the data directory.
const SOFTWARE_HSM_FILE: &str = "software-hsm";
/// Calls of the software HSM at once, as many as a token has sessions by default.
const SOFTWARE_AT_ONCE: usize = 4;
/// Looks for a token that is not listed, after the first, and the pause before each: about two seconds in all.
const MORE_LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(450);

impl Config {
    /// The audit spool's directory.
    pub fn audit_dir(&self) -> PathBuf {
        self.data_dir.join("audit")
    }

    /// Where the state is, for people.
    pub(crate) fn store_name(&self) -> String {
        match &self.store {
            StoreConfig::Redb => format!("`{}`", store_path(self).display()),
            StoreConfig::Etcd(etcd) => format!("`{}` in etcd at `{}`", etcd.prefix, etcd.etcd.join("`, `")),
        }
    }

    /// The audit log's directory, where it is in one.
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }

    /// Where plugins compiled for edges are kept: a cache.
    pub(crate) fn artifacts_dir(&self) -> PathBuf {
        self.data_dir.join("artifacts")
    }

    /// Where sealed samples of requests are kept.
    pub(crate) fn samples_dir(&self) -> PathBuf {
        self.data_dir.join("samples")
    }

    /// The file outside the store that shows that it was not put back.
    pub fn anchor(&self) -> Anchor {
        let default = || self.data_dir.join("anchor");
        let replica = Some(self.store.replica()).filter(|replica| !replica.is_empty());
        Anchor::new(self.anchor_file.clone().unwrap_or_else(default), replica)
    }
}

/// What an authority stands on.
pub struct Parts {
    /// Every signature of it verified.
    pub hsm: Arc<dyn Hsm>,
    /// The state.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    embedded: Option<Arc<RedbStore>>,
}

impl Parts {
    /// Parts of one's own, in a program of one's own; the caller has wrapped the HSM in [`Verified`].
    pub fn new(hsm: Arc<dyn Hsm>, store: Arc<RedbStore>, clock: Clock) -> Self {
        Self::on(hsm, Opened::Redb(store), clock)
    }

    fn on(hsm: Arc<dyn Hsm>, opened: Opened, clock: Clock) -> Self {
        let (store, embedded): (Arc<dyn Store>, _) = match opened {
            Opened::Redb(store) => (store.clone(), Some(store)),
            Opened::Etcd(store) => (store, None),
        };
        Self {
            hsm,
            store,
            clock,
            embedded,
        }
    }

    /// Opens what a configuration names, making the data directory and an empty store where there is none.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        config
            .check()
            .map_err(|(field, message)| StartError::Config { field, message })?;
        let store = Opened::of(config).await?;
        let hsm = open_hsm(config).await?;
        Ok(Self::on(hsm, store, Clock::system()))
    }

    /// As [`Parts::open`], with an HSM that is open.
    pub(crate) async fn with_hsm(config: &Config, hsm: Arc<dyn Hsm>) -> Result<Self, StartError> {
        Ok(Self::on(hsm, Opened::of(config).await?, Clock::system()))
    }

    /// Closes the embedded store, so that another process may open it: at once if nothing else holds it.
    pub(crate) fn close(self) {
        drop(self.store);
        if let Some(store) = self.embedded.and_then(Arc::into_inner) {
            store.close();
        }
    }
}

/// The store that a configuration names.
enum Opened {
    Redb(Arc<RedbStore>),
    Etcd(Arc<EtcdStore>),
}

impl Opened {
    async fn of(config: &Config) -> Result<Self, StartError> {
        make_private_dir(&config.data_dir)?;
        match &config.store {
            StoreConfig::Redb => Ok(Self::Redb(open_store(&store_path(config)).await?)),
            StoreConfig::Etcd(etcd) => {
                let settings = etcd.settings();
                let settings = settings.map_err(|(field, message)| StartError::Config { field, message })?;
                Ok(Self::Etcd(Arc::new(EtcdStore::open(&settings).await?)))
            }
        }
    }
}

/// Opens the token, once more where it is not listed: while other processes open a SoftHSM2 on the same files, one may be told of none
/// for a moment. Each try is a worker process of its own, whose module lists its tokens anew.
async fn start_worker(config: WorkerConfig) -> Result<Worker, HsmError> {
    for _ in 0..MORE_LOOKS {
        match Worker::start(config.clone()).await {
            Err(error) if is_unlisted(&error) => tokio::time::sleep(BETWEEN_LOOKS).await,
            other => return other,
        }
    }
    Worker::start(config).await
}

/// As the worker's module says it of a label (`hsm/pkcs11.rs`).
fn is_unlisted(error: &HsmError) -> bool {
    error.kind == HsmErrorKind::Misconfigured && error.detail.starts_with("no token is labelled")
}

/// The HSM that a configuration names.
pub(crate) async fn open_hsm(config: &Config) -> Result<Arc<dyn Hsm>, StartError> {
    Ok(match &config.hsm {
        HsmConfig::Pkcs11(token) => {
            let worker = worker(token);
            let sessions = usize::from(worker.sessions);
            Arc::new(Queued::new(Verified::new(start_worker(worker).await?), sessions))
        }
        HsmConfig::Software(software) => {
            let file = software
                .file
                .clone()
                .unwrap_or_else(|| config.data_dir.join(SOFTWARE_HSM_FILE));
            let software = Software::open(file, passphrase(software)?).await?;
            Arc::new(Queued::new(Verified::new(software), SOFTWARE_AT_ONCE))
        }
    })
}

/// Whether the store is an authority's already.
pub(super) async fn is_initialised(config: &Config) -> Result<bool, StartError> {
    if matches!(config.store, StoreConfig::Redb) && !store_path(config).exists() {
        return Ok(false);
    }
    match Opened::of(config).await? {
        Opened::Redb(store) => {
            let row = store.get(paths::AUTHORITY).await;
            if let Some(store) = Arc::into_inner(store) {
                store.close();
            }
            Ok(row?.is_some())
        }
        Opened::Etcd(store) => Ok(store.get(paths::AUTHORITY).await?.is_some()),
    }
}

pub(crate) fn store_path(config: &Config) -> PathBuf {
    config.data_dir.join(STORE_FILE)
}

pub(crate) async fn open_store(path: &Path) -> Result<Arc<RedbStore>, StartError> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || RedbStore::open(path)).await;
    let opened = opened.map_err(|error| StartError::Io {
        what: "opening the store".into(),
        error: error.into(),
    })?;
    Ok(Arc::new(opened?))
}

fn worker(token: &Pkcs11Config) -> WorkerConfig {
    let pin = match (&token.pin_file, &token.pin_env) {
        (Some(file), _) => PinSource::File(file.clone()),
        (None, variable) => PinSource::Environment(variable.clone().unwrap_or_default()),
    };
    let mut worker = WorkerConfig::new(&token.module, &token.label, pin);
    worker.environment = token
        .environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    worker.program.clone_from(&token.worker);
    if let Some(deadline) = token.deadline {
        worker.deadline = deadline.get();
    }
    if let Some(deadline) = token.start_deadline {
        worker.start_deadline = deadline.get();
    }
    if let Some(sessions) = token.sessions {
        worker.sessions = sessions;
    }
    worker
}

/// The line end of a file is not part of the passphrase.
fn passphrase(software: &SoftwareConfig) -> Result<Secret, StartError> {
    if let Some(file) = &software.passphrase_file {
        let text = secret_file::read(file).map_err(|error| StartError::Io {
            what: format!("passphrase file `{}`", file.display()),
            error,
        })?;
        let end = text
            .iter()
            .rposition(|byte| !matches!(byte, b'\n' | b'\r'))
            .map_or(0, |last| last.saturating_add(1));
        let secret = Secret::new(text.get(..end).unwrap_or_default().to_vec());
        return Ok(secret);
    }
    let variable = software.passphrase_env.clone().unwrap_or_default();
    match std::env::var(&variable) {
        Ok(text) => Ok(Secret::new(text.into_bytes())),
        Err(_) => Err(StartError::Config {
            field: "hsm.passphrase_env",
            message: format!("the variable `{variable}` is not set, or not text"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsm::testing;

    #[tokio::test]
    async fn a_token_that_is_not_listed_for_a_moment_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let config = testing::softhsm_config(directory.path()).await;
        let (tokens, away) = (directory.path().join("tokens"), directory.path().join("away"));
        std::fs::rename(&tokens, &away).unwrap();
        std::fs::create_dir(&tokens).unwrap();
        let missing = start_worker(config.clone()).await.map(drop).unwrap_err();
        assert!(is_unlisted(&missing), "{missing}");
        let (opened, ()) = tokio::join!(start_worker(config), async {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            std::fs::remove_dir(&tokens).unwrap();
            std::fs::rename(&away, &tokens).unwrap();
        });
        assert_eq!(opened.unwrap().info().label, "signet test");
    }
}
