//! `signet authority`: an authority on its own, as in production.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use node::telemetry::LogFormat;

use crate::client::runtime;
use crate::dev::files;
use crate::failure::Failure;
use crate::output;

/// Initialise and run an authority.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet authority init --config /etc/signet/authority.toml --out signet-admin    once
  signet authority run --config /etc/signet/authority.toml
  signet authority reset-admin-token --config /etc/signet/authority.toml         with the authority stopped")]
pub struct Authority {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the roots in the HSM, the store and the admin token, which is given out this once.
    Init {
        /// authority.toml
        #[arg(long)]
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Write admin-token, node-root.pem and delegation-root.pem to this directory, and print no secret.
        #[arg(long, value_name = "DIR", conflicts_with = "json")]
        out: Option<PathBuf>,
    },
    /// Replace the admin token, with the authority stopped.
    ResetAdminToken {
        /// authority.toml
        #[arg(long)]
        config: PathBuf,
    },
    /// Run until SIGTERM or Ctrl-C.
    Run {
        /// authority.toml
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

impl Authority {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Init { config, json, out } => {
                let config = authority::Config::load(&config)?;
                node::hardening::harden(config.allow_swap)?;
                if let Some(out) = &out {
                    files::private_dir(out)?;
                }
                let made = runtime()?.block_on(authority::Authority::initialise(config))?;
                if json {
                    return output::json(&serde_json::json!({
                        "admin_token": made.admin_token,
                        "node_root_pem": made.node_root_pem,
                        "delegation_root_pem": made.delegation_root_pem,
                    }));
                }
                if let Some(out) = out {
                    let written = [
                        ("admin-token", &made.admin_token),
                        ("node-root.pem", &made.node_root_pem),
                        ("delegation-root.pem", &made.delegation_root_pem),
                    ];
                    for (name, content) in written {
                        files::private_file(&out.join(name), content.as_bytes()).map_err(|failure| {
                            failure.after("the authority is initialised; `reset-admin-token` makes another token")
                        })?;
                    }
                    return output::line(&format!("initialised; the admin token is in `{}`", out.display()));
                }
                output::line(&made.admin_token)?;
                output::note("initialised; the line on standard output is the admin token, it is not shown again");
                Ok(())
            }
            Command::ResetAdminToken { config } => {
                let config = authority::Config::load(&config)?;
                node::hardening::harden(config.allow_swap)?;
                output::line(&runtime()?.block_on(authority::Authority::reset_admin_token(config))?)
            }
            Command::Run { config, log, log_json } => {
                node::telemetry::init(if log_json { LogFormat::Json } else { LogFormat::Text }, &log)?;
                let config = authority::Config::load(&config)?;
                let memory = node::hardening::harden(config.allow_swap)?;
                let pool = authority::reserve_pool()?;
                runtime()?.block_on(async {
                    let listens = |running: &authority::Running| {
                        let (admin, grpc) = (running.admin_addr(), running.grpc_addr());
                        tracing::info!(%admin, %grpc, %memory, "the authority listens");
                    };
                    authority::Authority::run(config, pool, listens, crate::dev::interrupted()?).await?;
                    Ok(())
                })
            }
        }
    }
}
