//! `signet plugin test`: cases in, verdicts compared, and which kinds of answer they reached.

mod together;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use runtime::Plugin;
use serde_json::{Value, json};

use self::together::Batches;
use super::case::{self, Case};
use super::log::{Listener, Log};
use super::outcome::{Outcome, difference};
use super::project::{self, Subject};
use super::runner::Runner;
use super::watch;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Run a plugin's cases and compare each verdict with the one that is expected.
#[derive(Debug, Args)]
pub struct Test {
    /// A plugin's directory, or a component's file.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The cases, one TOML file each. Default: `cases` beside the component.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Run again whenever something changes; a directory is built first if it is a source that did, and to begin with if one is newer.
    #[arg(long)]
    watch: bool,
    /// Make the calls in a worker process, as with isolation = "process" in a bundle.
    #[arg(long)]
    isolated: bool,
    /// Show what the rule writes to its log in every case, not only in those that fail.
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON, with --watch one line a run.
    #[arg(long)]
    json: bool,
}

/// A call that ran out of time on a busy laptop says little about the rule: the case is begun again so many times.
const ATTEMPTS: usize = 3;

/// What came of one case.
struct Tested {
    name: String,
    /// Of each of its requests, in order.
    answers: Vec<Outcome>,
    /// What the rule wrote meanwhile.
    log: Log,
    /// What was wrong with the last of them.
    failed: Option<Failed>,
}

struct Failed {
    /// Step and which time, from 1, where the case has several requests.
    place: Option<(usize, u32)>,
    /// It was right by itself, which is what was expected, and not among so many in one call.
    batch: Option<usize>,
    expected: Outcome,
    actual: Outcome,
}

/// All cases, and how they were judged together, if the rule has a way to.
struct Tests {
    tested: Vec<Tested>,
    batches: Option<Batches>,
}

impl Tested {
    fn passed(&self) -> bool {
        self.failed.is_none()
    }

    /// Whether it failed because a call ran out of time.
    fn is_late(&self) -> bool {
        let last = self.answers.last();
        !self.passed() && matches!(last, Some(Outcome::Fail { code, .. }) if code == "timeout")
    }

    /// The kinds of answer, each once, in order.
    fn kinds(&self) -> String {
        let mut kinds: Vec<_> = self.answers.iter().map(Outcome::kind).collect();
        kinds.dedup();
        kinds.join(", ")
    }
}

impl Test {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.watch {
            true => watch::watch(&self.path, self.cases.as_deref(), || self.once()),
            false => self.once(),
        }
    }

    fn once(&self) -> Result<(), Failure> {
        let subject = Subject::find(&self.path, self.cases.as_deref())?;
        if !self.watch {
            project::tell_stale(&self.path, &subject, ", or test with --watch");
        }
        let cases = case::read_all(&subject.cases)?;
        let tests = run(&subject, &cases, self.isolated || subject.isolated)?;
        let failed = tests.failed();
        match (self.json, self.watch) {
            (true, true) => drop(output::record(&tests.report().to_string())?),
            (true, false) => output::json(&tests.report())?,
            (false, _) => output::text(&tests.text(self.verbose))?,
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(format!("{failed} of {} cases failed", tests.tested.len()))),
        }
    }
}

fn run(subject: &Subject, cases: &[Case], isolated: bool) -> Result<Tests, Failure> {
    let runner = Runner::new(subject, isolated)?;
    let mut progress = Progress::new("testing", "cases");
    let listener = Listener::new();
    let mut loaded = BTreeMap::new();
    loaded.extend(runner.load_own(subject)?.map(|plugin| (String::new(), plugin)));
    let mut tested = Vec::new();
    for case in cases {
        progress.tell(tested.len() as u64, cases.len() as u64);
        let key = settings(case);
        let plugin = match loaded.get(&key) {
            Some(plugin) => plugin,
            None => {
                let plugin = runner
                    .load(subject, Some(case))
                    .map_err(|error| error.after(&case.name))?;
                loaded.entry(key).or_insert(plugin)
            }
        };
        let mut one = judge(&runner, plugin, case, &listener);
        for _ in 1..ATTEMPTS {
            if one.is_late() {
                one = judge(&runner, plugin, case, &listener);
            }
        }
        tested.push(one);
    }
    let batches = together::judge(&runner, &loaded, (cases, &mut tested), &listener);
    Ok(Tests { tested, batches })
}

/// Settings and tables of its own are part of a loaded plugin; as text they are what tells two apart. Nothing where there are none.
fn settings(case: &Case) -> String {
    match case.config.is_empty() && case.unset.is_empty() && case.tables.is_empty() {
        true => String::new(),
        false => format!("{:?}{:?}{:?}", case.config, case.unset, case.tables),
    }
}

/// The case's requests in order, on counts of their own, up to the first that is not answered as expected.
fn judge(runner: &Runner, plugin: &Plugin, case: &Case, listener: &Listener) -> Tested {
    plugin.forget_counts();
    let mut tested = Tested {
        name: case.name.clone(),
        answers: Vec::new(),
        log: Log::default(),
        failed: None,
    };
    for (index, step) in case.steps.iter().enumerate() {
        for time in 1..=step.times {
            let actual = runner.listen(plugin, &step.request(), listener, &mut tested.log);
            let failed = (!actual.is(&step.expected)).then(|| Failed {
                place: (case.steps.len() > 1 || step.times > 1).then_some((index.saturating_add(1), time)),
                batch: None,
                expected: step.expected.clone(),
                actual: actual.clone(),
            });
            tested.answers.push(actual);
            if failed.is_some() {
                tested.failed = failed;
                return tested;
            }
        }
    }
    tested
}

impl Tests {
    fn failed(&self) -> usize {
        self.tested.iter().filter(|one| !one.passed()).count()
    }

    fn passed(&self) -> usize {
        self.tested.len().saturating_sub(self.failed())
    }

    /// How often each kind of answer was given.
    fn coverage(&self) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        for answer in self.tested.iter().flat_map(|one| &one.answers) {
            let count: &mut u64 = kinds.entry(answer.kind()).or_default();
            *count = count.saturating_add(1);
        }
        kinds
    }

    fn text(&self, verbose: bool) -> String {
        let names = self.tested.iter().map(|one| one.name.chars().count());
        let width = names.max().unwrap_or_default();
        let mut text: String = self.tested.iter().map(|one| one.text(width, verbose)).collect();
        let kinds = self.coverage();
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        text.push_str(&format!("\nverdicts seen: {}\n", kinds.join(", ")));
        if let Some(Batches { cases, calls }) = &self.batches {
            let all = self.tested.len();
            text.push_str(&format!("in batches too: {cases} of {all} cases, calls: {calls}\n"));
        }
        text.push_str(&format!("{} passed, {} failed\n", self.passed(), self.failed()));
        text
    }

    fn report(&self) -> Value {
        let mut report = json!({
            "passed": self.passed(), "failed": self.failed(),
            "verdicts": self.coverage(), "cases": self.tested.iter().map(Tested::report).collect::<Vec<_>>(),
        });
        // Only a rule with `evaluate-batch` has it.
        if let (Some(Batches { cases, calls }), Some(report)) = (&self.batches, report.as_object_mut()) {
            report.insert("batches".to_owned(), json!({"cases": cases, "calls": calls}));
        }
        report
    }
}

impl Tested {
    fn text(&self, width: usize, verbose: bool) -> String {
        let log = self.log.texts();
        let Some(failed) = &self.failed else {
            let ok = format!("ok    {:<width$}  {}\n", self.name, self.kinds());
            return ok + &indented(if verbose { &log } else { &[] });
        };
        let place = failed.place.map(|(step, time)| format!("  step {step}, time {time}"));
        let batch = failed
            .batch
            .map(|size| format!("  in a batch of {size}, unlike by itself"));
        format!(
            "FAIL  {}{}{}\n{}{}",
            self.name,
            place.unwrap_or_default(),
            batch.unwrap_or_default(),
            indented(&difference(&failed.expected, &failed.actual)),
            indented(&log)
        )
    }

    fn report(&self) -> Value {
        let wrong = self.failed.as_ref();
        let place = wrong.and_then(|failed| failed.place);
        let actual = wrong.map(|failed| &failed.actual).or(self.answers.last());
        let mut report = json!({
            "name": self.name, "passed": self.passed(), "answers": self.answers.len(),
            "actual": actual.map(Outcome::json),
            "expected": wrong.map(|failed| failed.expected.json()),
            "log": self.log.json(), "step": place.map(|(step, _)| step), "time": place.map(|(_, time)| time),
        });
        if let (Some(size), Some(report)) = (wrong.and_then(|failed| failed.batch), report.as_object_mut()) {
            report.insert("batch".to_owned(), json!(size));
        }
        report
    }
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("        {line}\n")).collect()
}
