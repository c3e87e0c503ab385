//! One question to Cedar: the slice of policies, the request, and the entities it is about.

use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity, EntityUid, Request};

use super::decision::Denial;
use super::facts::{AdminResource, DelegationMode, EdgeFacts, KeyFacts, OperatorFacts, Principal, RequestFacts};
use super::slice::Slice;
use super::{AdminAction, Engine, context, entities};
use crate::intent::Intent;
use crate::profile::{Kind, Profile};
use crate::schema::{TYPES, uid};

/// The id of the service itself in the schema.
const AUTHORITY: &str = "signet";

/// Everything that Cedar needs to decide.
pub(crate) struct Question<'a> {
    pub(super) slice: &'a Slice,
    pub(super) request: Request,
    pub(super) entities: Arc<Entities>,
}

impl Engine {
    pub(crate) fn question(
        &self,
        principal: &Principal,
        facts: &RequestFacts,
        profile: &Profile,
        key: &KeyFacts,
        intent: &Intent,
    ) -> Result<Question<'_>, Denial> {
        let slice = self.slice(profile, intent)?;
        let mut entities = joined(slice, principal, profile, key).map_err(Denial::unevaluable)?;
        if let Intent::Token(token) = intent {
            if slice.needs.has("claims") && !token.claims.is_empty() {
                let claims = entities::claims(uid(&TYPES.claims, context::CLAIMS_ID), &token.claims);
                let with_claims = claims
                    .and_then(|claims| add(&entities, claims))
                    .map_err(Denial::unevaluable)?;
                entities = Arc::new(with_claims);
            }
        }
        let context = context::of_request(intent, facts, &slice.needs).map_err(Denial::unevaluable)?;
        let principal = principal.entity().map_err(Denial::unevaluable)?.uid();
        let resource = uid(&TYPES.profile, &profile.name);
        Ok(Question {
            slice,
            request: request(slice, principal, resource, context)?,
            entities,
        })
    }

    pub(crate) fn delegate_question(
        &self,
        edge: &EdgeFacts,
        key: &KeyFacts,
        mode: DelegationMode,
        now: u64,
    ) -> Result<Question<'_>, Denial> {
        let edge = entities::edge(edge).map_err(Denial::unevaluable)?;
        let principal = edge.uid();
        let mut all = entities::key(key).map_err(Denial::unevaluable)?;
        all.push(edge);
        let context = context::of_delegation(mode.as_str(), now).map_err(Denial::unevaluable)?;
        fresh(&self.delegate, principal, uid(&TYPES.key, key.id()), all, context)
    }

    pub(crate) fn admin_question(
        &self,
        operator: &OperatorFacts,
        action: AdminAction,
        resource: AdminResource<'_>,
        now: u64,
    ) -> Result<Question<'_>, Denial> {
        let slice = self
            .admin
            .get(&action)
            .ok_or_else(|| Denial::unevaluable("the action is not in the schema"))?;
        let operator = entities::operator(operator).map_err(Denial::unevaluable)?;
        let principal = operator.uid();
        let (resource, mut all) = match resource {
            AdminResource::Key(key) => (
                uid(&TYPES.key, key.id()),
                entities::key(key).map_err(Denial::unevaluable)?,
            ),
            AdminResource::Tenant(tenant) => (uid(&TYPES.tenant, tenant), Vec::new()),
            AdminResource::Edge(edge) => (uid(&TYPES.edge, edge), Vec::new()),
            AdminResource::Authority => (uid(&TYPES.authority, AUTHORITY), Vec::new()),
        };
        all.push(operator);
        let context = context::of_admin(now).map_err(Denial::unevaluable)?;
        fresh(slice, principal, resource, all, context)
    }

    /// The policies that can matter, if profile and intent are ones this engine was made for.
    fn slice(&self, profile: &Profile, intent: &Intent) -> Result<&Slice, Denial> {
        let stale = || Denial::unevaluable(format!("the profile `{}` is not of this engine's bundle", profile.name));
        let slices = self.profiles.get(&profile.name).ok_or_else(stale)?;
        if !std::ptr::eq(slices.profile.as_ref(), profile) && *slices.profile != *profile {
            return Err(stale());
        }
        match (intent, profile.kind()) {
            (Intent::Verify(_), _) => Ok(&slices.verify),
            (Intent::Token(_), Kind::Token) | (Intent::Artifact(_), Kind::Artifact) => Ok(&slices.sign),
            _ => Err(Denial::unevaluable(format!(
                "the profile `{}` signs no such thing",
                profile.name
            ))),
        }
    }
}

/// Entities of profile, key and caller. The joined set is kept with the principal.
fn joined(slice: &Slice, principal: &Principal, profile: &Profile, key: &KeyFacts) -> Result<Arc<Entities>, String> {
    let stamps = slice.stamps(key);
    if let Some(entities) = principal.joined.get(stamps) {
        return Ok(entities);
    }
    let base = slice.base(profile, key)?;
    let entities = Arc::new(add(&base, principal.entity()?.clone())?);
    principal.joined.put(stamps, &entities);
    Ok(entities)
}

/// A question whose entities are all built for it.
fn fresh(
    slice: &Slice,
    principal: EntityUid,
    resource: EntityUid,
    all: Vec<Entity>,
    context: Context,
) -> Result<Question<'_>, Denial> {
    let entities = Arc::new(slice.with_action(all).map_err(Denial::unevaluable)?);
    Ok(Question {
        slice,
        request: request(slice, principal, resource, context)?,
        entities,
    })
}

fn add(entities: &Entities, entity: Entity) -> Result<Entities, String> {
    entities
        .clone()
        .add_entities([entity], None)
        .map_err(|error| error.to_string())
}

/// Not validated against the schema: the facts are typed here, tests validate what is built from them, and validating
/// costs more than deciding.
fn request(slice: &Slice, principal: EntityUid, resource: EntityUid, context: Context) -> Result<Request, Denial> {
    Request::new(principal, slice.action.clone(), resource, context, None)
        .map_err(|error| Denial::unevaluable(error.to_string()))
}
