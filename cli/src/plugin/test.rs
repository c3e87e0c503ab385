//! `signet plugin test`: cases in, verdicts compared, and which kinds of answer they reached.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use runtime::Plugin;
use serde_json::{Value, json};

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
    expected: Outcome,
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
        let tested = run(&subject, &cases, self.isolated || subject.isolated)?;
        let failed = tested.iter().filter(|one| !one.passed()).count();
        match (self.json, self.watch) {
            (true, true) => drop(output::record(&report(&tested, failed).to_string())?),
            (true, false) => output::json(&report(&tested, failed))?,
            (false, _) => output::text(&text(&tested, failed, self.verbose))?,
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(format!("{failed} of {} cases failed", tested.len()))),
        }
    }
}

fn run(subject: &Subject, cases: &[Case], isolated: bool) -> Result<Vec<Tested>, Failure> {
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
    Ok(tested)
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
                expected: step.expected.clone(),
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

/// How often each kind of answer was given.
fn coverage(tested: &[Tested]) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for answer in tested.iter().flat_map(|one| &one.answers) {
        let count: &mut u64 = kinds.entry(answer.kind()).or_default();
        *count = count.saturating_add(1);
    }
    kinds
}

fn text(tested: &[Tested], failed: usize, verbose: bool) -> String {
    let mut text = String::new();
    let width = tested
        .iter()
        .map(|one| one.name.chars().count())
        .max()
        .unwrap_or_default();
    for one in tested {
        let log = one.log.texts();
        let Some(failed) = &one.failed else {
            text.push_str(&format!("ok    {:<width$}  {}\n", one.name, one.kinds()));
            text.push_str(&indented(if verbose { &log } else { &[] }));
            continue;
        };
        let place = failed.place.map(|(step, time)| format!("  step {step}, time {time}"));
        text.push_str(&format!("FAIL  {}{}\n", one.name, place.unwrap_or_default()));
        if let Some(actual) = one.answers.last() {
            text.push_str(&indented(&difference(&failed.expected, actual)));
        }
        text.push_str(&indented(&log));
    }
    let kinds = coverage(tested);
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let passed = tested.len().saturating_sub(failed);
    text.push_str(&format!(
        "\nverdicts seen: {}\n{passed} passed, {failed} failed\n",
        kinds.join(", ")
    ));
    text
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("        {line}\n")).collect()
}

fn report(tested: &[Tested], failed: usize) -> Value {
    let cases = tested.iter().map(|one| {
        let wrong = one.failed.as_ref();
        let place = wrong.and_then(|failed| failed.place);
        json!({
            "name": one.name, "passed": one.passed(), "answers": one.answers.len(),
            "actual": one.answers.last().map(Outcome::json),
            "expected": wrong.map(|failed| failed.expected.json()),
            "log": one.log.json(), "step": place.map(|(step, _)| step), "time": place.map(|(_, time)| time),
        })
    });
    json!({
        "passed": tested.len().saturating_sub(failed), "failed": failed,
        "verdicts": coverage(tested), "cases": cases.collect::<Vec<_>>(),
    })
}
