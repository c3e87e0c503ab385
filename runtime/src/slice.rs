//! The running time of a guest: slices of a tick each, between which others get the core, and a deadline over all of them.

use crate::limits::DeadlineExceeded;
use crate::metrics::count;
use crate::ticker::CALM;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{StoreContextMut, UpdateDeadline};

use crate::call::State;

/// Ticks of a slice.
pub(crate) const TICKS: u64 = 1;
/// Ticks of a call that is to end at once. Two, so that a tick that happens to fall into one of some microseconds does not
/// make it a slow one: the next comes 250 µs later.
pub(crate) const QUICK: u64 = 2;

/// The most one slice counts for: time in which the kernel ran something else is not the guest's.
const MOST: Duration = Duration::from_millis(1);

/// How long a guest has run and may run. Waits do not count.
#[derive(Debug)]
pub(crate) struct Clock {
    spent: Duration,
    deadline: Duration,
    resumed: Instant,
    lane: Option<Arc<Lane>>,
}

/// A guest that has used up its first slice runs in one of a few lanes, one slice at a time, first come first served: so a flood of
/// slow calls takes no more cores than there are lanes. A plugin whose calls are made apart has lanes of its own there.
#[derive(Debug)]
pub(crate) struct Lane {
    lanes: Arc<Semaphore>,
    slice: Mutex<(Instant, Option<OwnedSemaphorePermit>)>,
}

impl Lane {
    pub(crate) fn new(lanes: Arc<Semaphore>) -> Lane {
        let slice = Mutex::new((Instant::now(), None));
        Lane { lanes, slice }
    }

    /// Waits for its turn, and begins a slice.
    pub(crate) async fn enter(&self) {
        // The semaphore is never closed.
        let permit = self.lanes.clone().acquire_owned().await.ok();
        *self.slice.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), permit);
    }
}

impl Clock {
    /// A call that runs in `lane` when it is slow; without one, it is not to last for more than a slice.
    pub(crate) fn start(deadline: Duration, lane: Option<Arc<Lane>>) -> Clock {
        Clock {
            spent: Duration::ZERO,
            deadline,
            resumed: Instant::now(),
            lane,
        }
    }

    fn stop(&mut self, now: Instant) -> Result<(), DeadlineExceeded> {
        if let Some(lane) = &self.lane {
            let mut held = lane.slice.lock().unwrap_or_else(PoisonError::into_inner);
            self.resumed = held.0;
            held.1 = None;
        }
        let slice = now
            .saturating_duration_since(self.resumed)
            .clamp(Duration::from_micros(1), MOST.max(CALM));
        self.spent = self.spent.saturating_add(slice);
        if self.spent >= self.deadline {
            Err(DeadlineExceeded)
        } else {
            Ok(())
        }
    }
}

/// What happens at the end of a slice: the guest ends, or waits for its next one.
pub(crate) fn expired(mut context: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let now = Instant::now();
    let state = context.data_mut();
    state.clock.stop(now)?;
    count(&state.plugin.metrics.yielded);
    let lane = state.clock.lane.clone();
    let next = async move {
        // Tokio's own yield lets its driver look at sockets and timers; waking oneself would not.
        tokio::task::yield_now().await;
        if let Some(lane) = lane {
            lane.enter().await;
        }
    };
    Ok(UpdateDeadline::YieldCustom(TICKS, Box::pin(next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_add_up_to_the_deadline() {
        let mut clock = Clock::start(Duration::from_micros(600), None);
        let start = clock.resumed;
        assert!(clock.stop(start + Duration::from_micros(250)).is_ok());
        clock.resumed = start;
        assert!(clock.stop(start + Duration::from_micros(250)).is_ok());
        clock.resumed = start;
        assert!(clock.stop(start + Duration::from_micros(250)).is_err());
    }

    #[test]
    fn a_descheduled_guest_is_charged_a_bounded_slice_and_an_instant_one_is_charged_too() {
        let mut clock = Clock::start(Duration::from_millis(3), None);
        let start = clock.resumed;
        assert!(clock.stop(start + Duration::from_secs(60)).is_ok());
        assert_eq!(clock.spent, MOST);
        assert!(clock.stop(start).is_ok());
        assert!(clock.spent > MOST);
    }
}
