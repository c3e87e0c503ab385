//! `signet plugin inspect`: what a file is, and whether an edge would load it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use runtime::LoadFailure;
use serde_json::json;

use super::component::{self, Shape};
use super::project::{self, Subject};
use super::runner;
use crate::failure::{Context, Failure};
use crate::{output, progress};

/// Show a component's world, imports, exports, size and digest, and whether a Signet host would load it.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A component's file, or a plugin's directory.
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    path: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Runs the command. A file that would not be loaded is a failure.
    pub fn run(self) -> Result<(), Failure> {
        let file = project::component(&self.path)?;
        if let Ok(subject) = Subject::find(&self.path, None) {
            project::tell_stale(&self.path, &subject, "");
        }
        let wasm = std::fs::read(&file).context(|| format!("`{}`", file.display()))?;
        let shape = component::shape(&wasm);
        let (bytes, digest) = (wasm.len(), component::digest(&wasm));
        let host = runner::host()?;
        let loaded = progress::during("compiling", || host.load(runner::granted("it", wasm)));
        let memory = loaded
            .as_ref()
            .ok()
            .map(|plugin| plugin.metrics().memory_peak.load(Ordering::Relaxed));
        let problem = loaded
            .err()
            .map(|error| (error.reason.to_string(), advice(&error.reason, &shape)));
        let world = shape.world.as_deref();
        if self.json {
            output::json(&json!({
                "file": file, "kind": shape.kind, "world": world, "imports": shape.imports, "exports": shape.exports,
                "bytes": bytes, "sha256": digest, "memory_bytes": memory, "loads": problem.is_none(),
                "problem": problem.as_ref().map(|(problem, _)| problem),
                "advice": problem.as_ref().and_then(|(_, advice)| *advice),
            }))?;
        } else {
            let list = |names: &[String]| match names.is_empty() {
                true => "none".to_owned(),
                false => names.join(", "),
            };
            let memory = memory.map_or_else(
                || "unknown".to_owned(),
                |bytes| format!("{} KiB when it starts", bytes / 1024),
            );
            output::text(&format!(
                "kind     {}\nworld    {}\nimports  {}\nexports  {}\nsize     {bytes} bytes\nsha256   {digest}\nmemory   {memory}\nloads    {}\n",
                shape.kind,
                world.unwrap_or("none that this version knows"),
                list(&shape.imports),
                list(&shape.exports),
                if problem.is_none() { "yes" } else { "no" },
            ))?;
        }
        match problem {
            None => Ok(()),
            Some((problem, None)) => Err(Failure::new(problem)),
            Some((problem, Some(advice))) => Err(Failure::new(format!("{problem}; {advice}"))),
        }
    }
}

/// What to do, where the message does not say it.
fn advice(failure: &LoadFailure, shape: &Shape) -> Option<&'static str> {
    match failure {
        // It says so itself.
        LoadFailure::WrongWorld(_) if shape.counts_a_batch() => None,
        LoadFailure::NotWasm => Some("give the built component, not its source; `signet plugin build` makes one"),
        LoadFailure::CoreModule => Some("or let `signet plugin build` do it"),
        LoadFailure::Malformed(_) => Some("build it again, without proposals such as threads, GC or 64-bit memory"),
        LoadFailure::ForbiddenImport(_) => Some("build for wasm32-unknown-unknown or freestanding, not for WASI"),
        LoadFailure::WrongWorld(_) => Some("export `evaluate` as plugins/wit/rule.wit has it"),
        LoadFailure::DoesNotStart(_) => Some("look at its start function and the memory it begins with"),
        LoadFailure::TooSlow(_) => Some("make it smaller"),
        LoadFailure::Compiler(_) | LoadFailure::Worker(_) => Some("report it"),
        LoadFailure::Setting { .. }
        | LoadFailure::TooLarge { .. }
        | LoadFailure::TooManyWorkers(_)
        | LoadFailure::Busy
        | LoadFailure::OtherComponent
        | LoadFailure::NoCompiler => None,
    }
}
