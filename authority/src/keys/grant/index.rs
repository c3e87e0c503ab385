//! What is kept beside grants so that none has to be looked for: how many a key has, and which a principal may retire.
//! They change with the grant, in one transaction.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::digest::sha256;
use signing::encoding::hex;

use super::{GrantRecord, MAX_PER_KEY};
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

    /// What goes with a grant whose key is deleted.
    pub(in crate::keys) fn without_grant(change: Change, key: &KeyRecord, path: String, grant: &GrantRecord) -> Change {
        let change = change.delete(path);
        match retirable_path(key, grant) {
            Some(path) => change.delete(path),
            None => change,
        }
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

    async fn grant_count(&self, key: &KeyRecord) -> Result<(String, Option<Held<Count>>), KmsError> {
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
    use serde_json::json;

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
}
