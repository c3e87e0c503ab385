//! Reading a request's body: whole, within a number of bytes, a time, and the process's room for partial bodies.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};

use super::Load;
use super::http::Pulse;

/// Frames without data that a body may have (CVE-2019-9518).
const MAX_EMPTY_FRAMES: u32 = 32;
/// A body's buffer starts no larger than this, whatever its announced length, and grows with what arrives.
const FIRST_BUFFER: usize = 16 << 10;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is longer than the handler takes.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// Other bodies have taken all the room.
    NoRoom,
    /// It broke off, or is not well formed.
    Broken,
}

/// Who watches the time.
pub(super) enum Deadline<'a> {
    /// The connection's watchdog, which polls the same task (HTTP/1.1): costs nothing.
    Watched(&'a Pulse),
    /// A timer of its own, made only when the body is not there at once.
    Timer(std::time::Duration),
}

/// What is read and thrown away of a body that nobody wants, so that the answer finds its reader.
const DISCARDED_BYTES: usize = 16 << 20;
const DISCARDED_FOR: std::time::Duration = std::time::Duration::from_secs(3);
/// A client that pauses for so long is waiting for the answer.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// Reads on after a refusal, within 16 MiB and 3 s. Over HTTP/2 an answer before the end of the body is followed by a
/// RST_STREAM(NO_ERROR) (RFC 9113, section 8.1), which clients in wide use report as an error instead of the answer.
pub(super) async fn discard(body: &mut Incoming) {
    let discarding = async {
        let mut left = DISCARDED_BYTES;
        while left > 0 {
            let next = poll_fn(|cx| next_data(body, cx, &|| false));
            match tokio::time::timeout(PAUSE, next).await {
                Ok(Ok(Some(data))) => left = left.saturating_sub(data.len()),
                Ok(Ok(None) | Err(_)) | Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARDED_FOR, discarding).await;
}

/// Reads the whole body. One that arrives in one piece is neither copied nor counted against the room.
pub(super) async fn read(
    body: &mut Incoming,
    limit: usize,
    load: &Load,
    deadline: Deadline<'_>,
) -> Result<Bytes, Unread> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Unread::TooLarge);
    }
    match deadline {
        Deadline::Watched(pulse) => {
            let _waiting = pulse.wait_for_body();
            gather(body, limit, load, || pulse.body_expired()).await
        }
        Deadline::Timer(time) => {
            let mut reading = pin!(gather(body, limit, load, || false));
            if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
                return done;
            }
            tokio::time::timeout(time, reading)
                .await
                .unwrap_or(Err(Unread::TooSlow))
        }
    }
}

async fn gather(body: &mut Incoming, limit: usize, load: &Load, expired: impl Fn() -> bool) -> Result<Bytes, Unread> {
    let next = async |body: &mut Incoming| poll_fn(|cx| next_data(body, cx, &expired)).await;
    let Some(first) = next(body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(Unread::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let announced = usize::try_from(body.size_hint().lower())
        .unwrap_or(usize::MAX)
        .saturating_add(first.len());
    let mut room = load.room();
    let mut whole = BytesMut::with_capacity(announced.min(FIRST_BUFFER));
    let mut part = first;
    loop {
        if whole.len().saturating_add(part.len()) > limit {
            return Err(Unread::TooLarge);
        }
        if !room.take(part.len()) {
            return Err(Unread::NoRoom);
        }
        whole.extend_from_slice(&part);
        drop(part);
        part = match next(body).await? {
            Some(part) => part,
            None => return Ok(whole.freeze()),
        };
    }
}

/// The next piece with data in it; trailers are dropped.
fn next_data(
    body: &mut Incoming,
    cx: &mut Context<'_>,
    expired: &impl Fn() -> bool,
) -> Poll<Result<Option<Bytes>, Unread>> {
    let mut empty = 0_u32;
    loop {
        if expired() {
            return Poll::Ready(Err(Unread::TooSlow));
        }
        let frame = match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => return Poll::Ready(Ok(None)),
            Some(Err(_)) => return Poll::Ready(Err(Unread::Broken)),
            Some(Ok(frame)) => frame,
        };
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) if data.is_empty() => empty = empty.saturating_add(1),
            Ok(data) => return Poll::Ready(Ok(Some(data))),
            Err(_) => {}
        }
        if empty > MAX_EMPTY_FRAMES {
            return Poll::Ready(Err(Unread::Broken));
        }
    }
}
