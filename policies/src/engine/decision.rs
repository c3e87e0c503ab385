//! Cedar's answer, read strictly: any error denies (R39), a forbid denies, and without a permit nothing passes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, Decision, Entities, Policy, PolicyId, PolicySet, Request};

/// Why a request is denied. Display is safe to send to the caller; `detail` is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which of the three ways to be denied.
    pub code: DenialCode,
    /// Ids of the policies that decided, sorted: the forbids that matched, or those that failed to evaluate.
    pub policies: Vec<Arc<str>>,
    /// The first deciding forbid's `@reason`, written for the caller.
    pub reason: Option<String>,
    /// What happened, for the log.
    pub detail: String,
}

/// The three ways to be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenialCode {
    /// A forbid matched.
    PolicyDenied,
    /// No permit matched.
    NoPermit,
    /// A policy, or the request's own facts, could not be evaluated.
    PolicyError,
}

impl DenialCode {
    /// The problem's stable code: `policy_denied`, `no_permit` or `policy_error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PolicyDenied => "policy_denied",
            Self::NoPermit => "no_permit",
            Self::PolicyError => "policy_error",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self
            .policies
            .iter()
            .map(|id| format!("`{id}`"))
            .collect::<Vec<_>>()
            .join(", ");
        match (self.code, &self.reason) {
            (DenialCode::PolicyDenied, Some(reason)) => write!(f, "denied by the policy {named}: {reason}"),
            (DenialCode::PolicyDenied, None) => write!(f, "denied by the policy {named}"),
            (DenialCode::NoPermit, _) => f.write_str("no policy permits this, ask whoever writes the policies"),
            (DenialCode::PolicyError, _) if named.is_empty() => f.write_str("the policies could not be evaluated"),
            (DenialCode::PolicyError, _) => write!(f, "the policy {named} could not be evaluated"),
        }
    }
}

impl std::error::Error for Denial {}

impl Denial {
    /// The request's own facts could not be given to Cedar.
    pub(super) fn unevaluable(detail: impl Into<String>) -> Self {
        Self {
            code: DenialCode::PolicyError,
            policies: Vec::new(),
            reason: None,
            detail: detail.into(),
        }
    }
}

/// What is known of each policy beside Cedar's own.
#[derive(Debug, Default)]
pub(super) struct Index(pub(super) HashMap<PolicyId, Meta>);

/// A policy's public id, and what to tell a caller whom it forbids.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) id: Arc<str>,
    pub(super) reason: Option<String>,
}

impl Index {
    pub(super) fn id(&self, id: &PolicyId) -> Arc<str> {
        self.0
            .get(id)
            .map_or_else(|| Arc::from(id.to_string()), |meta| Arc::clone(&meta.id))
    }

    fn ids<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Vec<Arc<str>> {
        let mut named: Vec<Arc<str>> = ids.map(|id| self.id(id)).collect();
        named.sort_unstable();
        named
    }

    fn reason(&self, ids: &[PolicyId]) -> Option<String> {
        let reasons = ids
            .iter()
            .filter_map(|id| self.0.get(id))
            .filter_map(|meta| Some((&meta.id, meta.reason.as_ref()?)));
        reasons.min().map(|(_, reason)| reason.clone())
    }
}

/// Which policies of a set matched, and which failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Matched {
    pub(super) permits: Vec<PolicyId>,
    pub(super) forbids: Vec<PolicyId>,
    pub(super) errors: Vec<(PolicyId, String)>,
}

impl Matched {
    /// Asks Cedar. Where a forbid matched, Cedar names no permits; they no longer matter.
    pub(super) fn of(policies: &PolicySet, request: &Request, entities: &Entities) -> Self {
        let response = Authorizer::new().is_authorized(request, policies, entities);
        let diagnostics = response.diagnostics();
        let reason = diagnostics.reason().cloned().collect();
        let errors = diagnostics
            .errors()
            .map(|error| (policy_of(error).clone(), error.to_string()))
            .collect();
        match response.decision() {
            Decision::Allow => Self {
                permits: reason,
                forbids: Vec::new(),
                errors,
            },
            Decision::Deny => Self {
                permits: Vec::new(),
                forbids: reason,
                errors,
            },
        }
    }

    /// Whether nothing forbids and nothing failed.
    pub(super) fn is_quiet(&self) -> bool {
        self.forbids.is_empty() && self.errors.is_empty()
    }

    /// The decision over what this and `other` matched.
    pub(super) fn conclude(&self, other: &Self, index: &Index, request: &Request) -> Result<Vec<Arc<str>>, Denial> {
        let both = |ours: &[PolicyId], theirs: &[PolicyId]| index.ids(ours.iter().chain(theirs));
        if !(self.errors.is_empty() && other.errors.is_empty()) {
            let errors = || self.errors.iter().chain(&other.errors);
            return Err(Denial {
                code: DenialCode::PolicyError,
                policies: index.ids(errors().map(|(id, _)| id)),
                reason: None,
                detail: errors().map(|(_, error)| error.as_str()).collect::<Vec<_>>().join("; "),
            });
        }
        let forbids = both(&self.forbids, &other.forbids);
        if !forbids.is_empty() {
            let all: Vec<PolicyId> = self.forbids.iter().chain(&other.forbids).cloned().collect();
            return Err(Denial {
                code: DenialCode::PolicyDenied,
                policies: forbids,
                reason: index.reason(&all),
                detail: format!("forbidden: {}", summary(request)),
            });
        }
        let permits = both(&self.permits, &other.permits);
        if permits.is_empty() {
            let detail = format!("no permit matches: {}", summary(request));
            return Err(Denial {
                code: DenialCode::NoPermit,
                policies: permits,
                reason: None,
                detail,
            });
        }
        Ok(permits)
    }
}

/// What one policy said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The policy's id.
    pub id: Arc<str>,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Whether its scope and conditions held; the error where they could not be evaluated.
    pub applies: Result<bool, String>,
}

/// Asks each policy by itself, in the order of their ids. For people, not for requests.
pub(super) fn consider(index: &Index, policies: &PolicySet, request: &Request, entities: &Entities) -> Vec<Considered> {
    let ask = |policy: &Policy| {
        let alone = PolicySet::from_policies([policy.clone()]).map_err(|error| error.to_string());
        let applies = alone.and_then(|alone| {
            let matched = Matched::of(&alone, request, entities);
            match matched.errors.into_iter().next() {
                Some((_, error)) => Err(error),
                None => Ok(!(matched.permits.is_empty() && matched.forbids.is_empty())),
            }
        });
        let effect = match policy.effect() {
            cedar_policy::Effect::Permit => "permit",
            cedar_policy::Effect::Forbid => "forbid",
        };
        Considered {
            id: index.id(policy.id()),
            effect,
            applies,
        }
    };
    let mut considered: Vec<Considered> = policies.policies().map(ask).collect();
    considered.sort_by(|a, b| a.id.cmp(&b.id));
    considered
}

fn policy_of(error: &AuthorizationError) -> &PolicyId {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    }
}

/// Who, what and on what, without the context: claims are nobody's business in a log.
fn summary(request: &Request) -> String {
    let part = |uid: Option<&cedar_policy::EntityUid>| uid.map(ToString::to_string).unwrap_or_default();
    format!(
        "{} {} {}",
        part(request.principal()),
        part(request.action()),
        part(request.resource())
    )
}
