//! `signet bundle`: what edges sign, for whom and by which rules, as a directory.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;

/// Apply and show bundles.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet bundle apply --diff ./bundle     show what would change, and every mistake
  signet bundle apply ./bundle            validated as a whole, then pushed to every edge
  signet bundle show")]
pub struct Bundle {
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
    /// Put a directory's content in force.
    Apply {
        /// The directory, with bundle.toml in it.
        dir: PathBuf,
        /// Only show what would change.
        #[arg(long)]
        diff: bool,
    },
    /// The bundle in force: its digest and files.
    Show,
}

impl Bundle {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::Apply { dir, diff } => {
                let files = policies::bundle::dir::read(dir)?;
                let answer = put(&self.admin, &files, *diff)?;
                if self.json {
                    output::json(&answer)
                } else {
                    output::text(&changes(&answer, *diff))
                }
            }
            Command::Show => {
                let answer = self.admin.call("GET", "/v1/bundle", None)?;
                if self.json {
                    output::json(&answer)
                } else {
                    output::text(&listing(&answer))
                }
            }
        }
    }
}

/// Sends a bundle's files; answers what changed.
pub fn put(admin: &AdminArgs, files: &[(String, Vec<u8>)], dry_run: bool) -> Result<Value, Failure> {
    admin.call(
        "PUT",
        if dry_run {
            "/v1/bundle?dry_run=true"
        } else {
            "/v1/bundle"
        },
        Some(&body(files)),
    )
}

/// The body of a `PUT /v1/bundle`.
pub fn body(files: &[(String, Vec<u8>)]) -> Value {
    let files = files
        .iter()
        .map(|(path, content)| json!({"path": path, "content_base64": BASE64_STANDARD.encode(content)}));
    json!({"files": files.collect::<Vec<_>>()})
}

fn changes(answer: &Value, dry_run: bool) -> String {
    let mut text = String::new();
    for (member, sign) in [("added", '+'), ("changed", '~'), ("removed", '-')] {
        for path in answer
            .get(member)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            text.push_str(&format!("{sign} {path}\n"));
        }
    }
    let digest = answer.get("digest").and_then(Value::as_str).unwrap_or_default();
    match (text.is_empty(), dry_run) {
        (true, _) => text.push_str(&format!("nothing changes; the bundle in force is {digest}\n")),
        (false, true) => text.push_str(&format!("would become {digest}\n")),
        (false, false) => text.push_str(&format!("in force: {digest}\n")),
    }
    text
}

fn listing(answer: &Value) -> String {
    let mut text = format!(
        "{}\n",
        answer
            .get("digest")
            .and_then(Value::as_str)
            .unwrap_or("no bundle is in force")
    );
    for file in answer.get("files").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!(
            "  {}\n",
            file.get("path").and_then(Value::as_str).unwrap_or_default()
        ));
    }
    text
}
