//! `signet access-keys`: what clients of the key API sign with.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;

/// Issue, list, stop, rotate and delete access keys for AWS KMS clients.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet access-keys create                              for the account's root; the secret is printed once
  signet access-keys create --user ada --role admin      for a user who administers the account
  signet access-keys create --user ci --json
  signet access-keys list --tenant 000000000001
  signet access-keys deactivate AKIAIOSFODNN7EXAMPLE     refused from the next request on
  signet access-keys activate AKIAIOSFODNN7EXAMPLE
  signet access-keys rotate AKIAIOSFODNN7EXAMPLE         a successor; the old key goes on until it is deactivated
  signet access-keys delete AKIAIOSFODNN7EXAMPLE")]
pub struct AccessKeys {
    #[command(subcommand)]
    command: Command,
    /// The account: a tenant, 12 digits.
    #[arg(long, default_value = "000000000001", global = true)]
    tenant: String,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Issue one, and print its secret: it is not shown again.
    Create {
        /// The user it is for; without one it is the account's root's.
        #[arg(long)]
        user: Option<String>,
        /// What its holder may do by itself: `admin` for everything within the account, else what policies say of the role.
        #[arg(long, default_value = "", requires = "user")]
        role: String,
    },
    /// List an account's keys, without their secrets.
    List,
    /// Stop one at once, everywhere.
    Deactivate(Id),
    /// Let a stopped one be used again.
    Activate(Id),
    /// Issue a successor with the same rights, and print its secret.
    Rotate {
        #[command(flatten)]
        id: Id,
        /// Stop the old key in the same step.
        #[arg(long)]
        deactivate_old: bool,
    },
    /// Delete one with its secret.
    Delete(Id),
}

#[derive(Debug, Args)]
struct Id {
    /// `AKIA…`
    id: String,
}

impl AccessKeys {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::Create { user, role } => {
                let body = json!({"tenant": self.tenant, "user": user, "role": role});
                self.issued(&self.admin.call("POST", "/v1/access-keys", Some(&body))?)
            }
            Command::List => self.list(),
            Command::Deactivate(id) => self.change(id, "POST", "/deactivate", "inactive"),
            Command::Activate(id) => self.change(id, "POST", "/activate", "active"),
            Command::Rotate { id, deactivate_old } => {
                let body = json!({"deactivate_old": deactivate_old});
                let path = format!("{}/rotate", path(id)?);
                self.issued(&self.admin.call("POST", &path, Some(&body))?)
            }
            Command::Delete(id) => self.change(id, "DELETE", "", "deleted"),
        }
    }

    fn list(&self) -> Result<(), Failure> {
        let answer = self
            .admin
            .call("GET", &format!("/v1/access-keys?tenant={}", self.tenant), None)?;
        if self.json {
            return output::json(&answer);
        }
        let keys = answer
            .get("access_keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let rows = keys.map(|key| {
            let cell = |name: &str, none: &str| {
                let text = key.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
                text.unwrap_or(none).to_owned()
            };
            vec![
                cell("access_key_id", "-"),
                cell("user", "root"),
                cell("role", "-"),
                cell("status", "-"),
                cell("created_at", "-"),
            ]
        });
        output::table(
            &["ACCESS KEY", "USER", "ROLE", "STATUS", "CREATED"],
            &rows.collect::<Vec<_>>(),
        )
    }

    /// The two lines that clients' environments take.
    fn issued(&self, answer: &Value) -> Result<(), Failure> {
        if self.json {
            return output::json(answer);
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        output::line(&format!(
            "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}",
            text("access_key_id"),
            text("secret_access_key")
        ))
    }

    fn change(&self, id: &Id, method: &str, verb: &str, state: &str) -> Result<(), Failure> {
        let answer = self.admin.call(method, &format!("{}{verb}", path(id)?), None)?;
        if self.json {
            output::json(&answer)
        } else {
            output::line(&format!("{} is {state}", id.id))
        }
    }
}

/// The key's path; an id is letters and digits, so it cannot name another.
fn path(id: &Id) -> Result<String, Failure> {
    if id.id.is_empty() || !id.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Failure::new(format!("`{}` is no access key id", id.id.escape_debug())));
    }
    Ok(format!("/v1/access-keys/{}", id.id))
}
