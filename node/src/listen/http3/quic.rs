//! quinn's connections and streams as `h3` wants them.
//!
//! Our own instead of the crate `h3-quinn`, for two reasons. Version 0.0.10 gives a stream away while a read is pending and
//! panics when `stop_sending` comes meanwhile; here a stream is never given away, so there is nothing to miss. And `h3`
//! collects a frame whole before it looks at its size, so a header section of any length would be held in memory; here a
//! stream yields no more bytes than its [`Allowance`].

mod stream;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt, unfold};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming};
use quinn::{ConnectionError, VarInt};

use stream::BidiStream;
pub(super) use stream::{RecvStream, SendStream};

/// What is read from a stream at one time, in bytes.
pub(super) const READ: usize = 4 << 10;
/// What a client may send on each of its control streams while the connection lasts, in bytes.
const CONTROL_BYTES: usize = 1 << 20;
/// Streams in one direction that a client may open while the connection lasts: `h3` remembers every one.
const UNI_STREAMS: u32 = 64;

type Accepted<T> = Pin<Box<dyn Stream<Item = Result<T, ConnectionError>> + Send + Sync>>;
type Opening = Pin<Box<dyn Future<Output = Result<quinn::SendStream, ConnectionError>> + Send + Sync>>;

/// How many more bytes a stream may yield. Clones are the same allowance.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    fn new(bytes: usize) -> Allowance {
        Allowance(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Adds to what is left.
    pub(super) fn grant(&self, bytes: usize) {
        let _ = self
            .0
            .fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_add(bytes)));
    }

    fn spend(&self, bytes: usize) -> bool {
        self.0
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes))
            .is_ok()
    }
}

/// Where the allowance of the request stream that was accepted last is found, since `h3` shows only its own types.
#[derive(Debug, Clone, Default)]
pub(super) struct Latest(Arc<Mutex<Option<Allowance>>>);

impl Latest {
    /// The allowance of the stream accepted last.
    pub(super) fn take(&self) -> Option<Allowance> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, allowance: Allowance) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(allowance);
    }
}

/// One connection.
pub(super) struct Quic {
    connection: quinn::Connection,
    bidi: Accepted<(quinn::SendStream, quinn::RecvStream)>,
    uni: Accepted<quinn::RecvStream>,
    uni_left: u32,
    opening: Option<Opening>,
    first_allowance: usize,
    latest: Latest,
}

impl Quic {
    /// `first_allowance` is what a request stream may yield before more is granted, in bytes.
    pub(super) fn new(connection: quinn::Connection, first_allowance: usize, latest: Latest) -> Quic {
        let bidi = unfold(connection.clone(), async |connection| {
            Some((connection.accept_bi().await, connection))
        });
        let uni = unfold(connection.clone(), async |connection| {
            Some((connection.accept_uni().await, connection))
        });
        let (bidi, uni) = (Box::pin(bidi), Box::pin(uni));
        Quic {
            connection,
            bidi,
            uni,
            uni_left: UNI_STREAMS,
            opening: None,
            first_allowance,
            latest,
        }
    }
}

impl quic::Connection<Bytes> for Quic {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.uni.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        let stream = stream.map_err(connection_error)?;
        let Some(left) = self.uni_left.checked_sub(1) else {
            return Poll::Ready(Err(ConnectionErrorIncoming::InternalError(
                "too many streams in one direction".into(),
            )));
        };
        self.uni_left = left;
        Poll::Ready(Ok(RecvStream::new(stream, Allowance::new(CONTROL_BYTES))))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, ConnectionErrorIncoming>> {
        let streams = ready!(self.bidi.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        let (send, recv) = streams.map_err(connection_error)?;
        let allowance = Allowance::new(self.first_allowance);
        self.latest.put(allowance.clone());
        Poll::Ready(Ok(BidiStream {
            send: SendStream::new(send),
            recv: RecvStream::new(recv, allowance),
        }))
    }

    fn opener(&self) -> Opener {
        Opener {
            connection: self.connection.clone(),
            opening: None,
        }
    }
}

impl quic::OpenStreams<Bytes> for Quic {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(no_requests()))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        poll_open(&self.connection, &mut self.opening, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        close(&self.connection, code, reason);
    }
}

/// Opens streams beside the connection.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening: Option<Opening>,
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(no_requests()))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        poll_open(&self.connection, &mut self.opening, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        close(&self.connection, code, reason);
    }
}

fn poll_open(
    connection: &quinn::Connection,
    opening: &mut Option<Opening>,
    cx: &mut Context<'_>,
) -> Poll<Result<SendStream, StreamErrorIncoming>> {
    let future = opening.get_or_insert_with(|| {
        let connection = connection.clone();
        Box::pin(async move { connection.open_uni().await })
    });
    let opened = ready!(future.as_mut().poll(cx));
    *opening = None;
    Poll::Ready(opened.map(SendStream::new).map_err(lost))
}

fn close(connection: &quinn::Connection, code: Code, reason: &[u8]) {
    connection.close(VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX), reason);
}

fn no_requests() -> StreamErrorIncoming {
    StreamErrorIncoming::Unknown("a server opens no request streams (RFC 9114, section 6.1)".into())
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into_inner(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn lost(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}
