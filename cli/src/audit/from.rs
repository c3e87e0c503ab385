//! Where records are read from: a spool's directory, a log's directory or bucket, or an authority that is asked.

use std::path::PathBuf;

use audit::log::read::View;
use authority::config::S3Config;
use authority::log_place::LogPlace;
use clap::Args;
use serde_json::Value;

use crate::client::AdminArgs;
use crate::failure::Failure;

/// Options that say where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the records are")]
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
    /// The directory of a spool or of a log, or `s3://BUCKET/PREFIX` of a log, instead of `--data`; for `reconcile` one for each
    /// authority's log. A bucket is asked as AWS_ACCESS_KEY_ID says, or the machine's role.
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "url")]
    dir: Vec<String>,
    #[command(flatten)]
    bucket: Reach,
    /// Ask the authority with this admin API, https://HOST:PORT, for its log. SIGNET_AUTHORITY says it where no option names another
    /// place.
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// A file with the admin token; SIGNET_ADMIN_TOKEN holds the token itself.
    #[arg(long, value_name = "FILE", global = true)]
    admin_token_file: Option<PathBuf>,
    /// CA certificates (PEM) to trust instead of the system's.
    #[arg(long, value_name = "FILE", env = "SIGNET_CA_FILE", global = true)]
    ca_file: Option<PathBuf>,
}

/// How a bucket is reached.
#[derive(Debug, Args)]
pub struct Reach {
    /// The S3 server of `s3://…`, https://HOST:PORT. Default: AWS's.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_S3", global = true)]
    endpoint: Option<String>,
    /// The region of `s3://…`. Default: AWS_REGION.
    #[arg(long, global = true)]
    region: Option<String>,
    /// Let --endpoint be http:// elsewhere than on a loopback address.
    #[arg(long, global = true)]
    allow_http: bool,
}

/// Where records are.
#[derive(Debug)]
pub enum Source {
    /// One process's own.
    Spool(PathBuf),
    /// Everybody's.
    Log(LogPlace),
    /// An authority that tells.
    Api(AdminArgs),
}

impl From {
    /// What the options say; without any, SIGNET_AUTHORITY, else the edge's spool.
    pub fn any(&self) -> Result<Source, Failure> {
        if self.log || self.url().is_some() {
            return self.log();
        }
        let Some(place) = self.dir.first() else {
            let role = if self.authority { "authority" } else { "edge" };
            return spool(self.data.join(role).join("audit"));
        };
        match self.place(place)? {
            LogPlace::Directory(directory) if !View::is_log(&directory) => spool(directory),
            log => Ok(Source::Log(log)),
        }
    }

    /// What is searched: the log, unless a spool is named.
    pub fn searched(&self) -> Result<Source, Failure> {
        match self.authority || !self.dir.is_empty() {
            true => self.any(),
            false => self.log(),
        }
    }

    /// The log.
    pub fn log(&self) -> Result<Source, Failure> {
        self.demand_no_spool()?;
        match self.dir.first() {
            _ if self.url().is_some() => Ok(Source::Api(self.admin())),
            Some(place) => Ok(Source::Log(self.place(place)?)),
            None => Ok(Source::Log(LogPlace::Directory(self.data.join("authority/log")))),
        }
    }

    /// The logs, where there may be several.
    pub fn logs(&self) -> Result<Vec<Source>, Failure> {
        match self.dir.as_slice() {
            [_, _, ..] => self
                .dir
                .iter()
                .map(|place| Ok(Source::Log(self.place(place)?)))
                .collect(),
            _ => Ok(vec![self.log()?]),
        }
    }

    /// A log's place, as it is written on the command line.
    pub fn place(&self, text: &str) -> Result<LogPlace, Failure> {
        let access = S3Config {
            endpoint: self.bucket.endpoint.clone(),
            region: self.bucket.region.clone(),
            ca_file: self.ca_file.clone(),
            allow_http: self.bucket.allow_http,
            ..S3Config::default()
        };
        LogPlace::parse(text, &access).map_err(|reason| Failure::new(format!("`{text}`: {reason}")))
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

    /// Refuses the option that names a spool, for what a spool does not have.
    fn demand_no_spool(&self) -> Result<(), Failure> {
        match self.authority {
            true => Err(Failure::new(
                "--authority names a spool, and this is of a log: leave it out, or name the log with --dir",
            )),
            false => Ok(()),
        }
    }

    /// The key, for who asks for it: a log's own directory is no place to learn what it is verified with.
    pub fn told_key(&self) -> Result<String, Failure> {
        self.demand_no_spool()?;
        match self.dir.is_empty() {
            true => self.key(),
            false => Err(Failure::new(
                "the key is the authority's to tell, and no directory tells it: ask with --url, or of `signet dev` with --data",
            )),
        }
    }

    /// The log's verifier key, as its authority tells it.
    pub fn key(&self) -> Result<String, Failure> {
        let log = self.admin().call("GET", "/v1/audit/log", None)?;
        let key = log.get("key").and_then(Value::as_str);
        Ok(key.ok_or_else(|| Failure::new("the authority told no key"))?.to_owned())
    }

    /// Not by clap: what the environment says would conflict with the options that go before it.
    fn url(&self) -> Option<String> {
        let elsewhere = self.log || self.authority || !self.dir.is_empty();
        let environment = || std::env::var("SIGNET_AUTHORITY").ok().filter(|_| !elsewhere);
        self.url.clone().or_else(environment)
    }

    fn admin(&self) -> AdminArgs {
        AdminArgs::new(
            self.data.clone(),
            self.url(),
            self.admin_token_file.clone(),
            self.ca_file.clone(),
        )
    }
}

/// A spool, unless there is none: who named the wrong directory, or whose log lost its checkpoint, is not told of no records.
fn spool(directory: PathBuf) -> Result<Source, Failure> {
    match audit::read::is_spool(&directory) {
        Ok(false) => Err(Failure::new(format!(
            "`{}` is neither a log, which has a `checkpoint`, nor a spool, which has segments",
            directory.display()
        ))),
        // What cannot be read is told by who reads it.
        Ok(true) | Err(_) => Ok(Source::Spool(directory)),
    }
}
