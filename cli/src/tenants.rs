//! `signet tenants`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;

/// Create and list tenants, and say where their keys are kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet tenants create 000000000002 --name acme
  signet tenants list
  signet tenants custody 000000000002 token")]
pub struct Tenants {
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
    /// Make a tenant and its key-encryption key.
    Create {
        /// 12 digits.
        id: String,
        /// For people.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// List tenants.
    List,
    /// Where a tenant's new keys are kept unless their maker says (tag `signet:custody`): in the authority's store, sealed, or in
    /// the HSM. Keys that are there already stay where they are.
    Custody {
        /// 12 digits.
        id: String,
        #[arg(value_parser = ["wrapped", "token"])]
        custody: String,
    },
}

impl Tenants {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let answer = match &self.command {
            Command::Create { id, name } => {
                self.admin
                    .call("POST", "/v1/tenants", Some(&json!({"id": id, "name": name})))?
            }
            Command::Custody { id, custody } => {
                let path = format!("/v1/tenants/{id}/custody");
                self.admin.call("PUT", &path, Some(&json!({"custody": custody})))?
            }
            Command::List => self.admin.call("GET", "/v1/tenants", None)?,
        };
        if self.json {
            return output::json(&answer);
        }
        let listed = answer
            .get("tenants")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_else(|| vec![answer]);
        let rows = listed.iter().map(|tenant| {
            let cell = |name: &str| tenant.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            vec![cell("id"), cell("name"), cell("default_custody")]
        });
        output::table(&["TENANT", "NAME", "CUSTODY"], &rows.collect::<Vec<_>>())
    }
}
