//! The connection to the authority: gRPC over TLS 1.3 with the node certificate, renewed before it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use node::contract::RenewRequest;
use node::contract::authority_client::AuthorityClient;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::identity::{self, Identity, IdentityError};
use crate::jitter;
use crate::join::Credential;
use crate::state::Edge;

/// A bundle with its plugins comes in one message.
const MAX_MESSAGE: usize = 128 << 20;

/// A client for the authority, and the identity it shows.
#[derive(Debug)]
pub struct Uplink {
    endpoint: Uri,
    link: ArcSwap<Link>,
}

#[derive(Debug)]
struct Link {
    identity: Arc<Identity>,
    channel: Channel,
}

/// Why the authority cannot be talked to at all.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The `authority` field.
    #[error("the authority's address `{0}` is not https://HOST:PORT")]
    Address(String),
    /// Certificates or keys that TLS refuses.
    #[error("the identity cannot be used for TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The identity on disk, or the authority's answer.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authority said no, or nothing.
    #[error("the authority answered {:?}: {}", .0.code(), .0.message())]
    Refused(#[from] tonic::Status),
}

impl Uplink {
    /// Connects when first used, and again whenever the connection is lost.
    pub fn new(authority: &str, identity: Identity) -> Result<Uplink, UplinkError> {
        let endpoint: Uri = authority
            .parse()
            .map_err(|_| UplinkError::Address(authority.to_owned()))?;
        let link = Link::new(&endpoint, identity)?;
        Ok(Uplink {
            link: ArcSwap::from_pointee(link),
            endpoint,
        })
    }

    /// On a connection that somebody else makes.
    #[cfg(test)]
    pub fn over(channel: Channel, identity: Identity) -> Uplink {
        let identity = Arc::new(identity);
        Uplink {
            endpoint: Uri::from_static("https://authority.test"),
            link: ArcSwap::from_pointee(Link { identity, channel }),
        }
    }

    /// Who this edge is.
    pub fn identity(&self) -> Arc<Identity> {
        self.link.load().identity.clone()
    }

    /// A client on the current connection.
    pub fn client(&self) -> Result<AuthorityClient<Channel>, tonic::Status> {
        let channel = self.link.load().channel.clone();
        Ok(AuthorityClient::new(channel).max_decoding_message_size(MAX_MESSAGE))
    }

    /// Renews the node certificate at half of its life, for as long as the process lives.
    pub async fn renew(self: Arc<Uplink>, state_dir: std::path::PathBuf, edge: Arc<Edge>) {
        let mut backoff = jitter::Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        loop {
            let identity = self.identity();
            let life = identity.not_after.saturating_sub(identity.not_before);
            let half = identity.not_before.saturating_add(life.checked_div(2).unwrap_or(0));
            let wait = half.saturating_sub(edge.now());
            if wait > 0 {
                // Long sleeps are cut, so that a machine that was suspended does not oversleep its renewal.
                tokio::time::sleep(jitter::around(Duration::from_secs(wait.min(3600)))).await;
                continue;
            }
            match self.renew_once(&state_dir).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::warn!(%error, "the node certificate was not renewed; it is tried again");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    async fn renew_once(&self, state_dir: &Path) -> Result<(), UplinkError> {
        let request = identity::Request::new()?;
        let answer = self
            .client()?
            .renew(RenewRequest {
                csr: request.csr.clone(),
            })
            .await?
            .into_inner();
        let identity = identity::store(state_dir, request, &answer, Some(&self.identity()))?;
        tracing::info!(not_after = identity.not_after, "the node certificate is renewed");
        self.link.store(Arc::new(Link::new(&self.endpoint, identity)?));
        Ok(())
    }
}

/// Trades a token for an identity in `state_dir`. `root` is the authority's node root, from whoever gave the token:
/// without it a stranger could answer.
pub async fn join(
    authority: &str,
    root: CertificateDer<'static>,
    credential: Credential,
    state_dir: &Path,
) -> Result<Identity, UplinkError> {
    let endpoint: Uri = authority
        .parse()
        .map_err(|_| UplinkError::Address(authority.to_owned()))?;
    let config = client_config(vec![root], None)?;
    let mut client = AuthorityClient::new(channel(&endpoint, config)?);
    let request = identity::Request::new()?;
    let call = credential.request(request.csr.clone());
    let answer = client.enroll(call).await?.into_inner();
    Ok(identity::store(state_dir, request, &answer, None)?)
}

impl Link {
    fn new(endpoint: &Uri, identity: Identity) -> Result<Link, UplinkError> {
        let config = client_config(identity.roots.clone(), Some(&identity))?;
        Ok(Link {
            channel: channel(endpoint, config)?,
            identity: Arc::new(identity),
        })
    }
}

fn client_config(
    roots: Vec<CertificateDer<'static>>,
    identity: Option<&Identity>,
) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain.clone(), identity.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn channel(endpoint: &Uri, config: rustls::ClientConfig) -> Result<Channel, UplinkError> {
    let address = || UplinkError::Address(endpoint.to_string());
    let host = endpoint.host().ok_or_else(address)?.trim_matches(['[', ']']).to_owned();
    let port = endpoint.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.clone()).map_err(|_| address())?;
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_: Uri| {
        let (connector, host, name) = (connector.clone(), host.clone(), name.clone());
        async move { dial(&connector, &host, port, name).await.map(TokioIo::new) }
    });
    // The scheme is http for tonic, which must not add a TLS layer of its own: the connector has done it.
    let target = Endpoint::from_shared(format!("http://{}", endpoint.authority().ok_or_else(address)?))
        .map_err(|_| address())?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5));
    Ok(target.connect_with_connector_lazy(connect))
}

async fn dial(
    connector: &TlsConnector,
    host: &str,
    port: u16,
    name: ServerName<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    connector.connect(name, stream).await
}
