//! A server for tests: a handler that shows what reached it, on sockets of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{Request, Response, StatusCode, request};
use bytes::Bytes;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http::Tls;
use super::{Handler, Limits, Peer, Server, Shutdown, bind_tcp, bind_udp};
use crate::tls::testing::{Ca, Leaf};
use crate::tls::{ALPN_HTTP, ALPN_HTTP3, ClientAuth, client_config, server_config};

/// What the test handler takes as a body.
pub(super) const MAX_BODY: usize = 100_000;

/// `/echo` answers the body, `/hold` waits for a permit of [`Self::release`], `/refused` is not admitted; all others
/// answer how the caller is seen.
#[derive(Debug)]
pub(super) struct Show {
    pub(super) held: AtomicUsize,
    pub(super) most_held: AtomicUsize,
    pub(super) release: Semaphore,
}

impl Handler for Show {
    fn admit(&self, head: &request::Parts, _: &Peer) -> Result<usize, Response<Bytes>> {
        match head.uri.path() {
            "/refused" => Err(Response::builder()
                .status(StatusCode::FORBIDDEN)
                .body(Bytes::new())
                .unwrap()),
            _ => Ok(MAX_BODY),
        }
    }

    async fn handle(&self, request: Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        match request.uri().path() {
            "/echo" => Response::new(request.into_body()),
            "/hold" => {
                let held = self.held.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_held.fetch_max(held, Ordering::SeqCst);
                let _less = Less(&self.held);
                self.release.acquire().await.unwrap().forget();
                Response::new(Bytes::from_static(b"released"))
            }
            path => {
                let (protocol, certificates) = (peer.protocol, peer.certificates.len());
                Response::new(format!("{path} {protocol} {certificates} {}", peer.secure).into())
            }
        }
    }
}

struct Less<'a>(&'a AtomicUsize);

impl Drop for Less<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running server: TLS and QUIC on one port number, cleartext on another.
pub(super) struct Running {
    pub(super) ca: Ca,
    pub(super) secure: SocketAddr,
    pub(super) clear: SocketAddr,
    pub(super) show: Arc<Show>,
    pub(super) server: Server<Show>,
    pub(super) shutdown: Shutdown,
    serving: Vec<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(limits: Limits) -> Running {
        let show = Arc::new(Show {
            held: AtomicUsize::new(0),
            most_held: AtomicUsize::new(0),
            release: Semaphore::new(0),
        });
        let shutdown = Shutdown::new();
        let server = Server::new(show.clone(), limits, shutdown.clone());
        let ca = Ca::new();
        let certificate = ca.server().held();
        let (tcp, udp) = one_port();
        let plain = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let (secure, clear) = (tcp.local_addr().unwrap(), plain.local_addr().unwrap());
        let config = server_config(certificate.clone(), ClientAuth::Shown, ALPN_HTTP).unwrap();
        let tls = Tls {
            config,
            http3_port: Some(secure.port()),
        };
        let quic = server_config(certificate, ClientAuth::Shown, ALPN_HTTP3).unwrap();
        let http3 = super::http3::serve(udp, quic, server.clone());
        let serving = vec![
            tokio::spawn(super::http::serve(tcp, Some(tls), server.clone())),
            tokio::spawn(super::http::serve(plain, None, server.clone())),
            tokio::spawn(async move { http3.await.unwrap() }),
        ];
        Running {
            ca,
            secure,
            clear,
            show,
            server,
            shutdown,
            serving,
        }
    }

    /// Waits until all listeners have ended.
    pub(super) async fn ended(self) {
        for serving in self.serving {
            soon(serving).await.unwrap();
        }
    }

    /// Waits until so many requests to `/hold` are held.
    pub(super) async fn holding(&self, count: usize) {
        soon(async {
            while self.show.held.load(Ordering::SeqCst) != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// A cleartext connection.
    pub(super) async fn connect(&self) -> Wire<TcpStream> {
        Wire::new(TcpStream::connect(self.clear).await.unwrap())
    }

    /// A TLS connection with these protocols.
    pub(super) async fn connect_tls(&self, alpn: &[&[u8]], identity: Option<&Leaf>) -> TlsStream<TcpStream> {
        let config = client_config([self.ca.root()], identity.map(Leaf::held), alpn).unwrap();
        let stream = TcpStream::connect(self.secure).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.ca.root()
    }
}

/// TCP and UDP sockets with the same port number.
fn one_port() -> (tokio::net::TcpListener, std::net::UdpSocket) {
    loop {
        let tcp = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        if let Ok(udp) = bind_udp(tcp.local_addr().unwrap()) {
            return (tcp, udp);
        }
    }
}

/// The outcome; a test that waits longer than this has failed.
pub(super) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .expect("this takes far too long")
}

/// Bytes sent and received as they are.
pub(super) struct Wire<T> {
    stream: T,
    read: Vec<u8>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(stream: T) -> Wire<T> {
        Wire {
            stream,
            read: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Like [`Self::send`], to a peer that may be gone.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next HTTP/1.1 answer: its head in lower case, and its body.
    pub(super) async fn answer(&mut self) -> (String, String) {
        let end = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => assert!(
                    self.more().await > 0,
                    "closed after {:?}",
                    String::from_utf8_lossy(&self.read)
                ),
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect())
            .unwrap()
            .to_lowercase();
        if head.starts_with("http/1.1 100 ") {
            return (head, String::new());
        }
        let length = head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap()
            .parse()
            .unwrap();
        while self.read.len() < length {
            assert!(self.more().await > 0, "closed in the body");
        }
        (head, String::from_utf8(self.read.drain(..length).collect()).unwrap())
    }

    /// Whether the server ends the connection without another byte.
    pub(super) async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && self.more().await == 0
    }

    /// Everything up to the end of the connection.
    pub(super) async fn rest(mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        self.read
    }

    async fn more(&mut self) -> usize {
        soon(self.stream.read_buf(&mut self.read)).await.unwrap_or(0)
    }
}
