//! `signet witness`: who watches, elsewhere, that an authority's audit log only grows.

mod config;
mod serve;

use std::path::{Path, PathBuf};

use audit::log::objects::{Directory, Objects as _, PutError};
use audit::note::cosign::Cosigner;
use clap::{Args, Subcommand};
use node::telemetry::LogFormat;
use signing::algorithm::Algorithm;
use signing::encoding::{base64url, from_base64url};
use signing::key::{Secret, SigningKey};

use self::config::Config;
use crate::client::runtime;
use crate::failure::{Context, Failure};
use crate::output;

/// The key's file in the state directory: the name, and the PKCS#8 document in base64url.
const KEY: &str = "key";

/// Cosign the checkpoints of audit logs, as long as each only grows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet witness init --config witness.toml --name witness.example/1     once; the line is for `[[witness]]` of authority.toml
  signet witness key --config witness.toml                               the same line again
  signet witness run --config witness.toml
  signet audit verify --log --witness witness.example/1+…                what it is good for

The state directory has the key and the last checkpoint of each log. Never put an older copy of it back: without it, make another witness.")]
pub struct Witness {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the state directory and a key in it, and print the verifier key.
    Init {
        /// witness.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The witness's name in its verifier key, such as witness.example/1: without spaces and `+`.
        #[arg(long)]
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the verifier key. The witness must be stopped.
    Key {
        /// witness.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run until SIGTERM or Ctrl-C.
    Run {
        /// witness.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Log level or filter.
        #[arg(long, default_value = "info", env = "SIGNET_LOG")]
        log: String,
        /// Log as JSON.
        #[arg(long)]
        log_json: bool,
    },
}

impl Witness {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Init { config, name, json } => {
                let config = Config::load(&config)?;
                node::hardening::harden(config.allow_swap)?;
                let key = init(&config.state_dir, &name)?;
                match json {
                    true => output::json(&serde_json::json!({ "key": key })),
                    false => output::line(&key),
                }
            }
            Command::Key { config } => {
                let config = Config::load(&config)?;
                node::hardening::harden(config.allow_swap)?;
                output::line(
                    &read(&state(&config.state_dir)?, &config.state_dir)?
                        .verifier()
                        .to_string(),
                )
            }
            Command::Run { config, log, log_json } => {
                node::telemetry::init(if log_json { LogFormat::Json } else { LogFormat::Text }, &log)?;
                let config = Config::load(&config)?;
                node::hardening::harden(config.allow_swap)?;
                let logs = config.logs()?;
                let state = state(&config.state_dir)?;
                let key = read(&state, &config.state_dir)?;
                tracing::info!(key = %key.verifier(), logs = logs.len(), "a witness");
                let witness = audit::witness::keeper::Witness::open(Box::new(state), key, logs)?;
                runtime()?.block_on(serve::run(&config, witness))
            }
        }
    }
}

/// The state directory, which one process has.
fn state(directory: &Path) -> Result<Directory, Failure> {
    let place = || format!("`{}`", directory.display());
    let opened = Directory::open(directory).context(place)?;
    opened.ok_or_else(|| Failure::new(format!("{} is in use: stop the witness first", place())))
}

fn init(directory: &Path, name: &str) -> Result<String, Failure> {
    let mut state = state(directory)?;
    if state.get(KEY)?.is_some() {
        let place = directory.display();
        return Err(Failure::new(format!(
            "`{place}` has a witness already: `signet witness key` prints its key"
        )));
    }
    let key = SigningKey::generate(Algorithm::EdDsa)?;
    let secret = key.export()?;
    let cosigner = Cosigner::new(name, key).map_err(|_| {
        Failure::new(format!(
            "`{}` is no name of a witness: 1 to 255 bytes without spaces and `+`",
            name.chars().take(80).collect::<String>()
        ))
    })?;
    let content = Secret::new(format!("{name}\n{}\n", base64url(secret.expose())).into_bytes());
    state.put(KEY, content.expose()).map_err(|error| match error {
        PutError::Write(error) | PutError::Sync(error) => Failure::from(error).after("the key is not written"),
        PutError::Taken => Failure::new("the key is not written: another process writes there"),
    })?;
    Ok(cosigner.verifier().to_string())
}

fn read(state: &Directory, directory: &Path) -> Result<Cosigner, Failure> {
    let place = directory.display();
    let content = state.get(KEY)?.map(Secret::new);
    let none = || Failure::new(format!("`{place}` has no key: make one with `signet witness init`"));
    let content = content.ok_or_else(none)?;
    let broken = || Failure::new(format!("`{place}/{KEY}` is not what `signet witness init` wrote"));
    let text = std::str::from_utf8(content.expose()).map_err(|_| broken())?;
    let (name, secret) = text.trim_end().split_once('\n').ok_or_else(broken)?;
    let secret = Secret::new(from_base64url(secret).ok_or_else(broken)?);
    let key = SigningKey::import(Algorithm::EdDsa, &secret).map_err(|_| broken())?;
    Ok(Cosigner::new(name, key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read(&state(dir.path()).unwrap(), dir.path()).unwrap_err();
        assert!(format!("{missing:?}").contains("signet witness init"));
        assert!(init(dir.path(), "a name").is_err());
        let key = init(dir.path(), "w.example/1").unwrap();
        assert!(key.starts_with("w.example/1+"));
        assert!(init(dir.path(), "w.example/2").is_err(), "never replaced");
        let held = state(dir.path()).unwrap();
        assert_eq!(read(&held, dir.path()).unwrap().verifier().to_string(), key);
        assert!(state(dir.path()).is_err(), "one process");
        std::fs::write(dir.path().join(KEY), "w\nnonsense\n").unwrap();
        assert!(read(&held, dir.path()).is_err());
    }
}
