//! `signet tenants`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;

/// Create and list tenants.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet tenants create 000000000002 --name acme
  signet tenants list")]
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
}

impl Tenants {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let answer = match &self.command {
            Command::Create { id, name } => {
                self.admin
                    .call("POST", "/v1/tenants", Some(&json!({"id": id, "name": name})))?
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
            vec![cell("id"), cell("name")]
        });
        output::table(&["TENANT", "NAME"], &rows.collect::<Vec<_>>())
    }
}
