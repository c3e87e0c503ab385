//! `signet edges`: who may be an edge.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::{fence, output};

/// List edges, let new ones in, put one out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet edges token edge-fra-1 > join.json     single use, ten minutes; give it to the edge
  signet edges list
  signet edges revoke edge-fra-1                it signs nothing more within a second
  signet edges revoke edge-fra-1 --wait         returns when that is certain, even if it is cut off")]
pub struct Edges {
    #[command(subcommand)]
    command: Command,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List edges.
    List,
    /// Make a join token, printed as JSON with everything `signet edge join` needs.
    Token {
        /// The new edge's id: lowercase letters, digits and dashes.
        edge: String,
        /// Seconds until the token expires.
        #[arg(long, default_value_t = 600)]
        ttl: u32,
    },
    /// Revoke an edge for good: its delegations end, its certificate is refused.
    Revoke {
        /// The edge's id.
        edge: String,
        /// Wait until it can sign no more, even if it is cut off.
        #[arg(long)]
        wait: bool,
    },
}

impl Edges {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::List => self.list(),
            Command::Token { edge, ttl } => {
                let body = json!({"edge_id": edge, "ttl_seconds": ttl});
                output::json(&self.admin.call("POST", "/v1/edges/tokens", Some(&body))?)
            }
            Command::Revoke { edge, wait } => {
                let answer = self
                    .admin
                    .call("POST", &format!("/v1/edges/{edge}/revoke"), Some(&json!({})))?;
                if *wait {
                    return fence::print(&fence::wait(&self.admin, &format!("edge/{edge}"))?, edge, self.json);
                }
                if self.json {
                    output::json(&answer)
                } else {
                    output::line(&format!("{edge} is revoked"))
                }
            }
        }
    }

    fn list(&self) -> Result<(), Failure> {
        let answer = self.admin.call("GET", "/v1/edges", None)?;
        if self.json {
            return output::json(&answer);
        }
        let listed = answer
            .get("edges")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let rows = listed.iter().map(|edge| {
            let cell = |name: &str| match edge.get(name) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => "-".to_owned(),
                Some(other) => other.to_string(),
            };
            vec![cell("id"), cell("state"), cell("connected")]
        });
        output::table(&["EDGE", "STATE", "CONNECTED"], &rows.collect::<Vec<_>>())
    }
}
