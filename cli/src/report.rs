//! `signet report`: which keys are unused, who may use them and who did, which versions still decrypt, what was asked for.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;

mod csv;
mod usage;

/// Report on the keys of a tenant, as a table, CSV or JSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet report unused --days 90
  signet report access --csv > access.csv            every key: who may use it, and who did
  signet report access alias/data --json
  signet report usage --days 7 --by tenant,operation --all-tenants
  signet report rotation --csv                       every key's versions, and their share of the decryptions")]
pub struct Report {
    #[command(subcommand)]
    command: Command,
    /// The tenant, 12 digits.
    #[arg(long, default_value = "000000000001", global = true)]
    tenant: String,
    /// All tenants, in order.
    #[arg(long, global = true, conflicts_with = "tenant")]
    all_tenants: bool,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Print CSV (RFC 4180), with a head.
    #[arg(long, global = true, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keys that nothing was done with.
    Unused {
        /// For so many days, 1 to 3650.
        #[arg(long, default_value_t = 90)]
        days: u64,
    },
    /// Who may use a key, and who did.
    Access {
        /// Key id, key ARN, alias or alias ARN; without one every key.
        key: Option<String>,
    },
    /// What was asked for, counted by day and operation.
    Usage {
        /// In the last so many days, 1 to 90, today among them.
        #[arg(long, default_value_t = 30)]
        days: u64,
        /// What to count by.
        #[arg(long, value_delimiter = ',', default_value = "day,tenant,operation", value_parser = ["day", "tenant", "operation"])]
        by: Vec<String>,
    },
    /// Each version of each symmetric key, with its share of the decryptions.
    Rotation {
        /// Key id, key ARN, alias or alias ARN; without one every key.
        key: Option<String>,
        /// In the last so many days, 1 to 90, today among them.
        #[arg(long, default_value_t = 90)]
        days: u64,
    },
}

/// The columns of each report, in their order.
const UNUSED: &[&str] = &[
    "tenant",
    "region",
    "key",
    "aliases",
    "spec",
    "state",
    "owner",
    "contact",
    "created_at",
    "last_operation",
    "last_used",
    "unused_days",
];
const ACCESS: &[&str] = &[
    "tenant",
    "region",
    "key",
    "aliases",
    "owner",
    "kind",
    "effect",
    "principal",
    "name",
    "operations",
    "conditional",
    "uses",
    "first_used",
    "last_used",
];
const ROTATION: &[&str] = &[
    "tenant",
    "region",
    "key",
    "aliases",
    "owner",
    "version",
    "material_id",
    "made_by",
    "made_at",
    "current",
    "decryptions",
    "share",
    "reencryptions",
    "last_used",
];

impl Report {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (name, columns, body) = match &self.command {
            Command::Unused { days } => ("unused", UNUSED.to_vec(), json!({ "days": days })),
            Command::Access { key } => ("access", ACCESS.to_vec(), with_key(json!({}), key)),
            Command::Rotation { key, days } => ("rotation", ROTATION.to_vec(), with_key(json!({ "days": days }), key)),
            Command::Usage { days, by } => ("usage", usage::columns(by), json!({ "days": days })),
        };
        let mut rows = Vec::new();
        for tenant in self.tenants()? {
            rows.extend(pages(&self.admin, &tenant, name, &body)?);
        }
        if let Command::Usage { by, .. } = &self.command {
            rows = usage::sum(&rows, by);
        }
        if self.json {
            return output::json(&json!({ "report": name, "rows": rows }));
        }
        if self.csv {
            return output::text(&csv::write(&columns, &rows));
        }
        // What is the same in every row, or long, is for programs.
        let mut columns = columns;
        columns.retain(|column| !["material_id", "first_used", "created_at"].contains(column));
        columns.retain(|column| *column != "tenant" || self.all_tenants || name == "usage");
        let cells = |row: &Value| columns.iter().map(|column| shown(row, column)).collect::<Vec<_>>();
        let head: Vec<String> = columns
            .iter()
            .map(|column| column.replace('_', " ").to_uppercase())
            .collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        output::table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
    }

    fn tenants(&self) -> Result<Vec<String>, Failure> {
        if !self.all_tenants {
            return Ok(vec![self.tenant.clone()]);
        }
        let answer = self.admin.call("GET", "/v1/tenants", None)?;
        let tenants = answer.get("tenants").and_then(Value::as_array).into_iter().flatten();
        let mut ids: Vec<String> = tenants
            .filter_map(|tenant| tenant.get("id")?.as_str().map(str::to_owned))
            .collect();
        ids.sort();
        Ok(ids)
    }
}

/// All rows of a report about a tenant.
pub fn pages(admin: &AdminArgs, tenant: &str, name: &str, body: &Value) -> Result<Vec<Value>, Failure> {
    let path = format!("/v1/reports/{name}?tenant={tenant}");
    let mut body = body.as_object().cloned().unwrap_or_else(Map::new);
    let mut rows = Vec::new();
    loop {
        let answer = admin.call("POST", &path, Some(&Value::Object(body.clone())))?;
        rows.extend(
            answer
                .get("rows")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .cloned(),
        );
        match answer.get("next") {
            Some(next @ Value::String(_)) => body.insert("after".to_owned(), next.clone()),
            _ => return Ok(rows),
        };
    }
}

fn with_key(mut body: Value, key: &Option<String>) -> Value {
    if let (Some(key), Some(members)) = (key, body.as_object_mut()) {
        members.insert("key".to_owned(), json!(key));
    }
    body
}

/// A cell as text; lists are their items with a space between.
fn text(row: &Value, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            items.join(" ")
        }
        Some(other) => other.to_string(),
    }
}

/// As a person reads it in a table: nothing that moves the cursor, and a dash for nothing.
pub fn shown(row: &Value, column: &str) -> String {
    let text = text(row, column);
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
