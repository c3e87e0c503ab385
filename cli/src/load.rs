//! `signet load`: a closed-loop load generator.

use std::time::Duration;

use clap::Args;
use loadtest::{Options, Until};
use signing::key::Secret;

use crate::client::{EdgeArgs, runtime};
use crate::failure::Failure;
use crate::output;

/// Drive an edge with token requests and print latency percentiles.
///
/// Closed loop: each connection sends its next request when the answer to the last one has come, so a slow server is asked
/// less. Read the percentiles with that in mind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet load                                   10 s of HTTP/1.1 against the profile `load`
  signet load --protocol h3 --connections 32 --duration 30
  signet load --requests 10000 --json")]
pub struct Load {
    /// The profile to mint with.
    #[arg(long, default_value = "load")]
    profile: String,
    /// The protocol.
    #[arg(long, default_value = "h1", value_parser = ["h1", "h2", "h3"])]
    protocol: String,
    /// Connections, each with one request in flight.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Seconds to run.
    #[arg(long, default_value_t = 10, conflicts_with = "requests")]
    duration: u64,
    /// Requests to send instead.
    #[arg(long)]
    requests: Option<u64>,
    /// The request's body.
    #[arg(long, default_value = r#"{"subject":"load"}"#)]
    body: String,
    /// Verify every N-th token against the issuer's JWKS; 0 verifies none.
    #[arg(long, default_value_t = 100)]
    verify_every: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    edge: EdgeArgs,
}

impl Load {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let target = self.edge.target()?;
        let until = match self.requests {
            Some(requests) => Until::Requests(requests),
            None => Until::Elapsed(Duration::from_secs(self.duration)),
        };
        let options = Options {
            url: target.url,
            profile: self.profile,
            token: Secret::new(target.token.into_bytes()),
            protocol: self.protocol.parse()?,
            connections: self.connections,
            until,
            body: self.body,
            ca_file: target.ca_file,
            verify_every: self.verify_every,
            jwks_url: None,
        };
        let report = runtime()?.block_on(loadtest::run(options))?;
        output::line(&if self.json {
            report.to_json()
        } else {
            report.to_string()
        })?;
        match report.is_clean() {
            true => Ok(()),
            false => Err(Failure::new("not every request was answered with 201")),
        }
    }
}
