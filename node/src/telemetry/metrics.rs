//! Metrics: a small front to one registry.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The media type of [`Metrics::render`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label; which name it has is fixed when the family is made by the type that uses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// The label's name.
    pub name: &'static str,
    /// The label's value, from configuration or code.
    pub value: String,
}

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let mut label = encoder.encode_label();
        let mut key = label.encode_label_key()?;
        prometheus_client::encoding::EncodeLabelKey::encode(&self.name, &mut key)?;
        let mut value = key.encode_label_value()?;
        self.value.encode(&mut value)?;
        value.finish()
    }
}

/// The metrics of one process or one role. What it hands out are handles: updating one is an atomic addition.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Metrics {
    /// An empty set; every name will begin with `prefix` and an underscore.
    pub fn new(prefix: &str) -> Metrics {
        Metrics {
            registry: Mutex::new(Registry::with_prefix(prefix)),
        }
    }

    /// A counter. The name has no `_total`; the text form adds it.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.register(name, help, gauge.clone());
        gauge
    }

    /// A distribution; `buckets` are upper bounds in ascending order.
    pub fn histogram(&self, name: &str, help: &str, buckets: impl IntoIterator<Item = f64>) -> Histogram {
        let histogram = Histogram::new(buckets);
        self.register(name, help, histogram.clone());
        histogram
    }

    /// A counter for each value of a label set.
    pub fn counters<L: LabelSet>(&self, name: &str, help: &str) -> Family<L, Counter> {
        let family = Family::<L, Counter>::default();
        self.register(name, help, family.clone());
        family
    }

    /// A distribution of times in seconds, with [`latency_buckets`], for each value of a label set.
    pub fn latencies<L: LabelSet>(&self, name: &str, help: &str) -> Family<L, Histogram> {
        let family = Family::<L, Histogram>::new_with_constructor(latencies);
        self.register(name, help, family.clone());
        family
    }

    /// Registers a metric that was made elsewhere. A clone of a metric is the same metric.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .register(name, help, metric);
    }

    /// All metrics as OpenMetrics text, of media type [`OPENMETRICS`].
    ///
    /// # Errors
    /// A metric made elsewhere failed to write itself.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// What can label a family.
pub trait LabelSet: EncodeLabelSet + Clone + fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static {}

impl<T: EncodeLabelSet + Clone + fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static> LabelSet for T {}

/// Bounds in seconds for what takes from 50 µs to 10 s.
pub fn latency_buckets() -> impl Iterator<Item = f64> {
    [
        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0,
    ]
    .into_iter()
}

fn latencies() -> Histogram {
    Histogram::new(latency_buckets())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::new("signet");
        metrics.counter("signatures", "Signatures made").inc_by(3);
        metrics.gauge("keys", "Keys held").set(2);
        let label = |value: &str| Label {
            name: "code",
            value: value.to_owned(),
        };
        let refusals = metrics.counters::<Label>("refusals", "Requests refused");
        refusals.get_or_create(&label("no_permit")).inc();
        metrics
            .latencies::<Label>("times", "Times")
            .get_or_create(&label("a \"b\""))
            .observe(0.000_2);
        let text = metrics.render().unwrap();
        for line in [
            "signet_signatures_total 3",
            "signet_keys 2",
            "signet_refusals_total{code=\"no_permit\"} 1",
            "signet_times_bucket{le=\"0.00025\",code=\"a \\\"b\\\"\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
