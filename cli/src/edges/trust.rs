//! `signet edges trust`: whose tokens make edges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::{Context, Failure};
use crate::output;

/// Add, list and remove the rules.
#[derive(Debug, Args)]
pub(super) struct Trust {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trust the tokens of one subject of one issuer: each makes one edge.
    Add(Box<Add>),
    /// List the rules.
    List,
    /// Remove a rule: it enrolls nobody any more, and its edges stay. `signet edges revoke --trust` puts them out.
    Remove {
        /// The rule's name.
        rule: String,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// The rule's name: lowercase letters, digits and dashes.
    rule: String,
    /// The exact `iss` of its tokens.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// An `aud` that its tokens name; repeatable.
    #[arg(long = "audience", value_name = "TEXT", required = true)]
    audiences: Vec<String>,
    /// The exact `sub`, or a prefix and * that pins a repository.
    #[arg(long)]
    subject: String,
    /// What the issuer signs with, such as ES256 or RS256; repeatable.
    #[arg(long = "algorithm", value_name = "NAME", required = true)]
    algorithms: Vec<String>,
    /// The issuer's JWKS, in a file that is sent along.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "jwks_url",
        conflicts_with = "jwks_url"
    )]
    jwks_file: Option<PathBuf>,
    /// Where the authority fetches the issuer's JWKS.
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// The CA (PEM) of that server, instead of the system's.
    #[arg(long, value_name = "FILE", requires = "jwks_url")]
    jwks_ca_file: Option<PathBuf>,
    /// What its edges' ids begin with, instead of the rule's name.
    #[arg(long)]
    prefix: Option<String>,
    /// What policies see of its edges, such as region=eu; repeatable.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Most edges at once.
    #[arg(long, default_value_t = 1000)]
    max_edges: u32,
    /// Most enrolments a minute.
    #[arg(long, default_value_t = 60)]
    per_minute: u32,
}

/// `NAME=VALUE`
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label is NAME=VALUE, such as region=eu".to_owned()),
    }
}

impl Trust {
    pub(super) fn run(&self, admin: &AdminArgs, json: bool) -> Result<(), Failure> {
        match &self.command {
            Command::Add(add) => {
                let answer = admin.call("PUT", &format!("/v1/edges/trust/{}", add.rule), Some(&add.body()?))?;
                told(&answer, json, &format!("the tokens of {} make edges", add.subject))
            }
            Command::List => list(&admin.call("GET", "/v1/edges/trust", None)?, json),
            Command::Remove { rule } => {
                let answer = admin.call("DELETE", &format!("/v1/edges/trust/{rule}"), None)?;
                told(
                    &answer,
                    json,
                    &format!("{rule} enrolls nobody any more; its edges stay"),
                )
            }
        }
    }
}

impl Add {
    fn body(&self) -> Result<Value, Failure> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(text).transpose();
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        Ok(json!({
            "issuer": self.issuer,
            "audiences": self.audiences,
            "subject": self.subject,
            "algorithms": self.algorithms,
            "jwks": read(&self.jwks_file)?,
            "jwks_url": self.jwks_url,
            "jwks_ca_pem": read(&self.jwks_ca_file)?,
            "prefix": self.prefix,
            "labels": labels,
            "max_edges": self.max_edges,
            "per_minute": self.per_minute,
        }))
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).context(|| format!("`{}`", path.display()))
}

fn told(answer: &Value, json: bool, line: &str) -> Result<(), Failure> {
    if json { output::json(answer) } else { output::line(line) }
}

fn list(answer: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(answer);
    }
    let rules = answer
        .get("rules")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let rows = rules.iter().map(|rule| {
        let cell = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let state = match rule.get("stopped_at").and_then(Value::as_str) {
            Some(at) => format!("stopped at {at}"),
            None => "enrolls".to_owned(),
        };
        vec![cell("name"), cell("issuer"), cell("subject"), state]
    });
    output::table(&["RULE", "ISSUER", "SUBJECT", "STATE"], &rows.collect::<Vec<_>>())
}
