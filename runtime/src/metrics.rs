//! What a plugin's calls came to.

use crate::failure::{FailureKind, RuleError};
use crate::verdict::Verdict;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one plugin since it was loaded. Each only grows; read them one by one, without a lock.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Calls begun. Those that are in no other counter are running, or their caller went away.
    pub started: AtomicU64,
    /// Calls that ended in a verdict.
    pub allowed: AtomicU64,
    /// Calls that ended in a refusal.
    pub refused: AtomicU64,
    /// Calls that ended in [`FailureKind::Trap`].
    pub trapped: AtomicU64,
    /// Calls that ended in [`FailureKind::Timeout`].
    pub timed_out: AtomicU64,
    /// Calls that ended in [`FailureKind::Memory`].
    pub out_of_memory: AtomicU64,
    /// Calls that ended in [`FailureKind::BadOutput`].
    pub bad_output: AtomicU64,
    /// Calls that ended in [`FailureKind::HostPanic`].
    pub host_panicked: AtomicU64,
    /// Calls that ended in [`FailureKind::Worker`].
    pub worker_failed: AtomicU64,
    /// Calls that ended in [`FailureKind::Busy`].
    pub busy: AtomicU64,
    /// Calls that were not made: [`FailureKind::Open`]. They are not in `started`.
    pub not_called: AtomicU64,
    /// Times that it was found to fail again and again.
    pub openings: AtomicU64,
    /// Requests that went on without its verdict ([`crate::Plugin::skipped`]).
    pub skipped: AtomicU64,
    /// Calls made on threads apart: it is new, or its calls hold a core for long.
    pub apart: AtomicU64,
    /// Calls about several requests at once ([`crate::Plugin::serve_batch`]) that were answered. Each of their requests is in `started`
    /// and in the counter of its outcome.
    pub batches: AtomicU64,
    /// Calls about several requests at once that failed: what was decided then is in no other counter.
    pub batches_failed: AtomicU64,
    /// Times a call gave the core to other tasks of this process.
    pub yielded: AtomicU64,
    /// Lines of log written.
    pub log_lines: AtomicU64,
    /// Lines of log dropped: over the limit of one call.
    pub log_dropped: AtomicU64,
    /// The most memory that one call had, in bytes: all its linear memories, as they began and as they grew.
    pub memory_peak: AtomicU64,
    /// Nanoseconds from the start to the end of all calls that ended, waits included.
    pub elapsed_nanoseconds: AtomicU64,
}

impl Metrics {
    /// The counter of one kind of failure.
    pub fn failed(&self, kind: FailureKind) -> &AtomicU64 {
        match kind {
            FailureKind::Trap => &self.trapped,
            FailureKind::Timeout => &self.timed_out,
            FailureKind::Memory => &self.out_of_memory,
            FailureKind::BadOutput => &self.bad_output,
            FailureKind::HostPanic => &self.host_panicked,
            FailureKind::Worker => &self.worker_failed,
            FailureKind::Busy => &self.busy,
            FailureKind::Open => &self.not_called,
        }
    }

    /// Calls that ended in a verdict or a refusal.
    pub(crate) fn answered(&self) -> u64 {
        let (allowed, refused) = (&self.allowed, &self.refused);
        allowed
            .load(Ordering::Relaxed)
            .saturating_add(refused.load(Ordering::Relaxed))
    }

    /// A call about several requests ended, after a time that they share.
    pub(crate) fn batch_ended(&self, outcomes: &[Result<Verdict, RuleError>], elapsed: Duration) {
        count(&self.batches);
        let requests = u32::try_from(outcomes.len()).unwrap_or(u32::MAX);
        let each = elapsed.checked_div(requests).unwrap_or_default();
        for outcome in outcomes {
            count(&self.started);
            self.ended(outcome, each);
        }
    }

    pub(crate) fn ended(&self, outcome: &Result<Verdict, RuleError>, elapsed: Duration) {
        let counter = match outcome {
            Ok(_) => &self.allowed,
            Err(RuleError::Refused { .. }) => &self.refused,
            Err(RuleError::Failed { kind, .. }) => self.failed(*kind),
        };
        count(counter);
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
