//! `signet audit`: an edge's own record of what it signed and refused, and the authority's of its key API.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::output;

/// Read and verify the audit spool of an edge, or of the authority's key API.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet audit tail                          what the edge of `signet dev` has on record
  signet audit tail --authority              what its authority has on record: operations of KMS clients
  signet audit tail --follow --dir /var/lib/signet-edge/audit
  signet audit verify                        every hash chain, from its first record")]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
    /// The data directory of a `signet dev` on this machine.
    #[arg(long, value_name = "DIR", default_value = "signet-data", global = true)]
    data: PathBuf,
    /// The authority's spool, not the edge's.
    #[arg(long, global = true, conflicts_with = "dir")]
    authority: bool,
    /// The spool's directory, instead of `--data`.
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print records, one JSON object a line, oldest first.
    Tail {
        /// Wait for more, until interrupted.
        #[arg(long, short)]
        follow: bool,
        /// The output is JSON anyway; accepted for uniformity.
        #[arg(long, hide = true)]
        json: bool,
    },
    /// Check every chain; exit code 1 and the place if one is broken.
    Verify,
}

impl Audit {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let role = if self.authority { "authority" } else { "edge" };
        let dir = self.dir.clone().unwrap_or_else(|| self.data.join(role).join("audit"));
        match self.command {
            Command::Tail { follow, .. } => {
                let mut tail = audit::read::tail(&dir, follow)?;
                loop {
                    match tail.poll() {
                        Some(record) => {
                            if !output::record(&record?.to_json())? {
                                return Ok(());
                            }
                        }
                        None if follow => std::thread::sleep(Duration::from_millis(200)),
                        None => return Ok(()),
                    }
                }
            }
            Command::Verify => {
                let report = audit::verify::directory(&dir)?;
                output::line(&report.to_string())?;
                match report.faults.len() {
                    0 => Ok(()),
                    faults => Err(Failure::new(format!("{faults} faults in `{}`", dir.display()))),
                }
            }
        }
    }
}
