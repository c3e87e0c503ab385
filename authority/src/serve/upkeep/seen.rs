//! The time that the store has seen last: a row that the upkeep rewrites now and then while it believes its clock. A process that
//! starts has nothing else to hold its clock against.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Vault};

/// How old the row becomes, milliseconds. Each time is a commit, which every edge is told of.
pub(super) const EVERY_MS: u64 = 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// Unix milliseconds.
    at_ms: u64,
}

/// None in a store that has seen none yet.
pub(super) async fn last(vault: &Vault) -> Result<Option<u64>, Fault> {
    Ok(vault.get::<Seen>(paths::SEEN).await?.map(|held| held.value.at_ms))
}

/// Of several authorities that write it at once one does.
pub(super) async fn write(vault: &Vault, at_ms: u64) -> Result<(), Fault> {
    let before = vault.get::<Seen>(paths::SEEN).await?.map(|held| held.stamp);
    let change = Change::new().set(paths::SEEN, &Seen { at_ms }, before);
    match vault.commit(change).await {
        Err(Fault::Raced { .. }) => Ok(()),
        written => written.map(drop),
    }
}
