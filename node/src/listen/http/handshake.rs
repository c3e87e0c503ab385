//! From an accepted socket to a protocol.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use rustls_pki_types::CertificateDer;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::listen::{Load, Protocol};

/// The first bytes of HTTP/2 (RFC 9113, section 3.4). No HTTP/1.1 method begins with its first four.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A TLS server handshake. Waiting for the first message costs nothing; the work that follows it, the key exchange and
/// our signature, is done in turns, first come first served, so that a crowd of handshakes cannot take the processors
/// from established connections.
pub(super) async fn tls(stream: TcpStream, config: Arc<ServerConfig>, load: &Load) -> io::Result<TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let mut handshake = std::pin::pin!(hello.into_stream(config));
    let turn = load.handshake_turns().acquire().await;
    let answered = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
    drop(turn);
    match answered {
        Poll::Ready(done) => done,
        Poll::Pending => handshake.await,
    }
}

/// What the client chose with ALPN; HTTP/1.1 when it has none.
pub(super) fn negotiated(stream: &TlsStream<TcpStream>) -> Protocol {
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// The client's certificate chain, leaf first.
pub(super) fn certificates(stream: &TlsStream<TcpStream>) -> Arc<[CertificateDer<'static>]> {
    stream.get_ref().1.peer_certificates().unwrap_or_default().into()
}

/// Which protocol a cleartext client speaks, and what was read to find out.
pub(super) async fn sniff(stream: &mut TcpStream) -> io::Result<(Protocol, Bytes)> {
    let mut read = BytesMut::with_capacity(PREFACE.len());
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let compared = read.len().min(PREFACE.len());
        if read.get(..compared) != PREFACE.get(..compared) {
            return Ok((Protocol::Http1, read.freeze()));
        }
        if compared >= 4 {
            return Ok((Protocol::Http2, read.freeze()));
        }
    }
}
