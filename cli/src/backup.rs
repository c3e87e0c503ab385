//! `signet backup`: a copy of an authority's state in one file, and the backup key that restores it into another HSM.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use authority::backup::format::{Header, Reader};
use authority::backup::{Share, make_key};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::unfinished::Unfinished;
use crate::client::{AdminArgs, Target, describe, runtime};
use crate::dev::now;
use crate::failure::{Context, Failure};
use crate::output;
use crate::progress::Progress;

mod unfinished;

/// Copy an authority's whole state to a file, while it runs or while it is stopped.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  signet backup keys init --shares 5 --threshold 3 --out shares    once: then give each file to another person
  signet backup --out monday.backup                                of the authority of `signet dev`, or by --authority
  signet backup --out monday.backup --config authority.toml        with the authority stopped
  signet backup show monday.backup                                 whose it is, of when, and what restores it
  signet backup keys show                                          the backup key that is in force"
)]
pub struct Backup {
    #[command(subcommand)]
    command: Option<Command>,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
    /// authority.toml of an authority that is stopped, instead of one that runs.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The backup key: its public half is the authority's, its private half exists as shares only.
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// What a backup says of itself. Its authenticity shows when it is restored.
    Show {
        /// The backup.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Make one, split it, and put it in force: later backups can be restored into any HSM with enough of its shares.
    Init {
        /// How many shares, 2 to 255.
        #[arg(long)]
        shares: u8,
        /// How many of them restore, at least 2.
        #[arg(long)]
        threshold: u8,
        /// A directory to write them to, a file each (mode 0600); else they are printed, once. Where a quorum approves the key
        /// it keeps what is unfinished: the same command goes on with it.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// The one in force.
    Show,
}

impl Backup {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            None => self.make(),
            Some(Command::Show { file }) => {
                let header = Reader::open(File::open(file).context(|| format!("`{}`", file.display()))?)?.header;
                if self.json {
                    return output::json(&serde_json::to_value(&header)?);
                }
                output::text(&shown(&header))
            }
            Some(Command::Keys { command: Keys::Show }) => {
                let answer = self.admin.call("GET", "/v1/backup-key", None)?;
                if self.json {
                    return output::json(&answer);
                }
                match answer.get("backup_key").filter(|key| !key.is_null()) {
                    Some(key) => output::line(&key_line(key)),
                    None => output::line("no backup key is in force; make one with `signet backup keys init`"),
                }
            }
            Some(Command::Keys {
                command: Keys::Init { shares, threshold, out },
            }) => self.init(*shares, *threshold, out.as_deref()),
        }
    }

    fn make(&self) -> Result<(), Failure> {
        let out = self
            .out
            .as_deref()
            .ok_or_else(|| Failure::new("name a file with --out"))?;
        if out.exists() {
            return Err(Failure::new(format!(
                "`{}` is there already; name another file",
                out.display()
            )));
        }
        let part = out.with_extension("part");
        let result = self.write(&part).and_then(|(header, bytes)| {
            std::fs::rename(&part, out).context(|| format!("`{}`", out.display()))?;
            let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok((header, bytes))
        });
        let (header, bytes) = result.inspect_err(|_| drop(std::fs::remove_file(&part)))?;
        if header.backup_key.is_none() {
            output::note(&format!(
                "without a backup key, this can be restored with the same HSM (`{}`) only; make one with `signet backup keys init`",
                header.hsm.label
            ));
        }
        if self.json {
            return output::json(&json!({"file": out, "bytes": bytes, "header": header}));
        }
        output::line(&format!(
            "backup {}: {} rows of revision {} in `{}` ({bytes} bytes)",
            header.id,
            header.rows,
            header.revision,
            out.display()
        ))
    }

    /// Writes it all, durable when this returns.
    fn write(&self, path: &Path) -> Result<(Header, u64), Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path).context(|| format!("`{}`", path.display()))?;
        let mut progress = Progress::new("backup", "rows");
        let header = match &self.config {
            Some(config) => {
                let config = authority::Config::load(config)?;
                node::hardening::harden(config.allow_swap)?;
                let tell = &mut |done, total| progress.tell(done, total);
                runtime()?.block_on(authority::backup::of_stopped(&config, &mut file, tell))?
            }
            None => runtime()?.block_on(fetch(&self.admin.target()?, &mut file, &mut progress))?,
        };
        file.sync_all()?;
        Ok((header, file.metadata()?.len()))
    }

    fn init(&self, shares: u8, threshold: u8, out: Option<&Path>) -> Result<(), Failure> {
        match out {
            Some(out) => self.init_in(out, shares, threshold),
            None => self.init_printed(shares, threshold),
        }
    }

    fn init_in(&self, out: &Path, shares: u8, threshold: u8) -> Result<(), Failure> {
        // Asked first, so that no share is written that is of no use.
        let answer = self.admin.call("GET", "/v1/backup-key", None)?;
        let unfinished = Unfinished::resume_or_make(out, shares, threshold)?;
        let key = serde_json::to_value(&unfinished.key)?;
        // It may be in force already: only the answer was lost.
        if answer.get("backup_key") != Some(&key) {
            let body = serde_json::to_value(&unfinished)?;
            let put = self.admin.call("PUT", "/v1/backup-key", Some(&body));
            put.map_err(|failure| {
                failure.after(&format!(
                    "the backup key {} is kept in `{}`, where the same command goes on with it",
                    unfinished.key.id,
                    out.display()
                ))
            })?;
        }
        Unfinished::finish(out)?;
        self.told(&key, &[], Some(out))
    }

    fn init_printed(&self, shares: u8, threshold: u8) -> Result<(), Failure> {
        let made = make_key(shares, threshold, now())?;
        let safeguards = self.admin.call("GET", "/v1/safeguards/authority", None)?;
        if safeguards.get("required").and_then(Value::as_u64) != Some(0) {
            return Err(Failure::new(
                "a backup key takes the approval of the authority's quorum; name a directory with --out, which keeps the key and \
                 its shares until then",
            ));
        }
        let secret = signing::encoding::hex(made.authentication.expose());
        let body = json!({"key": made.key, "authentication": secret});
        self.admin.call("PUT", "/v1/backup-key", Some(&body))?;
        self.told(&serde_json::to_value(&made.key)?, &made.shares, None)
    }

    fn told(&self, key: &Value, shares: &[Share], out: Option<&Path>) -> Result<(), Failure> {
        if self.json {
            let texts: Vec<_> = shares.iter().map(|share| share.to_text().to_string()).collect();
            return match out {
                Some(out) => output::json(&json!({"backup_key": key, "directory": out})),
                None => output::json(&json!({"backup_key": key, "shares": texts})),
            };
        }
        match out {
            Some(out) => {
                output::line(&key_line(key))?;
                output::note(&format!(
                    "each file in `{}` is one share: give each to another person, then remove it here; backups made from now on \
                     are under this key",
                    out.display()
                ));
            }
            None => {
                for share in shares {
                    output::line(&share.to_text())?;
                }
                output::note("each line is one share: give each to another person; they are not shown again");
            }
        }
        Ok(())
    }
}

/// Fetches a backup of an authority that runs, piece by piece.
async fn fetch(target: &Target, file: &mut File, progress: &mut Progress) -> Result<Header, Failure> {
    let begun = call(target, "/v1/backups").await?;
    let header: Header = serde_json::from_value(begun.get("header").cloned().unwrap_or_default())?;
    append(file, &begun)?;
    let mut done: u64 = 0;
    loop {
        let piece = call(target, &format!("/v1/backups/{}/next", header.id)).await?;
        append(file, &piece)?;
        done = done.saturating_add(piece.get("rows").and_then(Value::as_u64).unwrap_or_default());
        progress.tell(done, header.rows);
        if piece.get("last").and_then(Value::as_bool) == Some(true) {
            return Ok(header);
        }
    }
}

async fn call(target: &Target, path: &str) -> Result<Value, Failure> {
    let (status, answer) = target.send("POST", path, None).await?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    Err(Failure::new(describe(status, &answer)))
}

fn append(file: &mut File, answer: &Value) -> Result<(), Failure> {
    let data = answer.get("data_base64").and_then(Value::as_str).unwrap_or_default();
    let bytes = BASE64_STANDARD
        .decode(data)
        .map_err(|_| Failure::new("the authority sent a piece of the backup that does not read"))?;
    Ok(file.write_all(&bytes)?)
}

fn key_line(key: &Value) -> String {
    let member = |name: &str| key.get(name).cloned().unwrap_or_default();
    let id = member("id");
    format!(
        "backup key {}: {} of its {} shares restore",
        id.as_str().unwrap_or_default(),
        member("threshold"),
        member("shares")
    )
}

fn shown(header: &Header) -> String {
    let at = crate::output::time(header.taken_at);
    let restores = match &header.backup_key {
        Some(key) => format!(
            "that HSM, or {} of the {} shares of the backup key {}",
            key.threshold, key.shares, key.id
        ),
        None => "that HSM only".to_owned(),
    };
    format!(
        "backup        {}\ntrust domain  {}\ntaken at      {at}\nrevision      {}\nrows          {}\nHSM           {} `{}`\nrestored by   {restores}\nwritten by    signet {}\n",
        header.id, header.trust_domain, header.revision, header.rows, header.hsm.kind, header.hsm.label, header.signet
    )
}
