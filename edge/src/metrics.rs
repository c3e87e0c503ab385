//! Counters of this edge in OpenMetrics text. Labels come from the bundle and from this code, never from a request.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node::listen::Load;
use node::telemetry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::Plugin;

use crate::world::World;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProfile {
    profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPlugin {
    plugin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: &'static str,
}

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    all: telemetry::Metrics,
    signatures: Family<ByProfile, Counter>,
    refusals: Family<ByCode, Counter>,
    bundles: Family<ByCode, Counter>,
    ready: Gauge,
    connected: Gauge,
    shipped: Counter,
    lease_renewals: Family<ByCode, Counter>,
    lease_refusals: Counter,
    lease_seconds_left: Gauge,
    rollouts_stopped: Family<ByPlugin, Counter>,
    plugin_artifacts: Family<BySource, Counter>,
    samples: Family<ByCode, Counter>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Metrics {
        let all = telemetry::Metrics::new("signet_edge");
        Metrics {
            signatures: all.counters("signatures", "Signatures that were recorded and answered, by profile"),
            refusals: all.counters("refusals", "Refused requests and batch elements, by code"),
            bundles: all.counters("bundles", "Bundles received, by whether they were taken into use"),
            ready: all.gauge("ready", "1 when every profile can be signed for"),
            shipped: all.counter("audit_shipped", "Audit records that the authority has made durable"),
            connected: all.gauge("connected", "1 while the authority's watch stream stands"),
            lease_renewals: all.counters("lease_renewals", "Renewals of leases, by what became of them"),
            lease_refusals: all.counter(
                "lease_refusals",
                "Signatures that were refused because a lease had run out",
            ),
            lease_seconds_left: all.gauge(
                "lease_seconds_left",
                "For how long every key of the profiles may be signed with, if the authority stays away",
            ),
            rollouts_stopped: all.counters(
                "rollouts_stopped",
                "New versions that this edge stopped using by itself, by plugin",
            ),
            plugin_artifacts: all.counters(
                "plugin_artifacts",
                "Plugins by whose machine code was loaded, and code that was refused",
            ),
            samples: all.counters("samples", "Requests that were sampled, by what became of the sample"),
            all,
        }
    }

    /// Shows what the listeners count.
    pub fn show(&self, load: &Load) {
        load.register(&self.all);
    }

    /// The counter of a profile's signatures. Look it up once: counting is a single addition then.
    pub fn signatures(&self, profile: &str) -> Counter {
        let profile = profile.to_owned();
        self.signatures.get_or_create_owned(&ByProfile { profile })
    }

    /// The counter of a plugin's new versions that this edge gives up by itself.
    pub fn rollouts_stopped(&self, plugin: &str) -> Counter {
        let plugin = plugin.to_owned();
        self.rollouts_stopped.get_or_create_owned(&ByPlugin { plugin })
    }

    /// Machine code of one plugin: from the `authority`, `local`, or `refused`.
    pub fn artifact(&self, source: &'static str) {
        self.plugin_artifacts.get_or_create(&BySource { source }).inc();
    }

    /// Samples: `taken`, and of these `shipped` or `lost`; `too_large`, or `dropped` because too many wait.
    pub fn samples(&self, code: &'static str, count: u64) {
        if count > 0 {
            self.samples.get_or_create(&ByCode { code }).inc_by(count);
        }
    }

    /// One refusal.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&ByCode { code }).inc();
    }

    /// One bundle.
    pub fn bundle(&self, used: bool) {
        let code = if used { "used" } else { "refused" };
        self.bundles.get_or_create(&ByCode { code }).inc();
    }

    /// Whether the edge is ready.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// Whether the watch stream stands.
    pub fn connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }

    /// Records that the authority has.
    pub fn shipped(&self, records: u64) {
        self.shipped.inc_by(records);
    }

    /// One renewal of leases: `sent`, `granted` or `late`.
    pub fn lease_renewed(&self, code: &'static str) {
        self.lease_renewals.get_or_create(&ByCode { code }).inc();
    }

    /// One signature that was refused for want of a lease.
    pub fn lease_refused(&self) {
        self.lease_refusals.inc();
    }

    /// The seconds that the leases run, at least.
    pub fn lease_left(&self, seconds: u64) {
        self.lease_seconds_left.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// The text of `/metrics`, with the plugins' own counters and how long each key is held.
    pub fn render(&self, world: &World, seconds_left: &BTreeMap<String, u64>) -> String {
        const END: &str = "# EOF\n";
        let rendered = self.all.render().and_then(|mut text| {
            // What follows goes before the end marker that the encoder has written.
            text.truncate(text.len().saturating_sub(END.len()));
            plugins(&mut text, world)?;
            crate::rollout::render(&mut text, world)?;
            delegations(&mut text, seconds_left)?;
            text.push_str(END);
            Ok(text)
        });
        rendered.unwrap_or_else(|error| {
            tracing::error!(%error, "metrics could not be written");
            String::new()
        })
    }
}

fn delegations(text: &mut String, seconds_left: &BTreeMap<String, u64>) -> std::fmt::Result {
    const NAME: &str = "signet_edge_delegation_seconds_left";
    writeln!(
        text,
        "# HELP {NAME} Seconds for which each key is held, were the authority gone."
    )?;
    writeln!(text, "# TYPE {NAME} gauge")?;
    for (key, seconds) in seconds_left {
        writeln!(text, "{NAME}{{key=\"{key}\"}} {seconds}")?;
    }
    Ok(())
}

/// What each plugin did, counted where it runs: one family after another, as the text format has it.
fn plugins(text: &mut String, world: &World) -> std::fmt::Result {
    family(text, "calls", "counter", "Calls of each plugin, by outcome")?;
    for (name, plugin) in world.plugins() {
        for (outcome, count) in outcomes(plugin.metrics()) {
            let count = count.load(Ordering::Relaxed);
            writeln!(
                text,
                "signet_edge_plugin_calls_total{{plugin=\"{name}\",outcome=\"{outcome}\"}} {count}"
            )?;
        }
    }
    family(
        text,
        "seconds",
        "summary",
        "Time from the start to the end of each plugin's calls",
    )?;
    for (name, plugin) in world.plugins() {
        let metrics = plugin.metrics();
        let ended = outcomes(metrics).iter().fold(0, |sum: u64, (_, count)| {
            sum.saturating_add(count.load(Ordering::Relaxed))
        });
        let seconds = Duration::from_nanos(metrics.elapsed_nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        writeln!(text, "signet_edge_plugin_seconds_count{{plugin=\"{name}\"}} {ended}")?;
        writeln!(text, "signet_edge_plugin_seconds_sum{{plugin=\"{name}\"}} {seconds}")?;
    }
    for (short, kind, help, value) in SINGLE {
        family(text, short, kind, help)?;
        let total = if kind == "counter" { "_total" } else { "" };
        for (name, plugin) in world.plugins() {
            let value = value(plugin);
            writeln!(text, "signet_edge_plugin_{short}{total}{{plugin=\"{name}\"}} {value}")?;
        }
    }
    Ok(())
}

type Single = (&'static str, &'static str, &'static str, fn(&Plugin) -> u64);

/// Families of one value a plugin: name, type, what it says, and where it is read.
const SINGLE: [Single; 9] = [
    (
        "memory_peak_bytes",
        "gauge",
        "The most memory that one call of each plugin had",
        |plugin| plugin.metrics().memory_peak.load(Ordering::Relaxed),
    ),
    (
        "calls_apart",
        "counter",
        "Calls of each plugin on threads apart: it is new, or held a core for long",
        |plugin| plugin.metrics().apart.load(Ordering::Relaxed),
    ),
    (
        "batches",
        "counter",
        "Calls of each plugin about several requests of a batch at once; each request is a call of its own besides",
        |plugin| plugin.metrics().batches.load(Ordering::Relaxed),
    ),
    (
        "batches_failed",
        "counter",
        "Calls about several requests at once that failed, so that each was judged by itself",
        |plugin| plugin.metrics().batches_failed.load(Ordering::Relaxed),
    ),
    (
        "open",
        "gauge",
        "1 while a plugin fails again and again, and is not called",
        |plugin| u64::from(plugin.is_open()),
    ),
    (
        "openings",
        "counter",
        "Times that a plugin was found to fail again and again",
        |plugin| plugin.metrics().openings.load(Ordering::Relaxed),
    ),
    (
        "not_called",
        "counter",
        "Calls that were not made, because the plugin fails again and again",
        |plugin| plugin.metrics().not_called.load(Ordering::Relaxed),
    ),
    (
        "skips",
        "counter",
        "Requests that went on without a plugin's verdict, as their profiles allow",
        |plugin| plugin.metrics().skipped.load(Ordering::Relaxed),
    ),
    (
        "worker_restarts",
        "counter",
        "Worker processes of each isolated plugin that ended and were replaced",
        Plugin::restarts,
    ),
];

fn family(text: &mut String, short: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(text, "# HELP signet_edge_plugin_{short} {help}.")?;
    writeln!(text, "# TYPE signet_edge_plugin_{short} {kind}")
}

fn outcomes(metrics: &runtime::Metrics) -> [(&'static str, &AtomicU64); 9] {
    [
        ("allowed", &metrics.allowed),
        ("refused", &metrics.refused),
        ("trap", &metrics.trapped),
        ("timeout", &metrics.timed_out),
        ("memory", &metrics.out_of_memory),
        ("bad_output", &metrics.bad_output),
        ("host_panic", &metrics.host_panicked),
        ("worker", &metrics.worker_failed),
        ("busy", &metrics.busy),
    ]
}
