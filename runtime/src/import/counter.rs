//! `signet:rule/counter`: bounded counts over sliding windows, one set of them for each loaded plugin.
//!
//! A count is the only effect a rule has. It is made at once, so that two calls at the same time see each other, and it
//! stays whatever becomes of the call: a plugin that imports this is never tried and then run again (`call.rs`).

use super::counted;
use crate::call::State;
use crate::failure::HostCallRefused;
use crate::limits::{MAX_COUNTER_KEY, MAX_COUNTER_KEYS, MAX_COUNTER_WINDOW};
use crate::worker::Channel;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, WasmStr};

pub(super) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("signet:rule/counter@1.2.0")?;
    instance.func_wrap("increment", increment)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Problem {
    #[component(name = "full")]
    Full,
    #[component(name = "out-of-bounds")]
    OutOfBounds,
}

type Answer = (Result<u32, Problem>,);

fn increment(mut context: StoreContextMut<'_, State>, (key, window): (WasmStr, u32)) -> wasmtime::Result<Answer> {
    counted(context.data_mut())?;
    let key = key.to_str(&context)?;
    let state = context.data();
    Ok((match &state.plugin.counters {
        Counting::Here(counters) => counters.increment(&key, window, state.time),
        Counting::Parent(channel) => channel
            .count(&key, window)
            .map_err(|_| HostCallRefused("the worker's parent does not answer"))?,
    },))
}

/// Where a plugin's counts are kept.
#[derive(Debug)]
pub(crate) enum Counting {
    /// In this process.
    Here(Counters),
    /// In the process that this one is a worker of, so that all workers of a plugin count together.
    Parent(Arc<Channel>),
}

impl Default for Counting {
    fn default() -> Counting {
        Counting::Here(Counters::default())
    }
}

impl Counting {
    /// Begins anew, where the counts are.
    pub(crate) fn clear(&self) {
        if let Counting::Here(counters) = self {
            counters.clear();
        }
    }
}

/// The counts of one plugin. A key of each window is a count of its own.
#[derive(Debug)]
pub(crate) struct Counters {
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By the digest of window and key, so that each takes the same room.
    counts: HashMap<[u8; 32], Count>,
    /// No count runs out before this second.
    next_end: u64,
}

/// Uses in the running window and in the one before it; windows begin at multiples of their length.
#[derive(Debug, Clone, Copy)]
struct Count {
    window: u64,
    number: u64,
    current: u32,
    previous: u32,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters::new(MAX_COUNTER_KEYS)
    }
}

impl Counters {
    fn new(limit: usize) -> Counters {
        let kept = Mutex::default();
        Counters { limit, kept }
    }

    /// Begins anew.
    fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// Counts one use at `now`, in Unix seconds, and answers with the uses of the last `window` seconds.
    pub(crate) fn increment(&self, key: &str, window: u32, now: u64) -> Result<u32, Problem> {
        if key.is_empty() || key.len() > MAX_COUNTER_KEY || !(1..=MAX_COUNTER_WINDOW).contains(&window) {
            return Err(Problem::OutOfBounds);
        }
        let name: [u8; 32] = Sha256::new()
            .chain_update(window.to_be_bytes())
            .chain_update(key)
            .finalize()
            .into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.counts.contains_key(&name) && kept.counts.len() >= self.limit {
            kept.drop_ended(now);
            if kept.counts.len() >= self.limit {
                return Err(Problem::Full);
            }
        }
        let fresh = Count::new(u64::from(window), now);
        kept.next_end = kept.next_end.min(fresh.end());
        Ok(kept.counts.entry(name).or_insert(fresh).increment(now))
    }
}

impl Kept {
    /// Looks through all of them once a second at most: what is left ends later than `now`.
    fn drop_ended(&mut self, now: u64) {
        if now < self.next_end {
            return;
        }
        self.counts.retain(|_, count| count.end() > now);
        self.next_end = self.counts.values().map(Count::end).min().unwrap_or(0);
    }
}

impl Count {
    fn new(window: u64, now: u64) -> Count {
        let number = now.checked_div(window).unwrap_or(0);
        let (current, previous) = (0, 0);
        Count {
            window,
            number,
            current,
            previous,
        }
    }

    /// The second from which it counts for nothing.
    fn end(&self) -> u64 {
        self.number.saturating_add(2).saturating_mul(self.window)
    }

    fn increment(&mut self, now: u64) -> u32 {
        // A request whose clock is behind counts as of the running window's start, which is the stricter reading.
        let now = now.max(self.number.saturating_mul(self.window));
        let number = now.checked_div(self.window).unwrap_or(0);
        if number > self.number {
            let next = number == self.number.saturating_add(1);
            self.previous = if next { self.current } else { 0 };
            (self.number, self.current) = (number, 0);
        }
        self.current = self.current.saturating_add(1);
        // The part of the window before that the last `window` seconds still cover, rounded up.
        let left = self.window.saturating_sub(now.checked_rem(self.window).unwrap_or(0));
        let earlier = u64::from(self.previous).saturating_mul(left).div_ceil(self.window);
        self.current.saturating_add(u32::try_from(earlier).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides() {
        let counters = Counters::default();
        let at = |now| counters.increment("a", 60, now).unwrap();
        assert_eq!([at(600), at(601), at(659)], [1, 2, 3]);
        assert_eq!(at(660), 4, "a second later nothing is forgotten");
        assert_eq!(at(690), 2 + 2, "half of the three, rounded up");
        assert_eq!(at(650), 3 + 3, "a clock behind is read strictly");
        assert_eq!(at(900), 1, "all is forgotten after two windows");
        assert_eq!(counters.increment("b", 60, 900), Ok(1), "keys are apart");
        assert_eq!(counters.increment("a", 61, 900), Ok(1), "windows are apart");
    }

    // R22
    #[test]
    fn what_is_full_counts_on_for_its_keys_and_takes_no_other_until_one_runs_out() {
        let counters = Counters::new(2);
        assert_eq!(counters.increment("a", 10, 100), Ok(1));
        assert_eq!(counters.increment("b", 60, 100), Ok(1));
        assert_eq!(counters.increment("c", 10, 119), Err(Problem::Full));
        assert_eq!(counters.increment("b", 60, 119), Ok(2));
        assert_eq!(counters.increment("c", 10, 120), Ok(1), "`a` has run out");
        assert_eq!(counters.increment("d", 10, 120), Err(Problem::Full));
        assert_eq!(
            counters.increment("d", 10, 140),
            Ok(1),
            "`c` has, which came after the last look, before `b`"
        );
        assert!(counters.kept.lock().unwrap().counts.len() <= 2);
    }

    // R22
    #[test]
    fn keys_and_windows_are_bounded() {
        let counters = Counters::default();
        let long = "x".repeat(MAX_COUNTER_KEY + 1);
        for (key, window) in [("", 1), (long.as_str(), 1), ("a", 0), ("a", MAX_COUNTER_WINDOW + 1)] {
            assert_eq!(counters.increment(key, window, 0), Err(Problem::OutOfBounds));
        }
        assert_eq!(counters.increment("a", 1, u64::MAX), Ok(1));
        assert!(counters.kept.lock().unwrap().counts.len() == 1);
    }
}
