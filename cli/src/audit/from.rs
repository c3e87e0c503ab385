//! Where records are read from: a spool's directory, a log's directory, or an authority that is asked.

use std::path::PathBuf;

use audit::log::read::View;
use clap::Args;
use serde_json::Value;

use crate::client::AdminArgs;
use crate::failure::Failure;

/// Options that say where.
#[derive(Debug, Args)]
pub struct From {
    /// The data directory of a `signet dev` on this machine.
    #[arg(long, value_name = "DIR", default_value = "signet-data", global = true)]
    data: PathBuf,
    /// The authority's spool, not the edge's.
    #[arg(long, global = true, conflicts_with_all = ["dir", "log", "url"])]
    authority: bool,
    /// The authority's log, which has every edge's records and its own.
    #[arg(long, global = true)]
    log: bool,
    /// The directory of a spool or of a log, instead of `--data`; for `reconcile` one for each authority's log.
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "url")]
    dir: Vec<PathBuf>,
    /// Ask the authority with this admin API, https://HOST:PORT, for its log.
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// A file with the admin token; SIGNET_ADMIN_TOKEN holds the token itself.
    #[arg(long, value_name = "FILE", global = true)]
    admin_token_file: Option<PathBuf>,
    /// CA certificates (PEM) to trust instead of the system's.
    #[arg(long, value_name = "FILE", env = "SIGNET_CA_FILE", global = true)]
    ca_file: Option<PathBuf>,
}

/// Where records are.
#[derive(Debug)]
pub enum Source {
    /// One process's own.
    Spool(PathBuf),
    /// Everybody's.
    Log(PathBuf),
    /// An authority that tells.
    Api(AdminArgs),
}

impl From {
    /// What the options say; without any, the edge's spool.
    pub fn any(&self) -> Source {
        if self.log || self.url.is_some() {
            return self.log();
        }
        match self.dir.first() {
            Some(directory) if View::is_log(directory) => Source::Log(directory.clone()),
            Some(directory) => Source::Spool(directory.clone()),
            None => {
                let role = if self.authority { "authority" } else { "edge" };
                Source::Spool(self.data.join(role).join("audit"))
            }
        }
    }

    /// The log.
    pub fn log(&self) -> Source {
        match self.dir.first() {
            _ if self.url.is_some() => Source::Api(self.admin()),
            Some(directory) => Source::Log(directory.clone()),
            None => Source::Log(self.data.join("authority/log")),
        }
    }

    /// The logs, where there may be several.
    pub fn logs(&self) -> Vec<Source> {
        match self.dir.as_slice() {
            [_, _, ..] => self.dir.iter().cloned().map(Source::Log).collect(),
            _ => vec![self.log()],
        }
    }

    /// Refuses several directories, for what reads one.
    pub fn demand_one(&self) -> Result<(), Failure> {
        match self.dir.as_slice() {
            [_, _, ..] => Err(Failure::new(
                "`--dir` is given once; only `signet audit reconcile` takes several logs",
            )),
            _ => Ok(()),
        }
    }

    /// The log's verifier key, as its authority tells it.
    pub fn key(&self) -> Result<String, Failure> {
        let log = self.admin().call("GET", "/v1/audit/log", None)?;
        let key = log.get("key").and_then(Value::as_str);
        Ok(key.ok_or_else(|| Failure::new("the authority told no key"))?.to_owned())
    }

    fn admin(&self) -> AdminArgs {
        AdminArgs::new(
            self.data.clone(),
            self.url.clone(),
            self.admin_token_file.clone(),
            self.ca_file.clone(),
        )
    }
}
