//! `signet audit`: what edges and the authority signed, did and refused. The log has all of it, proven; each spool has its own
//! process's, at once.

mod copy;
mod from;
mod prove;
mod reconcile;
mod search;
mod verify;

use clap::{Args, Subcommand};

use self::from::From;
use crate::failure::Failure;
use crate::output;

/// Follow, search, prove and verify what was signed and refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet audit tail                          what the edge of `signet dev` has on record
  signet audit tail --authority              what its authority has on record: operations of KMS clients and operators
  signet audit tail --log --follow           all of it, from the authority's log
  signet audit tail --follow --dir /var/lib/signet-edge/audit
  signet audit search --tenant 000000000001 --outcome refused --from 2026-11-26T00:00:00Z
  signet audit search --kid KID --url https://authority.example:8444
  signet audit search --outcome refused --dir /var/lib/signet-edge/audit     at an edge, whatever the authority does
  signet audit prove --request ID --out proof.json
  signet audit verify                        every hash chain of the edge's spool, from its first record
  signet audit verify --log                  the whole log, with the key that its authority tells
  signet audit verify --dir /mnt/log --key vkey.txt --seen edge/audit-checkpoint
  signet audit verify --log --witness witness.example/1+…     and that it grew from what that witness cosigned last
  signet audit verify --proof proof.json --key vkey.txt
  signet mint PROFILE --json > answer.json && signet audit verify --proof answer.json --key vkey.txt
                                             of a profile in audit mode `witness`: the answer carries the proof
  signet audit reconcile                     every number of every process, and the ones that nobody accounts for
  signet audit reconcile --dir a/log --dir b/log    of a cluster: every authority has a log
  signet audit verify --dir s3://BUCKET/PREFIX --key vkey.txt     of a log in a bucket, with AWS_ACCESS_KEY_ID and so on set
  signet audit copy /var/lib/signet-authority/log s3://BUCKET/PREFIX --key vkey.txt
                                             move a log to a bucket, with the authority stopped
  signet audit key > vkey.txt                keep it somewhere else than the log

Exit codes: 0 done and in order, 1 something is wrong, 2 wrong usage.")]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    from: From,
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
    Search(search::Search),
    Prove(prove::Prove),
    Verify(verify::Verify),
    Reconcile(reconcile::Reconcile),
    Copy(copy::Copy),
    /// Print the verifier key of the log's checkpoints, which `verify` needs.
    Key,
}

impl Audit {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let from = &self.from;
        if !matches!(self.command, Command::Reconcile(_)) {
            from.demand_one()?;
        }
        match self.command {
            Command::Tail { follow, .. } => search::records(&from.any()?, &audit::filter::Filter::default(), follow),
            Command::Search(search) => search.run(from),
            Command::Prove(prove) => prove.run(&from.log()?),
            Command::Verify(verify) => verify.run(from),
            Command::Reconcile(reconcile) => reconcile.run(&from.logs()?),
            Command::Copy(copy) => copy.run(from),
            Command::Key => output::line(&from.told_key()?),
        }
    }
}
