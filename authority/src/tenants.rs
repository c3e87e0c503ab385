//! Tenants: whom keys belong to. Each has a key-encryption key of its own, sealed by the HSM.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::keys::Custody;
use crate::names::Tenant;
use crate::paths::{self, Scope};
use crate::sealed::{Change, Vault};

/// Characters in a tenant's name.
const MAX_NAME: usize = 128;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// 12 digits.
    pub id: Tenant,
    /// For people.
    pub name: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Of keys that are not delegated and whose maker says nothing of it.
    #[serde(default)]
    pub default_custody: Custody,
}

/// The custody of a tenant's keys whose maker says nothing of it; `wrapped` where the tenant has no row.
pub(crate) async fn default_custody(vault: &Vault, id: &Tenant) -> Result<Custody, Fault> {
    let held = vault.get::<TenantRecord>(&paths::tenant(id)).await?;
    Ok(held.map(|held| held.value.default_custody).unwrap_or_default())
}

/// The tenants of this authority.
#[derive(Debug)]
pub struct Tenants {
    vault: Arc<Vault>,
    clock: Clock,
}

impl Tenants {
    /// Over the authority's state.
    pub fn new(vault: Arc<Vault>, clock: Clock) -> Self {
        Self { vault, clock }
    }

    /// Makes a tenant, durable when answered. `State` when it exists.
    ///
    /// A crash between its key-encryption key and its row leaves the key alone, and the next attempt uses it.
    pub async fn create(&self, id: &Tenant, name: &str) -> Result<TenantRecord, Fault> {
        if name.chars().count() > MAX_NAME || name.contains(char::is_control) {
            let message = format!("`name` has at most {MAX_NAME} characters, none of them control characters");
            return Err(Fault::invalid("bad_request", message));
        }
        let scope = Scope::Tenant(id.clone());
        if !self.vault.has_kek(&scope).await? {
            match self.vault.new_kek(&scope).await {
                Ok(()) | Err(Fault::Raced { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        let record = TenantRecord {
            id: id.clone(),
            name: name.to_owned(),
            created_at: self.clock.now(),
            default_custody: Custody::default(),
        };
        match self
            .vault
            .commit(Change::new().create(paths::tenant(id), &record))
            .await
        {
            Ok(_) => Ok(record),
            Err(Fault::Raced { .. }) => Err(Fault::state("already_exists", format!("the tenant `{id}` exists"))),
            Err(fault) => Err(fault),
        }
    }

    /// Changes where a tenant's new keys are kept; those that are there stay where they are. `NotFound` when there is no such
    /// tenant.
    pub async fn set_default_custody(&self, id: &Tenant, custody: Custody) -> Result<TenantRecord, Fault> {
        let path = paths::tenant(id);
        let change = async || {
            let missing = || Fault::not_found(format!("there is no tenant `{id}`"));
            if self.get(id).await?.is_none() {
                return Err(missing());
            }
            let mut held = self.vault.get::<TenantRecord>(&path).await?.ok_or_else(missing)?;
            held.value.default_custody = custody;
            let change = Change::new().replace(path.clone(), &held.value, held.stamp);
            self.vault.commit(change).await?;
            Ok(held.value)
        };
        self.vault.retry(change).await
    }

    /// One tenant.
    pub async fn get(&self, id: &Tenant) -> Result<Option<TenantRecord>, Fault> {
        if !self.vault.has_kek(&Scope::Tenant(id.clone())).await? {
            return Ok(None);
        }
        Ok(self.vault.get(&paths::tenant(id)).await?.map(|held| held.value))
    }

    /// All tenants, in order of their ids.
    pub async fn list(&self) -> Result<Vec<TenantRecord>, Fault> {
        let rows = self.vault.all::<TenantRecord>(paths::TENANTS).await?;
        Ok(rows.into_iter().map(|(_, held)| held.value).collect())
    }
}
