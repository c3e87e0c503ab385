//! Who may assume which role: the trust rules of the bundle in force, compiled once for each bundle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use node::oidc::{IssuerConfig, Issuers};
use policies::bundle::Role;

use crate::bundle::{InForce, oidc_rule};
use crate::fault::Fault;

/// The compiled rules of the bundle that was asked for last.
#[derive(Debug, Default)]
pub(super) struct TrustedRoles(Mutex<Compiled>);

#[derive(Debug, Default)]
struct Compiled {
    /// Of the bundle; empty: nothing is compiled yet.
    digest: String,
    roles: HashMap<(String, String), Trust>,
}

/// One role's rules. Each role has issuers of its own: two roles may trust the same subject, and a token for one is no
/// token for the other.
#[derive(Debug, Clone)]
struct Trust {
    rules: Vec<IssuerConfig>,
    issuers: Arc<Issuers>,
}

impl TrustedRoles {
    /// The verifier of tokens for `role`, which is one of the bundle in force. A role whose rules a new bundle leaves alone
    /// keeps its issuers' keys.
    pub(super) fn issuers(&self, in_force: &InForce, role: &Role) -> Result<Arc<Issuers>, Fault> {
        let mut compiled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.digest != in_force.bundle.digest {
            *compiled = compile(in_force, &compiled)?;
        }
        let missing = || Fault::internal(format!("the role `{}` is not of the bundle in force", role.name));
        let trust = compiled.roles.get(&key(role)).ok_or_else(missing)?;
        Ok(trust.issuers.clone())
    }
}

fn compile(in_force: &InForce, former: &Compiled) -> Result<Compiled, Fault> {
    let mut roles = HashMap::new();
    for role in &in_force.bundle.roles {
        // They compiled when the bundle was taken.
        let rules: Vec<IssuerConfig> = role
            .trust
            .iter()
            .map(oidc_rule)
            .collect::<Result<_, _>>()
            .map_err(Fault::internal)?;
        let trust = match former.roles.get(&key(role)) {
            Some(same) if same.rules == rules => same.clone(),
            _ => {
                let issuers = Issuers::new(rules.clone()).map_err(|error| Fault::internal(error.to_string()))?;
                Trust {
                    rules,
                    issuers: Arc::new(issuers),
                }
            }
        };
        roles.insert(key(role), trust);
    }
    Ok(Compiled {
        digest: in_force.bundle.digest.clone(),
        roles,
    })
}

fn key(role: &Role) -> (String, String) {
    (role.tenant.clone(), role.name.clone())
}
