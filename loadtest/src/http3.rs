//! HTTP/3 on QUIC, as a client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Response, Uri};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;

use crate::target::Target;
use crate::{LoadError, Protocol};

/// The most bytes of an answer's header section.
const MAX_FIELDS: u64 = 64 << 10;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// `https://HOST:PORT/PATH`.
    pub url: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Sends one request over a connection of its own and reads the whole answer, whatever its status. `timeout` spans
/// everything; `max_bytes` bounds the answer's body.
///
/// # Errors
/// [`LoadError`].
pub async fn once(
    request: Request,
    roots: RootCertStore,
    timeout: Duration,
    max_bytes: usize,
) -> Result<Response<Bytes>, LoadError> {
    let target = Target::new(&request.url, Protocol::Http3, || Ok(roots))?;
    let origin = target.origin();
    let exchange = async {
        let mut client = Client::to(target).await?;
        let answer = client.send(request, max_bytes).await;
        client.close().await;
        answer
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .map_err(|_| LoadError::Timeout { origin, timeout })?
}

/// A connection that is kept: requests go over it one after the other. Neither opening nor sending is bounded in time.
pub struct Client(Connection);

impl Client {
    /// Connects to the host of a URL.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn open(url: &str, roots: RootCertStore) -> Result<Client, LoadError> {
        Client::to(Target::new(url, Protocol::Http3, || Ok(roots))?).await
    }

    async fn to(target: Target) -> Result<Client, LoadError> {
        let connection = Connection::open(&target).await?;
        Ok(Client(connection))
    }

    /// Sends a request to a URL of the same host and reads the whole answer, whatever its status. `max_bytes` bounds its body.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is known of the request then, and a new connection is best.
    pub async fn send(&mut self, request: Request, max_bytes: usize) -> Result<Response<Bytes>, LoadError> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = request.method;
        head.uri = request.url.parse().map_err(|_| LoadError::Url {
            url: request.url.clone(),
            reason: "it is no URL",
        })?;
        head.headers = request.headers;
        let head = http::Request::from_parts(head, ());
        self.0.send(head, request.body, max_bytes).await
    }

    /// Says farewell, so that the server need not wait for its idle time-out.
    pub async fn close(self) {
        self.0.close().await;
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Client").field(&self.0.origin).finish()
    }
}

/// A connection on a socket of its own.
pub(crate) struct Connection {
    origin: String,
    endpoint: quinn::Endpoint,
    quic: quinn::Connection,
    requests: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    driver: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Tries each address of the host in turn.
    pub(crate) async fn open(target: &Target) -> Result<Connection, LoadError> {
        let failed = |reason: String| LoadError::Connect {
            origin: target.origin(),
            reason,
        };
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let mut last = failed("the name has no address".to_owned());
        for address in found.map_err(|error| failed(error.to_string()))? {
            match Connection::open_at(target, address).await {
                Ok(connection) => return Ok(connection),
                Err(reason) => last = failed(reason),
            }
        }
        Err(last)
    }

    async fn open_at(target: &Target, address: SocketAddr) -> Result<Connection, String> {
        let tls = target.tls.as_ref().ok_or("HTTP/3 needs TLS")?;
        let quic = QuicClientConfig::try_from(tls.config.as_ref().clone()).map_err(|error| error.to_string())?;
        let local: IpAddr = if address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let endpoint = quinn::Endpoint::client((local, 0).into()).map_err(|error| error.to_string())?;
        let connecting = endpoint.connect_with(quinn::ClientConfig::new(Arc::new(quic)), address, &target.host);
        let quic = connecting
            .map_err(|error| error.to_string())?
            .await
            .map_err(|error| error.to_string())?;
        let built = h3::client::builder()
            .max_field_section_size(MAX_FIELDS)
            .build(h3_quinn::Connection::new(quic.clone()))
            .await;
        let (mut driver, requests) = built.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(async move {
            driver.wait_idle().await;
        });
        Ok(Connection {
            origin: target.origin(),
            endpoint,
            quic,
            requests,
            driver,
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(
        &mut self,
        request: http::Request<()>,
        body: Bytes,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, LoadError> {
        let origin = self.origin.clone();
        let failed = |error: h3::error::StreamError| LoadError::Exchange {
            origin: origin.clone(),
            reason: error.to_string(),
        };
        let mut stream = self.requests.send_request(request).await.map_err(failed)?;
        if !body.is_empty() {
            stream.send_data(body).await.map_err(failed)?;
        }
        stream.finish().await.map_err(failed)?;
        let (head, ()) = stream.recv_response().await.map_err(failed)?.into_parts();
        let mut whole = BytesMut::new();
        while let Some(mut part) = stream.recv_data().await.map_err(failed)? {
            if whole.len().saturating_add(part.remaining()) > max_bytes {
                return Err(LoadError::TooLarge { origin, max_bytes });
            }
            whole.extend_from_slice(&part.copy_to_bytes(part.remaining()));
        }
        Ok(Response::from_parts(head, whole.freeze()))
    }

    /// Says farewell, so that the server need not wait for its idle time-out.
    async fn close(self) {
        self.quic.close(quinn::VarInt::from_u32(0x100), b"");
        self.endpoint.wait_idle().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.quic.close(quinn::VarInt::from_u32(0x100), b"");
        self.driver.abort();
    }
}

/// The request target of HTTP/3: an absolute URI.
pub(crate) fn absolute(target: &Target, path: &str) -> Result<Uri, LoadError> {
    let url = format!("https://{}{path}", target.authority());
    url.parse().map_err(|_| LoadError::Url {
        url,
        reason: "it is no URL",
    })
}
