//! Stopping a key, whether that holds everywhere, and the delegation of a key withdrawn and given back.

use clap::Args;
use serde_json::{Value, json};

use super::{Key, Keys, overriding};
use crate::failure::Failure;
use crate::{fence, output, stop};

#[derive(Debug, Args)]
pub(super) struct Disable {
    #[command(flatten)]
    key: Key,
    /// Wait until no edge can sign with it any more: milliseconds, or a lease where an edge is cut off.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Fence {
    #[command(flatten)]
    key: Key,
    /// Wait until no edge can sign with it any more.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Delegation {
    #[command(flatten)]
    key: Key,
    /// The edge's id; none: all of them.
    #[arg(long)]
    edge: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    delegation: Delegation,
    /// Why, up to 256 bytes.
    #[arg(long, default_value = "")]
    reason: String,
    /// Wait until it can be signed with no more, even at an edge that is cut off.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct ScheduleDeletion {
    #[command(flatten)]
    key: Key,
    /// Waiting time in days, 7 to 30.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(7..=30))]
    days: u8,
    /// Why a key that was lately used is deleted all the same.
    #[arg(long = "override", value_name = "REASON")]
    reason: Option<String>,
}

impl Disable {
    pub(super) fn run(&self, keys: &Keys) -> Result<(), Failure> {
        if !self.wait {
            return keys.change("DisableKey", json!({"KeyId": self.key.key}), "disabled");
        }
        let id = keys.id(&self.key.key)?;
        keys.verb("DisableKey", json!({"KeyId": id}))?;
        shown(keys, &self.key.key, &id, true)
    }
}

impl ScheduleDeletion {
    pub(super) fn run(&self, keys: &Keys) -> Result<(), Failure> {
        let key = &self.key.key;
        let body = json!({"KeyId": key, "PendingWindowInDays": self.days});
        let answer = keys.verb("ScheduleKeyDeletion", overriding(body, self.reason.as_deref()))?;
        if keys.json {
            return output::json(&answer);
        }
        let when = match answer.get("DeletionDate").and_then(Value::as_u64) {
            Some(at) => format!("at {}", output::time(at)),
            None => format!("{} days after the last of its replicas", self.days),
        };
        output::line(&format!(
            "{key} is pending deletion, and stopped; it is deleted {when} unless `signet keys cancel-deletion` comes before"
        ))
    }
}

impl Fence {
    pub(super) fn run(&self, keys: &Keys) -> Result<(), Failure> {
        shown(keys, &self.key.key, &keys.id(&self.key.key)?, self.wait)
    }
}

impl Revoke {
    pub(super) fn run(&self, keys: &Keys) -> Result<(), Failure> {
        let what = self.delegation.name(keys)?;
        self.demand_delegated(keys)?;
        stop::stop(&keys.admin, &what, &self.reason, self.wait, keys.json)
    }
}

impl Revoke {
    /// Refuses what would leave a key signing whose user believes it stopped.
    fn demand_delegated(&self, keys: &Keys) -> Result<(), Failure> {
        let key = &self.delegation.key.key;
        let described = keys.verb("DescribeKey", json!({"KeyId": key}))?;
        match described.pointer("/KeyMetadata/Signet/Family").and_then(Value::as_str) {
            Some("raw") => Err(Failure::new(format!(
                "{key} has family `raw`, which no edge signs with, so there is nothing to withdraw; `signet keys disable {key}` stops it"
            ))),
            _ => Ok(()),
        }
    }
}

impl Delegation {
    /// Gives it back.
    pub(super) fn restore(&self, keys: &Keys) -> Result<(), Failure> {
        stop::resume(&keys.admin, &self.name(keys)?, keys.json)
    }

    fn name(&self, keys: &Keys) -> Result<String, Failure> {
        let id = keys.id(&self.key.key)?;
        Ok(match &self.edge {
            Some(edge) => format!("delegation/{id}/{edge}"),
            None => format!("delegation/{id}"),
        })
    }
}

fn shown(keys: &Keys, key: &str, id: &str, wait: bool) -> Result<(), Failure> {
    let of = format!("key/{id}");
    let answer = match wait {
        true => fence::wait(&keys.admin, &of)?,
        false => fence::ask(&keys.admin, &of)?,
    };
    fence::print(&answer, key, keys.json)
}
