//! Several requests of one caller in one call of `evaluate-batch`, for a plugin that exports it: what starting an instance costs is
//! then paid once for all of them.
//!
//! They share an instance, and that is all that they share: nothing of it is there for the next call. A call that fails decides nothing.
//! Its requests are judged one by one then, as those of any plugin are, so that one request that breaks a rule denies no other.

use crate::breaker::Change;
use crate::call;
use crate::failure::RuleError;
use crate::metrics::count;
use crate::plugin::{Plugin, Slot, busy};
use crate::question::{MAX_BATCH, Question};
use crate::request::Request;
use crate::verdict::Verdict;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The outcome about each of several requests, in their order.
type Outcomes = Vec<Result<Verdict, RuleError>>;

impl Plugin {
    /// Whether it exports `evaluate-batch`.
    pub fn is_batch(&self) -> bool {
        self.0.evaluate_batch.is_some()
    }

    /// As [`Plugin::serve`] for several requests of one caller and one moment, 2 to [`MAX_BATCH`], in one call. None where they are to be
    /// judged one by one: the plugin has no such call or fails again and again, there are more or fewer, or the call failed.
    pub async fn serve_batch(&self, requests: &[Request<'_>]) -> Option<Outcomes> {
        let inner = &self.0;
        if !self.is_batch() || !(2..=MAX_BATCH).contains(&requests.len()) || self.is_open() {
            return None;
        }
        let pass = inner.batches.enter(Instant::now)?;
        let judged = self.evaluate_batch(requests).await;
        let ended = judged.as_ref().map(|_| Verdict::default()).map_err(Clone::clone);
        let answered = inner.metrics.batches.load(Ordering::Relaxed);
        let (plugin, last) = (self.name(), judged.as_ref().err().map(ToString::to_string));
        match pass.ended(&ended, Instant::now, answered) {
            Some(Change::Opened(pause) | Change::StaysOpen(pause)) => tracing::warn!(
                plugin,
                ?pause,
                last,
                "a plugin's `evaluate-batch` fails again and again: requests are judged one by one for a while"
            ),
            Some(Change::Closed) => tracing::info!(plugin, "a plugin's `evaluate-batch` answers again"),
            None => {}
        }
        judged.ok()
    }

    /// Asks the plugin about up to [`MAX_BATCH`] requests in one fresh instance, by its `evaluate-batch`, with as many times the
    /// budget of one but for memory. The outcomes are verdicts and refusals.
    ///
    /// # Errors
    /// The call failed as a whole, or what it answered about one of them is out of bounds; [`crate::FailureKind::BadOutput`] too where the
    /// plugin does not export it, or there are more.
    pub async fn evaluate_batch(&self, requests: &[Request<'_>]) -> Result<Outcomes, RuleError> {
        let (inner, started) = (&self.0, Instant::now());
        if !self.is_batch() || !(1..=MAX_BATCH).contains(&requests.len()) {
            return Err(RuleError::bad_output("it does not judge so many requests in one call"));
        }
        let answer = match Slot::take(inner) {
            Some(slot) => call::guarded(call::call(slot, Question::Many(requests))).await,
            None => Err(busy()),
        };
        let outcomes = answer.and_then(|answer| answer.about_all(requests));
        match &outcomes {
            Ok(outcomes) => inner.metrics.batch_ended(outcomes, started.elapsed()),
            Err(_) => count(&inner.metrics.batches_failed),
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use crate::call::tests::request;
    use crate::{Host, PluginSource, Settings};
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    // R21
    #[tokio::test]
    async fn a_batch_is_judged_alike_wherever_it_is_called() {
        let rule = include_str!("../tests/world/batch-rule.wat");
        let rule = rule.replace("{{more}}", "").replace("{{answer}}", "(i32.const 1024)");
        let world = include_str!("../tests/hostile/world.wat").replace("{{rule}}", &rule);
        let world = world.replace("{{memory}}", include_str!("../tests/hostile/memory.wat"));
        let (world, end) = world.trim_end().rsplit_once(')').unwrap();
        let wasm = wat::parse_str(format!("{world}{}{end})", include_str!("../tests/world/batch.wat"))).unwrap();
        let host = Host::new(Settings::default()).unwrap();
        let plugin = host.load(PluginSource::new("batch", wasm)).unwrap();
        let requests = [request(), request(), request()];
        // Apart while it is slow, then here.
        for (held, apart) in [(50, 1), (0, 1)] {
            plugin.0.pace.set(Duration::from_millis(held));
            let outcomes = plugin.serve_batch(&requests).await.unwrap();
            let caps = outcomes.into_iter().map(|outcome| outcome.unwrap().lifetime_cap);
            assert_eq!(caps.collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
            assert_eq!(plugin.0.metrics.apart.load(Ordering::Relaxed), apart);
        }
        assert_eq!(plugin.0.metrics.batches.load(Ordering::Relaxed), 2);
    }
}
