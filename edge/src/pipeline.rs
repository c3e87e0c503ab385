//! The request, top to bottom. HTTP/1.1, HTTP/2 and HTTP/3 all end here.
//!
//! Each stage returns a value that only it can make, and the next one asks for it: leaving a stage out, or changing the
//! order, does not compile. `receive`, `authenticate` and `throttle` happen once a request; the stages from `parse` on
//! once a signature, so that each element of a batch is judged, counted and recorded by itself; a rule that wants to hears of some at a time.

use std::sync::Arc;
use std::time::Duration;

use node::problem::Problem;
use policies::engine::{Principal, RequestFacts};
use policies::intent::Intent;
use policies::permit::{Cleared, Metered, Permit};
use policies::profile::{Kind, Profile};
use tokio::time::Instant;
use uuid::Uuid;

use crate::keyring::{Delegation, Signed};
use crate::receive::Received;
use crate::record::{Recorded, Refusal, Released, Subject};
use crate::state::Edge;
use crate::throttle::Admitted;
use crate::world::{Served, World};
use crate::{answer, forward, rules, trust};

/// After this no more of a batch is signed.
pub const BATCH_TIME: Duration = Duration::from_secs(10);

/// What all signatures of one request have in common: who asks, admitted, and the bundle it is judged by.
#[derive(Debug)]
pub struct Session<'a> {
    edge: &'a Edge,
    world: Arc<World>,
    received: &'a Received,
    admitted: Admitted,
    principal: Arc<Principal>,
    facts: RequestFacts,
    /// Of a batch: after this no more of it is signed.
    until: Option<Instant>,
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
            until: None,
        })
    }

    /// Counts the elements of a batch against the caller and its tenant, and begins its time.
    pub fn admit_batch(&mut self, elements: usize) -> Result<(), Problem> {
        let elements = u32::try_from(elements).unwrap_or(u32::MAX);
        let counted = self.world.throttle().admit_batch(&self.admitted, elements);
        counted.map_err(|limit| answer::limited(&limit, "rate_limited"))?;
        self.end_after(BATCH_TIME);
        Ok(())
    }

    /// Signs nothing more when so much time is over.
    pub fn end_after(&mut self, time: Duration) {
        self.until = Instant::now().checked_add(time);
    }

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// sign → record → release, of a request for one signature.
    pub async fn single(&self, kind: Kind, profile: &str, body: &[u8], id: Uuid) -> Result<Released, Problem> {
        let subject = self.subject(self.profile(kind, profile)?, id);
        let cleared = self.clear(&[(body, &subject)]).await.pop();
        let cleared = cleared.unwrap_or_else(|| Err(Problem::internal("a request that nothing was decided about")))?;
        let signed = self.sign(cleared, &subject).await?;
        let recorded = self.record(signed, &subject).await?;
        self.release(recorded, &subject)
    }

    /// parse → authorize → quota → plugins, for signatures of one profile with an id of its own each, which rules may be asked
    /// about together.
    pub async fn clear(&self, asked: &[(&[u8], &Subject<'_>)]) -> Vec<Result<Cleared, Problem>> {
        let metered: Vec<_> = asked.iter().map(|(body, subject)| self.meter(body, subject)).collect();
        let both = || metered.iter().zip(asked);
        let permitted = both().filter_map(|(metered, (_, subject))| Some((metered.as_ref().ok()?, *subject)));
        let permitted: Vec<_> = permitted.collect();
        let asker = (self.principal.facts(), &self.facts);
        let rulings = rules::evaluate((self.edge, &self.world), asker, &permitted, || self.is_late()).await;
        let mut rulings = rulings.into_iter();
        let cleared = |(metered, (_, subject)): (Result<Metered, Refusal>, &(&[u8], &Subject<'_>))| {
            let cleared = metered.and_then(|metered| {
                let rulings = rulings.next().unwrap_or_else(|| Err(Refusal::not_ready()))?;
                Ok(metered.clear(rulings)?)
            });
            cleared.map_err(|refusal| self.edge.refuse(refusal, subject))
        };
        metered.into_iter().zip(asked).map(cleared).collect()
    }

    /// sign.
    pub async fn sign(&self, cleared: Cleared, subject: &Subject<'_>) -> Result<Signed, Problem> {
        let signed = match self.is_late() {
            true => Err(Refusal::too_late(cleared.ruled().to_vec())),
            false => self.seal(cleared, subject).await,
        };
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

    fn meter(&self, body: &[u8], subject: &Subject<'_>) -> Result<Metered, Refusal> {
        if self.is_late() {
            return Err(Refusal::out_of_time());
        }
        let profile = subject.profile().clone();
        let intent = parse(&profile, body)?;
        let permit = self.authorize(profile, intent)?;
        Ok(permit.meter(self.world.throttle())?)
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
