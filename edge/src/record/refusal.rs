//! Why one signature is not made: for the caller, for the log, and for the record.

use std::time::Duration;

use audit::record::{Hash, Verdict, VerdictOutcome};
use audit::spool::SpoolError;
use http::header::RETRY_AFTER;
use node::problem::Problem;
use policies::engine::Denial;
use policies::intent::IntentError;
use policies::permit::{NotCleared, RetryAfter, Ruled};
use policies::profile::Profile;
use runtime::RuleError;
use serde_json::{Value, json};

use crate::answer;
use crate::keyring::SignError;
use crate::throttle::Limited;

/// A refusal of one signature: what the caller is told, what the log gets, and what the record holds.
#[derive(Debug)]
pub struct Refusal(pub(super) Box<Told>);

#[derive(Debug)]
pub(super) struct Told {
    pub(super) problem: Problem,
    /// For the log only.
    pub(super) detail: String,
    /// Whether it is one that the audit trail keeps: everything but a request that could not be understood.
    pub(super) audited: bool,
    pub(super) policies: Vec<String>,
    /// The plugins that ruled, and what one said that refused or failed.
    pub(super) ruled: Vec<Ruled>,
    pub(super) verdict: Option<Verdict<'static>>,
}

impl Refusal {
    fn new(code: &'static str, safe: impl Into<String>, detail: impl Into<String>) -> Refusal {
        Refusal(Box::new(Told {
            problem: Problem::new(code, safe),
            detail: detail.into(),
            audited: true,
            policies: Vec::new(),
            ruled: Vec::new(),
            verdict: None,
        }))
    }

    fn with(mut self, member: &'static str, value: Value) -> Refusal {
        self.0.problem = self.0.problem.with(member, value);
        self
    }

    fn retry_after(mut self, seconds: u64) -> Refusal {
        self.0.problem = self.0.problem.with_header(RETRY_AFTER, seconds.to_string());
        self
    }

    /// The profile's key is not known here (yet).
    pub fn no_key(profile: &Profile) -> Refusal {
        Refusal::new(
            "key_unavailable",
            "the profile's key is not available here",
            format!(
                "`{}` of profile `{}` is not announced by the authority",
                profile.key, profile.name
            ),
        )
    }

    /// No bundle has come yet.
    pub fn not_ready() -> Refusal {
        Refusal::new("not_ready", "this edge has no bundle yet", "no bundle").retry_after(1)
    }

    /// The batch has taken too long before this element's turn came: nothing was judged.
    pub fn out_of_time() -> Refusal {
        let mut refusal = Refusal::too_late(Vec::new());
        refusal.0.audited = false;
        refusal
    }

    /// The batch has taken too long before this element was signed, which was permitted, metered and let pass by those that `ruled`.
    pub fn too_late(ruled: Vec<Ruled>) -> Refusal {
        let safe = "the batch took too long before this element was signed; send it again, or smaller batches";
        let mut refusal = Refusal::new("overloaded", safe, "the batch took too long").retry_after(1);
        refusal.0.ruled = ruled;
        refusal
    }

    /// What the caller is told, for a refusal that is not recorded.
    pub fn into_problem(self) -> Problem {
        self.0.problem
    }

    /// The rule `name`, whose component has this hash, said no or failed, after those that `ruled`. What it said of a failure is
    /// for the log.
    pub fn by_rule(name: &str, component: Hash, error: RuleError, ruled: Vec<Ruled>) -> Refusal {
        match error {
            RuleError::Failed { kind, detail } => {
                Refusal::rule_failed(name, Some(component), (kind.as_str(), &detail), ruled)
            }
            RuleError::Refused { code, message } => {
                let detail = format!("rule `{name}` refused with `{code}`");
                let refusal = Refusal::new("rule_refused", message, detail).with("rule_code", json!(code));
                let outcome = VerdictOutcome::Refused { code: code.into() };
                refusal.decided(name, Some(component), outcome, ruled)
            }
        }
    }

    /// A rule that the profile lists is not loaded.
    pub fn rule_missing(name: &str, ruled: Vec<Ruled>) -> Refusal {
        Refusal::rule_failed(name, None, ("missing", "the plugin is not loaded"), ruled)
    }

    fn rule_failed(
        name: &str,
        component: Option<Hash>,
        (kind, detail): (&'static str, &str),
        ruled: Vec<Ruled>,
    ) -> Refusal {
        let safe = "a rule of the profile failed; nothing is signed without its verdict";
        let refusal = Refusal::new("rule_failed", safe, format!("rule `{name}` failed ({kind}): {detail}"));
        refusal.decided(name, component, VerdictOutcome::Failed { kind: kind.into() }, ruled)
    }

    fn decided(
        mut self,
        name: &str,
        component: Option<Hash>,
        outcome: VerdictOutcome<'static>,
        ruled: Vec<Ruled>,
    ) -> Refusal {
        self = self.with("rule", json!(name));
        self.0.ruled = ruled;
        self.0.verdict = Some(Verdict {
            plugin: name.to_owned().into(),
            component,
            outcome,
        });
        self
    }
}

/// Of a plugin that let a request pass, or was skipped.
pub(super) fn verdict(ruled: &Ruled) -> Verdict<'_> {
    Verdict {
        plugin: ruled.plugin.as_str().into(),
        component: Some(ruled.component),
        outcome: match ruled.skipped {
            None => VerdictOutcome::Allowed,
            Some(kind) => VerdictOutcome::Skipped { kind: kind.into() },
        },
    }
}

impl From<IntentError> for Refusal {
    fn from(error: IntentError) -> Refusal {
        let mut refusal = Refusal::new(error.code, error.detail.clone(), error.detail);
        if let Some(pointer) = error.pointer {
            refusal = refusal.with("pointer", json!(pointer));
        }
        refusal.0.audited = false;
        refusal
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Refusal {
        let mut refusal = Refusal::new(denial.code.as_str(), denial.to_string(), denial.detail);
        let policies: Vec<String> = denial.policies.iter().map(ToString::to_string).collect();
        refusal = refusal.with("policies", json!(policies));
        refusal.0.policies = policies;
        refusal
    }
}

impl From<RetryAfter> for Refusal {
    fn from(spent: RetryAfter) -> Refusal {
        let limited = Limited {
            policy: spent.quota,
            quota: spent.limit,
            window: spent.window.as_secs().max(1),
            retry_after: Some(spent.after.max(Duration::from_millis(1))),
        };
        let mut refusal = Refusal::new("quota_exceeded", "", spent.to_string());
        refusal.0.problem = answer::limited(&limited, "quota_exceeded");
        refusal
    }
}

impl From<NotCleared> for Refusal {
    fn from(NotCleared { error, mut ruled }: NotCleared) -> Refusal {
        let name = error.plugin().unwrap_or_default();
        let at_fault = ruled.iter().position(|ruled| ruled.plugin == name);
        let component = at_fault.map(|place| ruled.remove(place).component);
        Refusal::rule_failed(name, component, ("bad_output", &error.to_string()), ruled)
    }
}

impl From<SignError> for Refusal {
    fn from(error: SignError) -> Refusal {
        let detail = error.to_string();
        match error {
            SignError::EdgeRevoked => Refusal::new("edge_revoked", "this edge may not sign any more", detail),
            SignError::Disabled(state) => Refusal::new("key_disabled", format!("the profile's key is {state}"), detail),
            SignError::CallerStopped => Refusal::new("forbidden", "this caller, or its tenant, is stopped", detail),
            SignError::Superseded => {
                let safe = "the policies were tightened while this was decided; try again";
                Refusal::new("not_ready", safe, detail).retry_after(1)
            }
            SignError::NoLease => {
                let safe = "this edge's lease of the profile's key has run out: its authority has not renewed it";
                Refusal::new("key_unavailable", safe, detail).retry_after(1)
            }
            SignError::Unavailable => Refusal::new(
                "key_unavailable",
                "this edge holds no valid delegation of the profile's key",
                detail,
            ),
            SignError::AuthorityAway(_) => {
                let safe = "the profile's key signs at the authority, which cannot be reached or is busy";
                Refusal::new("key_unavailable", safe, detail).retry_after(1)
            }
            SignError::Authority(_) => {
                let safe =
                    "the profile's key signs at the authority, which does not sign this; the operators' log says why";
                Refusal::new("key_unavailable", safe, detail)
            }
            SignError::NotYet(seconds) => {
                let safe = "the next version of the profile's key signs when verifiers have learnt it";
                let mut refusal = Refusal::new("key_unavailable", safe, detail);
                refusal.0.problem = refusal
                    .0
                    .problem
                    .with_header(http::header::RETRY_AFTER, seconds.to_string());
                refusal
            }
            SignError::Mismatch(_) | SignError::Key(_) | SignError::Token(_) => Refusal::new(
                "key_unavailable",
                "the profile's key cannot be used; the operators' log says why",
                detail,
            ),
        }
    }
}

pub(super) fn unavailable(error: SpoolError) -> Refusal {
    let safe = "the audit trail cannot be written, so nothing is signed";
    Refusal::new("audit_unavailable", safe, error.to_string())
}

pub(super) fn unproven(detail: impl Into<String>) -> Refusal {
    let safe = "the audit log has not proven in time that it holds the record, so nothing is signed";
    Refusal::new("audit_unavailable", safe, detail).retry_after(1)
}

pub(super) fn behind() -> Refusal {
    unavailable(SpoolError::Behind)
}
