//! The signal to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells listeners to take nothing new, finish what they have and end. Clones are the same signal; it is given once and
/// cannot be taken back.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Signal {
    given: AtomicBool,
    waiting: Notify,
}

impl Shutdown {
    /// A signal that has not been given.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Gives the signal. Calling it again changes nothing.
    pub fn drain(&self) {
        self.signal.given.store(true, Ordering::Release);
        self.signal.waiting.notify_waiters();
    }

    /// Whether the signal was given.
    pub fn draining(&self) -> bool {
        self.signal.given.load(Ordering::Acquire)
    }

    /// Ends when the signal is given, at once if it was.
    pub async fn wait(&self) {
        let mut notified = std::pin::pin!(self.signal.waiting.notified());
        notified.as_mut().enable();
        if !self.draining() {
            notified.await;
        }
    }

    /// Like [`Self::wait`], owning the signal.
    pub async fn wait_owned(self) {
        self.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_it_before_or_after() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn(shutdown.clone().wait_owned());
        tokio::task::yield_now().await;
        assert!(!shutdown.draining() && !waiting.is_finished());
        shutdown.drain();
        shutdown.drain();
        waiting.await.unwrap();
        shutdown.wait().await;
        assert!(shutdown.draining());
    }
}
