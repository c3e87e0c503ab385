//! Stopping a key, whether that holds everywhere, and the delegation of a key withdrawn and given back.

use clap::Args;
use serde_json::json;

use super::{Key, Keys};
use crate::failure::Failure;
use crate::{fence, stop};

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

impl Fence {
    pub(super) fn run(&self, keys: &Keys) -> Result<(), Failure> {
        shown(keys, &self.key.key, &keys.id(&self.key.key)?, self.wait)
    }
}

impl Revoke {
    pub(super) fn run(&self, keys: &Keys) -> Result<(), Failure> {
        let what = self.delegation.name(keys)?;
        stop::stop(&keys.admin, &what, &self.reason, self.wait, keys.json)
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
