//! How much is going on: the counts that the limits are about, which are also the listeners' metrics.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, Semaphore};

use super::Limits;
use crate::problem::Problem;
use crate::telemetry::{Label, Metrics};

/// Counts of connections, requests and bytes at this moment, and of what was shed since the start.
#[derive(Debug)]
pub struct Load {
    connections: Gauge,
    requests: Gauge,
    body_bytes: Gauge,
    quic_handshakes: Gauge,
    accepted: Counter,
    shed_connections: Counter,
    shed_requests: Counter,
    failed_accepts: Counter,
    failed_handshakes: Counter,
    retries: Counter,
    refused: Family<Label, Counter>,
    /// How the protocol tells a problem.
    refusal: Refusal,
    max_connections: i64,
    max_requests: i64,
    max_body_bytes: i64,
    handshakes: Semaphore,
    ended: Notify,
}

/// [`super::Handler::refusal`].
type Refusal = fn(Problem, &str) -> Response<Bytes>;

impl Load {
    pub(super) fn new(limits: &Limits, refusal: Refusal) -> Load {
        Load {
            connections: Gauge::default(),
            requests: Gauge::default(),
            body_bytes: Gauge::default(),
            quic_handshakes: Gauge::default(),
            accepted: Counter::default(),
            shed_connections: Counter::default(),
            shed_requests: Counter::default(),
            failed_accepts: Counter::default(),
            failed_handshakes: Counter::default(),
            retries: Counter::default(),
            refused: Family::default(),
            refusal,
            max_connections: i64::from(limits.connections),
            max_requests: i64::from(limits.requests),
            max_body_bytes: i64::try_from(limits.body_memory.bytes()).unwrap_or(i64::MAX),
            handshakes: Semaphore::new(usize::try_from(limits.handshakes).unwrap_or(1)),
            ended: Notify::new(),
        }
    }

    /// Open connections.
    pub fn connections(&self) -> u64 {
        u64::try_from(self.connections.get()).unwrap_or(0)
    }

    /// Requests being handled.
    pub fn requests(&self) -> u64 {
        u64::try_from(self.requests.get()).unwrap_or(0)
    }

    /// Connections that were closed because there were too many.
    pub fn shed_connections(&self) -> u64 {
        self.shed_connections.get()
    }

    /// Requests answered 503 because there were too many.
    pub fn shed_requests(&self) -> u64 {
        self.shed_requests.get()
    }

    /// QUIC handshakes that were asked to prove their address first.
    pub fn retries(&self) -> u64 {
        self.retries.get()
    }

    /// Requests that the listener answered itself with this problem's code.
    pub fn refused(&self, code: &str) -> u64 {
        self.refused.get(&by_code(code)).map_or(0, |counter| counter.get())
    }

    /// Shows all counts under names beginning with `listen_`.
    pub fn register(&self, metrics: &Metrics) {
        let gauge = |name, help, gauge: &Gauge| metrics.register(name, help, gauge.clone());
        gauge("listen_connections", "Open connections", &self.connections);
        gauge("listen_requests", "Requests being handled", &self.requests);
        gauge(
            "listen_body_bytes",
            "Bytes of bodies that have arrived in part",
            &self.body_bytes,
        );
        gauge(
            "listen_quic_handshakes",
            "QUIC handshakes in progress",
            &self.quic_handshakes,
        );
        let counter = |name, help, counter: &Counter| metrics.register(name, help, counter.clone());
        counter("listen_accepted", "Connections accepted", &self.accepted);
        counter(
            "listen_shed_connections",
            "Connections closed because there were too many",
            &self.shed_connections,
        );
        counter(
            "listen_shed_requests",
            "Requests answered 503 because there were too many",
            &self.shed_requests,
        );
        counter(
            "listen_failed_accepts",
            "Errors of the operating system when accepting",
            &self.failed_accepts,
        );
        counter(
            "listen_failed_handshakes",
            "TLS and QUIC handshakes that failed",
            &self.failed_handshakes,
        );
        counter(
            "listen_quic_retries",
            "QUIC handshakes asked to prove their address",
            &self.retries,
        );
        let help = "Requests that the listener answered itself, by problem code";
        metrics.register("listen_refusals", help, self.refused.clone());
    }

    /// A problem found by the listener, counted, as an answer with a request id of its own.
    pub(super) fn refuse(&self, problem: Problem) -> Response<Bytes> {
        self.refused.get_or_create(&by_code(problem.code())).inc();
        (self.refusal)(problem, &uuid::Uuid::new_v4().to_string())
    }

    /// Counts a new connection until the guard is dropped; `None` when there are too many.
    pub(super) fn connect(self: &Arc<Load>) -> Option<Connected> {
        let guard = Connected(self.clone());
        if self.connections.inc() >= self.max_connections {
            self.shed_connections.inc();
            return None;
        }
        self.accepted.inc();
        Some(guard)
    }

    /// Counts a request until the guard is dropped; `None` when there are too many.
    pub(super) fn begin(&self) -> Option<Begun<'_>> {
        let guard = Begun(self);
        if self.requests.inc() >= self.max_requests {
            self.shed_requests.inc();
            return None;
        }
        Some(guard)
    }

    /// Room for parts of bodies, none taken yet.
    pub(super) fn room(&self) -> Room<'_> {
        Room { load: self, taken: 0 }
    }

    /// Counts a QUIC handshake until the guard is dropped.
    pub(super) fn quic_handshake(self: &Arc<Load>) -> QuicHandshake {
        self.quic_handshakes.inc();
        QuicHandshake(self.clone())
    }

    /// QUIC handshakes in progress.
    pub(super) fn quic_handshakes(&self) -> u32 {
        u32::try_from(self.quic_handshakes.get()).unwrap_or(0)
    }

    /// Turns at computing a TLS handshake.
    pub(super) fn handshake_turns(&self) -> &Semaphore {
        &self.handshakes
    }

    pub(super) fn accept_failed(&self) {
        self.failed_accepts.inc();
    }

    pub(super) fn handshake_failed(&self) {
        self.failed_handshakes.inc();
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    /// Ends when no connection is open.
    pub(super) async fn idle(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.connections.get() <= 0 {
                return;
            }
            ended.await;
        }
    }
}

fn by_code(code: &str) -> Label {
    Label {
        name: "code",
        value: code.to_owned(),
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connected(Arc<Load>);

impl Drop for Connected {
    fn drop(&mut self) {
        if self.0.connections.dec() <= 1 {
            self.0.ended.notify_waiters();
        }
    }
}

/// A request being handled.
#[derive(Debug)]
pub(super) struct Begun<'a>(&'a Load);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.requests.dec();
    }
}

/// Room taken by the parts of one body.
#[derive(Debug)]
pub(super) struct Room<'a> {
    load: &'a Load,
    taken: i64,
}

impl Room<'_> {
    /// Takes room for so many more bytes; false when there is none.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.load.body_bytes.inc_by(bytes);
        self.taken = self.taken.saturating_add(bytes);
        if before.saturating_add(bytes) > self.load.max_body_bytes {
            self.load.shed_requests.inc();
            return false;
        }
        true
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.load.body_bytes.dec_by(self.taken);
        }
    }
}

/// A QUIC handshake in progress.
#[derive(Debug)]
pub(super) struct QuicHandshake(Arc<Load>);

impl Drop for QuicHandshake {
    fn drop(&mut self) {
        self.0.quic_handshakes.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;
    use crate::listen::Handler as _;
    use crate::listen::testing::Show;

    fn load() -> Arc<Load> {
        let body_memory = ByteSize::new(1000);
        Arc::new(Load::new(
            &Limits {
                connections: 2,
                requests: 1,
                body_memory,
                ..Limits::default()
            },
            Show::refusal,
        ))
    }

    #[tokio::test]
    async fn counts_are_bounded_and_given_back() {
        // R37
        let load = load();
        let (first, second) = (load.connect().unwrap(), load.connect().unwrap());
        assert!(load.connect().is_none());
        assert_eq!((load.connections(), load.shed_connections()), (2, 1));
        drop(first);
        assert!(load.connect().is_some());
        let request = load.begin().unwrap();
        assert!(load.begin().is_none());
        drop(request);
        assert!(load.begin().is_some());
        drop(second);
        load.idle().await;
        assert_eq!((load.connections(), load.requests()), (0, 0));
    }

    #[test]
    fn what_the_listener_refuses_is_counted_by_code() {
        let load = load();
        let answer = load.refuse(Problem::new("bad_request", "no"));
        assert_eq!(answer.status(), 400);
        assert!(answer.headers().contains_key("x-request-id"));
        assert_eq!((load.refused("bad_request"), load.refused("overloaded")), (1, 0));
        let metrics = Metrics::new("signet");
        load.register(&metrics);
        let text = metrics.render().unwrap();
        let line = "signet_listen_refusals_total{code=\"bad_request\"} 1";
        assert!(text.lines().any(|found| found == line), "{text}");
    }

    #[test]
    fn partial_bodies_share_one_room() {
        let load = load();
        let mut first = load.room();
        assert!(first.take(600));
        let mut second = load.room();
        assert!(second.take(400));
        assert!(!second.take(1));
        drop(second);
        assert!(first.take(400));
        drop(first);
        assert_eq!(load.body_bytes.get(), 0);
    }
}
