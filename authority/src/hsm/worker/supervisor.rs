//! Keeps one worker running.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::super::{HsmError, HsmErrorKind};
use super::connection::Connection;
use super::spawn::{self, Running};
use super::{Shared, WorkerConfig};

/// The first pause between restarts that did not help, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What callers find.
pub(super) enum State {
    /// A worker serves, unless its connection has failed a moment ago.
    Up(Arc<Connection>),
    /// None does, and this is why; another is being started.
    Down(HsmError),
    /// None ever will: the token refused the PIN.
    Refused(HsmError),
}

/// Drives the first worker and its successors for ever, or until the token refuses the PIN.
pub(super) async fn run(config: WorkerConfig, first: Running, states: watch::Sender<State>, shared: Weak<Shared>) {
    let mut running = first;
    let mut failures = 0;
    loop {
        let connection = running.connection();
        let reason = running.drive().await;
        if connection.has_progressed() {
            failures = 0;
        }
        tracing::warn!(%reason, failures, "the hsm worker failed; starting another");
        states.send_replace(State::Down(reason));
        running = match restart(&config, &mut failures, &states).await {
            Some(running) => running,
            None => return,
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        *shared.info.write().unwrap_or_else(PoisonError::into_inner) = running.info().clone();
        states.send_replace(State::Up(running.connection()));
    }
}

/// Tries until a worker has opened its token; `None` when the token refused the PIN.
async fn restart(config: &WorkerConfig, failures: &mut u32, states: &watch::Sender<State>) -> Option<Running> {
    loop {
        tokio::time::sleep(pause(*failures)).await;
        *failures = failures.saturating_add(1);
        match spawn::serve(config).await {
            Ok(running) => return Some(running),
            Err(error) if error.kind == HsmErrorKind::PinRefused => {
                tracing::error!(%error, "the hsm worker is not started again");
                states.send_replace(State::Refused(error));
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, failures, "the hsm worker did not start");
                states.send_replace(State::Down(error));
            }
        }
    }
}

/// None before the first restart, then doubling.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_pause_longer_up_to_a_bound() {
        let millis: Vec<_> = [0, 1, 2, 3, 6, 7, 33, u32::MAX]
            .into_iter()
            .map(|n| pause(n).as_millis())
            .collect();
        assert_eq!(millis, [0, 100, 200, 400, 3200, 5000, 5000, 5000]);
    }
}
