//! One timer a connection, for all its deadlines.
//!
//! A request on a kept-alive connection must not touch the timer wheel: that costs as much as parsing it. So the timer is
//! set to the earliest deadline that is known, left there when deadlines move later, and only when it fires are the
//! real ones worked out. Idle connections may therefore live up to twice their limit; deadlines of heads and bodies hold.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::pulse::{Pulse, Reading};
use crate::listen::{Limits, Shutdown};

/// What a connection must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Finish what is under way and take nothing new.
    Retire,
    /// Give the awaited body up.
    GiveUpBody,
    /// End.
    Close,
}

pub(super) struct Watchdog {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
    waker: Option<Waker>,
    shutdown: Shutdown,
    times: Times,
    goodbye: bool,
    started: Instant,
    idle: (u64, Instant),
    head: Option<Instant>,
    body: Option<(u64, Instant)>,
    retired: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    header: Duration,
    body: Duration,
    idle: Duration,
    lifetime: Duration,
    drain: Duration,
}

impl Watchdog {
    /// With `goodbye` an idle connection is retired, so that its protocol can say so; else it is closed.
    pub(super) fn new(limits: &Limits, shutdown: &Shutdown, goodbye: bool) -> Watchdog {
        let times = Times {
            header: limits.header.get(),
            body: limits.body.get(),
            idle: limits.idle.get(),
            lifetime: limits.lifetime.get(),
            drain: limits.drain.get(),
        };
        let started = Instant::now();
        let armed = after(started, times.header.min(times.idle).min(times.lifetime));
        Watchdog {
            sleep: Box::pin(tokio::time::sleep_until(armed)),
            armed,
            drained: Box::pin(shutdown.clone().wait_owned()),
            waker: None,
            shutdown: shutdown.clone(),
            times,
            goodbye,
            started,
            idle: (0, started),
            head: None,
            body: None,
            retired: None,
        }
    }

    /// To be polled after each poll of the connection that left it pending.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, pulse: &Pulse) -> Poll<Order> {
        if self.retired.is_none() && self.is_drained(cx) {
            return Poll::Ready(self.retire(Instant::now()));
        }
        let reading = pulse.read();
        if let Some(due) = self.note(reading)
            && due < self.armed
        {
            self.arm(due);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if let Some(order) = self.overdue(reading, now) {
                return Poll::Ready(order);
            }
            let next = self.earliest(reading);
            self.arm(next);
        }
        Poll::Pending
    }

    /// The signal's future takes a lock that all connections share, so it is polled only to leave a waker, which for a
    /// task stays the same.
    fn is_drained(&mut self, cx: &mut Context<'_>) -> bool {
        if self.shutdown.draining() {
            return true;
        }
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return false;
        }
        self.waker = Some(cx.waker().clone());
        self.drained.as_mut().poll(cx).is_ready()
    }

    fn retire(&mut self, now: Instant) -> Order {
        self.retired = Some(now);
        self.arm(after(now, self.times.drain));
        Order::Retire
    }

    fn arm(&mut self, due: Instant) {
        self.armed = due;
        self.sleep.as_mut().reset(due);
    }

    /// Takes note of what has begun; returns its deadline.
    fn note(&mut self, reading: Reading) -> Option<Instant> {
        if !reading.active && reading.head_begun {
            let begun = *self.head.get_or_insert_with(Instant::now);
            return Some(after(begun, self.times.header));
        }
        self.head = None;
        if !reading.body_awaited {
            self.body = None;
            return None;
        }
        let begun = match self.body {
            Some((request, begun)) if request == reading.requests => begun,
            _ => Instant::now(),
        };
        self.body = Some((reading.requests, begun));
        Some(after(begun, self.times.body))
    }

    fn overdue(&mut self, reading: Reading, now: Instant) -> Option<Order> {
        if !reading.active && reading.requests != self.idle.0 {
            self.idle = (reading.requests, now);
        }
        if self.retired.is_some_and(|at| after(at, self.times.drain) <= now) {
            return Some(Order::Close);
        }
        if self.body.is_some_and(|(_, begun)| after(begun, self.times.body) <= now) {
            self.body = None;
            self.arm(after(now, self.times.body));
            return Some(Order::GiveUpBody);
        }
        if self.head.is_some_and(|begun| after(begun, self.times.header) <= now) {
            return Some(Order::Close);
        }
        if !reading.active && self.idle_end(reading) <= now && !(self.goodbye && self.retired.is_some()) {
            return Some(if self.goodbye { self.retire(now) } else { Order::Close });
        }
        (self.retired.is_none() && after(self.started, self.times.lifetime) <= now).then(|| self.retire(now))
    }

    fn idle_end(&self, reading: Reading) -> Instant {
        match reading.requests {
            0 => after(self.started, self.times.header),
            _ => after(self.idle.1, self.times.idle),
        }
    }

    fn earliest(&self, reading: Reading) -> Instant {
        let end = match self.retired {
            Some(at) => after(at, self.times.drain),
            None => after(self.started, self.times.lifetime),
        };
        let head = self.head.map(|begun| after(begun, self.times.header));
        let body = self.body.map(|(_, begun)| after(begun, self.times.body));
        let idle = match reading.active {
            _ if self.goodbye && self.retired.is_some() => None,
            true => Some(after(Instant::now(), self.times.idle)),
            false => Some(self.idle_end(reading)),
        };
        [head, body, idle].into_iter().flatten().fold(end, Instant::min)
    }
}

fn after(instant: Instant, time: Duration) -> Instant {
    instant.checked_add(time).unwrap_or(instant)
}
