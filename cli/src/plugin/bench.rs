//! `signet plugin bench`: what each case costs, beside what a call may cost.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::case::{self, Case};
use super::outcome::Outcome;
use super::project::{self, Subject};
use super::runner::Runner;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Measure time and memory of each case, against the plugin's deadline and memory.
#[derive(Debug, Args)]
pub struct Bench {
    /// A plugin's directory, or a component's file.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The cases, one TOML file each. Default: `cases` beside the component.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Calls of each case; fewer if they take longer than two seconds together.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    calls: u32,
    /// Make the calls in a worker process, as with isolation = "process" in a bundle.
    #[arg(long)]
    isolated: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const WARM_UP: u32 = 50;
const LONGEST: Duration = Duration::from_secs(2);

struct Measured {
    name: String,
    outcome: Outcome,
    calls: usize,
    median: Duration,
    p99: Duration,
    /// In bytes.
    memory: u64,
    is_within: bool,
}

impl Bench {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let subject = Subject::find(&self.path, self.cases.as_deref())?;
        project::tell_stale(&self.path, &subject, "");
        let cases = case::read_all(&subject.cases)?;
        let runner = Runner::new(&subject, self.isolated || subject.isolated)?;
        runner.load_own(&subject)?;
        let mut progress = Progress::new("measuring", "cases");
        let mut measured = Vec::new();
        for case in &cases {
            progress.tell(measured.len() as u64, cases.len() as u64);
            measured.push(self.measure(&runner, &subject, case)?);
        }
        drop(progress);
        if self.json {
            output::json(&report(&subject, &measured))?;
        } else {
            print(&subject, &measured)?;
        }
        match measured.iter().filter(|one| !one.is_within).count() {
            0 => Ok(()),
            over => Err(Failure::new(format!(
                "{over} of {} cases failed or took more than the budget",
                measured.len()
            ))),
        }
    }

    /// Loads the plugin anew, so that its memory's high water is this case's.
    fn measure(&self, runner: &Runner, subject: &Subject, case: &Case) -> Result<Measured, Failure> {
        let plugin = runner
            .load(subject, Some(case))
            .map_err(|error| error.after(&case.name))?;
        let Some(step) = case.steps.first() else {
            return Err(Failure::new(format!("{}: no request", case.name)));
        };
        let request = step.request();
        let begun = Instant::now();
        for _ in 0..WARM_UP {
            if begun.elapsed() > LONGEST {
                break;
            }
            runner.call(&plugin, &request);
        }
        let begun = Instant::now();
        let mut times = Vec::new();
        let mut outcome = None;
        while outcome.is_none() || (times.len() < self.calls as usize && begun.elapsed() < LONGEST) {
            let start = Instant::now();
            outcome = Some(runner.call(&plugin, &request));
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let at = |percent: usize| {
            let index = times.len().saturating_mul(percent) / 100;
            let last = times.len().saturating_sub(1);
            times.get(index.min(last)).copied().unwrap_or_default()
        };
        let outcome = outcome.unwrap_or_else(|| step.expected.clone());
        Ok(Measured {
            name: case.name.clone(),
            calls: times.len(),
            median: at(50),
            p99: at(99),
            memory: plugin.metrics().memory_peak.load(Ordering::Relaxed),
            is_within: at(50) <= subject.deadline
                && (!matches!(outcome, Outcome::Fail { .. }) || outcome.is(&step.expected)),
            outcome,
        })
    }
}

fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

fn print(subject: &Subject, measured: &[Measured]) -> Result<(), Failure> {
    let rows = measured.iter().map(|one| {
        vec![
            one.name.clone(),
            format!("{:.1}", microseconds(one.median)),
            format!("{:.1}", microseconds(one.p99)),
            format!("{}", one.memory / 1024),
            one.outcome.kind(),
            if one.is_within { "within" } else { "OVER" }.to_owned(),
        ]
    });
    output::table(
        &["case", "median µs", "p99 µs", "memory KiB", "answer", "budget"],
        &rows.collect::<Vec<_>>(),
    )?;
    let (deadline, memory) = (microseconds(subject.deadline), subject.memory / 1024);
    output::line(&format!("\nbudget of one call: {deadline} µs, {memory} KiB"))
}

fn report(subject: &Subject, measured: &[Measured]) -> Value {
    let cases = measured.iter().map(|one| {
        json!({
            "name": one.name, "calls": one.calls, "answer": one.outcome.json(), "within_budget": one.is_within,
            "median_us": microseconds(one.median), "p99_us": microseconds(one.p99), "memory_bytes": one.memory,
        })
    });
    json!({
        "budget": {"deadline_us": microseconds(subject.deadline), "memory_bytes": subject.memory},
        "cases": cases.collect::<Vec<_>>(),
    })
}
