//! `signet plugin test`: cases in, verdicts compared, and which kinds of answer they reached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value, json};

use super::case::{self, Case};
use super::outcome::{Outcome, difference};
use super::project::Subject;
use super::runner::Runner;
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
    /// Run again whenever the component or a case changes.
    #[arg(long)]
    watch: bool,
    /// Print JSON, with --watch one line a run.
    #[arg(long)]
    json: bool,
}

/// What came of one case.
struct Tested {
    name: String,
    expected: Outcome,
    actual: Outcome,
}

impl Tested {
    fn passed(&self) -> bool {
        self.actual.is(&self.expected)
    }
}

impl Test {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        if !self.watch {
            return self.once();
        }
        loop {
            let seen = self.state();
            if let Err(failure) = self.once() {
                output::note(&failure.to_string());
            }
            output::note("waiting for a change; end with ctrl-c");
            while self.state() == seen {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    fn once(&self) -> Result<(), Failure> {
        let subject = Subject::find(&self.path, self.cases.as_deref())?;
        let cases = case::read_all(&subject.cases)?;
        let tested = run(&subject, &cases)?;
        let failed = tested.iter().filter(|one| !one.passed()).count();
        match (self.json, self.watch) {
            (true, true) => drop(output::record(&report(&tested, failed).to_string())?),
            (true, false) => output::json(&report(&tested, failed))?,
            (false, _) => output::text(&text(&tested, failed))?,
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(format!("{failed} of {} cases failed", tested.len()))),
        }
    }

    /// When the files that matter were changed, and which they are.
    fn state(&self) -> Vec<(PathBuf, Option<SystemTime>)> {
        let Ok(subject) = Subject::find(&self.path, self.cases.as_deref()) else {
            return Vec::new();
        };
        let mut paths = case::paths(&subject.cases).unwrap_or_default();
        let manifest = subject.component.with_file_name(super::project::MANIFEST);
        paths.extend([manifest, subject.component]);
        let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
        paths.into_iter().map(|path| (path.clone(), changed(&path))).collect()
    }
}

fn run(subject: &Subject, cases: &[Case]) -> Result<Vec<Tested>, Failure> {
    let runner = Runner::new(subject)?;
    let mut progress = Progress::new("testing", "cases");
    let mut loaded = BTreeMap::new();
    let mut tested = Vec::new();
    for case in cases {
        progress.tell(tested.len() as u64, cases.len() as u64);
        // The settings are part of a loaded plugin; as text they are what tells two apart.
        let key = format!("{:?}", case.config);
        let plugin = match loaded.get(&key) {
            Some(plugin) => plugin,
            None => {
                let plugin = runner
                    .load(subject, &case.config)
                    .map_err(|error| error.after(&case.name))?;
                loaded.entry(key).or_insert(plugin)
            }
        };
        tested.push(Tested {
            name: case.name.clone(),
            expected: case.expected.clone(),
            actual: runner.judge(plugin, &case.request()),
        });
    }
    Ok(tested)
}

/// How often each kind of answer was given.
fn coverage(tested: &[Tested]) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for one in tested {
        let count: &mut u64 = kinds.entry(one.actual.kind()).or_default();
        *count = count.saturating_add(1);
    }
    kinds
}

fn text(tested: &[Tested], failed: usize) -> String {
    let mut text = String::new();
    let width = tested
        .iter()
        .map(|one| one.name.chars().count())
        .max()
        .unwrap_or_default();
    for one in tested {
        if one.passed() {
            text.push_str(&format!("ok    {:<width$}  {}\n", one.name, one.actual.kind()));
        } else {
            text.push_str(&format!("FAIL  {}\n", one.name));
            for line in difference(&one.expected, &one.actual) {
                text.push_str(&format!("        {line}\n"));
            }
        }
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

fn report(tested: &[Tested], failed: usize) -> Value {
    let cases = tested.iter().map(|one| {
        json!({
            "name": one.name, "passed": one.passed(),
            "expected": one.expected.json(), "actual": one.actual.json(),
        })
    });
    json!({
        "passed": tested.len().saturating_sub(failed), "failed": failed,
        "verdicts": coverage(tested), "cases": cases.collect::<Vec<_>>(),
    })
}
