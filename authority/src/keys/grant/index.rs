//! What is kept beside grants so that none has to be looked for: how many a key has, and which a principal may retire.
//! They change with the grant, in one transaction.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::digest::sha256;
use signing::encoding::hex;

use super::{GrantRecord, MAX_PER_KEY};
use crate::fault::Fault;
use crate::keys::page::{self, Paging};
use crate::keys::{KeyRecord, Keys, KmsError, KmsErrorType};
use crate::names::Tenant;
use crate::paths;
use crate::sealed::{Change, Held};

/// How many grants a key has.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Count(u32);

/// Where a grant is that somebody may retire.
#[derive(Serialize, Deserialize)]
struct Retirable {
    tenant: Tenant,
    /// The name of the key's row.
    row: String,
    grant: String,
}

impl Keys {
    /// Stores a new grant, within the key's quota.
    pub(super) async fn store_grant(&self, key: &KeyRecord, grant: &GrantRecord) -> Result<(), KmsError> {
        let _alone = self.counting_grants.lock().await;
        let (counted, count) = self.grant_count(key).await?;
        let held = count.as_ref().map_or(0, |count| count.value.0);
        if held >= MAX_PER_KEY {
            let message = format!("a key has at most {MAX_PER_KEY} grants");
            return Err(KmsErrorType::LimitExceeded.because(message));
        }
        let path = paths::grant(&key.tenant, &key.row(), &grant.id);
        let mut change = Change::new().create(path, grant).set(
            counted,
            &Count(held.saturating_add(1)),
            count.map(|count| count.stamp),
        );
        if let Some(path) = retirable_path(key, grant) {
            let (tenant, row, grant) = (key.tenant.clone(), key.row(), grant.id.clone());
            change = change.create(path, &Retirable { tenant, row, grant });
        }
        self.vault.commit(change).await?;
        Ok(())
    }

    /// Deletes a grant that must be as it was read.
    pub(super) async fn end_grant(
        &self,
        key: &KeyRecord,
        path: &str,
        grant: &Held<GrantRecord>,
    ) -> Result<(), KmsError> {
        let _alone = self.counting_grants.lock().await;
        let (counted, count) = self.grant_count(key).await?;
        let mut change = Change::new().unchanged(path, grant.stamp).delete(path);
        if let Some(count) = count {
            change = change.replace(counted, &Count(count.value.0.saturating_sub(1)), count.stamp);
        }
        if let Some(path) = retirable_path(key, &grant.value) {
            change = change.delete(path);
        }
        self.vault.commit(change).await?;
        Ok(())
    }

    /// Adds the end of these grants, of a key that is deleted; the count of those that stay is lowered where `counted`.
    /// Nothing else may change the key's grants before the change is committed.
    pub(in crate::keys) async fn without_grants(
        &self,
        mut change: Change,
        key: &KeyRecord,
        grants: Vec<(String, Held<GrantRecord>)>,
        counted: bool,
    ) -> Result<Change, Fault> {
        let ended = u32::try_from(grants.len()).unwrap_or(u32::MAX);
        for (path, grant) in grants {
            change = change.delete(path);
            if let Some(path) = retirable_path(key, &grant.value) {
                change = change.delete(path);
            }
        }
        if let (true, (path, Some(count))) = (counted, self.grant_count(key).await?) {
            change = change.replace(path, &Count(count.value.0.saturating_sub(ended)), count.stamp);
        }
        Ok(change)
    }

    /// The page of the grants here that `principal` may retire.
    pub(super) async fn retirable(&self, principal: &str, paging: &Paging) -> Result<Value, KmsError> {
        let prefix = paths::retirable(&self.region, &hash(principal));
        let (rows, more) = page::filtered::<Retirable>(&self.vault, &prefix, paging, |_| true).await?;
        let mut items = Vec::with_capacity(rows.len());
        for (_, place) in rows {
            let path = paths::grant(&place.tenant, &place.row, &place.grant);
            // One that ended since its place was read is left out.
            if let Some(grant) = self.vault.get::<GrantRecord>(&path).await? {
                items.push(grant.value.shape(&place.tenant));
            }
        }
        Ok(page::answer("Grants", items, &prefix, more.as_deref()))
    }

    async fn grant_count(&self, key: &KeyRecord) -> Result<(String, Option<Held<Count>>), Fault> {
        let path = paths::grant_count(&key.tenant, &key.row());
        let count = self.vault.get(&path).await?;
        Ok((path, count))
    }
}

/// Where it is said who may retire a grant.
fn retirable_path(key: &KeyRecord, grant: &GrantRecord) -> Option<String> {
    let retiring = grant.retiring.as_deref()?;
    let prefix = paths::retirable(&key.region, &hash(retiring));
    Some(format!("{prefix}{}/{}/{}", key.tenant, key.id, grant.id))
}

fn hash(principal: &str) -> String {
    hex(&sha256(principal.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tokio::task::JoinSet;

    use super::*;
    use crate::testing::{Bench, TENANT};

    // R37
    #[tokio::test]
    async fn a_key_has_a_quota_of_grants() {
        let bench = Bench::new().await;
        let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
        let grant = |grantee: &str| json!({"KeyId": id, "GranteePrincipal": format!("arn:aws:iam::{TENANT}:user/{grantee}"), "Operations": ["Encrypt"]});
        let made = bench.verb("CreateGrant", grant("a")).await.unwrap();
        let path = paths::grant_count(&bench.tenant(), &id);
        let vault = &bench.wired.keys.vault;
        let held = vault.get::<Count>(&path).await.unwrap().unwrap();
        assert_eq!(held.value.0, 1);
        let almost = Change::new().replace(path, &Count(MAX_PER_KEY - 1), held.stamp);
        vault.commit(almost).await.unwrap();
        bench.verb("CreateGrant", grant("b")).await.unwrap();
        let error = bench.verb("CreateGrant", grant("c")).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::LimitExceeded);
        let revoke = json!({"KeyId": id, "GrantId": made["GrantId"]});
        bench.verb("RevokeGrant", revoke).await.unwrap();
        bench.verb("CreateGrant", grant("c")).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn grants_made_and_ended_at_once_all_count() {
        let bench = Arc::new(Bench::new().await);
        let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
        let path = paths::grant_count(&bench.tenant(), &id);
        let counted = async |bench: &Bench| {
            let vault = &bench.wired.keys.vault;
            vault.get::<Count>(&path).await.unwrap().unwrap().value.0
        };
        let mut making = JoinSet::new();
        for n in 0..64 {
            let grantee = format!("arn:aws:iam::{TENANT}:user/u{n}");
            let grant = json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": ["Encrypt"]});
            let bench = bench.clone();
            making.spawn(async move { bench.verb("CreateGrant", grant).await.unwrap()["GrantId"].clone() });
        }
        let made = making.join_all().await;
        assert_eq!(counted(&bench).await, 64);
        let mut ending = JoinSet::new();
        for grant in made {
            let (bench, revoke) = (bench.clone(), json!({"KeyId": id, "GrantId": grant}));
            ending.spawn(async move { bench.verb("RevokeGrant", revoke).await.unwrap() });
        }
        ending.join_all().await;
        assert_eq!(counted(&bench).await, 0);
    }

    #[tokio::test]
    async fn a_deletion_in_several_looks_is_not_called_off_half_way() {
        let bench = Bench::new().await;
        let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
        for n in 0..401 {
            let grantee = format!("arn:aws:iam::{TENANT}:user/u{n}");
            let grant = json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": ["Encrypt"]});
            bench.verb("CreateGrant", grant).await.unwrap();
        }
        let (days, cancel) = (7, json!({"KeyId": id}));
        let schedule = json!({"KeyId": id, "PendingWindowInDays": days});
        bench.verb("ScheduleKeyDeletion", schedule.clone()).await.unwrap();
        bench.pass(days * 86_400 - 1);
        bench.verb("CancelKeyDeletion", cancel.clone()).await.unwrap();
        bench.verb("ScheduleKeyDeletion", schedule).await.unwrap();
        bench.pass(days * 86_400);
        let keys = &bench.wired.keys;
        assert!(keys.upkeep(&bench.tenant(), &id).await.unwrap());
        let path = paths::grant_count(&bench.tenant(), &id);
        assert_eq!(keys.vault.get::<Count>(&path).await.unwrap().unwrap().value.0, 1);
        let error = bench.verb("CancelKeyDeletion", cancel.clone()).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::InvalidState);
        assert!(keys.upkeep(&bench.tenant(), &id).await.unwrap());
        let error = bench.verb("CancelKeyDeletion", cancel).await.unwrap_err();
        assert_eq!(error.kind, KmsErrorType::NotFound);
        assert!(keys.vault.get::<Count>(&path).await.unwrap().is_none());
    }
}
