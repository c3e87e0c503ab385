//! Tenants: whom keys belong to. Each has a key-encryption key of its own, sealed by the HSM.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::fault::Fault;
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
