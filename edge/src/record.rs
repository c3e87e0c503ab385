//! The record stage: what was signed, and what policy, quota or a rule refused, goes on record before it is answered.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use audit::log::proof::Proof;
use audit::record::{self, Breaker, Draft, Event, Outcome};
use audit::spool::SpoolError;
use node::identity::Caller;
use node::problem::Problem;
use policies::profile::{AuditMode, Profile};
use runtime::{BreakerChange, Plugin};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::keyring::{At, SignError, Signed};
use crate::receive::Received;
use crate::state::Edge;
use crate::world::Served;

mod refusal;

pub use self::refusal::Refusal;
use self::refusal::{behind, unavailable, unproven, verdict};

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
        draft.plugins = cleared.ruled().iter().map(verdict).collect();
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

    /// Puts on record that a plugin is not called for a while, or is again.
    pub fn record_breaker(&self, plugin: &Plugin, change: BreakerChange) {
        let recorded = self.spool().append_breaker(Breaker {
            time_ms: self.now_ms(),
            plugin: plugin.name().to_owned(),
            component: *plugin.digest(),
            change: match change {
                BreakerChange::Opened(kind) => record::BreakerChange::Opened {
                    kind: kind.as_str().to_owned(),
                },
                BreakerChange::Closed => record::BreakerChange::Closed,
            },
        });
        if let Err(error) = recorded {
            tracing::error!(plugin = plugin.name(), ?change, %error, "a plugin's breaker could not be recorded");
        }
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
            draft.plugins = refusal.ruled.iter().map(verdict).chain(refusal.verdict).collect();
            if let Err(error) = self.spool().append(&draft) {
                tracing::error!(request = subject.id(), %error, "a refusal could not be recorded");
            }
        }
        refusal.problem
    }
}
