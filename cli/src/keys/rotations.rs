//! `signet keys rotations`: how far a rotation has got.

use clap::Args;
use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;
use crate::report::{pages, shown};

/// Which key, and how far back.
#[derive(Debug, Args)]
pub struct Rotations {
    /// Key id, key ARN, alias or alias ARN.
    key: String,
    /// Count the decryptions of the last so many days, 1 to 90, today among them.
    #[arg(long, default_value_t = 90)]
    days: u64,
}

const COLUMNS: [&str; 8] = [
    "version",
    "made_by",
    "made_at",
    "current",
    "decryptions",
    "share",
    "reencryptions",
    "last_used",
];

impl Rotations {
    /// Runs the command.
    pub fn run(&self, admin: &AdminArgs, tenant: &str, as_json: bool) -> Result<(), Failure> {
        let body = json!({ "key": self.key, "days": self.days });
        let rows = pages(admin, tenant, "rotation", &body)?;
        let decryptions = |row: &Value| row.get("decryptions").and_then(Value::as_u64).unwrap_or(0);
        let all = rows.iter().map(decryptions).fold(0, u64::saturating_add);
        let current = rows.iter().find(|row| row.get("current") == Some(&json!(true)));
        let success = current.and_then(|row| row.get("share")?.as_f64());
        if as_json {
            return output::json(
                &json!({ "days": self.days, "decryptions": all, "success": success, "versions": rows }),
            );
        }
        if rows.is_empty() {
            return output::line("this key has one material for life: it does not rotate");
        }
        let cells = |row: &Value| COLUMNS.iter().map(|column| shown(row, column)).collect::<Vec<_>>();
        let head = [
            "VERSION",
            "MADE BY",
            "MADE",
            "CURRENT",
            "DECRYPTIONS",
            "SHARE",
            "RE-ENCRYPTED",
            "LAST USED",
        ];
        output::table(&head, &rows.iter().map(cells).collect::<Vec<_>>())?;
        let (days, version) = (self.days, current.map(|row| shown(row, "version")).unwrap_or_default());
        output::line(&match success {
            Some(share) => format!(
                "rotation success {:.1} %: version {version}'s part of {all} decryptions in {days} days",
                share * 100.0
            ),
            None => format!("rotation success unknown: nothing was decrypted in {days} days"),
        })
    }
}
