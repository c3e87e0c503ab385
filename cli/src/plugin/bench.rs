//! `signet plugin bench`: what each case costs, beside what a call may cost.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use runtime::{MAX_BATCH, Plugin, Request};
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
    /// Where the rule has `evaluate-batch`, and the case expects no failure.
    batch: Option<InBatch>,
    is_within: bool,
}

/// What a call with the same request [`MAX_BATCH`] times costs.
struct InBatch {
    calls: usize,
    /// Of one request among them.
    median: Duration,
    p99: Duration,
    /// In bytes, of the whole call.
    memory: u64,
    /// How it fails as a whole.
    failed: Option<Outcome>,
    is_within: bool,
}

/// How long so many calls took, in order.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, percent: usize) -> Duration {
        let index = self.0.len().saturating_mul(percent) / 100;
        let last = self.0.len().saturating_sub(1);
        self.0.get(index.min(last)).copied().unwrap_or_default()
    }
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
        let (times, outcome) = self.times(|| runner.call(&plugin, &request));
        let memory = plugin.metrics().memory_peak.load(Ordering::Relaxed);
        let fails = matches!(outcome, Outcome::Fail { .. });
        let batch = (plugin.is_batch() && !fails).then(|| self.in_batch(runner, &plugin, &request, subject.deadline));
        Ok(Measured {
            name: case.name.clone(),
            calls: times.0.len(),
            median: times.at(50),
            p99: times.at(99),
            memory,
            is_within: times.at(50) <= subject.deadline
                && (!fails || outcome.is(&step.expected))
                && batch.as_ref().is_none_or(|batch| batch.is_within),
            batch,
            outcome,
        })
    }

    fn in_batch(&self, runner: &Runner, plugin: &Plugin, request: &Request<'_>, deadline: Duration) -> InBatch {
        let requests = vec![request.clone(); MAX_BATCH];
        let (times, answered) = self.times(|| runner.call_batch(plugin, &requests));
        let each = |time: Duration| time.div_f64(MAX_BATCH as f64);
        InBatch {
            calls: times.0.len(),
            median: each(times.at(50)),
            p99: each(times.at(99)),
            memory: plugin.metrics().memory_peak.load(Ordering::Relaxed),
            is_within: answered.is_ok() && each(times.at(50)) <= deadline,
            failed: answered.err(),
        }
    }

    /// Calls until there are enough calls or it took long enough. With what the last one came to.
    fn times<T>(&self, call: impl Fn() -> T) -> (Times, T) {
        let begun = Instant::now();
        for _ in 0..WARM_UP {
            if begun.elapsed() > LONGEST {
                break;
            }
            call();
        }
        let begun = Instant::now();
        let mut times = Vec::new();
        let timed = |times: &mut Vec<Duration>| {
            let start = Instant::now();
            let outcome = call();
            times.push(start.elapsed());
            outcome
        };
        let mut outcome = timed(&mut times);
        while times.len() < self.calls as usize && begun.elapsed() < LONGEST {
            outcome = timed(&mut times);
        }
        times.sort_unstable();
        (Times(times), outcome)
    }
}

fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

fn print(subject: &Subject, measured: &[Measured]) -> Result<(), Failure> {
    let is_batch = measured.iter().any(|one| one.batch.is_some());
    let mut head = vec!["case", "median µs", "p99 µs", "memory KiB"];
    if is_batch {
        head.extend(["batch µs", "batch KiB"]);
    }
    head.extend(["answer", "budget"]);
    let rows = measured.iter().map(|one| {
        let mut row = vec![
            one.name.clone(),
            format!("{:.1}", microseconds(one.median)),
            format!("{:.1}", microseconds(one.p99)),
            format!("{}", one.memory / 1024),
        ];
        if is_batch {
            row.extend(
                one.batch
                    .as_ref()
                    .map_or(["-".to_owned(), "-".to_owned()], InBatch::cells),
            );
        }
        row.push(one.outcome.kind());
        row.push(if one.is_within { "within" } else { "OVER" }.to_owned());
        row
    });
    output::table(&head, &rows.collect::<Vec<_>>())?;
    let (deadline, memory) = (microseconds(subject.deadline), subject.memory / 1024);
    output::line(&format!("\nbudget of one call: {deadline} µs, {memory} KiB"))?;
    if is_batch {
        let line = format!(
            "batch: {MAX_BATCH} times the same request in one call, which may take {MAX_BATCH} times as long: the median for one of them, the memory of all"
        );
        output::line(&line)?;
    }
    Ok(())
}

impl InBatch {
    fn cells(&self) -> [String; 2] {
        let time = match &self.failed {
            Some(failed) => failed.kind(),
            None => format!("{:.1}", microseconds(self.median)),
        };
        [time, format!("{}", self.memory / 1024)]
    }

    fn report(&self) -> Value {
        json!({
            "requests": MAX_BATCH, "calls": self.calls, "failed": self.failed.as_ref().map(Outcome::json),
            "median_us": microseconds(self.median), "p99_us": microseconds(self.p99), "memory_bytes": self.memory,
        })
    }
}

fn report(subject: &Subject, measured: &[Measured]) -> Value {
    let cases = measured.iter().map(|one| {
        let mut case = json!({
            "name": one.name, "calls": one.calls, "answer": one.outcome.json(), "within_budget": one.is_within,
            "median_us": microseconds(one.median), "p99_us": microseconds(one.p99), "memory_bytes": one.memory,
        });
        // Only of a rule with `evaluate-batch`. Its times are those of one request.
        if let (Some(batch), Some(case)) = (&one.batch, case.as_object_mut()) {
            case.insert("batch".to_owned(), batch.report());
        }
        case
    });
    json!({
        "budget": {"deadline_us": microseconds(subject.deadline), "memory_bytes": subject.memory},
        "cases": cases.collect::<Vec<_>>(),
    })
}
