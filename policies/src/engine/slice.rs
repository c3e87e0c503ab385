//! The policies that can matter for one action on one profile, found when a bundle is loaded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};

use super::entities;
use super::facts::KeyFacts;
use super::open::{Open, Opened};
use super::split::{Split, split};
use crate::profile::Profile;
use crate::schema::{PARSED, TYPES, uid};

/// One action's policies, narrowed further to one profile where there is one.
#[derive(Debug)]
pub(super) struct Slice {
    /// All of them, whole.
    pub(super) policies: PolicySet,
    /// The guards of those that could be split, as permits.
    pub(super) guards: PolicySet,
    /// Those that could be split.
    pub(super) splits: Vec<Split>,
    /// Those that could not.
    whole: Vec<Policy>,
    opened: Opened,
    pub(super) action: EntityUid,
    action_entity: Option<Entity>,
    stamp: u64,
    /// The profile's and key's entities, under the key's stamp.
    base: RwLock<Option<(u64, Arc<Entities>)>>,
}

/// What is known of the resource when a bundle is loaded.
#[derive(Clone, Copy)]
pub(super) enum Scope<'a> {
    /// The principals' type only.
    Action(&'a EntityTypeName),
    /// A caller, and this profile.
    Profile(&'a Profile),
}

impl Slice {
    /// The slice of `policies` for `action`, or the error that Cedar gives, which ids that are unique rule out.
    pub(super) fn new(action: &str, scope: Scope<'_>, policies: &PolicySet) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let action = uid(&TYPES.action, action);
        let mut slice = Self {
            policies: PolicySet::new(),
            guards: PolicySet::new(),
            splits: Vec::new(),
            whole: Vec::new(),
            opened: Opened::default(),
            action_entity: PARSED.action_entities().ok().and_then(|all| all.get(&action).cloned()),
            action,
            stamp: NEXT.fetch_add(1, Ordering::Relaxed),
            base: RwLock::default(),
        };
        for policy in policies
            .policies()
            .filter(|policy| matters(policy, &slice.action, scope))
        {
            slice.policies.add(policy.clone()).map_err(|error| error.to_string())?;
            match split(policy) {
                Some(split) => {
                    slice
                        .guards
                        .add(split.guard.clone())
                        .map_err(|error| error.to_string())?;
                    slice.splits.push(split);
                }
                None => slice.whole.push(policy.clone()),
            }
        }
        Ok(slice)
    }

    /// Entities of the profile and the key, kept until the key's facts change.
    pub(super) fn base(&self, profile: &Profile, key: &KeyFacts) -> Result<Arc<Entities>, String> {
        let kept = self.base.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, entities)) = kept.filter(|(stamp, _)| *stamp == key.stamp()) {
            return Ok(entities);
        }
        let entities = Arc::new(self.with_action(entities::profile(profile, key)?)?);
        *self.base.write().unwrap_or_else(PoisonError::into_inner) = Some((key.stamp(), Arc::clone(&entities)));
        Ok(entities)
    }

    /// What is to be asked at each request of the splits at these places, and of the policies that could not be split.
    pub(super) fn open(&self, places: Vec<usize>) -> Result<Arc<Open>, String> {
        self.opened.get(places.into(), &self.splits, &self.whole)
    }

    /// A set of these entities and the action.
    pub(super) fn with_action(&self, mut all: Vec<Entity>) -> Result<Entities, String> {
        all.extend(self.action_entity.clone());
        entities::collect(all)
    }

    /// What a caller's part in this slice is kept under.
    pub(super) fn stamps(&self, key: &KeyFacts) -> (u64, u64) {
        (self.stamp, key.stamp())
    }
}

/// Whether the scope of `policy` can match. In doubt it can.
fn matters(policy: &Policy, action: &EntityUid, scope: Scope<'_>) -> bool {
    action_matters(&policy.action_constraint(), action)
        && match scope {
            Scope::Action(principal) => principal_matters(&policy.principal_constraint(), principal),
            Scope::Profile(profile) => {
                principal_matters(&policy.principal_constraint(), &TYPES.caller)
                    && resource_matters(&policy.resource_constraint(), profile)
            }
        }
}

fn action_matters(constraint: &ActionConstraint, action: &EntityUid) -> bool {
    match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(only) => only == action,
        ActionConstraint::In(groups) => groups.iter().any(|group| group == action || is_in_group(action, group)),
    }
}

fn is_in_group(action: &EntityUid, group: &EntityUid) -> bool {
    PARSED
        .action_entities()
        .map_or(true, |all| all.is_ancestor_of(group, action))
}

fn principal_matters(constraint: &PrincipalConstraint, kind: &EntityTypeName) -> bool {
    match constraint {
        PrincipalConstraint::Any | PrincipalConstraint::In(_) => true,
        PrincipalConstraint::Eq(only) => only.type_name() == kind,
        PrincipalConstraint::Is(only) | PrincipalConstraint::IsIn(only, _) => only == kind,
    }
}

fn resource_matters(constraint: &ResourceConstraint, profile: &Profile) -> bool {
    match constraint {
        ResourceConstraint::Any => true,
        ResourceConstraint::Eq(only) => is_named(only, &TYPES.profile, &profile.name),
        ResourceConstraint::Is(only) => *only == TYPES.profile,
        ResourceConstraint::In(group) => group_matters(group, profile),
        ResourceConstraint::IsIn(only, group) => *only == TYPES.profile && group_matters(group, profile),
    }
}

/// A profile is in its tenant, in a ring that only its key decides, and (as everything in Cedar) in itself.
fn group_matters(group: &EntityUid, profile: &Profile) -> bool {
    *group.type_name() == TYPES.key_ring
        || is_named(group, &TYPES.tenant, &profile.tenant)
        || is_named(group, &TYPES.profile, &profile.name)
}

fn is_named(found: &EntityUid, kind: &EntityTypeName, id: &str) -> bool {
    found.type_name() == kind && <_ as AsRef<str>>::as_ref(found.id()) == id
}
