//! Cedar's answer, read strictly: any error denies (R39), a forbid denies, and without a permit nothing passes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Authorizer, Decision, Effect, PolicyId, PolicySet, Request};

use super::question::Question;

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

/// A policy's public id, where it stands, and what to tell a caller whom it forbids.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) id: Arc<str>,
    pub(super) reason: Option<String>,
}

impl Index {
    fn ids<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Vec<Arc<str>> {
        let mut named: Vec<Arc<str>> = ids
            .map(|id| {
                self.0
                    .get(id)
                    .map_or_else(|| Arc::from(id.to_string()), |meta| Arc::clone(&meta.id))
            })
            .collect();
        named.sort_unstable();
        named
    }

    fn reason<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Option<String> {
        ids.filter_map(|id| self.0.get(id))
            .filter_map(|meta| Some((&meta.id, meta.reason.as_ref()?)))
            .min()
            .map(|(_, r)| r.clone())
    }
}

/// Asks Cedar, and answers the ids of the policies that permit.
pub(super) fn decide(index: &Index, question: &Question<'_>) -> Result<Vec<Arc<str>>, Denial> {
    let Question {
        slice,
        request,
        entities,
    } = question;
    let response = Authorizer::new().is_authorized(request, &slice.policies, entities);
    let diagnostics = response.diagnostics();
    let failed: Vec<&PolicyId> = diagnostics.errors().map(policy_of).collect();
    if !failed.is_empty() {
        let detail = diagnostics
            .errors()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let policies = index.ids(failed.into_iter());
        return Err(Denial {
            code: DenialCode::PolicyError,
            policies,
            reason: None,
            detail,
        });
    }
    let policies = index.ids(diagnostics.reason());
    match response.decision() {
        Decision::Allow if !policies.is_empty() => Ok(policies),
        _ if policies.is_empty() => Err(Denial {
            code: DenialCode::NoPermit,
            policies,
            reason: None,
            detail: format!(
                "none of {} policies permits {}",
                slice.policies.num_of_policies(),
                summary(request)
            ),
        }),
        _ => Err(Denial {
            code: DenialCode::PolicyDenied,
            policies,
            reason: index.reason(diagnostics.reason()),
            detail: format!("forbidden: {}", summary(request)),
        }),
    }
}

/// What one policy of a slice said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The policy's id.
    pub id: Arc<str>,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Whether its scope and conditions held; the error where they could not be evaluated.
    pub applies: Result<bool, String>,
}

/// Asks each policy of the question's slice by itself, in the order of their ids. For people, not for requests.
pub(super) fn consider(index: &Index, question: &Question<'_>) -> Vec<Considered> {
    let ask = |policy: &cedar_policy::Policy| {
        let id = index
            .0
            .get(policy.id())
            .map_or_else(|| Arc::from(policy.id().to_string()), |meta| Arc::clone(&meta.id));
        let effect = match policy.effect() {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        };
        let applies = PolicySet::from_policies([policy.clone()])
            .map_err(|error| error.to_string())
            .and_then(|alone| {
                let response = Authorizer::new().is_authorized(&question.request, &alone, &question.entities);
                match response.diagnostics().errors().next() {
                    Some(error) => Err(error.to_string()),
                    None => Ok(response.diagnostics().reason().next().is_some()),
                }
            });
        Considered { id, effect, applies }
    };
    let mut considered: Vec<Considered> = question.slice.policies.policies().map(ask).collect();
    considered.sort_by(|a, b| a.id.cmp(&b.id));
    considered
}

fn policy_of(error: &cedar_policy::AuthorizationError) -> &PolicyId {
    match error {
        cedar_policy::AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
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
