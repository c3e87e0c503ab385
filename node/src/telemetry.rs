//! What a running node tells its operator: a log on standard error and metrics in OpenMetrics text.
//!
//! Log lines and labels never hold secrets, bodies or tokens (R10); labels come from configuration and code, never from
//! a request, so that the number of series is bounded.

mod log;
mod metrics;

pub use log::{LogError, LogFormat, init};
pub use metrics::{Label, Metrics, OPENMETRICS, latency_buckets};
