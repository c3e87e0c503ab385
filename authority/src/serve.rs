//! Wiring and life: from a configuration to its listeners, and back.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use audit::log::LogError;
use node::listen::{self, Limits, Server, Shutdown};
use node::tls::{self, ClientAuth, ClientRoots, ReloadingCertificate, TlsError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{Admin, Gauges, Operators};
use crate::anchor::{self, Anchor};
use crate::collect::{self, Collector, Drain};
use crate::config::Config;
use crate::export;
use crate::fault::Fault;
use crate::grpc::{self, OwnCertificate};
use crate::hsm::HsmError;
use crate::init::{self, Initialised};
use crate::keys::Keys;
use crate::kms::Recorder;
use crate::leader::Leadership;
use crate::seal::{self, Reason, Seal};
use crate::sealed::Vault;
use crate::store::StoreError;

pub use self::key_api::KeyApi;
pub use self::life::reserve_pool;
pub use self::parts::Parts;
pub(crate) use self::parts::{open_hsm, open_store, store_path};
use self::upkeep::Upkeep;
pub(crate) use self::wired::Wired;
pub(crate) use self::wired::open_recorder;

mod key_api;
pub(crate) mod life;
mod others;
mod parts;
pub(crate) mod upkeep;
mod wired;

/// How often the admin certificate's files are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(5);
/// How long unfinished calls of edges get when the authority stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Why an authority does not start. The text is for the operator, with all there is to say.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A field of the configuration.
    #[error("{field}: {message}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The HSM.
    #[error("{0}")]
    Hsm(#[from] HsmError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// State, certificates.
    #[error("{fault}{}", detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Fault {
        /// What.
        fault: Fault,
        /// What the operator may see and callers may not.
        detail: Option<String>,
    },
    /// The server's certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file or a listening address.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// What the operating system says.
        error: io::Error,
    },
    /// The audit spool.
    #[error(transparent)]
    Audit(#[from] audit::spool::OpenError),
    /// The audit log.
    #[error("audit log `{place}`: {error}{}", remedy(error))]
    Log {
        /// Its directory, or its place in a bucket.
        place: String,
        /// What is wrong.
        error: LogError,
    },
    /// A sink for audit records.
    #[error(transparent)]
    Export(#[from] crate::export::ExportError),
    /// The plugin host.
    #[error(transparent)]
    Plugins(#[from] runtime::HostError),
}

/// What to do about a log that this authority did not write; of the other errors each says so itself.
fn remedy(error: &LogError) -> &'static str {
    match error {
        LogError::Note(_) => {
            "; it is the log of another authority, or its checkpoint was altered; give this authority a place of its own \
             (`data_dir`, or the prefix in the bucket), or put back the log that it wrote there"
        }
        _ => "",
    }
}

impl From<Fault> for StartError {
    fn from(fault: Fault) -> Self {
        let detail = fault.detail().map(str::to_owned);
        Self::Fault { fault, detail }
    }
}

/// The authority's role.
#[derive(Debug)]
pub struct Authority;

impl Authority {
    /// Whether the data directory belongs to an authority already. Does not need the HSM.
    pub async fn is_initialised(config: &Config) -> Result<bool, StartError> {
        parts::is_initialised(config).await
    }

    /// Makes the roots, the store and the admin token, once.
    pub async fn initialise(config: Config) -> Result<Initialised, StartError> {
        let parts = Parts::open(&config).await?;
        let vault = Arc::new(Vault::new(parts.store.clone(), parts.hsm.clone()));
        let mut made = init::initialise(&vault, &config.trust_domain, &parts.clock).await;
        if made.is_ok()
            && let Err(fault) = config.anchor().start_anew(&vault).await
        {
            made = Err(fault);
        }
        drop(vault);
        parts.close();
        Ok(made?)
    }

    /// Replaces the admin token. The authority must be stopped: the embedded store has one user at a time.
    pub async fn reset_admin_token(config: Config) -> Result<String, StartError> {
        let parts = Parts::open(&config).await?;
        let vault = Vault::new(parts.store.clone(), parts.hsm.clone());
        // First: the commit below could bring a store that was put back to where its anchor is.
        let token = match Seal::examine(&vault, &config.anchor()).await {
            Ok(_) => init::new_admin_token(&vault, &parts.clock).await,
            Err(fault) => Err(fault),
        };
        drop(vault);
        parts.close();
        Ok(token?)
    }

    /// Starts an authority that was initialised.
    pub async fn start(config: Config, pool: runtime::Pool) -> Result<Running, StartError> {
        let parts = Parts::open(&config).await?;
        Self::start_with(config, parts, pool).await
    }

    /// As [`Authority::start`], on an HSM, a store and a clock of one's own.
    pub async fn start_with(config: Config, parts: Parts, pool: runtime::Pool) -> Result<Running, StartError> {
        config
            .check()
            .map_err(|(field, message)| StartError::Config { field, message })?;
        let stop = watch::channel(false).0;
        let (wired, commits) = Wired::join(&config, &parts, pool, stop.subscribe()).await?;
        let gauges = Gauges::new();
        let recorder = wired.recorder(&config, &gauges.metrics)?;
        let (log, drain) = wired.log(&config, &gauges.metrics, &recorder).await?;
        let (keys, seal) = (wired.keys.clone(), wired.seal.clone());
        let last = (wired.vault.clone(), wired.anchor.clone());
        if let Some(reason) = seal.reason() {
            tracing::error!("{reason}");
        }
        let mut tasks = vec![
            tokio::spawn(wired.follow(commits)),
            tokio::spawn(wired.artifacts.clone().keep()),
            tokio::spawn(others::follow(last.0.clone(), seal.clone(), wired.token.clone())),
            tokio::spawn(seal::keep_adding_up(last.0.clone(), seal.clone())),
            tokio::spawn(anchor::keep(last.1.clone(), last.0.clone(), seal.clone())),
            tokio::spawn(wired.rollouts.clone().keep(recorder.clone(), seal.clone())),
            tokio::spawn(wired.revocations.clone().keep(wired.world.clone(), seal.clone())),
        ];
        let leadership = Leadership::new(last.0.clone(), config.store.replica());
        let upkeep = Upkeep::of(&wired, recorder.clone()).keep(leadership, stop.subscribe());
        let upkeep = tokio::spawn(upkeep);
        if let Some(log) = &log {
            let from = (&recorder, &wired.clock);
            tasks.extend(export::start(&config, log, from, &gauges.metrics, &stop)?);
            tasks.extend(collect::witness::start(&config, log, &gauges.metrics)?);
        }
        let (names, lifetime) = (&config.grpc.names, config.grpc.certificate_lifetime.get());
        let own = OwnCertificate::issue(wired.issuer.clone(), wired.clock.clone(), names, lifetime).await?;
        tasks.push(tokio::spawn(own.clone().keep()));
        let (grpc_addr, grpc) = serve_edges(&wired, &config, &own, (&recorder, log.clone()), &stop)?;
        let shutdown = Shutdown::new();
        let certificate = server_certificate(&config, &own, &shutdown, &mut tasks)?;
        let kms = match &config.kms {
            Some(kms) => Some(KeyApi::start(&wired, kms, &certificate, &recorder, &shutdown)?),
            None => None,
        };
        let admin = wired.into_admin(gauges, recorder.clone(), log.clone());
        let (admin_addr, admin) = serve_operators(admin, &config, certificate, &shutdown)?;
        tracing::info!(%admin_addr, %grpc_addr, kms = ?kms, hsm = parts.hsm.info().kind, "authority started");
        Ok(Running {
            admin_addr,
            grpc_addr,
            kms,
            seal,
            recorder,
            log: log.zip(drain),
            last,
            shutdown,
            stop,
            admin,
            grpc,
            tasks,
            upkeep,
            keys,
            parts,
        })
    }
}

fn serve_edges(
    wired: &Wired,
    config: &Config,
    own: &OwnCertificate,
    (recorder, log): (&Arc<Recorder>, Option<Arc<Collector>>),
    stop: &watch::Sender<bool>,
) -> Result<(SocketAddr, JoinHandle<()>), StartError> {
    let roots = ClientRoots::new([wired.issuer.roots().nodes.der().to_vec().into()])?;
    let tls = tls::server_config(own.certificate(), ClientAuth::Optional(roots), tls::ALPN_GRPC)?;
    let (listener, address) = bind(config.grpc.address)?;
    let service = grpc::Service::of(wired, config, (recorder, log), stop.subscribe());
    let incoming = grpc::accept(listener, tls, config.grpc.connections, stop.subscribe());
    let task = tokio::spawn(grpc::serve(service, incoming, stop.subscribe()));
    Ok((address, task))
}

/// The certificate that operators and KMS clients see.
fn server_certificate(
    config: &Config,
    own: &OwnCertificate,
    shutdown: &Shutdown,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Result<Arc<ReloadingCertificate>, StartError> {
    let (Some(chain), Some(key)) = (&config.admin.certificate_file, &config.admin.key_file) else {
        return Ok(own.certificate());
    };
    let certificate = ReloadingCertificate::open(chain, key)?;
    tasks.push(tokio::spawn(
        certificate.clone().watch(CERTIFICATE_CHECK, shutdown.clone()),
    ));
    Ok(certificate)
}

fn serve_operators(
    admin: Admin,
    config: &Config,
    certificate: Arc<ReloadingCertificate>,
    shutdown: &Shutdown,
) -> Result<(SocketAddr, JoinHandle<()>), StartError> {
    let tls = tls::server_config(certificate, ClientAuth::None, tls::ALPN_HTTP)?;
    let (listener, address) = bind(config.admin.address)?;
    let body = u64::try_from(crate::admin::MAX_BUNDLE_BODY).unwrap_or(u64::MAX);
    let limits = Limits {
        connections: 1024,
        requests: 128,
        body: node::config::Duration::from_secs(60),
        body_bytes: node::config::ByteSize::new(body),
        drain: node::config::Duration::from_secs(DRAIN.as_secs()),
        ..Limits::default()
    };
    let server = Server::new(Arc::new(Operators(Arc::new(admin))), limits, shutdown.clone());
    let tls = listen::http::Tls {
        config: tls,
        http3_port: None,
    };
    Ok((address, tokio::spawn(listen::http::serve(listener, Some(tls), server))))
}

/// An authority that serves. Dropping it does not stop it; [`Running::stop`] does.
pub struct Running {
    admin_addr: SocketAddr,
    grpc_addr: SocketAddr,
    kms: Option<KeyApi>,
    seal: Arc<Seal>,
    recorder: Arc<Recorder>,
    /// None while it is sealed.
    log: Option<(Arc<Collector>, Drain)>,
    /// For the last word of the anchor.
    last: (Arc<Vault>, Anchor),
    shutdown: Shutdown,
    stop: watch::Sender<bool>,
    admin: JoinHandle<()>,
    grpc: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    upkeep: JoinHandle<()>,
    keys: Arc<Keys>,
    parts: Parts,
}

impl Running {
    /// Where operators are served.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Where edges are served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where KMS clients are served, if they are.
    pub fn kms(&self) -> Option<&KeyApi> {
        self.kms.as_ref()
    }

    /// Why it uses no key; none when it serves.
    pub fn sealed(&self) -> Option<Reason> {
        self.seal.reason()
    }

    /// Ends every watch stream, finishes what is under way within a few seconds, and closes the store.
    pub async fn stop(self) {
        self.shutdown.drain();
        self.stop.send_replace(true);
        let mut grpc = self.grpc;
        if tokio::time::timeout(DRAIN, &mut grpc).await.is_err() {
            grpc.abort();
            let _ = grpc.await;
        }
        let _ = self.admin.await;
        if let Some(kms) = self.kms {
            kms.stop().await;
        }
        // It was told to stop, and gives its place to another authority before it ends.
        let mut upkeep = self.upkeep;
        if tokio::time::timeout(DRAIN, &mut upkeep).await.is_err() {
            upkeep.abort();
            let _ = upkeep.await;
        }
        // Nobody uses a key any more. Before the tasks are cut off, one of which may be writing: behind this it has nothing
        // to write. Whoever holds the keys holds the store open.
        let keys = self.keys;
        upkeep::write_uses(&keys).await;
        drop(keys);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        let recorder = self.recorder;
        let _ = tokio::task::spawn_blocking(move || recorder.close()).await;
        if let Some((log, drain)) = self.log {
            // The last records of the spool that is closed now, and the last checkpoint.
            drain.finish().await;
            let _ = tokio::task::spawn_blocking(move || log.close()).await;
        }
        let (vault, anchor) = self.last;
        if let Err(fault) = anchor.advance(&vault, &self.seal).await {
            fault.log("writing the anchor");
        }
        drop(vault);
        self.parts.close();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("admin_addr", &self.admin_addr)
            .field("grpc_addr", &self.grpc_addr)
            .finish_non_exhaustive()
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error: io::Error| StartError::Io {
        what: format!("listening on {address}"),
        error,
    };
    let listener = listen::bind_tcp(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Makes a directory for this user only.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| StartError::Io {
        what: format!("`{}`", path.display()),
        error,
    })
}

#[cfg(test)]
mod tests;
