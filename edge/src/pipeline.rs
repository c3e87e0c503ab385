//! The request, top to bottom. HTTP/1.1, HTTP/2 and HTTP/3 all end here.
//!
//! Each stage returns a value that only it can make, and the next one asks for it: leaving a stage out, or changing the
//! order, does not compile. `receive`, `authenticate` and `throttle` happen once a request; the stages from `parse` on
//! once a signature, so that each element of a batch is judged, counted and recorded by itself.

use std::sync::Arc;

use node::problem::Problem;
use policies::engine::{Principal, RequestFacts};
use policies::intent::Intent;
use policies::permit::{Cleared, Metered, Permit};
use policies::profile::{Kind, Profile};
use uuid::Uuid;

use crate::keyring::{Delegation, Signed};
use crate::receive::Received;
use crate::record::{Recorded, Refusal, Released, Subject};
use crate::state::Edge;
use crate::throttle::Admitted;
use crate::world::{Served, World};
use crate::{answer, forward, rules, trust};

/// What all signatures of one request have in common: who asks, admitted, and the bundle it is judged by.
#[derive(Debug)]
pub struct Session<'a> {
    edge: &'a Edge,
    world: Arc<World>,
    received: &'a Received,
    admitted: Admitted,
    principal: Arc<Principal>,
    facts: RequestFacts,
}

impl<'a> Session<'a> {
    /// receive → authenticate → throttle.
    pub async fn open(edge: &'a Edge, received: &'a Received) -> Result<Session<'a>, Problem> {
        let world = edge.judging_world().await;
        let now = edge.now();
        // Nobody is believed yet, and nobody is to throw a good token away for that.
        if world.engine().is_none() {
            return Err(Refusal::not_ready().into_problem());
        }
        let caller = trust::authenticate(&world, received, now).await?;
        let admitted = world
            .throttle()
            .admit(caller)
            .map_err(|limit| answer::limited(&limit, "rate_limited"))?;
        // After its limit: a caller that is stopped does not fill the audit trail either.
        let caller = admitted.caller();
        if !edge.keyring().admits(caller.id(), caller.tenant()) {
            return Err(edge.refuse_stopped(received, caller));
        }
        let principal = world.trust().principal(admitted.caller());
        let facts = trust::facts(received, now);
        Ok(Session {
            edge,
            world,
            received,
            admitted,
            principal,
            facts,
        })
    }

    /// Counts the elements of a batch against the caller and its tenant.
    pub fn admit_batch(&self, elements: usize) -> Result<(), Problem> {
        let elements = u32::try_from(elements).unwrap_or(u32::MAX);
        let counted = self.world.throttle().admit_batch(&self.admitted, elements);
        counted.map_err(|limit| answer::limited(&limit, "rate_limited"))
    }

    /// sign → record → release, of a request for one signature.
    pub async fn single(&self, kind: Kind, profile: &str, body: &[u8], id: Uuid) -> Result<Released, Problem> {
        let subject = self.subject(self.profile(kind, profile)?, id);
        let signed = self.sign(body, &subject).await?;
        let recorded = self.record(signed, &subject).await?;
        self.release(recorded, &subject)
    }

    /// parse → authorize → quota → plugins → sign, for one signature with an id of its own.
    pub async fn sign(&self, body: &[u8], subject: &Subject<'_>) -> Result<Signed, Problem> {
        let signed = self.stages(subject.profile().clone(), body, subject).await;
        signed.map_err(|refusal| self.edge.refuse(refusal, subject))
    }

    /// record: those that come together become durable together.
    pub async fn record(&self, signed: Signed, subject: &Subject<'_>) -> Result<Recorded, Problem> {
        let recorded = self.edge.record(signed, subject).await;
        recorded.map_err(|refusal| self.edge.refuse(refusal, subject))
    }

    /// release: the last question before the answer.
    pub fn release(&self, recorded: Recorded, subject: &Subject<'_>) -> Result<Released, Problem> {
        let released = self.edge.release(recorded, subject);
        released.map_err(|refusal| self.edge.refuse(refusal, subject))
    }

    /// Of an element of a batch whose time is over.
    pub fn out_of_time(&self, subject: &Subject<'_>) -> Problem {
        self.edge.refuse(Refusal::out_of_time(), subject)
    }

    async fn stages(&self, profile: Arc<Profile>, body: &[u8], subject: &Subject<'_>) -> Result<Signed, Refusal> {
        let intent = parse(&profile, body)?;
        let permit = self.authorize(profile, intent)?;
        let metered = permit.meter(self.world.throttle())?;
        let cleared = self.plugins(metered, subject).await?;
        self.seal(cleared, subject).await
    }

    async fn plugins(&self, metered: Metered, subject: &Subject<'_>) -> Result<Cleared, Refusal> {
        let rulings = rules::evaluate(
            (self.edge, &self.world),
            &metered,
            self.principal.facts(),
            &self.facts,
            subject,
        )
        .await?;
        Ok(metered.clear(rulings)?)
    }

    async fn seal(&self, cleared: Cleared, subject: &Subject<'_>) -> Result<Signed, Refusal> {
        let issuer = cleared.profile().issuer().and_then(|name| self.world.issuer(name));
        let issuer = issuer.map(|issuer| issuer.url.as_str());
        let at = subject.at(self.edge, self.facts.now);
        let keyring = self.edge.keyring();
        let signed = match keyring.is_forwarded(cleared.key_id()) {
            false => keyring.sign(cleared, issuer, subject.id(), &at),
            true => match keyring.forward(cleared, issuer, subject.id(), &at) {
                Ok(forward) => forward::sign(self.edge, forward).await,
                Err(error) => Err(error),
            },
        };
        signed.map_err(|error| self.edge.unsigned(error))
    }

    /// A profile of the caller's own tenant: another tenant's is not there.
    pub fn profile(&self, kind: Kind, name: &str) -> Result<&Arc<Served>, Problem> {
        let found = self.world.profile(name);
        let own = found.filter(|found| found.profile.tenant == self.tenant() && found.profile.kind() == kind);
        own.ok_or_else(|| {
            let kind = kind.as_str();
            Problem::new(
                "unknown_profile",
                format!("this caller's tenant has no {kind} profile of that name"),
            )
        })
    }

    /// authorize alone: for `/v1/verify`, which signs nothing.
    pub fn authorize(&self, profile: Arc<Profile>, intent: Intent) -> Result<Permit, Refusal> {
        let key = self
            .edge
            .keyring()
            .resolve(&profile)
            .ok_or_else(|| Refusal::no_key(&profile))?;
        let engine = self.world.engine().ok_or_else(Refusal::not_ready)?;
        Ok(engine.authorize(&self.principal, &self.facts, profile, &key.facts, intent)?)
    }

    /// Whether the authority signs for this profile, and no edge.
    pub fn is_forwarded(&self, profile: &Profile) -> bool {
        let key = self.edge.keyring().resolve(profile);
        key.is_some_and(|key| key.delegation == Delegation::None)
    }

    /// The bundle that the whole request is judged by.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The caller's tenant.
    pub fn tenant(&self) -> &str {
        self.admitted.caller().tenant()
    }

    /// The subject of a record about this request.
    pub fn subject(&self, served: &Arc<Served>, id: Uuid) -> Subject<'_> {
        Subject::new(self.received, self.admitted.caller(), (served, self.world.serial()), id)
    }
}

fn parse(profile: &Profile, body: &[u8]) -> Result<Intent, Refusal> {
    Ok(match profile.kind() {
        Kind::Token => Intent::parse_token(profile, body)?,
        Kind::Artifact => Intent::parse_artifact(profile, body)?,
    })
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
