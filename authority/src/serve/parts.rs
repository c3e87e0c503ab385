//! What a configuration stands for: the HSM, the store and the clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use signing::key::Secret;

use super::{StartError, make_private_dir};
use crate::anchor::Anchor;
use crate::clock::Clock;
use crate::config::{Config, HsmConfig, Pkcs11Config, SoftwareConfig};
use crate::hsm::software::Software;
use crate::hsm::worker::{PinSource, Worker, WorkerConfig};
use crate::hsm::{Hsm, Verified};
use crate::paths;
use crate::store::{RedbStore, Store};

/// The embedded store's file in the data directory.
const STORE_FILE: &str = "store.redb";
/// The software HSM's file in the data directory.
const SOFTWARE_HSM_FILE: &str = "software-hsm";

impl Config {
    /// The audit spool's directory.
    pub fn audit_dir(&self) -> PathBuf {
        self.data_dir.join("audit")
    }

    /// The audit log's directory.
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }

    /// The file outside the store that shows that it was not put back.
    pub fn anchor(&self) -> Anchor {
        let default = || self.data_dir.join("anchor");
        Anchor::new(self.anchor_file.clone().unwrap_or_else(default))
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
    embedded: Arc<RedbStore>,
}

impl Parts {
    /// Parts of one's own; the caller has wrapped the HSM in [`Verified`].
    pub fn new(hsm: Arc<dyn Hsm>, store: Arc<RedbStore>, clock: Clock) -> Self {
        Self {
            hsm,
            store: store.clone(),
            clock,
            embedded: store,
        }
    }

    /// Opens what a configuration names, making the data directory and an empty store where there is none.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        config
            .check()
            .map_err(|(field, message)| StartError::Config { field, message })?;
        make_private_dir(&config.data_dir)?;
        let embedded = open_store(&store_path(config)).await?;
        Ok(Self::new(open_hsm(config).await?, embedded, Clock::system()))
    }

    /// Closes the embedded store, so that another process may open it: at once if nothing else holds it.
    pub(crate) fn close(self) {
        drop(self.store);
        if let Some(store) = Arc::into_inner(self.embedded) {
            store.close();
        }
    }
}

/// The HSM that a configuration names.
pub(crate) async fn open_hsm(config: &Config) -> Result<Arc<dyn Hsm>, StartError> {
    Ok(match &config.hsm {
        HsmConfig::Pkcs11(token) => Arc::new(Verified::new(Worker::start(worker(token)).await?)),
        HsmConfig::Software(software) => {
            let file = software
                .file
                .clone()
                .unwrap_or_else(|| config.data_dir.join(SOFTWARE_HSM_FILE));
            Arc::new(Verified::new(Software::open(file, passphrase(software)?).await?))
        }
    })
}

/// Whether the store is an authority's already.
pub(super) async fn is_initialised(config: &Config) -> Result<bool, StartError> {
    let path = store_path(config);
    if !path.exists() {
        return Ok(false);
    }
    let store = open_store(&path).await?;
    let row = store.get(paths::AUTHORITY).await;
    if let Some(store) = Arc::into_inner(store) {
        store.close();
    }
    Ok(row?.is_some())
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
        let text = std::fs::read(file).map_err(|error| StartError::Io {
            what: format!("passphrase file `{}`", file.display()),
            error,
        })?;
        let end = text
            .iter()
            .rposition(|byte| !matches!(byte, b'\n' | b'\r'))
            .map_or(0, |last| last.saturating_add(1));
        let secret = Secret::new(text.get(..end).unwrap_or_default().to_vec());
        drop(Secret::new(text));
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
