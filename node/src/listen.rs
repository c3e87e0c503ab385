//! Listeners: HTTP/1.1 and HTTP/2 on TCP ([`http`]), HTTP/3 on QUIC ([`http3`]), all bounded in number, size and time
//! by [`Limits`] and all calling one [`Handler`].
//!
//! A listener reads a request's head, asks the handler how large a body it will take ([`Handler::admit`]), reads the body
//! within a deadline, and only then calls [`Handler::handle`]. What does not fit is answered here with a problem document,
//! or what the handler's protocol has in its place ([`Handler::refusal`]), and never reaches the handler.

pub mod http;
pub mod http3;

mod accept;
mod body;
mod exchange;
mod limits;
mod load;
mod shutdown;

#[cfg(test)]
mod testing;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{HeaderValue, Request, Response, request};
use bytes::Bytes;
use rustls_pki_types::CertificateDer;

use crate::problem::Problem;

pub use accept::{bind_tcp, bind_udp, raise_open_files};
pub use limits::Limits;
pub use load::Load;
pub use shutdown::Shutdown;

/// What answers requests. One handler serves all listeners, many requests at once.
///
/// A panic in it ends the one connection it happened on (HTTP/1.1) or the one stream (HTTP/2, HTTP/3).
pub trait Handler: Send + Sync + 'static {
    /// Looks at a request before its body is read: `Ok` with the most bytes that the body may have (0 for none), or the
    /// answer that refuses it. Must not block; per-address limits belong here.
    #[allow(
        clippy::result_large_err,
        reason = "an answer is as large as it is, and is made once"
    )]
    fn admit(&self, head: &request::Parts, peer: &Peer) -> Result<usize, Response<Bytes>>;

    /// Answers a request with its whole body. Dropped when the caller goes away, so what must be finished is not left to
    /// the end of this future.
    fn handle(&self, request: Request<Bytes>, peer: &Peer) -> impl Future<Output = Response<Bytes>> + Send;

    /// How a problem that the listener found itself is told, in the words of this handler's protocol: by default as a
    /// problem document. The status and the header fields should stay the problem's. `request_id` is new.
    fn refusal(problem: Problem, request_id: &str) -> Response<Bytes> {
        let mut response = problem.into_response(request_id);
        if let Ok(id) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }
}

/// Who is on the other side of a connection, as the transport shows it. None of it is an identity yet.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address that packets come from. For QUIC it follows the connection's migration.
    pub address: SocketAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// The client certificate chain, leaf first, or empty. The peer holds the leaf's private key; whether the chain was
    /// checked is up to the listener's [`crate::tls::ClientAuth`].
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Whether the connection is encrypted.
    pub secure: bool,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Protocol {
    /// `http/1.1`, `h2` or `h3`, the ALPN names.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "h2",
            Protocol::Http3 => "h3",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the listeners of one process share: the handler, the limits, the counts that the limits are about, and the
/// signal to drain. Clones are the same server.
pub struct Server<H> {
    handler: Arc<H>,
    limits: Arc<Limits>,
    load: Arc<Load>,
    shutdown: Shutdown,
}

impl<H: Handler> Server<H> {
    /// A server whose listeners share one set of limits.
    pub fn new(handler: Arc<H>, limits: Limits, shutdown: Shutdown) -> Server<H> {
        let load = Arc::new(Load::new(&limits, H::refusal));
        Server {
            handler,
            limits: Arc::new(limits),
            load,
            shutdown,
        }
    }

    /// Connections and requests at this moment, and what was shed; for metrics and for health.
    pub fn load(&self) -> &Arc<Load> {
        &self.load
    }
}

impl<H> Clone for Server<H> {
    fn clone(&self) -> Server<H> {
        Server {
            handler: self.handler.clone(),
            limits: self.limits.clone(),
            load: self.load.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<H> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("limits", &self.limits)
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}
