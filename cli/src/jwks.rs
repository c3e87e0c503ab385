//! `signet jwks`: an issuer's public keys, as JSON or as PEM for software that does not read a JWKS.

use clap::{Args, Subcommand};
use serde_json::Value;
use signing::jwk::Jwk;
use signing::key::PublicKey;

use crate::client::EdgeArgs;
use crate::failure::Failure;
use crate::output;

/// Fetch an issuer's public keys from an edge.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet jwks show dev
  signet jwks pem dev --algorithm ES256 > signet.pub      for HAProxy's jwt_verify")]
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
    /// The keys as PEM, newest last.
    Pem {
        /// The issuer's name in the bundle.
        issuer: String,
        /// Only keys of this algorithm.
        #[arg(long)]
        algorithm: Option<String>,
    },
}

impl Jwks {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (Command::Show { issuer } | Command::Pem { issuer, .. }) = &self.command;
        let set = self
            .edge
            .target()?
            .call("GET", &format!("/i/{issuer}/.well-known/jwks.json"), None)?;
        match &self.command {
            Command::Show { .. } => output::json(&set),
            Command::Pem { algorithm, .. } => {
                for key in set.get("keys").and_then(Value::as_array).into_iter().flatten() {
                    let wanted = algorithm
                        .as_deref()
                        .is_none_or(|wanted| key.get("alg").and_then(Value::as_str) == Some(wanted));
                    if wanted {
                        let key = PublicKey::from_jwk(&Jwk::from_json(key.to_string().as_bytes())?)?;
                        output::text(&signing::certificate::pem_encode("PUBLIC KEY", key.to_spki_der()))?;
                    }
                }
                Ok(())
            }
        }
    }
}
