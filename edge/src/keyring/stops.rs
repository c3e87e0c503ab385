//! What operators have stopped, beside keys and edges.

use std::collections::HashSet;

use node::contract;
use serde_json::{Value, json};

/// Replaced as a whole with each change.
#[derive(Debug, Default)]
pub struct Stops {
    everything: bool,
    tenants: HashSet<String>,
    callers: HashSet<String>,
    keys: HashSet<String>,
}

impl Stops {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.tenants.is_empty() && self.callers.is_empty() && self.keys.is_empty()
    }

    /// How much is, for `/readyz`: who it is, is the authority's to say.
    pub fn shape(&self) -> Value {
        json!({
            "everything": self.everything,
            "tenants": self.tenants.len(),
            "callers": self.callers.len(),
            "keys": self.keys.len(),
        })
    }

    /// Whether a tenant's keys are stopped.
    pub fn has_tenant(&self, tenant: &str) -> bool {
        self.everything || self.tenants.contains(tenant)
    }

    /// Whether a caller is stopped, alone or with its tenant.
    pub fn has_caller(&self, caller: &str, tenant: &str) -> bool {
        self.has_tenant(tenant) || self.callers.contains(caller)
    }

    /// Whether a key's delegation to this edge was withdrawn.
    pub fn has_key(&self, key_id: &str) -> bool {
        self.keys.contains(key_id)
    }
}

impl From<contract::Stops> for Stops {
    fn from(stops: contract::Stops) -> Stops {
        Stops {
            everything: stops.everything,
            tenants: stops.tenants.into_iter().collect(),
            callers: stops.callers.into_iter().collect(),
            keys: stops.key_ids.into_iter().collect(),
        }
    }
}
