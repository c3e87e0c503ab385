//! `signet jwks`: an issuer's public keys, as JSON or as PEM for software that does not read a JWKS.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;
use signing::jwk::Jwk;
use signing::key::PublicKey;

use crate::client::EdgeArgs;
use crate::failure::{Context, Failure};
use crate::output;

/// Fetch an issuer's public keys from an edge.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet jwks show dev
  signet jwks pem dev --algorithm ES256                     one PEM after the other
  signet jwks pem dev --algorithm ES256 --dir keys          keys/1.pem to keys/3.pem, for HAProxy's jwt_verify")]
pub struct Jwks {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    edge: EdgeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The JWKS.
    Show {
        /// The issuer's name in the bundle.
        issuer: String,
    },
    /// The keys as PEM.
    Pem {
        /// The issuer's name in the bundle.
        issuer: String,
        /// Only keys of this algorithm.
        #[arg(long)]
        algorithm: Option<String>,
        /// Write 1.pem, 2.pem … to this directory, one key a file. Always as many files as `--files`: with fewer keys the
        /// last fills the rest, so that software which names its files finds them all.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// How many files. A shared key has three versions in the JWKS, the last, the current and the next, as long as
        /// `token_lifetime_cap` is at most `sign_period`.
        #[arg(long, default_value_t = 3, requires = "dir", value_parser = clap::value_parser!(u8).range(1..=64))]
        files: u8,
    },
}

impl Jwks {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (Command::Show { issuer } | Command::Pem { issuer, .. }) = &self.command;
        let set = self
            .edge
            .public()?
            .call("GET", &format!("/i/{issuer}/.well-known/jwks.json"), None)?;
        match &self.command {
            Command::Show { .. } => output::json(&set),
            Command::Pem {
                algorithm, dir, files, ..
            } => {
                let keys = pems(&set, algorithm.as_deref())?;
                match dir {
                    Some(dir) => write(&keys, dir, usize::from(*files)),
                    None => output::text(&keys.concat()),
                }
            }
        }
    }
}

fn pems(set: &Value, algorithm: Option<&str>) -> Result<Vec<String>, Failure> {
    let mut pems = Vec::new();
    for key in set.get("keys").and_then(Value::as_array).into_iter().flatten() {
        let wanted = algorithm.is_none_or(|wanted| key.get("alg").and_then(Value::as_str) == Some(wanted));
        if wanted {
            let key = PublicKey::from_jwk(&Jwk::from_json(key.to_string().as_bytes())?)?;
            pems.push(signing::certificate::pem_encode("PUBLIC KEY", key.to_spki_der()));
        }
    }
    match pems.is_empty() {
        true => Err(Failure::new("the issuer has no such key; see `signet jwks show`")),
        false => Ok(pems),
    }
}

fn write(keys: &[String], dir: &Path, files: usize) -> Result<(), Failure> {
    if keys.len() > files {
        return Err(Failure::new(format!(
            "the issuer has {} such keys; write as many with --files, and name the files to what reads them",
            keys.len()
        )));
    }
    std::fs::create_dir_all(dir).context(|| format!("`{}`", dir.display()))?;
    for (number, key) in (1..=files).zip(keys.iter().chain(std::iter::repeat_with(|| keys.last()).flatten())) {
        let path = dir.join(format!("{number}.pem"));
        std::fs::write(&path, key).context(|| format!("`{}`", path.display()))?;
    }
    Ok(())
}
