//! One question to Cedar: the policies, the request, and the entities it is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity, EntityUid, Request};

use super::context::Needs;
use super::decision::{Considered, Denial, Index, Matched, consider};
use super::facts::{
    AccountFacts, AdminResource, DelegationMode, EdgeFacts, KeyAccess, KeyFacts, KeyPolicyAnswer, OperatorFacts,
    Principal, RequestFacts,
};
use super::slice::Slice;
use super::standing::{self, Standing};
use super::{AdminAction, Engine, context, entities};
use crate::intent::Intent;
use crate::profile::{Kind, Profile};
use crate::schema::{TYPES, uid};

/// The id of the service itself in the schema.
const AUTHORITY: &str = "signet";

/// The built-in policy that forbids another account's key, unless the key's policy or a grant names the caller.
const ACCOUNT_KEYS: &str = "signet:account-keys";

/// Everything that Cedar needs to decide.
pub(crate) struct Question<'a> {
    slice: &'a Slice,
    request: Request,
    ground: Ground<'a>,
}

/// How much of the context a caller's question holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the policies read that are left open for the caller.
    Open,
    /// All of it, whether a policy reads it or not.
    Whole,
}

/// What a question stands on.
enum Ground<'a> {
    /// What the caller's facts settled before, the intent, and the entities where the claims had to be added to the kept
    /// ones.
    Standing(Arc<Standing>, &'a Intent, Option<Entities>),
    /// Entities made for an earlier question about the same.
    Kept(Arc<Entities>),
    /// Nothing: entities made for this question.
    Fresh(Entities),
}

impl Question<'_> {
    /// The ids of the policies that permit.
    pub(super) fn decide(&self, index: &Index) -> Result<Vec<Arc<str>>, Denial> {
        match &self.ground {
            Ground::Standing(standing, ..) if standing.open.is_empty() => {
                standing.settled.conclude(&Matched::default(), index, &self.request)
            }
            Ground::Standing(standing, intent, _) => {
                let matched = standing.open.ask(intent, &self.request, self.entities());
                standing.settled.conclude(&matched, index, &self.request)
            }
            Ground::Kept(_) | Ground::Fresh(_) => self.decide_whole(index),
        }
    }

    /// The same decision from the whole policies. The question must have been made whole.
    pub(super) fn decide_whole(&self, index: &Index) -> Result<Vec<Arc<str>>, Denial> {
        let matched = Matched::of(&self.slice.policies, &self.request, self.entities());
        matched.conclude(&Matched::default(), index, &self.request)
    }

    /// Refuses what anything but the policy `built_in` forbids, and any error; permits nothing. The question must have been
    /// made whole.
    fn refuse_forbidden_beside(&self, built_in: &str, index: &Index) -> Result<(), Denial> {
        let mut matched = Matched::of(&self.slice.policies, &self.request, self.entities());
        matched.forbids.retain(|id| &*index.id(id) != built_in);
        match matched.is_quiet() {
            true => Ok(()),
            false => matched.conclude(&Matched::default(), index, &self.request).map(drop),
        }
    }

    /// What each policy of the slice says. The question must have been made whole.
    pub(super) fn consider(&self, index: &Index) -> Vec<Considered> {
        consider(index, &self.slice.policies, &self.request, self.entities())
    }

    fn entities(&self) -> &Entities {
        match &self.ground {
            Ground::Standing(_, _, Some(entities)) | Ground::Fresh(entities) => entities,
            Ground::Standing(standing, _, None) => &standing.entities,
            Ground::Kept(entities) => entities,
        }
    }
}

impl Engine {
    /// A caller's question.
    pub(crate) fn question<'a>(
        &'a self,
        principal: &Principal,
        facts: &RequestFacts,
        profile: &Profile,
        key: &KeyFacts,
        intent: &'a Intent,
        depth: Depth,
    ) -> Result<Question<'a>, Denial> {
        let slice = self.slice(profile, intent)?;
        let standing = standing::of(slice, principal, profile, key)?;
        let everything = Needs::all();
        let needs = match depth {
            Depth::Open => &standing.open.needs,
            Depth::Whole => &everything,
        };
        ask(slice, &standing, principal, facts, profile, intent, needs)
    }

    /// The ids of the policies that permit, where that can be said from little of the context; none where
    /// [`Question::decide`] has to be asked.
    pub(super) fn decide_quickly(
        &self,
        principal: &Principal,
        facts: &RequestFacts,
        profile: &Profile,
        key: &KeyFacts,
        intent: &Intent,
    ) -> Result<Option<Vec<Arc<str>>>, Denial> {
        let slice = self.slice(profile, intent)?;
        let standing = standing::of(slice, principal, profile, key)?;
        let open = &standing.open;
        if !open.is_quick(intent) {
            return Ok(None);
        }
        let question = ask(slice, &standing, principal, facts, profile, intent, &open.fresh_needs)?;
        let Some(matched) = open.ask_quickly(&question.request, question.entities()) else {
            return Ok(None);
        };
        let decided = standing.settled.conclude(&matched, &self.index, &question.request);
        decided.map(Some)
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
        let context = match action.is_of_keys() {
            true => context::of_keys(KeyAccess::OPERATOR, now),
            false => context::of_admin(now),
        };
        about(slice, operator, resource, context)
    }

    /// About a key of another account whose policy leaves it to the caller's there are two questions, as KMS asks both
    /// accounts. The first is whether anything forbids it where the key is, with all that is true of it, but for the built-in
    /// policy that only the key's policy or a grant would lift; it is decided here. The second is whether the
    /// caller's own account permits it, as for a key of its own. Of that key it knows the id alone: aliases and tags are the
    /// other account's to choose, so no permit of this one may rest on them.
    pub(crate) fn key_question(
        &self,
        principal: &AccountFacts,
        action: AdminAction,
        resource: AdminResource<'_>,
        access: KeyAccess,
        now: u64,
    ) -> Result<Question<'_>, Denial> {
        let left_to_caller = access.key_policy == KeyPolicyAnswer::Delegated && !access.grant;
        let key = match resource {
            AdminResource::Key(key) if left_to_caller && key.tenant() != principal.tenant => key,
            _ => return self.key_question_once(principal, action, resource, access, now),
        };
        self.key_question_once(principal, action, resource, access, now)?
            .refuse_forbidden_beside(ACCOUNT_KEYS, &self.index)?;
        let as_own = KeyFacts::new(
            key.id().to_owned(),
            principal.tenant.clone(),
            Vec::new(),
            BTreeMap::new(),
        );
        // Not kept: these facts are made for this question.
        let principal = entities::account(principal).map_err(Denial::unevaluable)?;
        let context = context::of_keys(access, now);
        about(
            self.keys_slice(action)?,
            principal,
            AdminResource::Key(&as_own),
            context,
        )
    }

    fn key_question_once(
        &self,
        principal: &AccountFacts,
        action: AdminAction,
        resource: AdminResource<'_>,
        access: KeyAccess,
        now: u64,
    ) -> Result<Question<'_>, Denial> {
        let slice = self.keys_slice(action)?;
        let context = context::of_keys(access, now);
        let AdminResource::Key(key) = resource else {
            let principal = entities::account(principal).map_err(Denial::unevaluable)?;
            return about(slice, principal, resource, context);
        };
        let make = || {
            let mut all = entities::key(key)?;
            all.push(entities::account(principal)?);
            slice.with_action(all)
        };
        let entities = self.kept.get(slice.stamps(key), principal, make);
        let principal = uid(&TYPES.account_principal, &principal.arn);
        let context = context.map_err(Denial::unevaluable)?;
        Ok(Question {
            slice,
            request: request(slice, principal, uid(&TYPES.key, key.id()), context)?,
            ground: Ground::Kept(entities.map_err(Denial::unevaluable)?),
        })
    }

    fn keys_slice(&self, action: AdminAction) -> Result<&Slice, Denial> {
        let slice = self.keys.get(&action);
        slice.ok_or_else(|| Denial::unevaluable("the action is none of the key API"))
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

/// A question on what the caller's facts settled before, with a context of what is needed.
fn ask<'a>(
    slice: &'a Slice,
    standing: &Arc<Standing>,
    principal: &Principal,
    facts: &RequestFacts,
    profile: &Profile,
    intent: &'a Intent,
    needs: &Needs,
) -> Result<Question<'a>, Denial> {
    let claims = match intent {
        Intent::Token(token) if token.claims.keys().any(|name| needs.has_claim(name)) => {
            let read = token.claims.iter().filter(|(name, _)| needs.has_claim(name));
            let claims = entities::claims(uid(&TYPES.claims, context::CLAIMS_ID), read);
            let added = claims.and_then(|claims| add(&standing.entities, claims));
            Some(added.map_err(Denial::unevaluable)?)
        }
        _ => None,
    };
    let context = context::of_request(intent, facts, needs).map_err(Denial::unevaluable)?;
    let caller = principal.entity().map_err(Denial::unevaluable)?.uid();
    let request = request(slice, caller, uid(&TYPES.profile, &profile.name), context)?;
    Ok(Question {
        slice,
        request,
        ground: Ground::Standing(Arc::clone(standing), intent, claims),
    })
}

/// A question about one of an operator's or an account's resources.
fn about<'a>(
    slice: &'a Slice,
    principal: Entity,
    resource: AdminResource<'_>,
    context: Result<Context, String>,
) -> Result<Question<'a>, Denial> {
    let (resource, mut all) = match resource {
        AdminResource::Key(key) => (
            uid(&TYPES.key, key.id()),
            entities::key(key).map_err(Denial::unevaluable)?,
        ),
        AdminResource::Tenant(tenant) => (uid(&TYPES.tenant, tenant), Vec::new()),
        AdminResource::Edge(edge) => (uid(&TYPES.edge, edge), Vec::new()),
        AdminResource::Authority => (uid(&TYPES.authority, AUTHORITY), Vec::new()),
    };
    let id = principal.uid();
    all.push(principal);
    fresh(slice, id, resource, all, context.map_err(Denial::unevaluable)?)
}

/// A question whose entities are all built for it.
fn fresh(
    slice: &Slice,
    principal: EntityUid,
    resource: EntityUid,
    all: Vec<Entity>,
    context: Context,
) -> Result<Question<'_>, Denial> {
    let entities = slice.with_action(all).map_err(Denial::unevaluable)?;
    Ok(Question {
        slice,
        request: request(slice, principal, resource, context)?,
        ground: Ground::Fresh(entities),
    })
}

pub(super) fn add(entities: &Entities, entity: Entity) -> Result<Entities, String> {
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
