//! `signet plugin-worker`: the process in which an isolated plugin runs. Started by an edge or an authority, never by hand.

use clap::Args;

use crate::failure::{Context, Failure};

/// Make the calls of one plugin, which come on standard input.
#[derive(Debug, Args)]
pub struct PluginWorker {}

impl PluginWorker {
    /// Works.
    pub fn run(self) -> Result<(), Failure> {
        runtime::run_worker().context(|| "the worker".to_owned())
    }
}
