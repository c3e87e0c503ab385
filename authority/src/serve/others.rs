//! What other authorities on the same store have changed and this process keeps in memory: the seal and the admin token. All else
//! is read from the store with each request, or follows its commits ([`crate::world`]). And whether the store was put back to an
//! older state beneath them (R29).

use std::sync::Arc;
use std::time::Duration;

use crate::admin::AdminToken;
use crate::fault::Fault;
use crate::init;
use crate::seal::{Reason, Seal};
use crate::sealed::Vault;

/// Between two looks: for that long, another authority's old admin token may still count here.
const LOOK: Duration = Duration::from_secs(1);

/// Looks until the process ends; not at all where nobody else writes to the store.
pub(crate) async fn follow(vault: Arc<Vault>, seal: Arc<Seal>, token: AdminToken) {
    let mut seen = 0;
    while vault.store().is_shared() {
        tokio::time::sleep(LOOK).await;
        if let Err(fault) = look(&vault, &seal, &token, &mut seen).await {
            fault.log("what other authorities have changed");
        }
    }
}

pub(super) async fn look(vault: &Vault, seal: &Seal, token: &AdminToken, seen: &mut u64) -> Result<(), Fault> {
    let store = vault.store().revision().await?;
    if store < *seen {
        let (seen, witness) = (*seen, "this process".to_owned());
        seal.close(vault, Reason::RolledBack { store, seen, witness }).await;
    }
    *seen = store.max(*seen);
    seal.follow(vault).await?;
    token.replace(&init::admin_token_hash(vault).await?)
}
