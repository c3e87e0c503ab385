//! The listeners of the key API.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use node::listen::{self, Limits, Server, Shutdown};
use node::tls::{self, ClientAuth, ReloadingCertificate};
use tokio::task::JoinHandle;

use super::{DRAIN, StartError, Wired, bind};
use crate::config::KmsConfig;
use crate::kms::{MAX_BODY, Recorder};

const SWEEP: Duration = Duration::from_secs(1);

/// The key API, served.
pub struct KeyApi {
    address: SocketAddr,
    plain_address: Option<SocketAddr>,
    listeners: Vec<JoinHandle<()>>,
    sweeper: JoinHandle<()>,
}

impl KeyApi {
    pub(super) fn start(
        wired: &Wired,
        config: &KmsConfig,
        certificate: &Arc<ReloadingCertificate>,
        recorder: &Arc<Recorder>,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        let tls = tls::server_config(certificate.clone(), ClientAuth::None, tls::ALPN_HTTP)?;
        // Both sockets before anything is served, so that a taken port leaves nothing half started.
        let (listener, address) = bind(config.address)?;
        let plain = config.plain_address.map(bind).transpose()?;
        let kms = wired.key_api(config, recorder.clone());
        let limits = Limits {
            body_bytes: node::config::ByteSize::new(u64::try_from(MAX_BODY).unwrap_or(u64::MAX)),
            drain: node::config::Duration::from_secs(DRAIN.as_secs()),
            ..Limits::default()
        };
        let server = Server::new(Arc::new(kms.clone()), limits, shutdown.clone());
        let tls = listen::http::Tls {
            config: tls,
            http3_port: None,
        };
        let mut listeners = vec![tokio::spawn(listen::http::serve(listener, Some(tls), server.clone()))];
        let plain_address = plain.map(|(listener, address)| {
            listeners.push(tokio::spawn(listen::http::serve(listener, None, server)));
            address
        });
        let sweeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                kms.sweep();
            }
        });
        Ok(Self {
            address,
            plain_address,
            listeners,
            sweeper,
        })
    }

    /// Where it is served with TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is served in the clear, on this machine.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain_address
    }

    /// Waits for the listeners, which were told to drain.
    pub(super) async fn stop(self) {
        for listener in self.listeners {
            let _ = listener.await;
        }
        self.sweeper.abort();
        let _ = self.sweeper.await;
    }
}

impl fmt::Debug for KeyApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyApi")
            .field("address", &self.address)
            .field("plain_address", &self.plain_address)
            .finish_non_exhaustive()
    }
}
