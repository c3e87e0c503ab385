use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Protocol;
use crate::histogram::Histogram;

/// What a run showed. Latencies are microseconds, of answers with status 2xx only: refusals are quicker and would
/// flatter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `h1`, `h2` or `h3`.
    pub protocol: &'static str,
    /// Connections, each with one request in flight.
    pub connections: u16,
    /// How long it took.
    pub seconds: f64,
    /// Requests that ended, well or not.
    pub requests: u64,
    /// Those that did not end with a 2xx: by the problem's code, else `http_STATUS`, else `connect`, `exchange`,
    /// `timeout`.
    pub errors: BTreeMap<String, u64>,
    /// Answers with status 2xx a second.
    pub rate: f64,
    /// Half were answered within this.
    pub p50_us: u64,
    /// 90 %.
    pub p90_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// All of them.
    pub max_us: u64,
    /// The sample of tokens; absent where none was asked for.
    pub verified: Option<Verification>,
}

/// How the sample of tokens did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verification {
    /// Tokens whose signature, issuer and times are right.
    pub valid: u64,
    /// The others, by reason.
    pub invalid: BTreeMap<String, u64>,
}

/// What the connections counted together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) latencies: Histogram,
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Counts {
    pub(crate) fn error(&mut self, code: impl Into<String>) {
        let count = self.errors.entry(code.into()).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn merge(&mut self, other: Counts) {
        self.latencies.merge(&other.latencies);
        for (code, more) in other.errors {
            let count = self.errors.entry(code).or_default();
            *count = count.saturating_add(more);
        }
    }
}

impl Report {
    pub(crate) fn new(
        protocol: Protocol,
        connections: u16,
        took: Duration,
        counts: Counts,
        verified: Option<Verification>,
    ) -> Report {
        let Counts { latencies, errors } = counts;
        let failed = errors.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        Report {
            protocol: protocol.as_str(),
            connections,
            seconds: took.as_secs_f64(),
            requests: latencies.total().saturating_add(failed),
            errors,
            rate: latencies.total() as f64 / took.as_secs_f64().max(1e-9),
            p50_us: latencies.quantile(500),
            p90_us: latencies.quantile(900),
            p99_us: latencies.quantile(990),
            p999_us: latencies.quantile(999),
            max_us: latencies.max(),
            verified,
        }
    }

    /// Answers with status 2xx.
    pub fn answered(&self) -> u64 {
        self.requests.saturating_sub(
            self.errors
                .values()
                .fold(0, |sum: u64, count| sum.saturating_add(*count)),
        )
    }

    /// Whether every request was answered well and every sampled token is valid.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.verified.as_ref().is_none_or(|sample| sample.invalid.is_empty())
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} over {} connections, closed loop, {:.1} s: {} requests, {} answered, {:.0} a second",
            self.protocol,
            self.connections,
            self.seconds,
            self.requests,
            self.answered(),
            self.rate
        )?;
        write!(
            out,
            "latency, µs: p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us
        )?;
        if let Some(sample) = &self.verified {
            write!(out, "\ntokens verified: {}", sample.valid)?;
            for (reason, count) in &sample.invalid {
                write!(out, "\n  {count} invalid: {reason}")?;
            }
        }
        for (code, count) in &self.errors {
            write!(out, "\n{count} × {code}")?;
        }
        Ok(())
    }
}
