//! `signet edge`: an edge on its own, as in production.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use node::telemetry::LogFormat;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

use crate::client::runtime;
use crate::failure::{Context, Failure};
use crate::output;

/// Enrol and run an edge.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet edges token edge-fra-1 > join.json                        on an operator's machine
  signet edge join --config /etc/signet/edge.toml --join join.json
  signet edge join --config /etc/signet/edge.toml                  by [join] of the configuration, as `run` does by itself
  signet edge run --config /etc/signet/edge.toml")]
pub struct Edge {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trade a token for a node certificate.
    Join {
        /// edge.toml
        #[arg(long)]
        config: PathBuf,
        /// What `signet edges token` printed. Without it the edge enrolls as `[join]` of its configuration says.
        #[arg(long)]
        join: Option<PathBuf>,
    },
    /// Run until SIGTERM or Ctrl-C, then drain.
    Run {
        /// edge.toml
        #[arg(long)]
        config: PathBuf,
        /// Log level or filter.
        #[arg(long, default_value = "info", env = "SIGNET_LOG")]
        log: String,
        /// Log as JSON.
        #[arg(long)]
        log_json: bool,
    },
}

/// What `signet edges token` prints.
#[derive(Debug, Deserialize)]
struct Join {
    join_token: String,
    node_root_pem: String,
}

impl Edge {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Join { config, join } => {
                let config = load(&config)?;
                node::hardening::harden(config.allow_swap)?;
                let identity = runtime()?.block_on(enroll(&config, join.as_deref()))?;
                output::line(&format!(
                    "enrolled as {} of {}",
                    identity.edge_id, identity.trust_domain
                ))
            }
            Command::Run { config, log, log_json } => {
                node::telemetry::init(if log_json { LogFormat::Json } else { LogFormat::Text }, &log)?;
                let config = load(&config)?;
                let memory = node::hardening::harden(config.allow_swap)?;
                let pool = edge::reserve_pool(&config)?;
                runtime()?.block_on(async {
                    if let Some(identity) = edge::join_by_itself(&config, crate::dev::now()).await? {
                        tracing::info!(edge = identity.edge_id, "enrolled by the platform's token");
                    }
                    let running = edge::start(config, pool).await?;
                    let interrupted = crate::dev::interrupted()?;
                    let (https, http) = (running.https(), running.http());
                    tracing::info!(%https, ?http, %memory, "the edge listens");
                    interrupted.await;
                    running.stop().await;
                    Ok(())
                })
            }
        }
    }
}

async fn enroll(config: &edge::Config, join: Option<&Path>) -> Result<edge::Identity, Failure> {
    let Some(path) = join else {
        if config.join.is_none() {
            return Err(Failure::new(
                "give --join FILE with what `signet edges token` printed, or a [join] section in the configuration",
            ));
        }
        let joined = edge::join_by_itself(config, crate::dev::now()).await?;
        return joined.ok_or_else(|| {
            Failure::new(format!(
                "`{}` has an identity that is valid already; remove it to enroll anew",
                config.state_dir.display()
            ))
        });
    };
    let text = std::fs::read_to_string(path).context(|| format!("`{}`", path.display()))?;
    let join: Join = serde_json::from_str(&text).context(|| format!("`{}`", path.display()))?;
    let root = CertificateDer::from_pem_slice(join.node_root_pem.as_bytes());
    let root = root.map_err(|error| Failure::new(format!("the node root is not a PEM certificate: {error}")))?;
    let credential = edge::Credential::JoinToken(join.join_token);
    let joined = edge::join(&config.authority, root, credential, &config.state_dir).await;
    joined.map_err(|error| match error {
        edge::UplinkError::Refused(status) => Failure::new(format!(
            "`{}` did not enrol this edge: {}",
            config.authority.join("`, `"),
            status.message()
        )),
        other => other.into(),
    })
}

fn load(path: &Path) -> Result<edge::Config, Failure> {
    let config: edge::Config = node::config::load(path)?;
    config.validate().context(|| format!("`{}`", path.display()))?;
    Ok(config)
}
