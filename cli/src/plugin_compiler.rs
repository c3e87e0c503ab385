//! `signet plugin-compiler`: the process in which a component is compiled. Started by an authority or an edge, never by hand.

use clap::Args;

use crate::failure::{Context, Failure};

/// Compile one component from standard input to standard output.
#[derive(Debug, Args)]
pub struct PluginCompiler {}

impl PluginCompiler {
    /// Compiles.
    pub fn run(self) -> Result<(), Failure> {
        runtime::run_compiler().context(|| "the compiler".to_owned())
    }
}
