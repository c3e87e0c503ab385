//! `signet stop` and `signet resume`: the emergency stop.

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::{fence, output};

/// Stop a tenant, a caller or everything, at once and everywhere; never waits for approval.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("stopped").required(true).args(["all", "tenant", "caller", "list"]))]
#[command(after_help = "Examples:
  signet stop --all --reason \"breach, incident 42\"
  signet stop --tenant 000000000001 --wait           returns when no edge signs for it any more
  signet stop --caller oidc:https://ci.example#repo:app
  signet stop --list

Keys of a stopped tenant stay in the JWKS: what they signed goes on verifying. Where somebody else may have a key:
`signet keys compromised`. Exit code 0 means stopped; with --wait it means fenced.")]
pub struct Stop {
    #[command(flatten)]
    what: What,
    /// List what is stopped.
    #[arg(long)]
    list: bool,
    /// Why, for the record and whoever asks: up to 256 bytes.
    #[arg(long, default_value = "")]
    reason: String,
    /// Wait until no edge can sign with it any more: seconds, or a lease where an edge is cut off.
    #[arg(long, conflicts_with = "list")]
    wait: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Take an emergency stop back; takes the quorum's approval where there is a quorum.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("stopped").required(true).args(["all", "tenant", "caller"]))]
#[command(after_help = "Examples:
  signet resume --all
  signet resume --tenant 000000000001
  signet resume --caller oidc:https://ci.example#repo:app")]
pub struct Resume {
    #[command(flatten)]
    what: What,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
struct What {
    /// Every tenant.
    #[arg(long)]
    all: bool,
    /// One tenant, 12 digits: its keys and its callers.
    #[arg(long)]
    tenant: Option<String>,
    /// One caller at all edges, by the id that records show.
    #[arg(long)]
    caller: Option<String>,
}

impl What {
    fn name(&self) -> Result<String, Failure> {
        match (self.all, &self.tenant, &self.caller) {
            (true, ..) => Ok("all".to_owned()),
            (_, Some(tenant), _) => Ok(format!("tenant/{tenant}")),
            (_, _, Some(caller)) => Ok(format!("caller/{caller}")),
            _ => Err(Failure::new("say what: --all, --tenant T or --caller ID")),
        }
    }
}

impl Stop {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        if self.list {
            return self.list();
        }
        let what = self.what.name()?;
        stop(&self.admin, &what, &self.reason, self.wait, self.json)
    }

    fn list(&self) -> Result<(), Failure> {
        let answer = self.admin.call("GET", "/v1/stops", None)?;
        if self.json {
            return output::json(&answer);
        }
        let stops = answer.get("stops").and_then(Value::as_array).into_iter().flatten();
        let rows = stops.map(|stop| {
            let cell = |name: &str| stop.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            vec![cell("what"), cell("at"), cell("by"), cell("reason")]
        });
        output::table(&["STOPPED", "AT", "BY", "REASON"], &rows.collect::<Vec<_>>())
    }
}

impl Resume {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        resume(&self.admin, &self.what.name()?, self.json)
    }
}

/// Stops what is named, and waits until it is fenced if asked.
pub fn stop(admin: &AdminArgs, what: &str, reason: &str, wait: bool, is_json: bool) -> Result<(), Failure> {
    let answer = admin.call("POST", "/v1/stops", Some(&json!({"what": what, "reason": reason})))?;
    if wait {
        return fence::print(&fence::wait(admin, what)?, what, is_json);
    }
    if is_json {
        return output::json(&answer);
    }
    output::line(&format!(
        "{what} is stopped; `--wait` waits until no edge signs with it any more"
    ))
}

/// Resumes what is named.
pub fn resume(admin: &AdminArgs, what: &str, is_json: bool) -> Result<(), Failure> {
    let answer = admin.call("POST", "/v1/stops/resume", Some(&json!({"what": what})))?;
    if is_json {
        output::json(&answer)
    } else {
        output::line(&format!("{what} is resumed"))
    }
}
