//! What a principal may do: Cedar's answer, over what the key's own policy and grants say (which [`crate::keys`] works out).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use policies::engine::{AdminAction, AdminResource, Denial, DenialCode};

use super::principal::Principal;
use crate::bundle::InForce;
use crate::fault::Fault;
use crate::keys::{Asked, Caller, Gate};

/// The policies in force beside every bundle that speak for the key's own.
const DENIES: &str = "signet:key-policy-denies";
const SILENT: &str = "signet:key-policy-silent";

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
    /// The version of it, of an operation on one.
    pub(crate) kid: Option<String>,
    /// SHA-256 of what was signed.
    pub(crate) digest: Option<[u8; 32]>,
    /// The first tenant that it or anything else asked about is of.
    pub(crate) tenant: Option<String>,
    /// The policies that decided, and what else did: `approval:ID`, `signet:override`.
    pub(crate) policies: BTreeSet<String>,
}

impl Decided {
    /// Adds one decision.
    pub(crate) fn note<'p>(&mut self, resource: AdminResource<'_>, policies: impl Iterator<Item = &'p Arc<str>>) {
        let (key, tenant) = match resource {
            AdminResource::Key(key) => (Some(key.id()), Some(key.tenant())),
            AdminResource::Tenant(tenant) => (None, Some(tenant)),
            _ => (None, None),
        };
        self.key = self.key.take().or(key.map(str::to_owned));
        self.tenant = self.tenant.take().or(tenant.map(str::to_owned));
        self.policies.extend(policies.map(ToString::to_string));
    }
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

    fn decide<'p>(&self, resource: AdminResource<'_>, policies: impl Iterator<Item = &'p Arc<str>>) {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.note(resource, policies);
    }

    /// In the service's words; the names of policies and a forbid's reason are for callers to see.
    fn denied(&self, action: AdminAction, resource: AdminResource<'_>, denial: &Denial) -> String {
        let (arn, region) = (self.principal.arn(), self.principal.region());
        let name = action.kms_name().unwrap_or(action.as_str());
        let on = match resource {
            AdminResource::Key(key) => {
                let (tenant, id) = (key.tenant(), key.id());
                format!(" on resource: arn:aws:kms:{region}:{tenant}:key/{id}")
            }
            _ => String::new(),
        };
        let is_by = |policy: &str| denial.policies.iter().any(|own| own.as_ref() == policy);
        let why = match denial.code {
            DenialCode::NoPermit => format!("because no identity-based policy allows the kms:{name} action"),
            _ if is_by(DENIES) => format!("with an explicit deny in a resource-based policy: {denial}"),
            _ if is_by(SILENT) => {
                format!("because no resource-based policy allows the kms:{name} action: {denial}")
            }
            _ => format!("because it is not permitted: {denial}"),
        };
        format!("User: {arn} is not authorized to perform: kms:{name}{on} {why}")
    }
}

impl Gate for AccountGate<'_> {
    fn caller(&self) -> Option<&Caller> {
        Some(&self.caller)
    }

    fn note(&self, what: &str) {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.policies.insert(what.to_owned());
    }

    fn note_version(&self, kid: &str) {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.kid = Some(kid.to_owned());
    }

    fn note_digest(&self, digest: [u8; 32]) {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.digest = Some(digest);
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
                self.decide(resource, allowed.policies().iter());
                Ok(())
            }
            Err(denial) => {
                self.decide(resource, denial.policies.iter());
                let (principal, detail) = (self.principal.arn(), &denial.detail);
                tracing::warn!(
                    principal,
                    action = action.as_str(),
                    detail,
                    "principal denied: {denial}"
                );
                Err(Fault::Denied {
                    code: denial.code.as_str(),
                    message: self.denied(action, resource, &denial),
                    policies: denial.policies.iter().map(ToString::to_string).collect(),
                })
            }
        }
    }
}
