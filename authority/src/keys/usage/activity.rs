//! What the tenants' callers asked for, by day and operation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tally::{DAYS, day, first_day};
use crate::fault::Fault;
use crate::keys::{Keys, KmsError, KmsErrorType};
use crate::names::Tenant;
use crate::paths;
use crate::sealed::Change;
use crate::store::MAX_SCAN;

/// Days of tenants remembered between two writings; of more, the others' are not.
const MAX_HELD: usize = 8192;

/// One operation on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Done.
    pub(crate) performed: u64,
    /// Refused or failed. What only tried (`DryRun`) is in neither.
    pub(crate) failed: u64,
}

/// One tenant's operations of one day, by name.
pub(crate) type Operations = BTreeMap<String, Counts>;

/// What is not written down yet.
pub(super) type Unwritten = BTreeMap<(Tenant, u64), Operations>;

fn add(to: &mut Operations, more: &Operations) {
    for (operation, counts) in more {
        let sum = to.entry(operation.clone()).or_default();
        sum.performed = sum.performed.saturating_add(counts.performed);
        sum.failed = sum.failed.saturating_add(counts.failed);
    }
}

impl Keys {
    /// Counts a call that was answered.
    pub(in crate::keys) fn note_call<T>(&self, tenant: &Tenant, verb: &str, result: &Result<T, KmsError>) {
        let (performed, failed) = match result {
            Ok(_) => (1, 0),
            Err(error) if error.kind == KmsErrorType::DryRun => return,
            Err(_) => (0, 1),
        };
        let mut held = self.uses.lock();
        let at = (tenant.clone(), day(self.clock.now()));
        if held.activity.len() >= MAX_HELD && !held.activity.contains_key(&at) {
            return;
        }
        let more = Operations::from([(verb.to_owned(), Counts { performed, failed })]);
        add(held.activity.entry(at).or_default(), &more);
    }

    /// Writes down the calls since the last time.
    pub(super) async fn write_activity(&self) -> Result<(), Fault> {
        let _alone = self.uses.rows.lock().await;
        let mut rest = std::mem::take(&mut self.uses.lock().activity);
        while let Some(((tenant, day), counts)) = rest.pop_first() {
            match self.vault.retry(|| self.write_day(&tenant, day, &counts)).await {
                // A tenant that is not there was asked for.
                Ok(()) | Err(Fault::NotFound { .. }) => {}
                // One row that does not open must not keep the others from being written.
                Err(fault @ Fault::Corrupt { .. }) => fault.log("what is known of a tenant's calls"),
                Err(fault) => {
                    let mut held = self.uses.lock();
                    for (at, counts) in rest.into_iter().chain([((tenant, day), counts)]) {
                        add(held.activity.entry(at).or_default(), &counts);
                    }
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    async fn write_day(&self, tenant: &Tenant, day: u64, counts: &Operations) -> Result<(), Fault> {
        let path = paths::activity(tenant, day);
        let change = match self.vault.get::<Operations>(&path).await? {
            Some(mut row) => {
                add(&mut row.value, counts);
                Change::new().replace(path, &row.value, row.stamp)
            }
            // A day's first writing forgets those that are over.
            None => {
                let oldest = paths::activity(tenant, first_day(self.clock.now(), DAYS));
                let rows = self
                    .vault
                    .store()
                    .scan(&paths::activities(tenant), None, MAX_SCAN)
                    .await?;
                let over = rows.into_iter().map(|(path, _)| path).filter(|path| *path < oldest);
                let change = Change::new().create(path, counts);
                over.take(MAX_SCAN / 2).fold(change, Change::delete)
            }
        };
        self.vault.commit(change).await.map(drop)
    }
}
