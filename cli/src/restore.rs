//! `signet restore`: an authority from a backup, and how a sealed authority comes to serve again.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use authority::backup::Share;
use authority::clock::Clock;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::runtime;
use crate::dev::{self, files};
use crate::failure::{Context, Failure};
use crate::output;
use crate::progress::Progress;

/// Restore an authority from a backup, with the authority stopped.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  signet restore --from monday.backup --config authority.toml                     with the HSM of the backup
  signet restore --from monday.backup --config authority.toml --share a --share b --share c    into another HSM
  signet restore replay --config authority.toml --audit /mnt/old/audit            stop again what was stopped since
  signet restore waive --config authority.toml --reason 'the spool is lost' --share a --share b --share c

A restored authority is sealed: it starts and says so, but uses no key until it was replayed or waived."
)]
pub struct Restore {
    #[command(subcommand)]
    command: Option<Command>,
    /// The backup.
    #[arg(long, value_name = "FILE", required = true)]
    from: Option<PathBuf>,
    /// A share of the backup key, once for each: only for another HSM than that of the backup.
    #[arg(long = "share", value_name = "FILE")]
    shares: Vec<PathBuf>,
    /// Write the new admin token to this directory, and print no secret.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    site: Site,
}

/// Which authority.
#[derive(Debug, Clone, Args)]
struct Site {
    /// authority.toml
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The data directory of a `signet dev`, which is not running.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "signet-data",
        global = true,
        conflicts_with = "config"
    )]
    data: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stop again what an audit spool says was stopped since the backup; exit code 1 while something is left to do.
    Replay {
        /// The audit spool of the authority that the backup was made of. Default: the one in the data directory.
        #[arg(long, value_name = "DIR")]
        audit: Option<PathBuf>,
    },
    /// Unseal without that, on the word of a quorum: as many shares of the backup key as restore.
    Waive {
        /// Why; kept on record.
        #[arg(long)]
        reason: String,
        /// A share of the backup key, once for each.
        #[arg(long = "share", value_name = "FILE", required = true)]
        shares: Vec<PathBuf>,
    },
}

impl Restore {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let site = &self.site;
        match &self.command {
            None => self.restore(),
            Some(Command::Replay { audit }) => {
                let (config, _lock) = site.open()?;
                let audit = audit.clone().unwrap_or_else(|| config.audit_dir());
                let outcome = runtime()?.block_on(authority::unseal::replay(&config, &audit))?;
                replayed(&serde_json::to_value(&outcome)?, site.json)
            }
            Some(Command::Waive { reason, shares }) => {
                let shares = read_shares(shares)?;
                let (config, _lock) = site.open()?;
                let lifted = runtime()?.block_on(authority::unseal::waive(&config, reason, &shares))?;
                if site.json {
                    return output::json(&serde_json::to_value(&lifted)?);
                }
                output::line("waived: the authority serves at its next start")
            }
        }
    }

    fn restore(&self) -> Result<(), Failure> {
        let from = self
            .from
            .as_deref()
            .ok_or_else(|| Failure::new("name a backup with --from"))?;
        let shares = read_shares(&self.shares)?;
        let file = File::open(from).context(|| format!("`{}`", from.display()))?;
        let (config, _lock) = self.site.open()?;
        if let Some(out) = &self.out {
            files::private_dir(out)?;
        }
        let mut progress = Progress::new("restore", "rows");
        let report = runtime()?.block_on(authority::restore::restore(
            &config,
            &Clock::system(),
            BufReader::new(file),
            &shares,
            &mut |done, total| progress.tell(done, total),
        ))?;
        drop(progress);
        let token_file = match (&self.out, self.site.config.is_some()) {
            (Some(out), _) => Some(out.join("admin-token")),
            (None, false) => Some(self.site.data.join("dev/admin-token")),
            (None, true) => None,
        };
        if let Some(file) = &token_file {
            files::private_file(file, report.admin_token.as_bytes()).map_err(|failure| {
                failure.after("the authority is restored; `signet authority reset-admin-token` makes another token")
            })?;
        }
        let token = token_file.is_none().then(|| report.admin_token.as_str());
        told(&serde_json::to_value(&report)?, token, self.site.json)
    }
}

impl Site {
    /// The configuration; of a `signet dev`, with its lock, which is held as long as the second part.
    fn open(&self) -> Result<(authority::Config, Option<File>), Failure> {
        match &self.config {
            Some(config) => {
                let config = authority::Config::load(config)?;
                node::hardening::harden(config.allow_swap)?;
                Ok((config, None))
            }
            None => {
                let data = self.data.canonicalize().context(|| {
                    format!(
                        "`{}` is no data directory of `signet dev`; name one with --data, or an authority's with --config",
                        self.data.display()
                    )
                })?;
                let lock = dev::lock(&data)?;
                Ok((runtime()?.block_on(dev::authority_of(&data))?, Some(lock)))
            }
        }
    }
}

/// One share a file.
fn read_shares(files: &[PathBuf]) -> Result<Vec<Share>, Failure> {
    let read = |file: &PathBuf| -> Result<Share, Failure> {
        let name = || format!("`{}`", file.display());
        let text = std::fs::read_to_string(file).context(name)?;
        text.parse().context(name)
    };
    files.iter().map(read).collect()
}

/// What a restore did, and what is to be done now.
fn told(report: &Value, token: Option<&str>, is_json: bool) -> Result<(), Failure> {
    if is_json {
        let mut report = report.clone();
        if let (Some(members), Some(token)) = (report.as_object_mut(), token) {
            members.insert("admin_token".to_owned(), json!(token));
        }
        return output::json(&report);
    }
    let member = |name: &str| report.get(name).cloned().unwrap_or_default();
    let taken = output::time(member("taken_at").as_u64().unwrap_or_default());
    output::line(&format!(
        "restored {} rows of {taken}; {} keys came back",
        member("rows"),
        member("keys")
    ))?;
    let lost = report
        .get("lost")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if !lost.is_empty() {
        output::line("\ndid not come back, since it never left the old HSM:")?;
    }
    for lost in lost {
        let text = |name: &str| lost.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let aliases: Vec<_> = lost
            .get("aliases")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .collect();
        let aliases: Vec<_> = aliases.into_iter().filter_map(Value::as_str).collect();
        let named = match text("what").as_str() {
            "roots" => "the roots".to_owned(),
            "key_ca" => format!("the CA of key {} {}", text("key"), aliases.join(" ")),
            _ => format!("key {} {}", text("key"), aliases.join(" ")),
        };
        output::line(&format!("  {}: {}; {}", named.trim_end(), text("done"), text("to_do")))?;
    }
    if let Some(token) = token {
        output::line(token)?;
        output::note("the line above is the new admin token; it is not shown again, and the one before is refused");
    }
    output::note(
        "the authority is sealed until `signet restore replay` has stopped again what was stopped since the backup, or \
         `signet restore waive`",
    );
    Ok(())
}

fn replayed(outcome: &Value, is_json: bool) -> Result<(), Failure> {
    let list = |name: &str| outcome.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    if is_json {
        output::json(outcome)?;
    } else {
        let rows = list("replayed").into_iter().map(|replayed| {
            let text = |name: &str| replayed.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let is_new = replayed.get("stopped").and_then(Value::as_bool) == Some(true);
            let done = if is_new { "stopped" } else { "nothing to stop" };
            vec![text("what"), text("id"), done.to_owned(), text("to_do")]
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            output::line("nothing that is on record was stopped since the backup")?;
        } else {
            output::table(&["WHAT", "ID", "DONE", "LEFT TO DO"], &rows)?;
        }
    }
    let outstanding = list("outstanding");
    if let Some(first) = outstanding.first().and_then(Value::as_str) {
        return Err(Failure::new(format!("the authority stays sealed: {first}")));
    }
    if !is_json {
        output::line("replayed: the authority serves at its next start")?;
    }
    Ok(())
}
