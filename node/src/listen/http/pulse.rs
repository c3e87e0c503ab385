//! What a connection's watchdog knows about its requests.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Marks that requests leave and the watchdog reads. All are hints between parts of one connection, so no ordering is
/// needed; nothing here reads a clock, which keeps a request free of timers.
#[derive(Debug, Default)]
pub(in crate::listen) struct Pulse {
    requests: AtomicU64,
    active: AtomicU32,
    bytes_seen: AtomicBool,
    body_awaited: AtomicBool,
    body_expired: AtomicBool,
    unread: AtomicBool,
}

/// The marks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Requests so far.
    pub(super) requests: u64,
    /// Whether one is being answered.
    pub(super) active: bool,
    /// Whether a head has begun to arrive and is not complete (HTTP/1.1).
    pub(super) head_begun: bool,
    /// Whether a body is awaited (HTTP/1.1).
    pub(super) body_awaited: bool,
}

impl Pulse {
    /// A request's head is complete; it is active until the guard is dropped.
    pub(in crate::listen) fn begin(&self) -> Active<'_> {
        self.bytes_seen.store(false, Relaxed);
        self.active.fetch_add(1, Relaxed);
        Active {
            pulse: self,
            before: self.requests.fetch_add(1, Relaxed),
        }
    }

    /// The body is awaited until the guard is dropped.
    pub(in crate::listen) fn wait_for_body(&self) -> Awaiting<'_> {
        self.body_expired.store(false, Relaxed);
        self.body_awaited.store(true, Relaxed);
        Awaiting(self)
    }

    /// Whether the watchdog gave the body up.
    pub(in crate::listen) fn body_expired(&self) -> bool {
        self.body_expired.load(Relaxed)
    }

    /// A request was answered before it was read, so that the connection must linger.
    pub(in crate::listen) fn body_left_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    pub(super) fn left_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Bytes came in.
    pub(super) fn bytes_came(&self) {
        if self.active.load(Relaxed) == 0 {
            self.bytes_seen.store(true, Relaxed);
        }
    }

    /// Whether bytes came in that no request has taken as its head.
    pub(super) fn head_begun(&self) -> bool {
        self.bytes_seen.load(Relaxed)
    }

    /// Gives the awaited body up.
    pub(super) fn expire_body(&self) {
        self.body_expired.store(true, Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        Reading {
            requests: self.requests.load(Relaxed),
            active: self.active.load(Relaxed) > 0,
            head_begun: self.bytes_seen.load(Relaxed),
            body_awaited: self.body_awaited.load(Relaxed),
        }
    }
}

/// An active request.
#[derive(Debug)]
pub(in crate::listen) struct Active<'a> {
    pulse: &'a Pulse,
    before: u64,
}

impl Active<'_> {
    /// Whether it is the connection's first.
    pub(in crate::listen) fn is_first(&self) -> bool {
        self.before == 0
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.pulse.active.fetch_sub(1, Relaxed);
    }
}

/// An awaited body.
#[derive(Debug)]
pub(in crate::listen) struct Awaiting<'a>(&'a Pulse);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.body_awaited.store(false, Relaxed);
    }
}
