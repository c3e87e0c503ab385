//! What a caller's own facts settle about a slice of policies, found at its first request and kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{Context, Entities, PolicyId, Request};

use super::decision::{Denial, Matched};
use super::facts::{KeyFacts, Principal};
use super::open::Open;
use super::question;
use super::slice::Slice;
use crate::profile::Profile;
use crate::schema::{TYPES, uid};

/// Most slices for which a caller's standing is kept: more than the profiles one caller usually uses.
const MAX_KEPT: usize = 16;

/// How a caller stands to one profile and key: which policies matched or failed whatever it asks for, and what is left
/// of the others for each request.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) entities: Entities,
    pub(super) settled: Matched,
    pub(super) open: Arc<Open>,
}

/// Standings by the stamps of slice and key. A new bundle or new facts of a key have new stamps.
#[derive(Debug, Default)]
pub(super) struct Standings(Mutex<Vec<Kept>>);

type Kept = ((u64, u64), Arc<Standing>);

impl Standings {
    fn get(&self, stamps: (u64, u64)) -> Option<Arc<Standing>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .find(|(have, _)| *have == stamps)
            .map(|(_, standing)| Arc::clone(standing))
    }

    fn put(&self, stamps: (u64, u64), standing: &Arc<Standing>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.remove(0);
        }
        kept.push((stamps, Arc::clone(standing)));
    }
}

/// The caller's standing, kept or found.
pub(super) fn of(
    slice: &Slice,
    principal: &Principal,
    profile: &Profile,
    key: &KeyFacts,
) -> Result<Arc<Standing>, Denial> {
    let stamps = slice.stamps(key);
    if let Some(standing) = principal.standings.get(stamps) {
        return Ok(standing);
    }
    let standing = Arc::new(find(slice, principal, profile, key).map_err(Denial::unevaluable)?);
    principal.standings.put(stamps, &standing);
    Ok(standing)
}

fn find(slice: &Slice, principal: &Principal, profile: &Profile, key: &KeyFacts) -> Result<Standing, String> {
    let caller = principal.entity()?;
    let entities = question::add(slice.base(profile, key)?.as_ref(), caller.clone())?;
    let resource = uid(&TYPES.profile, &profile.name);
    let request = Request::new(caller.uid(), slice.action.clone(), resource, Context::empty(), None)
        .map_err(|error| error.to_string())?;
    // Guards are permits without `context`, so that Cedar names every one that holds.
    let guards = Matched::of(&slice.guards, &request, &entities);
    let held: HashSet<&PolicyId> = guards.permits.iter().collect();
    let mut settled = Matched {
        errors: guards.errors.clone(),
        ..Matched::default()
    };
    let mut open = Vec::new();
    for (place, split) in slice
        .splits
        .iter()
        .enumerate()
        .filter(|(_, split)| held.contains(&split.id))
    {
        match split.rest {
            Some(_) => open.push(place),
            None if split.is_forbid => settled.forbids.push(split.id.clone()),
            None => settled.permits.push(split.id.clone()),
        }
    }
    Ok(Standing {
        settled,
        open: slice.open(open)?,
        entities,
    })
}
