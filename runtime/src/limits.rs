//! Memory and tables of one call, and the bounds that no setting changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::ResourceLimiter;

/// Entries of one table of a guest.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 10_000;
/// Linear memories of one component, so that one composed of a rule and a few libraries is possible.
pub(crate) const MAX_MEMORIES: u32 = 4;
/// Tables of one component.
pub(crate) const MAX_TABLES: u32 = 4;
/// Core instances of one component: the rule, its adapters and what tools put around them; a Python rule has 39.
pub(crate) const MAX_CORE_INSTANCES: u32 = 64;
/// The guest's own stack, in bytes. The rest of a fiber's stack is for the host's side of a call.
pub(crate) const GUEST_STACK: usize = 256 << 10;
/// A fiber's stack, in bytes.
pub(crate) const FIBER_STACK: usize = 1 << 20;
/// What one crossing from guest to host may hand over, in bytes of the host's memory: 32 claims fit, an output that
/// names the same megabyte a thousand times does not.
pub(crate) const MAX_CROSSING: usize = 64 << 10;
/// Calls of imports in one evaluation. This and what follows of one evaluation is, in a call about several requests, for each of them.
pub(crate) const MAX_HOST_CALLS: u32 = 1_000;
/// Lines that one evaluation may log. Further ones are dropped and counted.
pub(crate) const MAX_LOG_LINES: usize = 16;
/// Bytes of one line of log. What is longer is cut.
pub(crate) const MAX_LOG_LINE: usize = 1024;
/// Bytes that one evaluation may have digested.
pub(crate) const MAX_DIGESTED: usize = 1 << 20;
/// Keys that one plugin counts at a time. About 7 MiB when all are in use.
pub(crate) const MAX_COUNTER_KEYS: usize = 65_536;
/// Bytes of a counted key.
pub(crate) const MAX_COUNTER_KEY: usize = 256;
/// The longest window of a count, in seconds: a day.
pub(crate) const MAX_COUNTER_WINDOW: u32 = 86_400;
/// Rows of one table.
pub(crate) const MAX_TABLE_ROWS: usize = 1_000_000;
/// Bytes of a key and of a value of a table.
pub(crate) const MAX_TABLE_FIELD: usize = 256;
/// All settings of one plugin together, in bytes.
pub(crate) const MAX_CONFIG: usize = 64 << 10;

/// A guest ran for longer than its deadline.
#[derive(Debug, thiserror::Error)]
#[error("ran for longer than its deadline")]
pub(crate) struct DeadlineExceeded;

/// The memory of all calls that are running, in bytes.
#[derive(Debug)]
pub(crate) struct MemoryPool {
    used: AtomicUsize,
    limit: usize,
}

impl MemoryPool {
    pub(crate) fn new(limit: usize) -> MemoryPool {
        MemoryPool {
            used: AtomicUsize::new(0),
            limit,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let grow = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The memory of one call: at most its plugin's, and at most what the pool of all calls has left.
#[derive(Debug)]
pub(crate) struct Budget {
    pool: Arc<MemoryPool>,
    limit: usize,
    used: usize,
    denied: bool,
    /// The most memory that the guest asked for, if that is more than it may have.
    wanted: usize,
}

impl Budget {
    pub(crate) fn new(pool: Arc<MemoryPool>, limit: usize) -> Budget {
        Budget {
            pool,
            limit,
            used: 0,
            denied: false,
            wanted: 0,
        }
    }

    /// What the guest has, in bytes. Memory never shrinks.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Whether the guest ever asked for more than it may have.
    pub(crate) fn denied(&self) -> bool {
        self.denied
    }

    /// For a guest that was denied memory because its own bound is too low: what it asked for, and what to write. `most`: the
    /// highest that this bound may be, in bytes.
    pub(crate) fn advice(&self, most: usize) -> Option<String> {
        if self.wanted <= self.limit {
            return None;
        }
        let (wanted, limit) = (size(self.wanted), size(self.limit));
        Some(if self.wanted > most {
            format!(
                "it asked for {wanted}, more than the {} that a plugin may have",
                size(most)
            )
        } else {
            format!("it asked for {wanted} and has {limit}; write `memory = \"{wanted}\"` or more in its [[plugins]]")
        })
    }
}

/// As settings have it, rounded up.
fn size(bytes: usize) -> String {
    if bytes < 1 << 20 {
        format!("{}KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{}MiB", bytes.div_ceil(1 << 20))
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.pool.give_back(self.used);
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.used.saturating_add(more);
        if total > self.limit {
            self.wanted = self.wanted.max(total);
        }
        if total > self.limit || !self.pool.take(more) {
            self.denied = true;
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= MAX_TABLE_ELEMENTS;
        self.denied |= !allowed;
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R22
    #[test]
    fn memory_is_counted_over_all_memories_and_given_back() {
        let pool = Arc::new(MemoryPool::new(1000));
        let mut budget = Budget::new(pool.clone(), 600);
        assert!(budget.memory_growing(0, 400, None).unwrap());
        assert!(
            !budget.memory_growing(0, 300, None).unwrap(),
            "a second memory over the plugin's limit"
        );
        assert!(budget.denied());
        let mut other = Budget::new(pool.clone(), 800);
        assert!(
            !other.memory_growing(0, 700, None).unwrap(),
            "more than the pool has left"
        );
        assert!(other.memory_growing(0, 600, None).unwrap());
        drop(budget);
        drop(other);
        assert_eq!(pool.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_denied_is_said_with_what_to_write() {
        let pool = Arc::new(MemoryPool::new(64 << 20));
        let mut budget = Budget::new(pool.clone(), 16 << 20);
        let advice = |budget: &Budget| budget.advice(64 << 20);
        assert!(budget.memory_growing(0, 16 << 20, None).unwrap());
        assert_eq!(advice(&budget), None);
        assert!(!budget.memory_growing(0, (7 << 20) + 1, None).unwrap());
        let text = advice(&budget).unwrap();
        assert_eq!(
            text,
            "it asked for 24MiB and has 16MiB; write `memory = \"24MiB\"` or more in its [[plugins]]"
        );
        assert!(!budget.memory_growing(0, 64 << 20, None).unwrap());
        let text = advice(&budget).unwrap();
        assert_eq!(text, "it asked for 80MiB, more than the 64MiB that a plugin may have");
        let mut other = Budget::new(pool, 64 << 20);
        assert!(
            !other.memory_growing(0, 60 << 20, None).unwrap(),
            "more than the pool has left"
        );
        assert_eq!(advice(&other), None, "the setting is not at fault");
    }

    // R22
    #[test]
    fn tables_are_bounded() {
        let mut budget = Budget::new(Arc::new(MemoryPool::new(0)), 0);
        assert!(budget.table_growing(0, MAX_TABLE_ELEMENTS, None).unwrap());
        assert!(!budget.denied());
        assert!(!budget.table_growing(0, MAX_TABLE_ELEMENTS + 1, None).unwrap());
        assert!(budget.denied());
    }
}
