//! What a principal may do: Cedar's answer, over what the key's own policy and grants say (which [`crate::keys`] works out).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use policies::engine::{AdminAction, AdminResource};

use super::principal::Principal;
use crate::bundle::InForce;
use crate::fault::Fault;
use crate::keys::{Asked, Caller, Gate};

/// One request's decisions: all by the policies that were in force when it began.
pub(super) struct AccountGate<'a> {
    principal: &'a Principal,
    caller: Caller,
    in_force: Arc<InForce>,
    now: u64,
    decided: Mutex<Decided>,
}

/// What the decisions were about, for the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decided {
    /// The first key asked about.
    pub(crate) key: Option<String>,
    /// The policies that decided.
    pub(crate) policies: BTreeSet<String>,
}

impl<'a> AccountGate<'a> {
    /// For one request, with the principal as key policies know it. `now` is in Unix seconds.
    pub(super) fn new(principal: &'a Principal, caller: Caller, in_force: Arc<InForce>, now: u64) -> Self {
        Self {
            principal,
            caller,
            in_force,
            now,
            decided: Mutex::default(),
        }
    }

    /// What was decided so far.
    pub(super) fn decided(&self) -> Decided {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note<'p>(&self, resource: AdminResource<'_>, policies: impl Iterator<Item = &'p Arc<str>>) {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        if let (AdminResource::Key(key), None) = (resource, &decided.key) {
            decided.key = Some(key.id().to_owned());
        }
        decided.policies.extend(policies.map(ToString::to_string));
    }

    /// In the service's words; the names of policies and a forbid's reason are for callers to see.
    fn denied(&self, action: AdminAction, resource: AdminResource<'_>, why: &str) -> String {
        let (arn, region) = (self.principal.arn(), self.principal.region());
        let name = action.kms_name().unwrap_or(action.as_str());
        let on = match resource {
            AdminResource::Key(key) => {
                let (tenant, id) = (key.tenant(), key.id());
                format!(" on resource: arn:aws:kms:{region}:{tenant}:key/{id}")
            }
            _ => String::new(),
        };
        format!("User: {arn} is not authorized to perform: kms:{name}{on} because {why}")
    }
}

impl Gate for AccountGate<'_> {
    fn caller(&self) -> Option<&Caller> {
        Some(&self.caller)
    }

    fn allow(&self, asked: &Asked<'_>) -> Result<(), Fault> {
        let Asked {
            action,
            resource,
            access,
        } = *asked;
        let engine = &self.in_force.engine;
        match engine.authorize_keys(&self.principal.facts(), action, resource, access, self.now) {
            Ok(allowed) => {
                self.note(resource, allowed.policies().iter());
                Ok(())
            }
            Err(denial) => {
                self.note(resource, denial.policies.iter());
                let (principal, detail) = (self.principal.arn(), &denial.detail);
                tracing::warn!(
                    principal,
                    action = action.as_str(),
                    detail,
                    "principal denied: {denial}"
                );
                Err(Fault::Denied {
                    code: denial.code.as_str(),
                    message: self.denied(action, resource, &format!("it is not permitted: {denial}")),
                    policies: denial.policies.iter().map(ToString::to_string).collect(),
                })
            }
        }
    }
}
