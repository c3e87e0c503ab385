//! `signet edges`: who may be an edge.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::{fence, output};

mod trust;

/// List edges, let new ones in, put one out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet edges token edge-fra-1 > join.json     single use, ten minutes; give it to the edge
  signet edges token edge-fra-1 --label region=eu > join.json
  signet edges list
  signet edges revoke edge-fra-1                it signs nothing more within a second
  signet edges revoke edge-fra-1 --wait         returns when that is certain, even if it is cut off
  signet edges revoke --trust k8s-fra           every edge that the rule enrolled, and it enrolls no more
  signet edges trust add k8s-fra --issuer https://k8s.example.org --audience signet \\
      --subject system:serviceaccount:edge:signet --algorithm RS256 --jwks-file jwks.json --label region=eu
  signet edges trust list
  signet edges trust remove k8s-fra")]
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
        /// What policies see of the edge, such as region=eu; repeatable.
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = trust::label)]
        labels: Vec<(String, String)>,
    },
    /// Revoke an edge for good: its delegations end, its certificate is refused.
    Revoke {
        /// The edge's id.
        #[arg(required_unless_present = "trust", conflicts_with = "trust")]
        edge: Option<String>,
        /// Every edge that this trust rule enrolled; the rule enrolls no more.
        #[arg(long, value_name = "RULE")]
        trust: Option<String>,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        reason: String,
        /// Wait until it can sign no more, even if it is cut off.
        #[arg(long, conflicts_with = "trust")]
        wait: bool,
    },
    /// Whose tokens make edges, for fleets that come and go by themselves.
    Trust(trust::Trust),
}

impl Edges {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::List => self.list(),
            Command::Token { edge, ttl, labels } => {
                let labels: BTreeMap<_, _> = labels.iter().cloned().collect();
                let body = json!({"edge_id": edge, "ttl_seconds": ttl, "labels": labels});
                output::json(&self.admin.call("POST", "/v1/edges/tokens", Some(&body))?)
            }
            Command::Revoke {
                edge,
                trust,
                reason,
                wait,
            } => self.revoke((edge.as_deref(), trust.as_deref()), reason, *wait),
            Command::Trust(command) => command.run(&self.admin, self.json),
        }
    }

    fn revoke(&self, (edge, trust): (Option<&str>, Option<&str>), reason: &str, wait: bool) -> Result<(), Failure> {
        let path = match (edge, trust) {
            (Some(edge), _) => format!("/v1/edges/{edge}/revoke"),
            (None, rule) => format!("/v1/edges/trust/{}/revoke", rule.unwrap_or_default()),
        };
        let answer = self.admin.call("POST", &path, Some(&json!({"reason": reason})))?;
        if let Some(edge) = edge.filter(|_| wait) {
            return fence::print(&fence::wait(&self.admin, &format!("edge/{edge}"))?, edge, self.json);
        }
        if self.json {
            return output::json(&answer);
        }
        match (edge, answer.get("revoked").and_then(Value::as_array)) {
            (None, Some(edges)) => output::line(&format!(
                "{} enrolls nobody any more; {} edges are revoked",
                trust.unwrap_or_default(),
                edges.len()
            )),
            (edge, _) => output::line(&format!("{} is revoked", edge.unwrap_or_default())),
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
            let plugins = edge.pointer("/plugins/target").and_then(Value::as_str).unwrap_or("-");
            let plugins = match edge.pointer("/plugins/compiled_by_authority") {
                Some(Value::Bool(false)) => format!("{plugins}, another version: not compiled here"),
                _ => plugins.to_owned(),
            };
            vec![cell("id"), cell("state"), cell("connected"), plugins]
        });
        output::table(
            &["EDGE", "STATE", "CONNECTED", "PLUGINS FOR"],
            &rows.collect::<Vec<_>>(),
        )
    }
}
