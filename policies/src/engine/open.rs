//! What is left to ask Cedar at each request, once a caller's standing is known.
//!
//! Cedar builds and walks each policy's whole condition at each request, and most of them are forbids that do not match.
//! So the forbids are joined into one whose condition is theirs, joined by `||`: while it is false, and no part of it
//! failed, none of them matches and none of them failed. Whenever it is not, all policies are asked one by one, and only
//! their answers count.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{Effect, Entities, Policy, PolicyId, PolicySet, Request};
use serde_json::{Value as Json, json};

use super::context::Needs;
use super::decision::Matched;
use super::split::Split;

/// Most sets of policies that one slice keeps joined: callers with the same guards share one.
const MAX_KEPT: usize = 256;

/// Policies to be asked at each request.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Each by itself.
    all: PolicySet,
    /// The same with the forbids as one; none where that could not be made, or there is nothing to join.
    joined: Option<PolicySet>,
    pub(super) needs: Needs,
}

impl Open {
    fn new(splits: &[&Split], whole: &[Policy]) -> Result<Self, String> {
        let rests: Vec<&Policy> = splits.iter().filter_map(|split| split.rest.as_ref()).collect();
        let each = rests.iter().copied().chain(whole).cloned();
        let mut open = Self {
            all: PolicySet::from_policies(each).map_err(|error| error.to_string())?,
            joined: None,
            needs: if whole.is_empty() {
                Needs::default()
            } else {
                Needs::all()
            },
        };
        splits.iter().for_each(|split| open.needs.join(&split.needs));
        let (forbids, permits): (Vec<&Policy>, Vec<&Policy>) =
            rests.into_iter().partition(|policy| policy.effect() == Effect::Forbid);
        if forbids.len() > 1
            && let Some(forbid) = join(&forbids)
        {
            let each = permits.into_iter().chain(whole).cloned().chain([forbid]);
            open.joined = PolicySet::from_policies(each).ok();
        }
        Ok(open)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Which of the policies match, and which fail.
    pub(super) fn ask(&self, request: &Request, entities: &Entities) -> Matched {
        let quick = self
            .joined
            .as_ref()
            .map(|joined| Matched::of(joined, request, entities));
        match quick {
            Some(quick) if quick.forbids.is_empty() && quick.errors.is_empty() => quick,
            _ => Matched::of(&self.all, request, entities),
        }
    }
}

/// The open policies of one slice, by which of its splits a caller's guards left open.
#[derive(Debug, Default)]
pub(super) struct Opened(RwLock<HashMap<Box<[usize]>, Arc<Open>>>);

impl Opened {
    /// Those of `splits` at the given places, and all of `whole`.
    pub(super) fn get(&self, places: Box<[usize]>, splits: &[Split], whole: &[Policy]) -> Result<Arc<Open>, String> {
        if let Some(open) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&places) {
            return Ok(Arc::clone(open));
        }
        let left: Vec<&Split> = places.iter().filter_map(|place| splits.get(*place)).collect();
        let open = Arc::new(Open::new(&left, whole)?);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(places, Arc::clone(&open));
        Ok(open)
    }
}

/// One forbid for all of them, or none where a condition does not read back.
fn join(forbids: &[&Policy]) -> Option<Policy> {
    let conditions = forbids
        .iter()
        .map(|policy| condition(policy))
        .collect::<Option<Vec<_>>>()?;
    let whole = json!({
        "effect": "forbid",
        "principal": { "op": "All" },
        "action": { "op": "All" },
        "resource": { "op": "All" },
        "conditions": [{ "kind": "when", "body": any(&conditions)? }],
    });
    // No policy of a bundle has this id: theirs begin with a file's name or an annotation's text.
    Policy::from_json(Some(PolicyId::new(" joined")), whole).ok()
}

/// A balanced tree of `||`, so that its depth stays small however many there are; it is still read from left to right.
fn any(conditions: &[Json]) -> Option<Json> {
    if let [only] = conditions {
        return Some(only.clone());
    }
    let (left, right) = conditions.split_at_checked(conditions.len() / 2)?;
    Some(json!({ "||": { "left": any(left)?, "right": any(right)? } }))
}

/// The conditions of a policy whose scope is settled, as one expression: all of them have to hold, in their order.
fn condition(policy: &Policy) -> Option<Json> {
    let json = policy.to_json().ok()?;
    let conditions = json.get("conditions")?.as_array()?.iter().map(|condition| {
        let body = condition.get("body")?;
        match condition.get("kind")?.as_str()? {
            "when" => Some(body.clone()),
            "unless" => Some(json!({ "!": { "arg": body } })),
            _ => None,
        }
    });
    let conditions = conditions.collect::<Option<Vec<_>>>()?;
    conditions
        .into_iter()
        .reduce(|left, right| json!({ "&&": { "left": left, "right": right } }))
}
