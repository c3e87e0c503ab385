//! The Cedar engine: a bundle's policies, validated and sliced when it is loaded, asked once a request.

mod admin;
mod compile;
mod context;
mod decision;
mod entities;
mod facts;
mod kept;
mod open;
mod question;
mod slice;
mod split;
mod standing;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod cost_tests;
#[cfg(test)]
pub(crate) mod sample;

use std::collections::HashMap;
use std::sync::Arc;

pub use admin::AdminAction;
pub use compile::{MAX_POLICIES, PolicyError};
pub use decision::{Considered, Denial, DenialCode};
pub use facts::{
    AccountFacts, AccountKind, AdminResource, Attribute, CallerFacts, DelegationMode, EdgeFacts, KeyAccess, KeyFacts,
    KeyPolicyAnswer, OperatorFacts, Principal, RequestFacts,
};
pub(crate) use question::{Depth, Question};

use crate::bundle::Bundle;
use crate::intent::Intent;
use crate::permit::Permit;
use crate::profile::{Kind, Profile};
use crate::schema::TYPES;
use decision::Index;
use kept::Kept;
use slice::{Scope, Slice};

/// One bundle's policies, ready to be asked. Immutable; share it in an `Arc` and replace it whole.
///
/// A decision is pure: the same facts give the same answer. An error while evaluating any policy of a slice denies
/// (R39), since Cedar itself would skip that policy, be it a forbid.
#[derive(Debug)]
pub struct Engine {
    index: Index,
    profiles: HashMap<String, ProfileSlices>,
    delegate: Slice,
    admin: HashMap<AdminAction, Slice>,
    keys: HashMap<AdminAction, Slice>,
    /// Of questions about keys.
    kept: Kept,
    warnings: Vec<PolicyError>,
}

#[derive(Debug)]
struct ProfileSlices {
    profile: Arc<Profile>,
    sign: Slice,
    verify: Slice,
}

/// Proof that policy allowed an edge, an operator or a principal of an account something.
#[derive(Debug)]
pub struct Allowed {
    policies: Vec<Arc<str>>,
}

impl Allowed {
    /// Ids of the policies that permitted it, never empty.
    pub fn policies(&self) -> &[Arc<str>] {
        &self.policies
    }
}

impl Engine {
    /// Validates a bundle's policies strictly against the schema and prepares them.
    ///
    /// # Errors
    /// Every fault that was found, with file, line, column and a hint; also a set of policies that would forbid the
    /// service's own administrator to replace it.
    pub fn new(bundle: &Bundle) -> Result<Self, Vec<PolicyError>> {
        let compiled = compile::compile(&bundle.policies)?;
        let policies = &compiled.policies;
        let slice =
            |action: &str, scope: Scope<'_>| Slice::new(action, scope, policies).map_err(|e| vec![fault(e, "")]);
        let mut engine = Self {
            profiles: HashMap::new(),
            delegate: slice("Delegate", Scope::Action(&TYPES.edge))?,
            admin: HashMap::new(),
            keys: HashMap::new(),
            kept: Kept::default(),
            index: compiled.index,
            warnings: compiled.warnings,
        };
        for profile in &bundle.profiles {
            let action = match profile.kind() {
                Kind::Token => "Mint",
                Kind::Artifact => "SignArtifact",
            };
            let slices = ProfileSlices {
                profile: Arc::clone(profile),
                sign: slice(action, Scope::Profile(profile))?,
                verify: slice("Verify", Scope::Profile(profile))?,
            };
            engine.profiles.insert(profile.name.clone(), slices);
        }
        for action in AdminAction::ALL.iter().copied() {
            let of = |principal| slice(action.as_str(), Scope::Action(principal));
            engine.admin.insert(action, of(&TYPES.operator)?);
            if action.is_of_keys() {
                engine.keys.insert(action, of(&TYPES.account_principal)?);
            }
        }
        engine.refuse_lockout()?;
        Ok(engine)
    }

    /// The built-in policies alone: what holds before the first bundle. Nobody signs, `admin` administers.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn builtin() -> Result<Self, Vec<PolicyError>> {
        Self::new(&Bundle::empty())
    }

    /// What is odd about the policies but no error, such as one that can never apply.
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }

    /// Decides whether `principal` may have `intent` signed (or verified) with `profile` and `key`.
    ///
    /// # Errors
    /// [`Denial`], naming the policies that decided.
    pub fn authorize(
        &self,
        principal: &Principal,
        facts: &RequestFacts,
        profile: Arc<Profile>,
        key: &KeyFacts,
        intent: Intent,
    ) -> Result<Permit, Denial> {
        let policies = match self.decide_quickly(principal, facts, &profile, key, &intent)? {
            Some(policies) => policies,
            None => {
                let question = self.question(principal, facts, &profile, key, &intent, Depth::Open)?;
                question.decide(&self.index)?
            }
        };
        Ok(Permit::new(intent, profile, key.id().to_owned(), policies))
    }

    /// Decides whether an edge gets a delegation of `key` (Cedar action `Delegate`).
    ///
    /// # Errors
    /// [`Denial`], naming the policies that decided.
    pub fn authorize_delegate(
        &self,
        edge: &EdgeFacts,
        key: &KeyFacts,
        mode: DelegationMode,
        now: u64,
    ) -> Result<Allowed, Denial> {
        let question = self.delegate_question(edge, key, mode, now)?;
        Ok(Allowed {
            policies: question.decide(&self.index)?,
        })
    }

    /// Decides whether an operator may do `action` on `resource`.
    ///
    /// # Errors
    /// [`Denial`], naming the policies that decided.
    pub fn authorize_admin(
        &self,
        operator: &OperatorFacts,
        action: AdminAction,
        resource: AdminResource<'_>,
        now: u64,
    ) -> Result<Allowed, Denial> {
        let question = self.admin_question(operator, action, resource, now)?;
        Ok(Allowed {
            policies: question.decide(&self.index)?,
        })
    }

    /// Decides whether a principal of an account may do `action` of the key API on a key or on its account. `access` is what
    /// the key's policy and grants say of it.
    ///
    /// # Errors
    /// [`Denial`], naming the policies that decided.
    pub fn authorize_keys(
        &self,
        principal: &AccountFacts,
        action: AdminAction,
        resource: AdminResource<'_>,
        access: KeyAccess,
        now: u64,
    ) -> Result<Allowed, Denial> {
        let question = self.key_question(principal, action, resource, access, now)?;
        Ok(Allowed {
            policies: question.decide(&self.index)?,
        })
    }

    pub(crate) fn decide(&self, question: &Question<'_>) -> Result<Vec<Arc<str>>, Denial> {
        question.decide(&self.index)
    }

    pub(crate) fn consider(&self, question: &Question<'_>) -> Vec<Considered> {
        question.consider(&self.index)
    }

    #[cfg(test)]
    pub(crate) fn decide_whole(&self, question: &Question<'_>) -> Result<Vec<Arc<str>>, Denial> {
        question.decide_whole(&self.index)
    }

    /// A bundle that nobody could replace any more is refused.
    fn refuse_lockout(&self) -> Result<(), Vec<PolicyError>> {
        let root = OperatorFacts {
            id: "root".to_owned(),
            role: "admin".to_owned(),
            tenant: None,
        };
        let Err(denial) = self.authorize_admin(&root, AdminAction::ApplyBundle, AdminResource::Authority, 0) else {
            return Ok(());
        };
        let message = format!("nobody could replace these policies: the operator `root` is {denial}");
        let hint = "restrict the forbid to `principal is Caller`, or to the actions it is meant for";
        Err(vec![fault(message, hint)])
    }
}

/// A fault of the policies as a whole.
fn fault(message: String, hint: &str) -> PolicyError {
    PolicyError {
        file: "policies".to_owned(),
        line: 1,
        column: 1,
        message,
        hint: hint.to_owned(),
    }
}
