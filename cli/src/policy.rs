//! `signet policy`: policies on a laptop, without a server.

use std::path::{Path, PathBuf};

use authority::bundle::Finding;
use clap::{Args, Subcommand};
use policies::bundle::Plugin;
use policies::testing::{self, Fault, Report};
use policies::{Bundle, BundleError, PolicyError};
use serde_json::{Value, json};

use crate::failure::{Context, Failure};
use crate::plugin::runner;
use crate::{output, progress};

/// Check, test and explain the policies of a bundle's directory.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet policy check ./bundle
  signet policy check ./bundle --json               each mistake with file, line, column and hint
  signet policy test ./bundle                       runs every folder under ./bundle/cases
  signet policy test ./bundle --json                of each case what was expected, and what it is
  signet policy explain ./bundle request.json       which policies decide, and why")]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate a whole bundle: files, profiles, policies against the schema, plugins and their tables as an edge loads them.
    Check {
        /// The bundle's directory.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the cases under DIR/cases: request.json and expected.json in each folder.
    Test {
        /// The bundle's directory.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Decide one request and say what each policy said.
    Explain {
        /// The bundle's directory.
        dir: PathBuf,
        /// A request.json as in a case.
        request: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Policy {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Check { dir, json } => Checked::of(&dir)?.print(json),
            Command::Test { dir, json } => test(&dir, json),
            Command::Explain { dir, request, json } => {
                let content = std::fs::read(&request).context(|| format!("`{}`", request.display()))?;
                let explanation = testing::explain(&dir, &content).map_err(|faults| all(&faults))?;
                if json {
                    output::json(&json!(explanation.outcome))
                } else {
                    output::line(&explanation.to_string())
                }
            }
        }
    }
}

/// What is to be said of a bundle's directory.
#[derive(Default)]
struct Checked {
    /// None where it does not hold together.
    content: Option<testing::Checked>,
    mistakes: Vec<Found>,
    /// What is odd, but no mistake.
    warnings: Vec<Found>,
}

/// One thing, as people read it and as scripts do.
struct Found {
    text: String,
    finding: Finding,
}

impl Checked {
    fn of(dir: &Path) -> Result<Checked, Failure> {
        let mut checked = Checked::default();
        match testing::check(dir) {
            Ok(content) => {
                checked.warnings = content.warnings.iter().cloned().map(Found::of_policy).collect();
                checked.content = Some(content);
                checked.load_plugins(dir)?;
            }
            Err(faults) => checked.mistakes = faults.into_iter().map(Found::from).collect(),
        }
        Ok(checked)
    }

    /// Loads each plugin of a bundle that holds together as an authority does which is to put it in force.
    fn load_plugins(&mut self, dir: &Path) -> Result<(), Failure> {
        let files = policies::bundle::dir::read(dir)?;
        let bundle = Bundle::parse(&files).map_err(|faults| all(&faults))?;
        self.warnings
            .extend(bundle.unnamed(&files).into_iter().map(Found::of_bundle));
        if bundle.plugins.is_empty() {
            return Ok(());
        }
        let host = runner::host()?;
        self.mistakes = progress::during("loading the plugins", || {
            let load = |plugin: &Plugin| {
                // What is wrong with it is wrong in any process.
                let source = runtime::PluginSource {
                    isolated: false,
                    ..authority::bundle::plugin_source(plugin)
                };
                let failed = host.load(source).err();
                failed.map(|error| Found::of_file(&plugin.file, error.to_string()))
            };
            bundle.plugins.iter().filter_map(load).collect()
        });
        Ok(())
    }

    /// Mistakes are a failure.
    fn print(&self, is_json: bool) -> Result<(), Failure> {
        if is_json {
            output::json(&self.json())?;
        } else {
            for Found { text, .. } in &self.warnings {
                output::note(&format!("warning: {text}"));
            }
        }
        match (self.mistakes.as_slice(), &self.content) {
            ([], Some(content)) if !is_json => {
                let (profiles, files) = (content.profiles.len(), content.policy_files);
                output::line(&format!(
                    "ok: {}, {}, digest {}",
                    count(profiles, "profile"),
                    count(files, "policy file"),
                    content.digest
                ))
            }
            ([], _) => Ok(()),
            (mistakes, _) => Err(all(mistakes.iter().map(|found| &found.text))),
        }
    }

    fn json(&self) -> Value {
        let findings = |found: &[Found]| found.iter().map(|found| json!(found.finding)).collect::<Vec<_>>();
        let content = self.content.as_ref();
        json!({
            "valid": self.mistakes.is_empty(),
            "digest": content.map(|content| &content.digest),
            "profiles": content.map(|content| &content.profiles),
            "policy_files": content.map(|content| content.policy_files),
            "findings": findings(&self.mistakes),
            "warnings": findings(&self.warnings),
        })
    }
}

impl Found {
    fn of_bundle(error: BundleError) -> Found {
        Found {
            text: error.to_string(),
            finding: error.into(),
        }
    }

    fn of_policy(error: PolicyError) -> Found {
        Found {
            text: error.to_string(),
            finding: error.into(),
        }
    }

    fn of_file(file: &str, message: String) -> Found {
        Found {
            text: format!("{file}: {message}"),
            finding: Finding::of_file(file, message),
        }
    }
}

impl From<Fault> for Found {
    fn from(fault: Fault) -> Found {
        match fault {
            Fault::Bundle(error) => Found::of_bundle(error),
            Fault::Policy(error) => Found::of_policy(error),
        }
    }
}

fn test(dir: &Path, is_json: bool) -> Result<(), Failure> {
    let report = testing::test(dir).map_err(|faults| all(&faults))?;
    match is_json {
        true => output::json(&report_json(&report))?,
        false => output::line(&report.to_string())?,
    }
    match (report.passed(), report.cases.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::new(format!("`{}` has no cases", dir.join("cases").display()))),
        (false, false) => Err(Failure::new("not every case came out as expected")),
    }
}

fn report_json(report: &Report) -> Value {
    let cases = report.cases.iter().map(|case| {
        let outcomes = case.outcomes.as_ref();
        let actual = outcomes.map(|(_, actual)| actual);
        let expected = outcomes
            .filter(|_| case.failure.is_some())
            .map(|(expected, _)| expected);
        json!({
            "name": case.name, "passed": case.failure.is_none(), "actual": actual, "expected": expected,
            "failure": case.failure,
        })
    });
    let failed = report.cases.iter().filter(|case| case.failure.is_some()).count();
    json!({
        "passed": report.cases.len().saturating_sub(failed), "failed": failed, "cases": cases.collect::<Vec<_>>(),
    })
}

fn all<T: ToString>(mistakes: impl IntoIterator<Item = T>) -> Failure {
    let mistakes: Vec<_> = mistakes
        .into_iter()
        .map(|one| format!("\n  {}", one.to_string()))
        .collect();
    Failure::new(format!(
        "{} found{}",
        count(mistakes.len(), "mistake"),
        mistakes.concat()
    ))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
