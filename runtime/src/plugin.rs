//! A loaded plugin, and how many calls of it may run at once.

use crate::breaker::{Breaker, BreakerChange, Change};
use crate::call::{self, State};
use crate::engine::Shared;
use crate::failure::{FailureKind, RuleError};
use crate::import::counter::Counting;
use crate::metrics::{Metrics, count};
use crate::pace::Pace;
use crate::question::Question;
use crate::request::Request;
use crate::seldom::Seldom;
use crate::table::Table;
use crate::value::Value;
use crate::verdict::Verdict;
use crate::worker::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use wasmtime::component::{ComponentExportIndex, InstancePre};

/// A plugin that is ready to be called. Cheap to clone; safe to call from many tasks at once.
#[derive(Debug, Clone)]
pub struct Plugin(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) digest: [u8; 32],
    pub(crate) config: BTreeMap<String, Arc<Value>>,
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) counters: Counting,
    /// Whether it imports `counter`: its calls have effects, and none is made twice.
    pub(crate) counts: bool,
    pub(crate) deadline: Duration,
    pub(crate) memory: usize,
    pub(crate) pre: InstancePre<State>,
    pub(crate) evaluate: ComponentExportIndex,
    pub(crate) evaluate_batch: Option<ComponentExportIndex>,
    /// Of its calls about several requests: while it is open, they are judged one by one.
    pub(crate) batches: Breaker,
    pub(crate) metrics: Metrics,
    pub(crate) breaker: Breaker,
    /// When a skip was logged last.
    pub(crate) skips_logged: Seldom,
    pub(crate) calls: AtomicUsize,
    pub(crate) pace: Pace,
    /// Its calls that run at the same moment while it is slow.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) shared: Arc<Shared>,
    /// Where its calls are made, if not in this process.
    pub(crate) workers: Option<Pool>,
}

impl Inner {
    fn tell(&self, change: Option<Change>, outcome: &Result<Verdict, RuleError>, told: impl FnOnce(BreakerChange)) {
        let (plugin, last) = (&self.name, outcome.as_ref().err().map(ToString::to_string));
        match (change, outcome) {
            (Some(Change::Opened(pause)), Err(RuleError::Failed { kind, .. })) => {
                count(&self.metrics.openings);
                tracing::error!(
                    plugin,
                    ?pause,
                    last,
                    "a plugin fails again and again: it is not called for a while"
                );
                told(BreakerChange::Opened(*kind));
            }
            (Some(Change::StaysOpen(pause)), _) => {
                tracing::warn!(
                    plugin,
                    ?pause,
                    last,
                    "a plugin failed on trial: it is not called for a while"
                );
            }
            (Some(Change::Closed), _) => {
                tracing::info!(plugin, "a plugin answers again: it is called as ever");
                told(BreakerChange::Closed);
            }
            // It opens by a failure only.
            (None | Some(Change::Opened(_)), _) => {}
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Plugin")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    /// Forgets what it counted: for tests of a rule that must not see each other's counts.
    pub fn forget_counts(&self) {
        self.0.counters.clear();
    }

    /// The plugin's name in the bundle.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// SHA-256 of the component's bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// What its calls came to.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How many of its worker processes ended and were replaced. 0 where it runs in this process.
    pub fn restarts(&self) -> u64 {
        self.0.workers.as_ref().map_or(0, Pool::restarts)
    }

    /// Whether it failed again and again, and is not called for a while.
    pub fn is_open(&self) -> bool {
        self.0.breaker.is_open()
    }

    /// As [`Plugin::evaluate`], for an edge that serves: a plugin that fails again and again is not called for a while, and
    /// the answer is [`FailureKind::Open`] at once. A trial call after a pause that is answered ends that. `told` hears when
    /// either begins.
    pub async fn serve(&self, request: &Request<'_>, told: impl FnOnce(BreakerChange)) -> Result<Verdict, RuleError> {
        let inner = &self.0;
        let Some(pass) = inner.breaker.enter(Instant::now) else {
            count(&inner.metrics.not_called);
            let detail = "it failed again and again, and is called again after a pause";
            return Err(RuleError::failed(FailureKind::Open, detail));
        };
        let outcome = self.evaluate(request).await;
        let change = pass.ended(&outcome, Instant::now, inner.metrics.answered());
        inner.tell(change, &outcome, told);
        outcome
    }

    /// Says that a request goes on without this plugin's verdict, as its profile allows: counts it, and logs it at most once
    /// a second. `detail` as the failure had it.
    pub fn skipped(&self, kind: FailureKind, detail: &str, request_id: &str) {
        count(&self.0.metrics.skipped);
        if let Some(more) = self.0.skips_logged.turn(Instant::now()) {
            let (plugin, kind) = (self.name(), kind.as_str());
            tracing::warn!(
                plugin,
                request_id,
                kind,
                detail,
                more,
                "a rule was skipped, as the profile allows"
            );
        }
    }

    /// Asks the plugin about one request, in a fresh instance. A refusal and a failure of the plugin both deny.
    /// The future is `Send` and may be dropped at any point. It needs no
    /// particular runtime, unless the plugin is [`crate::PluginSource::isolated`]: then one of tokio, with I/O and time.
    pub async fn evaluate(&self, request: &Request<'_>) -> Result<Verdict, RuleError> {
        let (inner, started) = (&self.0, Instant::now());
        count(&inner.metrics.started);
        let outcome = match Slot::take(inner) {
            Some(slot) => call::guarded(call::call(slot, Question::One(request))).await,
            None => Err(busy()),
        };
        let outcome = outcome.and_then(|answer| answer.about(request));
        inner.metrics.ended(&outcome, started.elapsed());
        outcome
    }
}

/// One of the calls that may run at once, of this plugin and of all.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Inner>);

impl Slot {
    pub(crate) fn take(plugin: &Arc<Inner>) -> Option<Slot> {
        let settings = &plugin.shared.settings;
        if !enter(&plugin.calls, settings.max_calls_per_plugin as usize) {
            return None;
        }
        if !enter(&plugin.shared.calls, settings.max_calls as usize) {
            leave(&plugin.calls);
            return None;
        }
        Some(Slot(plugin.clone()))
    }

    pub(crate) fn plugin(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        leave(&self.0.calls);
        leave(&self.0.shared.calls);
    }
}

pub(crate) fn busy() -> RuleError {
    RuleError::failed(FailureKind::Busy, "as many calls are running as may")
}

fn enter(counter: &AtomicUsize, limit: usize) -> bool {
    let one_more = |used: usize| used.checked_add(1).filter(|sum| *sum <= limit);
    counter
        .try_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        .is_ok()
}

fn leave(counter: &AtomicUsize) {
    counter.fetch_sub(1, Ordering::Relaxed);
}
