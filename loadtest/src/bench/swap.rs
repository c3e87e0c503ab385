//! What callers notice while an edge takes new versions of a rule into use, one after the other: nothing, if all is well.
//!
//! The edge is that of [`super::compare`], asked without a pause. First it is left alone for a while; then, for as long,
//! versions of its rule (the same code in other bytes, so that each is compiled anew) are applied by the operator's command.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::operator::Operator;
use super::process::Cores;
use super::progress::Progress;
use super::spread::Spread;
use super::{Settings, VERIFY_EVERY, WARM_UP, bench, beside};
use crate::{LoadError, Report};

/// The rule of the profile that is asked for, in a bundle.
const RULE: &str = "plugins/claim-guard.wasm";

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SwapFigures {
    /// Requests while nothing changed.
    pub before: Report,
    /// Requests while version after version came into use.
    pub during: Report,
    /// From the operator's command to the edge's use of each version.
    pub swaps: Spread,
    /// Whether the edge had one core, which it compiled on too, and client and authority another.
    pub pinned: bool,
}

/// Runs it, each half for as long as all rounds of the settings together. As for [`super::compare`], call it from a program
/// that has one thread only.
///
/// # Errors
/// [`LoadError::Bench`] where a server does not start, or a version does not come into use.
pub fn measure(settings: &Settings) -> Result<SwapFigures, LoadError> {
    let cores = Cores::available();
    let data = tempfile::tempdir().map_err(bench)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bench)?;
    runtime.block_on(async {
        let (edge, _authority) = beside::start(&settings.signet, data.path(), &cores).await?;
        cores.client()?;
        let operator = Operator::new(&settings.signet, data.path(), &edge)?;
        let time = settings.round.saturating_mul(settings.rounds.into());
        edge.drive(settings, WARM_UP, VERIFY_EVERY).await?;
        let before = edge.ask(settings, time, 0).await?;
        let over = AtomicBool::new(false);
        let load = async {
            let report = edge.ask(settings, time, 0).await;
            over.store(true, Ordering::Relaxed);
            report
        };
        let (during, swaps) = tokio::try_join!(load, swap(&operator, &over))?;
        Ok(SwapFigures {
            before,
            during,
            swaps: Spread::of(swaps),
            pinned: cores.are_two(),
        })
    })
}

/// One version after another until it is over; how long each took.
async fn swap(operator: &Operator, over: &AtomicBool) -> Result<Vec<Duration>, LoadError> {
    let mut progress = Progress::new("versions in use");
    let code = operator.read(RULE)?;
    let mut took = Vec::new();
    let mut version: u16 = 0;
    while !over.load(Ordering::Relaxed) {
        version = version.wrapping_add(1);
        progress.tell(took.len(), took.len().saturating_add(1));
        took.push(operator.change(RULE, &versioned(&code, version)).await?);
    }
    Ok(took)
}

/// The same component in other bytes: with a custom section (core specification, 5.5.3) named by the version behind it.
fn versioned(code: &[u8], version: u16) -> Vec<u8> {
    let [high, low] = version.to_be_bytes();
    // Section 0, of five bytes: a name of two, two letters that make it UTF-8 whatever the version, and its content.
    [code, &[0, 5, 2, b'v', b'n', high, low]].concat()
}

impl fmt::Display for SwapFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pinned {
            "the edge on one core, client and authority on another"
        } else {
            "not pinned: one core only"
        };
        writeln!(
            out,
            "a rule's versions swapped under load, {} connections, HTTP/1.1, {place}",
            self.before.connections
        )?;
        writeln!(
            out,
            "{:<28}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "requests", "failed", "p50 µs", "p99 µs", "p99.9 µs", "max µs"
        )?;
        for (name, report) in [
            ("nothing changes", &self.before),
            ("version after version", &self.during),
        ] {
            let failed = report.requests.saturating_sub(report.answered());
            writeln!(
                out,
                "{name:<28}{:>10}{failed:>10}{:>10}{:>10}{:>10}{:>10}",
                report.requests, report.p50_us, report.p99_us, report.p999_us, report.max_us
            )?;
        }
        for (code, count) in &self.during.errors {
            writeln!(out, "  {count} × {code}")?;
        }
        write!(out, "{:<28}{}", "applied → in use", self.swaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_the_same_code_in_other_bytes() {
        let code = b"\0asm\x0d\0\x01\0";
        let (one, other) = (versioned(code, 1), versioned(code, 0x0100));
        assert!(one != other && one.starts_with(code) && other.len() == code.len() + 7);
    }

    #[test]
    fn failures_and_their_kinds_are_printed() {
        let report = |errors: &[(&str, u64)]| {
            let mut counts = crate::report::Counts::default();
            for (code, n) in errors {
                (0..*n).for_each(|_| counts.error(*code));
            }
            counts.latencies.record(Duration::from_micros(120));
            Report::new(crate::Protocol::Http1, 8, Duration::from_secs(1), counts, None)
        };
        let figures = SwapFigures {
            before: report(&[]),
            during: report(&[("rule_failed", 2)]),
            swaps: Spread::of(vec![Duration::from_millis(40)]),
            pinned: true,
        };
        let text = figures.to_string();
        assert!(text.contains("  2 × rule_failed\n"), "{text}");
        let during = text.lines().find(|line| line.starts_with("version after")).unwrap();
        assert_eq!(
            during.split_whitespace().skip(3).take(2).collect::<Vec<_>>(),
            ["3", "2"]
        );
    }
}
