//! `signet keys replica-identity`, `export-replica`, `import-replica`: a multi-Region key in a region of another authority.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Value, json};

use crate::dev::files;
use crate::failure::{Context, Failure};
use crate::output;

/// Which key, and for whom.
#[derive(Debug, Args)]
pub struct Export {
    /// Key id, key ARN, alias or alias ARN of a multi-Region primary key.
    key: String,
    /// What `signet keys replica-identity` printed at the other authority.
    #[arg(long = "for", value_name = "FILE")]
    recipient: PathBuf,
    /// Where the bundle goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What to import, and from whom.
#[derive(Debug, Args)]
pub struct Import {
    /// The bundle that `signet keys export-replica` made at the other authority.
    bundle: PathBuf,
    /// What `signet keys replica-identity` printed there: nobody else's bundle is taken.
    #[arg(long = "from", value_name = "FILE")]
    sender: PathBuf,
    /// The region that the replica is in here; without one the authority's own.
    #[arg(long)]
    region: Option<String>,
    /// A file with the replica's key policy; without one the account decides.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Calls a key verb.
pub type Verb<'a> = &'a dyn Fn(&str, Value) -> Result<Value, Failure>;

/// Prints this authority's identity, for the other's operator.
pub fn identity(verb: Verb<'_>) -> Result<(), Failure> {
    let answer = verb("GetReplicaIdentity", json!({}))?;
    output::json(&answer)?;
    let fingerprint = text(&answer, "Fingerprint");
    output::note(&format!(
        "the other authority's operator compares the fingerprint {fingerprint}"
    ));
    Ok(())
}

impl Export {
    /// Runs the command.
    pub fn run(&self, verb: Verb<'_>, as_json: bool) -> Result<(), Failure> {
        let body = json!({ "KeyId": self.key, "Recipient": read_identity(&self.recipient)? });
        let mut answer = verb("ExportReplica", body)?;
        let bundle = BASE64_STANDARD.decode(text(&answer, "Bundle"))?;
        files::private_file(&self.out, &bundle)?;
        if let (true, Some(members)) = (as_json, answer.as_object_mut()) {
            members.remove("Bundle");
            return output::json(&answer);
        }
        let (key, recipient) = (text(&answer, "KeyId"), text(&answer, "Recipient"));
        output::line(&format!(
            "{key} is in `{}`, for the authority {recipient} alone",
            self.out.display()
        ))
    }
}

impl Import {
    /// Runs the command.
    pub fn run(&self, verb: Verb<'_>, as_json: bool) -> Result<(), Failure> {
        let bundle = std::fs::read(&self.bundle).context(|| format!("`{}`", self.bundle.display()))?;
        let mut body = json!({ "Bundle": BASE64_STANDARD.encode(bundle), "Sender": read_identity(&self.sender)? });
        if let Some(members) = body.as_object_mut() {
            if let Some(region) = &self.region {
                members.insert("ReplicaRegion".to_owned(), json!(region));
            }
            if let Some(policy) = &self.policy {
                let policy = std::fs::read_to_string(policy).context(|| format!("`{}`", policy.display()))?;
                members.insert("Policy".to_owned(), json!(policy));
            }
        }
        let answer = verb("ImportReplica", body)?;
        if as_json {
            return output::json(&answer);
        }
        let arn = answer
            .pointer("/KeyMetadata/Arn")
            .and_then(Value::as_str)
            .unwrap_or_default();
        output::line(&format!(
            "{arn} is a replica of the authority {}",
            text(&answer, "Sender")
        ))
    }
}

fn text(answer: &Value, name: &str) -> String {
    answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn read_identity(path: &Path) -> Result<Value, Failure> {
    let named = || format!("`{}`", path.display());
    let read: Value = serde_json::from_slice(&std::fs::read(path).context(named)?).context(named)?;
    let missing = || Failure::new(format!("{} is not what `signet keys replica-identity` prints", named()));
    read.get("Identity").cloned().ok_or_else(missing)
}
