//! gRPC channels over TLS 1.3 of our own making: to the authority from an edge, to etcd from an authority.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::tls::{self, Dialled};

/// How long a connection may take to be made, TLS included. With several peers to try this is for all of them.
const CONNECT: Duration = Duration::from_secs(5);
/// One peer, as it is dialled.
#[derive(Clone, Debug)]
pub struct Peer {
    uri: Uri,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

/// An address that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not https://HOST:PORT")]
pub struct BadAddress(pub String);

impl Peer {
    /// `https://HOST:PORT`, or `http://` where the caller lets that in. Without a port it is 443, and no path is taken.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn parse(address: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(address.chars().take(200).collect());
        let uri: Uri = address.parse().map_err(|_| bad())?;
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        if !matches!(uri.scheme_str(), Some("https" | "http")) || !is_bare {
            return Err(bad());
        }
        let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
        let port = uri.port_u16().unwrap_or(443);
        Ok(Self { uri, host, port, name })
    }

    /// The address as it was given.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether it is this machine, by its address.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// A connection in the clear.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn dial_plain(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection over TLS.
    ///
    /// # Errors
    /// The operating system's, and of TLS what [`crate::tls::dial`] says.
    pub async fn dial(&self, tls: Arc<rustls::ClientConfig>) -> io::Result<Dialled> {
        let stream = self.dial_plain().await?;
        tls::dial(tls, self.name.clone(), stream).await
    }
}

/// TLS 1.3 under these roots, showing a certificate (leaf first) where one is given.
///
/// # Errors
/// rustls's, for roots, certificates or keys that it refuses.
pub fn tls(
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
    shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store);
    let mut config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A channel named after `peer` that connects by `dial` when it is first used, and again whenever the connection is lost. While
/// something is under way the peer is asked each `alive` whether it is there, and has as long to say so: etcd hangs up on who
/// asks more often than each 5 s.
///
/// # Errors
/// [`BadAddress`], for an address that gRPC does not take.
pub fn lazy<F, S>(
    peer: &Peer,
    alive: Duration,
    dial: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Result<Channel, BadAddress>
where
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let connect = tower::service_fn(move |_: Uri| {
        let dialled = dial();
        async move { dialled.await.map(TokioIo::new) }
    });
    let bad = || BadAddress(peer.uri.to_string());
    // The scheme is http for tonic, which must not add a TLS layer of its own: `dial` has done it.
    let target = Endpoint::from_shared(format!("http://{}", peer.uri.authority().ok_or_else(bad)?))
        .map_err(|_| bad())?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(alive)
        .keep_alive_timeout(alive);
    Ok(target.connect_with_connector_lazy(connect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_and_ports() {
        let peer = Peer::parse("https://authority.example:9444").unwrap();
        assert!(peer.is_tls() && !peer.is_loopback());
        assert!(Peer::parse("http://[::1]:2379/").unwrap().is_loopback());
        assert!(Peer::parse("https://127.0.0.1").unwrap().is_tls());
        for bad in [
            "",
            "authority:1",
            "ftp://x",
            "https://",
            "https://x/path",
            "https://x?y",
            "https://a b",
        ] {
            assert!(Peer::parse(bad).is_err(), "{bad}");
        }
    }
}
