//! Wiring and life: from a configuration to listeners, and back to nothing.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use audit::spool::{OpenError, Retention, Settings as SpoolSettings, Spool};
use node::handover::{HandoverError, Receiver};
use node::identity::TrustRuleError;
use node::listen::{self, Server, Shutdown};
use node::tls::{self, ClientAuth, ReloadingCertificate, TlsError};
use rustls::ServerConfig;
use signing::key::random_bytes;
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::config::{Compile, Config, Invalid};
use crate::identity::{self, IdentityError};
use crate::state::Edge;
use crate::uplink::{Uplink, UplinkError};
use crate::{delegate, follow, prove, sample, ship};

/// How often the certificate's files are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(5);

/// Why an edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] Invalid),
    /// The identity on disk.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authority's address.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// The server's certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listening address.
    #[error("{0}")]
    Listen(#[from] io::Error),
    /// The audit spool.
    #[error(transparent)]
    Audit(#[from] OpenError),
    /// The plugin host.
    #[error(transparent)]
    Plugins(#[from] runtime::HostError),
    /// The kernel gave no randomness.
    #[error(transparent)]
    Random(#[from] signing::key::KeyError),
    /// No key that shared keys are sealed to.
    #[error(transparent)]
    Receiver(#[from] HandoverError),
    /// The empty trust rules could not be made.
    #[error(transparent)]
    Trust(#[from] TrustRuleError),
}

/// An edge that serves. Dropping it does not stop it; [`Running::stop`] does.
#[derive(Debug)]
pub struct Running {
    edge: Arc<Edge>,
    shutdown: Shutdown,
    listeners: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    https: SocketAddr,
    http: Option<SocketAddr>,
}

impl Running {
    /// Where TLS is served, TCP and UDP: the first of the addresses.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where cleartext is served.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Until every profile of a bundle can be signed for.
    pub async fn until_ready(&self) {
        self.edge.until_ready().await;
    }

    /// Takes nothing new, finishes what is under way within the drain limit, writes the last records, forgets all keys.
    pub async fn stop(self) {
        self.shutdown.drain();
        for listener in self.listeners {
            let _ = listener.await;
        }
        for task in &self.background {
            task.abort();
        }
        for task in self.background {
            let _ = task.await;
        }
        let edge = self.edge;
        edge.keyring().revoke();
        let _ = tokio::task::spawn_blocking(move || edge.spool().close()).await;
    }
}

/// Reserves the address space of an edge's plugins. It is not locked in memory, and neither is what other threads map meanwhile
/// (R25): a process that locks its memory calls this right after that, before it has other threads.
///
/// # Errors
/// [`StartError::Plugins`]
pub fn reserve_pool(config: &Config) -> Result<runtime::Pool, StartError> {
    let settings = runtime::Settings {
        compiler: match config.plugins.compile {
            Compile::Authority => runtime::Compiler::Never,
            Compile::Any | Compile::Local => runtime::Compiler::this_program(),
        },
        ..runtime::Settings::default()
    };
    Ok(node::hardening::aside(|| runtime::Pool::reserve(settings))?)
}

/// Starts an edge that has been enrolled. It listens at once and is ready when the authority has given it what it needs.
pub async fn start(config: Config, pool: runtime::Pool) -> Result<Running, StartError> {
    config.validate()?;
    let identity = identity::load(&config.state_dir)?;
    let incarnation = signing::encoding::hex(&random_bytes::<16>()?);
    let (spool, recovered) = open_spool(&config, &identity.edge_id, &incarnation)?;
    if let Some(before) = recovered.predecessor.filter(|before| before.unaccounted.is_some()) {
        tracing::warn!(
            ?before,
            "the last process ended without closing its audit spool; what is unaccounted for is on record"
        );
    }
    let uplink = Arc::new(Uplink::new(&config.authority, identity)?);
    let host = runtime::Host::within(pool)?;
    let certificate = ReloadingCertificate::open(&config.tls.certificate, &config.tls.key)?;
    let edge = Edge::new(config, uplink.clone(), host, spool, incarnation, Receiver::new()?)?;
    let shutdown = Shutdown::new();
    let server = Server::new(
        Arc::new(Api::new(edge.clone())),
        edge.config().limits.clone(),
        shutdown.clone(),
    );
    edge.metrics().show(server.load());
    let (listeners, https, http) = listeners(&edge, &server, certificate.clone())?;
    let background = vec![
        tokio::spawn(certificate.watch(CERTIFICATE_CHECK, shutdown.clone())),
        tokio::spawn(follow::follow(edge.clone(), uplink.clone())),
        tokio::spawn(delegate::keep(edge.clone(), uplink.clone())),
        tokio::spawn(ship::keep(edge.clone(), uplink.clone())),
        tokio::spawn(prove::keep(edge.clone())),
        tokio::spawn(sample::keep(edge.clone(), uplink.clone())),
        tokio::spawn(uplink.renew(edge.config().state_dir.clone(), edge.clone())),
        tokio::spawn(edge.clone().load_bundles()),
        tokio::spawn(edge.clone().sweep()),
    ];
    listen::raise_open_files();
    Ok(Running {
        edge,
        shutdown,
        listeners,
        background,
        https,
        http,
    })
}

fn open_spool(
    config: &Config,
    edge_id: &str,
    incarnation: &str,
) -> Result<(Spool, audit::spool::Recovered), StartError> {
    let dir = config.state_dir.join("audit");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let settings = SpoolSettings {
        keep_shipped: config.audit.keep_shipped,
        retention: if config.audit.drop_oldest {
            Retention::DropOldest
        } else {
            Retention::Stop
        },
        ..SpoolSettings::within(config.audit.max_bytes)
    };
    Ok(Spool::open(&dir, edge_id, incarnation, settings)?)
}

type Listeners = (Vec<JoinHandle<()>>, SocketAddr, Option<SocketAddr>);

/// Binds every socket before it serves the first, so that a taken port leaves nothing half started.
fn listeners(
    edge: &Edge,
    server: &Server<Api>,
    certificate: Arc<ReloadingCertificate>,
) -> Result<Listeners, StartError> {
    let config = &edge.config().listen;
    let https_config = tls::server_config(certificate.clone(), ClientAuth::Shown, tls::ALPN_HTTP)?;
    let http3_config = tls::server_config(certificate, ClientAuth::Shown, tls::ALPN_HTTP3)?;
    let mut sockets = Vec::with_capacity(config.https.len());
    for address in &config.https {
        let tcp = listen::bind_tcp(*address)?;
        let bound = tcp.local_addr()?;
        let udp = if config.http3 {
            Some(listen::bind_udp(bound)?)
        } else {
            None
        };
        sockets.push((tcp, udp, bound));
    }
    let plain = config.http.map(listen::bind_tcp).transpose()?;
    let first = sockets.first().map(|(.., bound)| *bound);
    let https = first.ok_or_else(|| Invalid {
        field: "listen.https",
        message: "names no address".into(),
    })?;
    let http = plain.as_ref().map(|socket| socket.local_addr()).transpose()?;
    let mut tasks = Vec::new();
    for (tcp, udp, bound) in sockets {
        let tls = listen::http::Tls {
            config: https_config.clone(),
            http3_port: udp.as_ref().map(|_| bound.port()),
        };
        tasks.push(tokio::spawn(listen::http::serve(tcp, Some(tls), server.clone())));
        if let Some(udp) = udp {
            tasks.push(tokio::spawn(http3(udp, http3_config.clone(), server.clone())));
        }
    }
    if let Some(plain) = plain {
        tasks.push(tokio::spawn(listen::http::serve(plain, None, server.clone())));
    }
    Ok((tasks, https, http))
}

async fn http3(socket: UdpSocket, tls: Arc<ServerConfig>, server: Server<Api>) {
    if let Err(error) = listen::http3::serve(socket, tls, server).await {
        tracing::error!(%error, "HTTP/3 is not served");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Rig;

    fn running(rig: &Rig, shutdown: &Shutdown) -> Running {
        Running {
            edge: rig.edge.clone(),
            shutdown: shutdown.clone(),
            listeners: vec![tokio::spawn(shutdown.clone().wait_owned())],
            background: vec![tokio::spawn(delegate::keep(rig.edge.clone(), rig.uplink.clone()))],
            https: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: None,
        }
    }

    #[tokio::test]
    async fn stopping_writes_the_last_records_and_forgets_the_keys() {
        let rig = Rig::ready().await;
        for _ in 0..50 {
            assert_eq!(rig.post("/v1/tokens/plain", json!({})).await.status, 201);
        }
        let shutdown = Shutdown::new();
        running(&rig, &shutdown).stop().await;
        assert!(shutdown.draining());
        assert_eq!(rig.written().len(), 50, "on disk, without anybody asking for a flush");
        for key in rig.keys.values() {
            assert_eq!(rig.edge.keyring().signs_until(key), 0);
        }
        assert_eq!(
            rig.post("/v1/tokens/plain", json!({})).await.code(),
            (503, "edge_revoked")
        );
    }
}
