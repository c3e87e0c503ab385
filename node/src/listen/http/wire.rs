//! The byte stream under HTTP/1.1 and HTTP/2.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::refusal;
use crate::listen::exchange::Connection;

/// A stream that first gives back what was read to tell the protocol, marks for the watchdog when bytes come in, and
/// turns hyper's bare refusals of malformed heads into problem documents (HTTP/1.1 only).
pub(super) struct Wire<T> {
    io: T,
    read_before: Bytes,
    /// Set for HTTP/1.1.
    watched: Option<Arc<Connection>>,
    /// What is written instead of hyper's refusal.
    instead: Bytes,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(io: T, read_before: Bytes, watched: Option<Arc<Connection>>) -> Wire<T> {
        if let Some(connection) = watched.as_ref().filter(|_| !read_before.is_empty()) {
            connection.pulse.bytes_came();
        }
        Wire {
            io,
            read_before,
            watched,
            instead: Bytes::new(),
        }
    }

    fn refusal(&self, bytes: &[u8]) -> Option<Bytes> {
        let connection = self
            .watched
            .as_ref()
            .filter(|connection| connection.pulse.head_begun())?;
        let document = refusal::instead_of(bytes, &connection.load)?;
        connection.pulse.body_left_unread();
        Some(document)
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.instead.has_remaining() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, self.instead.chunk()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read_before.has_remaining() {
            let now = this
                .read_before
                .split_to(this.read_before.len().min(buffer.remaining()));
            buffer.put_slice(&now);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        if let Some(connection) = &this.watched
            && buffer.filled().len() > before
        {
            connection.pulse.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(instead) = self.refusal(bytes) {
            self.instead = instead;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match parts {
            [only] => self.poll_write(cx, only),
            _ => Pin::new(&mut self.io).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
