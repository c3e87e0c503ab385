//! The record stage: what was signed, and what policy, quota or a rule refused, goes on record before it is answered.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use audit::log::proof::Proof;
use audit::record::{Draft, Event, Outcome, Verdict, VerdictOutcome};
use audit::spool::SpoolError;
use http::header::RETRY_AFTER;
use node::identity::Caller;
use node::problem::Problem;
use policies::engine::Denial;
use policies::intent::IntentError;
use policies::permit::{ClearError, RetryAfter};
use policies::profile::{AuditMode, Profile};
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::answer;
use crate::keyring::{At, SignError, Signed};
use crate::receive::Received;
use crate::state::Edge;
use crate::throttle::Limited;
use crate::world::Served;

/// How long a signature waits for an audit disk that is behind to take its record: longer than a sync usually takes, shorter
/// than callers wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a record may take to be durable, all in all.
const SYNC: Duration = Duration::from_secs(10);

/// How many signatures may wait for it: the rest of an edge's requests are for what needs no record.
pub const MOST_WAITING: usize = 1_024;

/// Whose signature it is, for the record: known before anything is decided.
#[derive(Debug)]
pub struct Subject<'r> {
    id: Uuid,
    id_text: Arc<str>,
    received: &'r Received,
    caller: &'r Caller,
    served: Arc<Served>,
    bundle: u64,
}

impl<'r> Subject<'r> {
    /// The signature `id` of this request, by a profile of the bundle of this number.
    pub fn new(
        received: &'r Received,
        caller: &'r Caller,
        (served, bundle): (&Arc<Served>, u64),
        id: Uuid,
    ) -> Subject<'r> {
        Subject {
            id,
            id_text: Arc::from(&*id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            received,
            caller,
            served: served.clone(),
            bundle,
        }
    }

    /// For whom and when it is signed, if it is now; `now` is the request's time, Unix seconds.
    pub fn at(&self, edge: &Edge, now: u64) -> At<'_> {
        At {
            caller: self.caller.id(),
            bundle: self.bundle,
            now,
            boot: edge.boot_ms(),
        }
    }

    /// The profile that is asked for.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.served.profile
    }

    /// `id` in the answer, `jti` in a token, and the id in the record.
    pub fn id(&self) -> &str {
        &self.id_text
    }

    /// The same as its bytes: random.
    pub fn id_bytes(&self) -> &[u8; 16] {
        self.id.as_bytes()
    }

    /// The W3C trace id the caller sent.
    pub fn trace_id(&self) -> Option<&str> {
        self.received.trace_id()
    }

    fn draft<'a>(&'a self, outcome: Outcome<'a>, policies: Cow<'a, [String]>, now_ms: u64) -> Draft<'a> {
        let profile = Some(self.profile().name.as_str());
        draft(
            self.received,
            self.caller,
            profile,
            outcome,
            policies,
            (self.id, now_ms),
        )
    }
}

fn draft<'a>(
    received: &Received,
    caller: &'a Caller,
    profile: Option<&'a str>,
    outcome: Outcome<'a>,
    policies: Cow<'a, [String]>,
    (request_id, time_ms): (Uuid, u64),
) -> Draft<'a> {
    Draft {
        outcome,
        caller: caller.id().into(),
        tenant: caller.tenant().into(),
        profile: profile.map(Into::into),
        key: None,
        kid: None,
        digest: None,
        policies,
        plugins: Vec::new(),
        request_id,
        trace_id: received.trace_id().and_then(|id| id.parse().ok()),
        time_ms,
    }
}

/// Proof that a signature is on record, as durable as its audit mode promises. Only [`Edge::record`] makes one.
#[derive(Debug)]
pub struct Recorded {
    signed: Signed,
    request_id: Arc<str>,
    proof: Option<Box<Proof>>,
}

/// Proof that a signature is on record and that nothing has stopped it since. Only [`Edge::release`] makes one, and only from
/// one of these does [`crate::answer`] make a 201: it does so at once.
#[derive(Debug)]
pub struct Released(Recorded);

impl Released {
    /// What was signed.
    pub fn signed(&self) -> &Signed {
        &self.0.signed
    }

    /// The signature's id.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// That the record is in the authority's log, where its audit mode promises that.
    pub fn proof(&self) -> Option<&Proof> {
        self.0.proof.as_deref()
    }
}

/// A refusal of one signature: what the caller is told, what the log gets, and what the record holds.
#[derive(Debug)]
pub struct Refusal(Box<Told>);

#[derive(Debug)]
struct Told {
    problem: Problem,
    /// For the log only.
    detail: String,
    /// Whether it is one that the audit trail keeps: everything but a request that could not be understood.
    audited: bool,
    policies: Vec<String>,
    rule: Option<(String, VerdictOutcome<'static>)>,
}

impl Refusal {
    fn new(code: &'static str, safe: impl Into<String>, detail: impl Into<String>) -> Refusal {
        Refusal(Box::new(Told {
            problem: Problem::new(code, safe),
            detail: detail.into(),
            audited: true,
            policies: Vec::new(),
            rule: None,
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
        Refusal::new("not_ready", "this edge has no bundle yet", "no bundle")
    }

    /// The batch has taken too long before this element's turn came: nothing was judged.
    pub fn out_of_time() -> Refusal {
        let safe = "the batch took too long before this element's turn; send it again, or smaller batches";
        let mut refusal = Refusal::new("overloaded", safe, "the batch took too long").retry_after(1);
        refusal.0.audited = false;
        refusal
    }

    /// What the caller is told, for a refusal that is not recorded.
    pub fn into_problem(self) -> Problem {
        self.0.problem
    }

    /// A rule said no.
    pub fn rule_refused(rule: &str, code: &str, message: &str) -> Refusal {
        let mut refusal = Refusal::new("rule_refused", message, format!("rule `{rule}` refused with `{code}`"));
        refusal = refusal.with("rule", json!(rule)).with("rule_code", json!(code));
        refusal.0.rule = Some((
            rule.to_owned(),
            VerdictOutcome::Refused {
                code: code.to_owned().into(),
            },
        ));
        refusal
    }

    /// A rule failed; what it said about it is for the log.
    pub fn rule_failed(rule: &str, kind: &'static str, detail: &str) -> Refusal {
        let safe = "a rule of the profile failed; nothing is signed without its verdict";
        let mut refusal = Refusal::new("rule_failed", safe, format!("rule `{rule}` failed ({kind}): {detail}"));
        refusal = refusal.with("rule", json!(rule));
        refusal.0.rule = Some((rule.to_owned(), VerdictOutcome::Failed { kind: kind.into() }));
        refusal
    }

    /// A rule that the profile lists is not loaded.
    pub fn rule_missing(rule: &str) -> Refusal {
        Refusal::rule_failed(rule, "missing", "the plugin is not loaded")
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

impl From<ClearError> for Refusal {
    fn from(error: ClearError) -> Refusal {
        Refusal::rule_failed(error.plugin().unwrap_or_default(), "bad_output", &error.to_string())
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

fn unavailable(error: SpoolError) -> Refusal {
    let safe = "the audit trail cannot be written, so nothing is signed";
    Refusal::new("audit_unavailable", safe, error.to_string())
}

fn unproven(detail: impl Into<String>) -> Refusal {
    let safe = "the audit log has not proven in time that it holds the record, so nothing is signed";
    Refusal::new("audit_unavailable", safe, detail).retry_after(1)
}

fn behind() -> Refusal {
    unavailable(SpoolError::Behind)
}

impl Edge {
    /// Puts a signature on record. What cannot be recorded does not leave. It waits a while for a disk that is behind, as a
    /// caller would rather have it than be sent away.
    pub async fn record(&self, signed: Signed, subject: &Subject<'_>) -> Result<Recorded, Refusal> {
        let cleared = signed.cleared();
        let policies: Vec<String> = cleared.policies().iter().map(ToString::to_string).collect();
        let mut draft = subject.draft(Outcome::Signed, policies.into(), self.now_ms());
        draft.key = Some(cleared.key_id().into());
        draft.kid = Some(signed.kid().into());
        draft.digest = Some(*signed.digest());
        let plugins = cleared.profile().plugins.iter();
        draft.plugins = plugins
            .map(|name| Verdict {
                plugin: name.as_str().into(),
                outcome: match cleared.skipped(name) {
                    None => VerdictOutcome::Allowed,
                    Some(kind) => VerdictOutcome::Skipped { kind: kind.into() },
                },
            })
            .collect();
        let mode = signed.cleared().profile().audit;
        let recorded = match mode {
            AuditMode::Reserve => match self.spool().append(&draft) {
                Err(SpoolError::Behind) => self.append_later(&draft).await?,
                appended => appended.map_err(unavailable)?,
            },
            AuditMode::Commit | AuditMode::Witness => self.commit(&draft).await?,
        };
        let proof = match mode {
            AuditMode::Reserve | AuditMode::Commit => None,
            AuditMode::Witness => Some(Box::new(self.prove(recorded.sequence(), &signed, subject).await?)),
        };
        Ok(Recorded {
            request_id: subject.id_text.clone(),
            signed,
            proof,
        })
    }

    /// Until the record of this very signature is proven to be in the authority's log. Without the proof there is the record of
    /// a signature that did not leave.
    async fn prove(&self, sequence: u64, signed: &Signed, subject: &Subject<'_>) -> Result<Proof, Refusal> {
        let proven = self.proofs().of(sequence).await;
        let (proof, record) = proven.map_err(|error| unproven(error.to_string()))?;
        match &record.event {
            Event::Use(used) if used.request_id == subject.id && used.digest.as_ref() == Some(signed.digest()) => {
                Ok(proof)
            }
            _ => Err(unproven("the log holds another record than was made here")),
        }
    }

    /// Lets a signature leave, unless it was stopped meanwhile. Asked always, however short the wait was, right before the
    /// answer: what passes here is answered.
    pub fn release(&self, recorded: Recorded, subject: &Subject<'_>) -> Result<Released, Refusal> {
        let signed = &recorded.signed;
        let at = subject.at(self, self.now());
        let still = self.keyring().still_signs(signed.cleared(), signed.kid(), &at);
        still.map_err(|error| self.unsigned(error))?;
        subject.served.signatures.inc();
        Ok(Released(recorded))
    }

    /// Until the record is durable. The key may be stopped meanwhile: then there is the record of a signature that did not leave.
    async fn commit(&self, draft: &Draft<'_>) -> Result<audit::spool::Recorded, Refusal> {
        let committed = async {
            let mut waits = None;
            loop {
                let progress = self.spool().progress();
                match self.spool().commit(draft).await {
                    Err(SpoolError::Behind) => {
                        let wait = match waits.take() {
                            Some(wait) => wait,
                            None => self.wait()?,
                        };
                        let (_, until) = waits.insert(wait);
                        timeout_at(*until, progress).await.map_err(|_| behind())?;
                    }
                    committed => return committed.map_err(unavailable),
                }
            }
        };
        timeout(SYNC, committed).await.unwrap_or_else(|_| Err(behind()))
    }

    async fn append_later(&self, draft: &Draft<'_>) -> Result<audit::spool::Recorded, Refusal> {
        let (_waiting, until) = self.wait()?;
        loop {
            let progress = self.spool().progress();
            match self.spool().append(draft) {
                Err(SpoolError::Behind) => timeout_at(until, progress).await.map_err(|_| behind())?,
                appended => return appended.map_err(unavailable),
            }
        }
    }

    /// A turn at waiting for the disk, and until when.
    fn wait(&self) -> Result<(SemaphorePermit<'_>, Instant), Refusal> {
        let turn = self.waiting().try_acquire().map_err(|_| behind())?;
        let now = Instant::now();
        Ok((turn, now.checked_add(PATIENCE).unwrap_or(now)))
    }

    /// The refusal of what the keyring does not sign.
    pub fn unsigned(&self, error: SignError) -> Refusal {
        if matches!(error, SignError::NoLease) {
            self.metrics().lease_refused();
        }
        error.into()
    }

    /// Refuses a caller that is stopped, on record: before it is looked at what it asks for.
    pub fn refuse_stopped(&self, received: &Received, caller: &Caller) -> Problem {
        let refusal = Refusal::from(SignError::CallerStopped);
        let id = received.id();
        tracing::info!(request = %id, caller = caller.id(), "a stopped caller is refused");
        let outcome = Outcome::Refused {
            code: refusal.0.problem.code().into(),
        };
        let draft = draft(received, caller, None, outcome, Cow::Borrowed(&[]), (id, self.now_ms()));
        if let Err(error) = self.spool().append(&draft) {
            tracing::error!(request = %id, %error, "a refusal could not be recorded");
        }
        refusal.into_problem()
    }

    /// Logs a refusal, puts it on record where it is one of policy, quota, rule or key, and gives what the caller is told.
    pub fn refuse(&self, refusal: Refusal, subject: &Subject<'_>) -> Problem {
        let Refusal(refusal) = refusal;
        let code = refusal.problem.code();
        // What is refused because something here failed is the operator's to mend.
        if refusal.problem.status().is_server_error() {
            tracing::warn!(
                request = subject.id(),
                caller = subject.caller.id(),
                profile = subject.profile().name,
                code,
                detail = refusal.detail,
                "refused"
            );
        } else {
            tracing::info!(
                request = subject.id(),
                caller = subject.caller.id(),
                profile = subject.profile().name,
                code,
                detail = refusal.detail,
                "refused"
            );
        }
        if refusal.audited {
            let outcome = Outcome::Refused { code: code.into() };
            let mut draft = subject.draft(outcome, refusal.policies.into(), self.now_ms());
            draft.plugins = refusal
                .rule
                .into_iter()
                .map(|(plugin, outcome)| Verdict {
                    plugin: plugin.into(),
                    outcome,
                })
                .collect();
            if let Err(error) = self.spool().append(&draft) {
                tracing::error!(request = subject.id(), %error, "a refusal could not be recorded");
            }
        }
        refusal.problem
    }
}
