//! The HSM behind a process boundary: a PKCS#11 module is a vendor's native code, and what it does to its process it does to
//! the worker, not to the authority (R27).
//!
//! A supervisor keeps one worker running. Each call has a deadline; a worker that misses one, ends or breaks the protocol is
//! killed, what waited for it fails as `Unavailable`, and another is started: at once the first time, then with a growing pause
//! until a call succeeds.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use signing::key::Secret;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::protocol::{Answer, Call, MAX_ROOT_MESSAGE, Sensitive};
use super::{
    DataKey, EcCurve, Hsm, HsmError, HsmErrorKind, HsmInfo, Prehashed, RootKey, RootRole, WRAPPED_DATA_KEY_LEN,
    WrappedAes, WrappedKey, WrappedMac, check_mac_message,
};
use crate::crypto::MacAlgorithm;
use supervisor::State;

mod child;
mod connection;
mod spawn;
mod supervisor;

pub use child::run_worker;
pub use spawn::PinSource;
pub(crate) use spawn::initialize_token;

/// How to start a worker, and the token that it serves.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The PKCS#11 module, a path.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// Where its user PIN is; read at each start of a worker.
    pub pin: PinSource,
    /// The worker's executable; `None`: this one, which must then know the arguments.
    pub program: Option<PathBuf>,
    /// Its arguments; `hsm-worker` by default.
    pub arguments: Vec<OsString>,
    /// Environment variables for the module (`SOFTHSM2_CONF` …). Of the authority's own only `RUST_LOG` and `RUST_BACKTRACE` are passed on.
    pub environment: Vec<(OsString, OsString)>,
    /// How long the token may take for one call, and how long a call waits for its turn before that. Default 5 s. Too short kills
    /// healthy workers, too long keeps callers waiting for hung ones.
    pub deadline: Duration,
    /// How long a worker may take to open its token. Default 15 s.
    pub start_deadline: Duration,
    /// Sessions, and so calls in progress at once. Default 4, 1 to 64. More than the token has makes it refuse to open.
    pub sessions: u16,
    /// Unwrapped keys kept in the token, over all sessions. Default 256. Too few costs an unwrapping a signature (0.6 ms in SoftHSM2).
    pub cached_keys: u32,
}

impl WorkerConfig {
    /// A worker of this executable with the defaults above.
    pub fn new(module: impl Into<PathBuf>, label: impl Into<String>, pin: PinSource) -> Self {
        Self {
            module: module.into(),
            label: label.into(),
            pin,
            program: None,
            arguments: vec!["hsm-worker".into()],
            environment: Vec::new(),
            deadline: Duration::from_secs(5),
            start_deadline: Duration::from_secs(15),
            sessions: 4,
            cached_keys: 256,
        }
    }
}

/// The authority's end: an [`Hsm`] whose calls are made in the worker. Dropping it kills the worker.
pub struct Worker {
    shared: Arc<Shared>,
    supervisor: tokio::task::JoinHandle<()>,
}

struct Shared {
    deadline: Duration,
    turns: Semaphore,
    state: watch::Receiver<State>,
    info: RwLock<HsmInfo>,
}

impl Worker {
    /// Starts a worker and opens its token, so that a wrong PIN, label or module shows now. Must run inside a tokio runtime.
    pub async fn start(config: WorkerConfig) -> Result<Self, HsmError> {
        if !(1..=64).contains(&config.sessions) {
            return Err(HsmErrorKind::Misconfigured.because(format!("{} sessions; 1 to 64", config.sessions)));
        }
        let first = spawn::serve(&config).await?;
        let info = first.info().clone();
        let (states, state) = watch::channel(State::Up(first.connection()));
        let shared = Arc::new(Shared {
            deadline: config.deadline,
            turns: Semaphore::new(usize::from(config.sessions)),
            state,
            info: RwLock::new(info),
        });
        let supervisor = tokio::spawn(supervisor::run(config, first, states, Arc::downgrade(&shared)));
        Ok(Self { shared, supervisor })
    }

    /// The process id of the worker that serves now, if one does.
    pub fn process_id(&self) -> Option<u32> {
        match &*self.shared.state.borrow() {
            State::Up(connection) => connection.process_id(),
            State::Down(_) | State::Refused(_) => None,
        }
    }

    /// Calls sent to the worker and not answered.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        match &*self.shared.state.borrow() {
            State::Up(connection) => connection.waiting(),
            State::Down(_) | State::Refused(_) => 0,
        }
    }

    /// In a task of its own: a caller that goes away leaves the worker with a call whose end nobody would otherwise watch.
    pub(super) async fn call(&self, call: Call) -> Result<Answer, HsmError> {
        let shared = Arc::clone(&self.shared);
        match tokio::spawn(async move { shared.call(call).await }).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HsmErrorKind::Unavailable.because("the call was abandoned, since the authority is stopping")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Shared {
    async fn call(&self, call: Call) -> Result<Answer, HsmError> {
        let waited = timeout(self.deadline, async {
            let turn = self.turns.acquire().await;
            (turn, self.up().await)
        });
        let (_turn, connection) = match waited.await {
            Ok((turn, connection)) => (turn, connection?),
            Err(_) => return Err(HsmErrorKind::Unavailable.because(self.why_no_turn())),
        };
        connection.call(call, self.deadline).await
    }

    /// The connection, once there is one that has not failed.
    async fn up(&self) -> Result<Arc<connection::Connection>, HsmError> {
        let mut state = self.state.clone();
        let settled = state
            .wait_for(|state| match state {
                State::Up(connection) => !connection.has_failed(),
                State::Down(_) => false,
                State::Refused(_) => true,
            })
            .await;
        match settled.as_deref() {
            Ok(State::Up(connection)) => Ok(Arc::clone(connection)),
            Ok(State::Refused(error) | State::Down(error)) => Err(error.clone()),
            Err(_) => Err(HsmErrorKind::Unavailable.because("the authority is stopping")),
        }
    }

    fn why_no_turn(&self) -> String {
        match &*self.state.borrow() {
            State::Down(error) => format!("the worker is being restarted after: {}", error.detail),
            State::Up(_) | State::Refused(_) => {
                format!("every session was busy for {:?}; try again", self.deadline)
            }
        }
    }
}

#[async_trait]
impl Hsm for Worker {
    fn info(&self) -> HsmInfo {
        self.shared.info.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ensure_root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        root(self.call(Call::EnsureRoot(role)).await?)
    }

    async fn root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        root(self.call(Call::Root(role)).await?)
    }

    async fn sign_root(&self, role: RootRole, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        if message.len() > MAX_ROOT_MESSAGE {
            let detail = format!("a root signs at most {MAX_ROOT_MESSAGE} bytes, not {}", message.len());
            return Err(HsmErrorKind::BadRequest.because(detail));
        }
        bytes(
            self.call(Call::SignRoot {
                role,
                message: message.to_vec(),
            })
            .await?,
        )
    }

    async fn generate_wrapped(&self, curve: EcCurve) -> Result<WrappedKey, HsmError> {
        match self.call(Call::GenerateWrapped(curve)).await? {
            Answer::Wrapped(key) => Ok(key),
            _ => Err(unexpected()),
        }
    }

    async fn sign_wrapped_digest(&self, key: &WrappedKey, digest: &Prehashed) -> Result<Vec<u8>, HsmError> {
        bytes(
            self.call(Call::SignWrapped {
                key: key.clone(),
                digest: digest.clone(),
            })
            .await?,
        )
    }

    async fn generate_aes(&self) -> Result<WrappedAes, HsmError> {
        match self.call(Call::GenerateAes).await? {
            Answer::Aes(key) => Ok(key),
            _ => Err(unexpected()),
        }
    }

    async fn generate_data_key(&self, key: &WrappedAes) -> Result<DataKey, HsmError> {
        match self.call(Call::GenerateDataKey(key.clone())).await? {
            Answer::DataKey { secret, wrapped } => Ok(DataKey {
                secret: exposed(secret),
                wrapped,
            }),
            _ => Err(unexpected()),
        }
    }

    async fn unwrap_data_key(&self, key: &WrappedAes, wrapped: &[u8]) -> Result<Option<Secret>, HsmError> {
        if wrapped.len() != WRAPPED_DATA_KEY_LEN {
            return Ok(None);
        }
        let call = Call::UnwrapDataKey {
            key: key.clone(),
            wrapped: wrapped.to_vec(),
        };
        match self.call(call).await? {
            Answer::Unwrapped(secret) => Ok(secret.map(exposed)),
            _ => Err(unexpected()),
        }
    }

    async fn generate_mac_key(&self, algorithm: MacAlgorithm) -> Result<WrappedMac, HsmError> {
        match self.call(Call::GenerateMacKey(algorithm)).await? {
            Answer::MacKey(key) => Ok(key),
            _ => Err(unexpected()),
        }
    }

    async fn mac(&self, key: &WrappedMac, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        check_mac_message(message)?;
        bytes(
            self.call(Call::Mac {
                key: key.clone(),
                message: message.to_vec(),
            })
            .await?,
        )
    }

    async fn seal(&self, plaintext: &Secret, associated: &[u8]) -> Result<Vec<u8>, HsmError> {
        let plaintext = Sensitive(plaintext.expose().to_vec());
        bytes(
            self.call(Call::Seal {
                plaintext,
                associated: associated.to_vec(),
            })
            .await?,
        )
    }

    async fn unseal(&self, blob: &[u8], associated: &[u8]) -> Result<Secret, HsmError> {
        secret(
            self.call(Call::Unseal {
                blob: blob.to_vec(),
                associated: associated.to_vec(),
            })
            .await?,
        )
    }

    async fn random(&self, len: usize) -> Result<Secret, HsmError> {
        secret(self.call(Call::Random(u32::try_from(len).unwrap_or(u32::MAX))).await?)
    }

    async fn healthy(&self) -> Result<(), HsmError> {
        self.call(Call::Healthy).await.map(|_| ())
    }
}

fn root(answer: Answer) -> Result<RootKey, HsmError> {
    match answer {
        Answer::Root(key) => Ok(key),
        _ => Err(unexpected()),
    }
}

fn bytes(answer: Answer) -> Result<Vec<u8>, HsmError> {
    match answer {
        Answer::Bytes(bytes) => Ok(bytes),
        _ => Err(unexpected()),
    }
}

fn secret(answer: Answer) -> Result<Secret, HsmError> {
    match answer {
        Answer::Secret(secret) => Ok(exposed(secret)),
        _ => Err(unexpected()),
    }
}

fn exposed(mut secret: Sensitive) -> Secret {
    Secret::new(std::mem::take(&mut secret.0))
}

fn unexpected() -> HsmError {
    HsmErrorKind::Unavailable.because("the worker answered another question than was asked")
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod start_tests;
