//! One new connection: name, TCP, TLS, HTTP.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use super::ClientError;
use super::pool::{Body, Lease};
use super::url::Origin;
use crate::tls;

/// One address of several may be a black hole: then the next has its turn.
const PER_ADDRESS: Duration = Duration::from_secs(5);
/// Decoded size of an answer's header section, in bytes.
const MAX_HEADERS: u32 = 32 * 1024;

/// Connects, and leaves a task behind that drives the connection until its [`Lease`]s are gone.
pub(super) async fn connect(origin: &Origin, config: &Arc<ClientConfig>) -> Result<Lease, ClientError> {
    let failed = |reason: String| ClientError::Connect {
        origin: origin.to_string(),
        reason,
    };
    let tcp = dial(origin).await.map_err(failed)?;
    if !origin.https {
        return http1(tcp).await.map_err(failed);
    }
    let name = ServerName::try_from(origin.host.clone()).map_err(|error| failed(error.to_string()))?;
    let dialled = tls::dial(Arc::clone(config), name, tcp).await;
    let stream = dialled.map_err(|error| failed(error.to_string()))?;
    match stream.alpn() {
        Some(b"h2") => http2(stream).await.map_err(failed),
        _ => http1(stream).await.map_err(failed),
    }
}

async fn dial(origin: &Origin) -> Result<TcpStream, String> {
    let mut last = "the name has no address".to_owned();
    for address in lookup_host((origin.host.as_str(), origin.port))
        .await
        .map_err(|error| error.to_string())?
    {
        match tokio::time::timeout(PER_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("{address} does not answer"),
        }
    }
    Err(last)
}

async fn http1<S>(stream: S) -> Result<Lease, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEADERS as usize)
        .handshake::<_, Full<Body>>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(Lease::http1(sender))
}

async fn http2<S>(stream: S) -> Result<Lease, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS)
        .handshake::<_, Full<Body>>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(Lease::http2(sender))
}
