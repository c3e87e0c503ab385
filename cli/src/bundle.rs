//! `signet bundle`: what edges sign, for whom and by which rules, as a directory.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::oci::RegistryArgs;
use crate::progress::Progress;
use crate::{fence, output};

mod sources;

/// Apply and show bundles.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet bundle apply --diff ./bundle     show what would change, and every mistake
  signet bundle apply ./bundle            validated as a whole, then pushed to every edge
  signet bundle apply ./bundle --fence    returns when no edge signs by the bundle before any more
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
        /// It is stricter: what was decided by the bundle before is signed no more. Waits until that holds at every edge.
        #[arg(long, conflicts_with = "diff")]
        fence: bool,
        /// Why it may trust a whole organisation, where no quorum of the authority would say so.
        #[arg(long = "override", value_name = "REASON")]
        reason: Option<String>,
        /// Go back to the version of a plugin that a rollout has replaced.
        #[arg(long)]
        take_back: bool,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// The bundle in force: its digest and files.
    Show,
}

impl Bundle {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::Apply {
                dir,
                diff,
                fence,
                reason,
                take_back,
                registry,
            } => {
                let mut files = policies::bundle::dir::read(dir)?;
                sources::add(&mut files, dir, registry)?;
                let request = body(&files, reason.as_deref());
                let request = demanding(request, "fence", *fence);
                let request = demanding(request, "take_back", *take_back);
                let answer = put(&self.admin, &request, *diff)?;
                warn(&answer);
                if *fence {
                    let fenced = fence::wait(&self.admin, "bundle")?;
                    if !self.json {
                        output::text(&changes(&answer, false))?;
                    }
                    return fence::print(&fenced, "the bundle before", self.json);
                }
                if self.json {
                    return output::json(&answer);
                }
                let text = changes(&answer, *diff);
                let is_on_its_way = answer.get("applied").and_then(Value::as_bool) == Some(true);
                output::text(&format!("{text}{}", if is_on_its_way { ON_ITS_WAY } else { "" }))
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

/// It is in force at the authority.
const ON_ITS_WAY: &str = "edges take it as they hear of it; `--fence` waits until all have\n";

/// Sends a bundle; answers what changed.
fn put(admin: &AdminArgs, request: &Value, dry_run: bool) -> Result<Value, Failure> {
    let path = if dry_run {
        "/v1/bundle?dry_run=true"
    } else {
        "/v1/bundle"
    };
    let mut progress = Progress::new("bundle", "files");
    let what = "the authority validates the bundle and compiles its plugins";
    admin.target()?.call_long(("PUT", path), request, &mut progress, what)
}

/// Such a body with one of its yes-or-no members.
pub fn demanding(mut body: Value, member: &str, wanted: bool) -> Value {
    if let (true, Some(members)) = (wanted, body.as_object_mut()) {
        members.insert(member.to_owned(), json!(true));
    }
    body
}

/// The body of a `PUT /v1/bundle`; `reason` says why it may trust a whole organisation.
pub fn body(files: &[(String, Vec<u8>)], reason: Option<&str>) -> Value {
    let files = files
        .iter()
        .map(|(path, content)| json!({"path": path, "content_base64": BASE64_STANDARD.encode(content)}));
    let files: Vec<_> = files.collect();
    match reason {
        Some(reason) => json!({"files": files, "override": reason}),
        None => json!({"files": files}),
    }
}

/// What is odd, but no fault.
fn warn(answer: &Value) {
    let warnings = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    for warning in warnings {
        let text = |name: &str| warning.get(name).and_then(Value::as_str);
        let line = warning.get("line").and_then(Value::as_u64);
        let place = [text("file").map(str::to_owned), line.map(|line| line.to_string())];
        let place = place.into_iter().flatten().collect::<Vec<_>>().join(":");
        let said = [Some(place.as_str()), text("field"), text("message")];
        let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
        let hint = text("hint").map(|hint| format!(" ({hint})")).unwrap_or_default();
        output::note(&format!("warning: {said}{hint}"));
    }
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
    for rule in answer.get("wide_trust").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!(
            "! trusts a whole organisation: {}\n",
            rule.as_str().unwrap_or_default()
        ));
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
