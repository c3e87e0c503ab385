//! What is left to ask Cedar at each request, once a caller's standing is known.
//!
//! Cedar builds and walks each policy's whole condition at each request, and most of them are forbids that do not match.
//! So forbids are joined into one whose condition is theirs, joined by `||`: while it is false, and no part of it failed,
//! none of them matches and none of them failed. And the forbids that look at nothing but what most requests have in
//! common (audience, names of claims, lifetime) are joined apart, and asked once for each such combination. Whenever
//! anything matches or fails, all policies are asked one by one, and only their answers count.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{Effect, Entities, EvalResult, Expression, Policy, PolicyId, PolicySet, Request, eval_expression};
use serde_json::{Value as Json, json};

use super::context::Needs;
use super::decision::Matched;
use super::split::{Split, is_about_context};
use crate::intent::{Intent, TokenIntent};

/// Most sets of policies that one slice keeps joined: callers with the same guards share one.
const MAX_KEPT: usize = 256;
/// Most combinations that a set of policies keeps as known to match no steady forbid.
const MAX_KNOWN: usize = 128;
/// Longer combinations are asked about each time.
const MAX_COMBINATION: usize = 256;
/// What steady forbids may look at.
const STEADY: [&str; 3] = ["audience", "claim_names", "lifetime"];

/// Policies to be asked at each request.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Each by itself.
    all: PolicySet,
    /// What all of them read.
    pub(super) needs: Needs,
    /// All but the steady forbids, the forbids as one where they could be joined.
    fresh: PolicySet,
    /// The condition of `fresh`, where that is one joined forbid: cheaper to evaluate than a policy with its scope.
    guard: Option<Expression>,
    /// What those read.
    pub(super) fresh_needs: Needs,
    steady: Option<Steady>,
}

/// Forbids that look at [`STEADY`] members of the context only, as one.
#[derive(Debug)]
struct Steady {
    joined: PolicySet,
    needs: Needs,
    /// Combinations for which none of them matched or failed.
    known: RwLock<HashSet<Box<[u8]>>>,
}

impl Open {
    fn new(splits: &[&Split], whole: &[Policy]) -> Result<Self, String> {
        let text = |error: cedar_policy::PolicySetError| error.to_string();
        let (steady, fresh): (Vec<&Split>, Vec<&Split>) = splits.iter().copied().partition(|split| is_steady(split));
        let (steady, fresh) = match Steady::new(&steady) {
            Some(joined) => (Some(joined), fresh),
            None => (None, splits.to_vec()),
        };
        let needs_of = |splits: &[&Split]| {
            let mut needs = if whole.is_empty() {
                Needs::default()
            } else {
                Needs::all()
            };
            splits.iter().for_each(|split| needs.join(&split.needs));
            needs
        };
        let rests = |splits: &[&Split]| splits.iter().filter_map(|split| split.rest.clone()).collect::<Vec<_>>();
        let (forbids, permits): (Vec<Policy>, Vec<Policy>) = rests(&fresh)
            .into_iter()
            .partition(|policy| policy.effect() == Effect::Forbid);
        let joined = join(&forbids);
        let alone = permits.is_empty() && whole.is_empty();
        let guard = joined.as_ref().filter(|_| alone).and_then(expression);
        let forbids = joined.map_or(forbids, |joined| vec![joined]);
        let whole = || whole.iter().cloned();
        Ok(Self {
            guard,
            all: PolicySet::from_policies(rests(splits).into_iter().chain(whole())).map_err(text)?,
            needs: needs_of(splits),
            fresh: PolicySet::from_policies(permits.into_iter().chain(forbids).chain(whole())).map_err(text)?,
            fresh_needs: needs_of(&fresh),
            steady,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether [`Open::ask_quickly`] can answer for this intent.
    pub(super) fn is_quick(&self, intent: &Intent) -> bool {
        self.steady.as_ref().is_none_or(|steady| steady.knows(intent))
    }

    /// What matches, of an intent for which [`Open::is_quick`]; the request's context holds at least `fresh_needs`. None
    /// where anything forbids or fails: then [`Open::ask`] has to say what.
    pub(super) fn ask_quickly(&self, request: &Request, entities: &Entities) -> Option<Matched> {
        match &self.guard {
            Some(guard) => match eval_expression(request, entities, guard) {
                Ok(EvalResult::Bool(false)) => Some(Matched::default()),
                _ => None,
            },
            None => Some(Matched::of(&self.fresh, request, entities)).filter(Matched::is_quiet),
        }
    }

    /// Which of the policies match, and which fail; the request's context holds `needs`.
    pub(super) fn ask(&self, intent: &Intent, request: &Request, entities: &Entities) -> Matched {
        let steady = self.steady.as_ref();
        if steady.is_none_or(|steady| Matched::of(&steady.joined, request, entities).is_quiet()) {
            steady.into_iter().for_each(|steady| steady.learn(intent));
            if let Some(matched) = self.ask_quickly(request, entities) {
                return matched;
            }
        }
        Matched::of(&self.all, request, entities)
    }
}

impl Steady {
    fn new(splits: &[&Split]) -> Option<Self> {
        let rests: Vec<Policy> = splits.iter().filter_map(|split| split.rest.clone()).collect();
        let joined = join(&rests)?;
        let mut needs = Needs::default();
        splits.iter().for_each(|split| needs.join(&split.needs));
        Some(Self {
            joined: PolicySet::from_policies([joined]).ok()?,
            needs,
            known: RwLock::default(),
        })
    }

    fn knows(&self, intent: &Intent) -> bool {
        self.combination(intent).is_some_and(|combination| {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.contains(combination.as_slice())
        })
    }

    fn learn(&self, intent: &Intent) {
        let Some(combination) = self.combination(intent).filter(|bytes| bytes.len() <= MAX_COMBINATION) else {
            return;
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(combination.into());
    }

    /// What the forbids look at, so written that no two combinations are the same bytes.
    fn combination(&self, intent: &Intent) -> Option<Vec<u8>> {
        let Intent::Token(TokenIntent {
            audience,
            claims,
            lifetime,
            ..
        }) = intent
        else {
            return None;
        };
        let mut bytes = Vec::with_capacity(128);
        let mut texts = |member: &str, texts: &mut dyn Iterator<Item = &String>| {
            for text in texts.take_while(|_| self.needs.has(member)) {
                bytes.extend_from_slice(&text.len().to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            bytes.extend_from_slice(&usize::MAX.to_le_bytes());
        };
        texts("audience", &mut audience.iter());
        texts("claim_names", &mut claims.keys());
        if self.needs.has("lifetime") {
            bytes.extend_from_slice(&lifetime.to_le_bytes());
        }
        Some(bytes)
    }
}

fn is_steady(split: &Split) -> bool {
    split.is_forbid && split.needs.are_among(&STEADY) && split.rest.as_ref().is_some_and(is_about_context)
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

/// One forbid for all of them; none where there is none, or a condition does not read back.
fn join(forbids: &[Policy]) -> Option<Policy> {
    let conditions = forbids.iter().map(condition).collect::<Option<Vec<_>>>()?;
    let whole = json!({
        "effect": "forbid",
        "principal": { "op": "All" },
        "action": { "op": "All" },
        "resource": { "op": "All" },
        "conditions": [{ "kind": "when", "body": any(&conditions)? }],
    });
    // Nobody sees this id, and no policy of a bundle may begin so: where the joined forbid matches, its parts are asked.
    Policy::from_json(Some(PolicyId::new("signet:joined")), whole).ok()
}

/// The condition of a policy that [`join`] made, by way of its text: that is the form in which Cedar reads expressions.
fn expression(joined: &Policy) -> Option<Expression> {
    let text = joined.to_cedar()?;
    let (_, condition) = text.split_once("when {")?;
    let (condition, _) = condition.rsplit_once('}')?;
    condition.parse().ok()
}

/// A balanced tree of `||`, so that its depth stays small however many there are; it is still read from left to right.
fn any(conditions: &[Json]) -> Option<Json> {
    match conditions {
        [] => None,
        [only] => Some(only.clone()),
        _ => {
            let (left, right) = conditions.split_at_checked(conditions.len() / 2)?;
            Some(json!({ "||": { "left": any(left)?, "right": any(right)? } }))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::super::{Denial, DenialCode};
    use super::*;

    const POLICIES: &str = r#"
        @id("all") permit (principal is Caller, action == Action::"Mint", resource);
        @id("long") forbid (principal is Caller, action == Action::"Mint", resource) when { context.lifetime > 100 };
        @id("partner") forbid (principal is Caller, action == Action::"Mint", resource) when { context.audience.contains("https://partner.example") };
        @id("blocked") forbid (principal is Caller, action == Action::"Mint", resource) when { context has subject && context.subject == "u-9" };
        @id("mine") forbid (principal is Caller, action == Action::"Mint", resource)
        when { context.lifetime > 90 && principal.subject == "nobody" };"#;

    /// Known combinations decide as unknown ones, and what is not part of a combination is asked each time.
    #[test]
    fn a_known_combination_hides_no_forbid() {
        let (bundle, engine) = sample::engine(POLICIES);
        let profile = sample::profile(&bundle, "session");
        let (principal, key) = (sample::principal(), sample::key("000000000001"));
        let ask = |body: &str| {
            let intent = Intent::parse_token(&profile, body.as_bytes()).unwrap();
            let answer = engine.authorize(&principal, &sample::facts(), Arc::clone(&profile), &key, intent);
            answer.map_err(|Denial { code, policies, .. }| (code, policies))
        };
        let denied = |body: &str, policies: &[&str]| {
            let expected = policies.iter().map(|id| Arc::from(*id)).collect();
            assert_eq!(ask(body).unwrap_err(), (DenialCode::PolicyDenied, expected), "{body}");
        };
        for _ in 0..3 {
            ask(r#"{"subject":"u-1","lifetime":60}"#).unwrap();
            denied(r#"{"subject":"u-9","lifetime":60}"#, &["blocked"]);
            denied(r#"{"subject":"u-1","lifetime":200}"#, &["long"]);
            denied(r#"{"subject":"u-9","lifetime":200}"#, &["blocked", "long"]);
            ask(r#"{"subject":"u-1","lifetime":95}"#).unwrap();
        }
    }

    /// The guard is in use where only forbids are left, and not where a permit is.
    #[test]
    fn forbids_that_are_left_alone_become_one_expression() {
        let guard = |permit: &str| {
            let (bundle, engine) = sample::engine(&format!("{POLICIES}{permit}"));
            let profile = sample::profile(&bundle, "session");
            let (principal, key) = (sample::principal(), sample::key("000000000001"));
            let slice = &engine.profiles["session"].sign;
            let standing = super::super::standing::of(slice, &principal, &profile, &key).unwrap();
            standing.open.guard.as_ref().map(ToString::to_string)
        };
        assert!(guard("").unwrap().contains("u-9"));
        let open = r#"permit (principal is Caller, action == Action::"Mint", resource) when { context.lifetime < 5 };"#;
        assert_eq!(guard(open), None);
    }

    #[test]
    fn combinations_cannot_be_shifted_into_each_other() {
        let (bundle, _) = sample::engine("");
        let profile = sample::profile(&bundle, "session");
        let steady = Steady {
            joined: PolicySet::new(),
            needs: Needs::of_members(&STEADY),
            known: RwLock::default(),
        };
        let of = |audience: &[&str], claims: &[&str], lifetime: u32| {
            let Intent::Token(mut token) = sample::mint(&profile) else {
                panic!()
            };
            token.audience = audience.iter().map(|text| (*text).to_owned()).collect();
            token.claims = claims.iter().map(|name| ((*name).to_owned(), Json::Null)).collect();
            token.lifetime = lifetime;
            steady.combination(&Intent::Token(token)).unwrap()
        };
        let all = [
            of(&["a"], &["b"], 1),
            of(&["a", "b"], &[], 1),
            of(&[], &["a", "b"], 1),
            of(&["ab"], &[], 1),
            of(&["a"], &["b"], 2),
            of(&[], &[], 1),
        ];
        let distinct: HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
