//! What requests and the writer thread share: the encoded events, the sequence numbers, the reservation.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::writer::Writer;
use super::{Settings, SpoolError, Status};

/// How long the writer waits before it tries a failed write again, or measures a full directory again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The lock is held for a copy of some hundred bytes, never over I/O.
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits on it.
    wake: Condvar,
    /// Those who flush wait on it.
    done: Condvar,
    /// Those whose record found no room wait on it.
    progress: Notify,
    /// Those whose record has to be durable wait on it.
    synced: Notify,
    linger: Duration,
    most_bytes: usize,
}

#[derive(Default)]
struct State {
    /// Events in the order of their numbers: length (u32, little endian), encoding.
    events: Vec<u8>,
    count: u64,
    next: u64,
    reserved_end: u64,
    low_water: u64,
    durable: u64,
    appended: u64,
    /// The writer's attempts are numbered: one is what it does between two waits.
    attempt: u64,
    finished: u64,
    disk_bytes: u64,
    /// Everything in segments with lower numbers is held by the authority.
    shipped_below: u64,
    refusing: Option<SpoolError>,
    closing: bool,
    /// The writer sleeps until there is something to write.
    idle: bool,
    /// The writer should not linger.
    urgent: bool,
}

/// What the writer is to store next.
pub(super) struct Taken {
    pub(super) events: Vec<u8>,
    pub(super) count: u64,
    pub(super) closing: bool,
}

impl Queue {
    pub(super) fn new(settings: &Settings) -> Queue {
        Queue {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            done: Condvar::new(),
            progress: Notify::new(),
            synced: Notify::new(),
            linger: settings.flush_every,
            most_bytes: settings.queue_bytes,
        }
    }

    /// Queues an encoded event and gives it its number. What is urgent is written at once, with all that is queued.
    pub(super) fn push(&self, event: &[u8], urgent: bool) -> Result<u64, SpoolError> {
        let mut state = self.lock();
        if let Some(error) = &state.refusing {
            return Err(error.clone());
        }
        let after = state.events.len().saturating_add(event.len()).saturating_add(4);
        let length = u32::try_from(event.len()).map_err(|_| SpoolError::TooLong)?;
        if state.next >= state.reserved_end || after > self.most_bytes {
            state.urgent = true;
            self.wake.notify_one();
            return Err(SpoolError::Behind);
        }
        state.events.extend_from_slice(&length.to_le_bytes());
        state.events.extend_from_slice(event);
        let sequence = state.next;
        state.next = sequence.saturating_add(1);
        state.count = state.count.saturating_add(1);
        state.appended = state.appended.saturating_add(1);
        let short = state.reserved_end.saturating_sub(state.next) < state.low_water || after > self.most_bytes / 4;
        if state.idle || ((short || urgent) && !state.urgent) {
            state.idle = false;
            state.urgent |= short || urgent;
            drop(state);
            self.wake.notify_one();
        }
        Ok(sequence)
    }

    /// Waits until there is something to store, lingers for more to come with it, and takes it all. Returns nothing
    /// to store, at times, while appending is refused. `spare` becomes the next buffer.
    pub(super) fn take(&self, spare: Vec<u8>) -> Taken {
        let mut state = self.finish();
        while state.count == 0 && !state.closing && !state.urgent {
            if state.refusing.is_some() {
                state = self.wait_for(state, RETRY);
                break;
            }
            state.idle = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        let begun = Instant::now();
        while !state.closing && !state.urgent {
            let Some(left) = self.linger.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else {
                break;
            };
            state = self.wait_for(state, left);
        }
        begin(&mut state);
        let taken = drain(&mut state, spare);
        drop(state);
        self.progress.notify_waiters();
        taken
    }

    /// Takes what is queued, and a number behind it for a record of the spool's own.
    pub(super) fn take_with_own(&self) -> Taken {
        let mut state = self.lock();
        let taken = drain(&mut state, Vec::new());
        state.next = state.next.saturating_add(1);
        taken
    }

    /// The first number that nobody has.
    pub(super) fn next(&self) -> u64 {
        self.lock().next
    }

    /// What was stored, and reserved with it, is durable.
    pub(super) fn published(&self, writer: &Writer, range: u64) {
        let mut state = self.lock();
        state.durable = writer.durable();
        state.next = state.next.max(writer.next());
        state.reserved_end = writer.reserved_end();
        state.disk_bytes = writer.disk_bytes();
        state.low_water = range / 2;
        if !matches!(state.refusing, Some(SpoolError::Full { .. } | SpoolError::Closed)) {
            state.refusing = None;
        }
        self.notify();
    }

    /// From now on appending fails with `error`.
    pub(super) fn refuse(&self, error: SpoolError) {
        let mut state = self.lock();
        if state.refusing.as_ref() != Some(&error) {
            tracing::error!(%error, "the audit spool refuses records, signing stops");
        }
        state.refusing = Some(error);
        self.notify();
    }

    /// There is room again.
    pub(super) fn has_room(&self, disk_bytes: u64) {
        let mut state = self.lock();
        state.disk_bytes = disk_bytes;
        if matches!(state.refusing, Some(SpoolError::Full { .. } | SpoolError::Disk { .. })) {
            tracing::warn!("the audit spool accepts records again");
            state.refusing = None;
            self.notify();
        }
    }

    /// Waits before the next attempt. Returns whether the spool is closing.
    pub(super) fn pause(&self) -> bool {
        let mut state = self.finish();
        if !state.closing && !state.urgent {
            state = self.wait_for(state, RETRY);
        }
        begin(&mut state);
        state.closing
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        if !matches!(state.refusing, Some(SpoolError::Lost { .. })) {
            state.refusing = Some(SpoolError::Closed);
        }
        self.wake.notify_one();
        self.notify();
    }

    /// Until the record with this number is durable, or cannot be made so at present.
    pub(super) async fn durable(&self, sequence: u64) -> Result<(), SpoolError> {
        loop {
            // Before the look, so that nothing is missed behind it.
            let mut synced = std::pin::pin!(self.synced.notified());
            synced.as_mut().enable();
            {
                let state = self.lock();
                match &state.refusing {
                    _ if state.durable >= sequence => return Ok(()),
                    // A full directory takes what was queued before it was.
                    None | Some(SpoolError::Full { .. }) => {}
                    Some(error) => return Err(error.clone()),
                }
            }
            synced.await;
        }
    }

    /// Segments with lower numbers need not be kept.
    pub(super) fn shipped(&self, below: u64) {
        let mut state = self.lock();
        state.shipped_below = state.shipped_below.max(below);
    }

    pub(super) fn shipped_below(&self) -> u64 {
        self.lock().shipped_below
    }

    /// Waits for the records, or for the end of an attempt that began after this call.
    pub(super) fn flush(&self) -> Result<(), SpoolError> {
        let mut state = self.lock();
        let (target, attempt) = (state.next, state.attempt.saturating_add(1));
        loop {
            let whole = state.durable.saturating_add(1) >= target;
            match &state.refusing {
                Some(error @ (SpoolError::Closed | SpoolError::Lost { .. })) if !whole => return Err(error.clone()),
                Some(error) if state.finished >= attempt => return Err(error.clone()),
                None if whole => return Ok(()),
                _ => {}
            }
            state.urgent = true;
            self.wake.notify_one();
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn status(&self) -> Status {
        let state = self.lock();
        Status {
            refusing: state.refusing.clone(),
            appended: state.appended,
            durable: state.durable,
            waiting_bytes: state.events.len(),
            reserved_end: state.reserved_end,
            disk_bytes: state.disk_bytes,
        }
    }

    /// Ends at the next change of what appending answers after this call.
    pub(super) fn progress(&self) -> impl Future<Output = ()> {
        self.progress.notified()
    }

    fn notify(&self) {
        self.done.notify_all();
        self.progress.notify_waiters();
        self.synced.notify_waiters();
    }

    /// The present attempt is over.
    fn finish(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.finished = state.attempt;
        self.notify();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.wake
            .wait_timeout(state, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// The next attempt begins.
fn begin(state: &mut State) {
    state.urgent = false;
    state.attempt = state.attempt.saturating_add(1);
}

fn drain(state: &mut State, spare: Vec<u8>) -> Taken {
    Taken {
        events: std::mem::replace(&mut state.events, spare),
        count: std::mem::take(&mut state.count),
        closing: state.closing,
    }
}
