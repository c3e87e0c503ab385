//! `signet policy`: policies on a laptop, without a server.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use policies::bundle::Plugin;
use policies::{Bundle, testing};
use serde_json::json;

use crate::failure::{Context, Failure};
use crate::plugin::runner;
use crate::{output, progress};

/// Check, test and explain the policies of a bundle's directory.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet policy check ./bundle
  signet policy test ./bundle                       runs every folder under ./bundle/cases
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
    },
    /// Run the cases under DIR/cases: request.json and expected.json in each folder.
    Test {
        /// The bundle's directory.
        dir: PathBuf,
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
            Command::Check { dir } => {
                let checked = testing::check(&dir).map_err(|faults| all(&faults))?;
                for warning in &checked.warnings {
                    output::note(&format!("warning: {warning}"));
                }
                load_plugins(&dir)?;
                let (profiles, files) = (checked.profiles.len(), checked.policy_files);
                output::line(&format!(
                    "ok: {}, {}, digest {}",
                    count(profiles, "profile"),
                    count(files, "policy file"),
                    checked.digest
                ))
            }
            Command::Test { dir } => {
                let report = testing::test(&dir).map_err(|faults| all(&faults))?;
                output::line(&report.to_string())?;
                match (report.passed(), report.cases.is_empty()) {
                    (true, _) => Ok(()),
                    (false, true) => Err(Failure::new(format!("`{}` has no cases", dir.join("cases").display()))),
                    (false, false) => Err(Failure::new("not every case came out as expected")),
                }
            }
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

/// Loads each plugin of a bundle that holds together as an authority does which is to put it in force.
fn load_plugins(dir: &Path) -> Result<(), Failure> {
    let files = policies::bundle::dir::read(dir)?;
    let bundle = Bundle::parse(&files).map_err(|faults| all(&faults))?;
    for odd in bundle.unnamed(&files) {
        output::note(&format!("warning: {odd}"));
    }
    if bundle.plugins.is_empty() {
        return Ok(());
    }
    let host = runner::host()?;
    let faults = progress::during("loading the plugins", || {
        let load = |plugin: &Plugin| {
            // What is wrong with it is wrong in any process.
            let source = runtime::PluginSource {
                isolated: false,
                ..authority::bundle::plugin_source(plugin)
            };
            let failed = host.load(source).err();
            failed.map(|error| format!("{}: {error}", plugin.file))
        };
        bundle.plugins.iter().filter_map(load).collect::<Vec<_>>()
    });
    match faults.as_slice() {
        [] => Ok(()),
        faults => Err(all(faults)),
    }
}

fn all(faults: &[impl Display]) -> Failure {
    let list: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    Failure::new(format!("{} found{list}", count(faults.len(), "mistake")))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
