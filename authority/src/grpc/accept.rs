//! Our own accept loop for gRPC: bounded connections, bounded handshakes, TLS 1.3 with an optional client certificate
//! under the node root, which the service finds in each request's extensions.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// How long a peer may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that have been made but not yet taken over.
const BACKLOG: usize = 64;
/// Pause when the process is out of file descriptors or memory (R14).
const PAUSE: Duration = Duration::from_millis(50);

/// The certificates a peer showed, leaf first, verified to stand under the node root; empty when it showed none.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// One TLS connection; its place among the bounded ones is free again when it is dropped.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: PeerCertificates,
    _place: OwnedSemaphorePermit,
}

/// Connections as tonic takes them.
pub type Incoming = ReceiverStream<io::Result<Connection>>;

/// Accepts until `stop` turns true. Nothing a peer does ends the loop.
pub fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    connections: usize,
    mut stop: watch::Receiver<bool>,
) -> Incoming {
    let (made, incoming) = mpsc::channel(BACKLOG);
    let places = Arc::new(Semaphore::new(connections));
    let acceptor = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        while !*stop.borrow_and_update() {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place,
                _ = stop.changed() => continue,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => continue,
                () = made.closed() => return,
            };
            match accepted {
                Ok((socket, _)) => drop(tokio::spawn(handshake(acceptor.clone(), socket, place, made.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(incoming)
}

async fn handshake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    place: OwnedSemaphorePermit,
    made: mpsc::Sender<io::Result<Connection>>,
) {
    socket.set_nodelay(true).ok();
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
        Err(_) => return tracing::debug!("a handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = PeerCertificates(
        certificates
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect(),
    );
    made.send(Ok(Connection {
        stream,
        peer,
        _place: place,
    }))
    .await
    .ok();
}

impl Connected for Connection {
    type ConnectInfo = PeerCertificates;

    fn connect_info(&self) -> PeerCertificates {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
