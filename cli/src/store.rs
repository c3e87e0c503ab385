//! `signet store`: where an authority's state is kept.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::client::runtime;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Copy an authority's state from one store to another.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet store copy --from authority.toml --to replica-a.toml     from one disk to etcd
  signet store copy --from replica-a.toml --to on-disk.toml       and back

Every authority on the store of --from is stopped. Each file is an authority's configuration, which names its store and has a data_dir of its \
own; the HSM is that of --from, and stays the same. Every row is read back and compared. From then on start authorities with the configuration of --to, never with the other one.")]
pub struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy all of it into an empty store, and verify the copy row by row.
    Copy {
        /// authority.toml of the authority as it was, which is not running.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// authority.toml of the authority as it will be. Its store is empty, and its `data_dir` is not that of --from.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Store {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let Command::Copy { from, to, json } = self.command;
        let (from, to) = (authority::Config::load(&from)?, authority::Config::load(&to)?);
        let mut progress = Progress::new("copy and verify", "rows");
        let mut tell = |done, total| progress.tell(done, total);
        let report = runtime()?.block_on(authority::copy::copy(&from, &to, &mut tell))?;
        drop(progress);
        if json {
            return output::json(&serde_json::to_value(&report)?);
        }
        output::line(&format!(
            "copied and verified {} rows, sha256 {}; revision {} follows {}",
            report.rows, report.sha256, report.revision, report.from_revision
        ))
    }
}
