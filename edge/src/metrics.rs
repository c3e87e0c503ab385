//! Counters of this edge in OpenMetrics text. Labels come from the bundle and from this code, never from a request.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::world::World;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProfile {
    profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
}

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    signatures: Family<ByProfile, Counter>,
    refusals: Family<ByCode, Counter>,
    bundles: Family<ByCode, Counter>,
    ready: Gauge,
    connected: Gauge,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Metrics {
        let (signatures, refusals, bundles) = (Family::default(), Family::default(), Family::default());
        let (ready, connected) = (Gauge::default(), Gauge::default());
        let mut registry = Registry::with_prefix("signet_edge");
        registry.register(
            "signatures",
            "Signatures that were recorded and answered, by profile",
            signatures.clone(),
        );
        registry.register(
            "refusals",
            "Refused requests and batch elements, by code",
            refusals.clone(),
        );
        registry.register(
            "bundles",
            "Bundles received, by whether they were taken into use",
            bundles.clone(),
        );
        registry.register("ready", "1 when every profile can be signed for", ready.clone());
        registry.register(
            "connected",
            "1 while the authority's watch stream stands",
            connected.clone(),
        );
        Metrics {
            registry,
            signatures,
            refusals,
            bundles,
            ready,
            connected,
        }
    }

    /// The counter of a profile's signatures. Look it up once: counting is a single addition then.
    pub fn signatures(&self, profile: &str) -> Counter {
        let profile = profile.to_owned();
        self.signatures.get_or_create_owned(&ByProfile { profile })
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

    /// The text of `/metrics`, with the plugins' own counters.
    pub fn render(&self, world: &World) -> String {
        let mut text = String::new();
        let encoded = encode(&mut text, &self.registry).and_then(|()| plugins(&mut text, world));
        if let Err(error) = encoded {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

/// The plugins' counters go before the end marker that the encoder has written.
fn plugins(text: &mut String, world: &World) -> std::fmt::Result {
    const END: &str = "# EOF\n";
    text.truncate(text.len().saturating_sub(END.len()));
    writeln!(
        text,
        "# HELP signet_edge_plugin_calls Calls of each plugin, by outcome."
    )?;
    writeln!(text, "# TYPE signet_edge_plugin_calls counter")?;
    for (name, plugin) in world.plugins() {
        for (outcome, count) in outcomes(plugin.metrics()) {
            let count = count.load(Ordering::Relaxed);
            writeln!(
                text,
                "signet_edge_plugin_calls_total{{plugin=\"{name}\",outcome=\"{outcome}\"}} {count}"
            )?;
        }
    }
    text.push_str(END);
    Ok(())
}

fn outcomes(metrics: &runtime::Metrics) -> [(&'static str, &AtomicU64); 8] {
    [
        ("allowed", &metrics.allowed),
        ("refused", &metrics.refused),
        ("trap", &metrics.trapped),
        ("timeout", &metrics.timed_out),
        ("memory", &metrics.out_of_memory),
        ("bad_output", &metrics.bad_output),
        ("host_panic", &metrics.host_panicked),
        ("busy", &metrics.busy),
    ]
}
