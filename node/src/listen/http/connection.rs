//! One TCP connection from accept to close.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::handshake;
use super::linger::linger;
use super::pulse::Pulse;
use super::watchdog::{Order, Watchdog};
use super::wire::Wire;
use super::{Handler, Tls};
use crate::listen::exchange::{self, Connection};
use crate::listen::{Limits, Load, Peer, Protocol, Server};

/// A connection cut off at the end of the drain is gone after this.
pub(super) const CUT_OFF: Duration = Duration::from_secs(2);
/// Buffer for one HTTP/1.1 connection's reads and writes.
const HTTP1_BUFFER: usize = 64 << 10;
/// What a client may send on one HTTP/2 stream, and on all of them, before we have read it.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that were reset, by the peer before we took them (CVE-2023-44487) or by us for its errors
/// (CVE-2025-8671), before the connection is closed with ENHANCE_YOUR_CALM.
const PENDING_RESETS: usize = 20;
const LOCAL_ERROR_RESETS: usize = 64;

/// What all connections of one listener share.
#[derive(Debug)]
pub(super) struct Settings {
    tls: Option<Tls>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Settings {
    pub(super) fn new<H: Handler>(tls: Option<Tls>, server: &Server<H>) -> Settings {
        Settings {
            tls,
            http1: http1_builder(&server.limits),
            http2: http2_builder(&server.limits),
        }
    }

    fn connection(&self, peer: Peer, load: &Arc<Load>) -> Arc<Connection> {
        let port = self.tls.as_ref().and_then(|tls| tls.http3_port);
        let alt_svc = port.and_then(|port| HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok());
        Arc::new(Connection {
            peer,
            pulse: Pulse::default(),
            load: load.clone(),
            alt_svc,
        })
    }
}

/// hyper's own header timeout is off: it would make a timer for each request, which [`Watchdog`] does not.
fn http1_builder(limits: &Limits) -> http1::Builder {
    let header_bytes = limits.header_bytes.as_usize();
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(true)
        .half_close(false)
        .header_read_timeout(None)
        .max_header_size(header_bytes)
        .max_buf_size(HTTP1_BUFFER.max(header_bytes))
        .writev(false);
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes.bytes()).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_ERROR_RESETS)
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(16 << 10)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(limits.idle.get())
        .keep_alive_timeout(limits.header.get());
    builder
}

/// Serves one connection to its end.
pub(super) async fn run<H: Handler>(stream: TcpStream, address: SocketAddr, settings: &Settings, server: Server<H>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "cannot turn Nagle's algorithm off");
    }
    match &settings.tls {
        Some(tls) => encrypted(stream, address, tls, settings, server).await,
        None => cleartext(stream, address, settings, server).await,
    }
}

async fn encrypted<H: Handler>(
    stream: TcpStream,
    address: SocketAddr,
    tls: &Tls,
    settings: &Settings,
    server: Server<H>,
) {
    let handshake = handshake::tls(stream, tls.config.clone(), &server.load);
    let Some(done) = before(server.limits.handshake.get(), &server, handshake).await else {
        return;
    };
    let stream = match done {
        Ok(stream) => stream,
        Err(error) => {
            server.load.handshake_failed();
            return tracing::debug!(%address, %error, "TLS handshake failed");
        }
    };
    let (protocol, certificates) = (handshake::negotiated(&stream), handshake::certificates(&stream));
    let peer = Peer {
        address,
        protocol,
        certificates,
        secure: true,
    };
    let connection = settings.connection(peer, &server.load);
    speak(stream, Bytes::new(), connection, settings, server).await;
}

async fn cleartext<H: Handler>(mut stream: TcpStream, address: SocketAddr, settings: &Settings, server: Server<H>) {
    let sniffed = before(server.limits.header.get(), &server, handshake::sniff(&mut stream)).await;
    let Some(Ok((protocol, read))) = sniffed else { return };
    let peer = Peer {
        address,
        protocol,
        certificates: Arc::new([]),
        secure: false,
    };
    let connection = settings.connection(peer, &server.load);
    speak(stream, read, connection, settings, server).await;
}

/// The outcome, unless time runs out or the server drains first.
async fn before<H: Handler, T>(time: Duration, server: &Server<H>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = tokio::time::timeout(time, work) => match done {
            Ok(done) => Some(done),
            Err(_) => {
                server.load.handshake_failed();
                None
            }
        },
        () = server.shutdown.wait() => None,
    }
}

async fn speak<T: AsyncRead + AsyncWrite + Unpin + Send + 'static, H: Handler>(
    stream: T,
    read: Bytes,
    connection: Arc<Connection>,
    settings: &Settings,
    server: Server<H>,
) {
    match connection.peer.protocol {
        Protocol::Http1 => speak_http1(stream, read, connection, settings, server).await,
        Protocol::Http2 | Protocol::Http3 => speak_http2(stream, read, connection, settings, server).await,
    }
}

async fn speak_http1<T: AsyncRead + AsyncWrite + Unpin + Send + 'static, H: Handler>(
    stream: T,
    read: Bytes,
    connection: Arc<Connection>,
    settings: &Settings,
    server: Server<H>,
) {
    let mut watchdog = Watchdog::new(&server.limits, &server.shutdown, false);
    let io = TokioIo::new(Wire::new(stream, read, Some(connection.clone())));
    let shared = Arc::new((server, connection.clone()));
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(exchange::answer(&shared.0, &shared.1, request).await) }
    });
    let mut http = settings.http1.serve_connection(io, service);
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut http).poll(cx) {
                return Poll::Ready(Some(ended));
            }
            match ready!(watchdog.poll(cx, &connection.pulse)) {
                Order::Retire => Pin::new(&mut http).graceful_shutdown(),
                Order::GiveUpBody => connection.pulse.expire_body(),
                Order::Close => return Poll::Ready(None),
            }
        }
    })
    .await;
    if ended.is_some() && connection.pulse.left_unread() {
        linger(http.into_parts().io.into_inner()).await;
    }
}

async fn speak_http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static, H: Handler>(
    stream: T,
    read: Bytes,
    connection: Arc<Connection>,
    settings: &Settings,
    server: Server<H>,
) {
    let mut watchdog = Watchdog::new(&server.limits, &server.shutdown, true);
    let io = TokioIo::new(Wire::new(stream, read, None));
    let shared = Arc::new((server, connection.clone()));
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(exchange::answer(&shared.0, &shared.1, request).await) }
    });
    let mut http = pin!(settings.http2.serve_connection(io, service));
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = http.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            match ready!(watchdog.poll(cx, &connection.pulse)) {
                Order::Retire => http.as_mut().graceful_shutdown(),
                Order::GiveUpBody => {}
                Order::Close => return Poll::Ready(None),
            }
        }
    })
    .await;
    if let Some(Err(error)) = ended {
        tracing::debug!(address = %connection.peer.address, %error, "HTTP/2 connection failed");
    }
}
