//! Splitting a policy into what a caller settles and what each request decides.
//!
//! Cedar evaluates `A && B` from left to right and stops at the first `false`. So the leading conjuncts of a policy that
//! do not read `context` (its scope first of all) have one value for a caller, a profile and a key, however often that
//! caller asks. They are the policy's *guard*, evaluated once; a policy whose guard is false neither matches nor fails
//! for that caller, and of one whose guard is true only the *rest* is evaluated for each request. A conjunct behind one
//! that reads `context` stays in the rest: moving it forward could hide an error, and an error denies (R39).

use cedar_policy::{Policy, PolicyId};
use serde_json::{Map, Value as Json, json};

use super::context::Needs;

/// A policy in two parts.
#[derive(Clone, Debug)]
pub(super) struct Split {
    pub(super) id: PolicyId,
    pub(super) is_forbid: bool,
    /// The guard, as a permit under the policy's id.
    pub(super) guard: Policy,
    /// What is left for each request, with the policy's own effect and id; none where the guard is all of it.
    pub(super) rest: Option<Policy>,
    /// What the rest reads of `context`.
    pub(super) needs: Needs,
}

/// Splits `policy`. None where its JSON form cannot be read back; then it has to be evaluated whole.
pub(super) fn split(policy: &Policy) -> Option<Split> {
    let id = policy.id().clone();
    let Json::Object(whole) = policy.to_json().ok()? else {
        return None;
    };
    let conditions = whole
        .get("conditions")
        .and_then(Json::as_array)
        .cloned()
        .unwrap_or_default();
    let (guard, rest) = split_conditions(conditions);
    let mut guard_json = whole.clone();
    guard_json.insert("effect".to_owned(), json!("permit"));
    guard_json.insert("conditions".to_owned(), Json::Array(guard));
    let rest = match rest.is_empty() {
        true => None,
        false => Some(Policy::from_json(Some(id.clone()), rest_json(whole, rest)).ok()?),
    };
    let mut needs = Needs::default();
    rest.iter().for_each(|rest| needs.add(rest));
    Some(Split {
        needs,
        is_forbid: policy.effect() == cedar_policy::Effect::Forbid,
        guard: Policy::from_json(Some(id.clone()), Json::Object(guard_json)).ok()?,
        rest,
        id,
    })
}

/// The policy without the scope that its guard has settled.
fn rest_json(mut whole: Map<String, Json>, conditions: Vec<Json>) -> Json {
    for part in ["principal", "action", "resource"] {
        whole.insert(part.to_owned(), json!({ "op": "All" }));
    }
    whole.insert("conditions".to_owned(), Json::Array(conditions));
    Json::Object(whole)
}

/// The leading conditions that do not read `context`, and the others.
fn split_conditions(conditions: Vec<Json>) -> (Vec<Json>, Vec<Json>) {
    let mut guard = Vec::new();
    let mut rest = Vec::new();
    for condition in conditions {
        if rest.is_empty() && !reads_context(&condition) {
            guard.push(condition);
            continue;
        }
        let body = condition
            .get("body")
            .filter(|_| rest.is_empty() && condition.get("kind") == Some(&json!("when")));
        match body.map(split_conjunction) {
            Some((leading, Some(others))) => {
                guard.extend(leading.map(|body| json!({ "kind": "when", "body": body })));
                rest.push(json!({ "kind": "when", "body": others }));
            }
            _ => rest.push(condition),
        }
    }
    (guard, rest)
}

/// The leading conjuncts of `body` that do not read `context`, and the others.
fn split_conjunction(body: &Json) -> (Option<Json>, Option<Json>) {
    if !reads_context(body) {
        return (Some(body.clone()), None);
    }
    let Some((left, right)) = conjuncts(body) else {
        return (None, Some(body.clone()));
    };
    match split_conjunction(left) {
        (leading, None) => {
            let (more, others) = split_conjunction(right);
            (both(leading, more), others)
        }
        (leading, others) => (leading, both(others, Some(right.clone()))),
    }
}

fn conjuncts(body: &Json) -> Option<(&Json, &Json)> {
    let Json::Object(members) = body else { return None };
    let and = members.get("&&").filter(|_| members.len() == 1)?;
    Some((and.get("left")?, and.get("right")?))
}

fn both(left: Option<Json>, right: Option<Json>) -> Option<Json> {
    match (left, right) {
        (Some(left), Some(right)) => Some(json!({ "&&": { "left": left, "right": right } })),
        (left, right) => left.or(right),
    }
}

/// Whether an expression in its JSON form mentions `context`. A text literal that says so counts too: in doubt it does.
fn reads_context(json: &Json) -> bool {
    match json {
        Json::Object(members) => members
            .iter()
            .any(|(name, value)| (name == "Var" && value.as_str() == Some("context")) || reads_context(value)),
        Json::Array(items) => items.iter().any(reads_context),
        _ => false,
    }
}

/// Whether a policy's conditions look at nothing but `context` and literals that are no entities, so that they have one value
/// for one context, whoever asks. In doubt they do not.
pub(super) fn is_about_context(rest: &Policy) -> bool {
    fn walk(json: &Json) -> bool {
        match json {
            Json::Object(members) => members.iter().all(|(name, value)| match name.as_str() {
                "Var" => value == "context",
                "__entity" | "__extn" => false,
                _ => walk(value),
            }),
            Json::Array(items) => items.iter().all(walk),
            _ => true,
        }
    }
    let json = rest.to_json().ok();
    json.as_ref().and_then(|json| json.get("conditions")).is_some_and(walk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(policy: &str) -> (String, Option<String>) {
        let policy = Policy::parse(Some(PolicyId::new("p")), policy).unwrap();
        let split = split(&policy).unwrap();
        let text = |policy: &Policy| {
            let text = policy.to_cedar().unwrap();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        (text(&split.guard), split.rest.as_ref().map(text))
    }

    #[test]
    fn the_leading_conjuncts_without_context_are_the_guard() {
        let (guard, rest) = parts(
            "forbid (principal is Caller, action == Action::\"Mint\", resource)
             when { principal.kind == \"oidc\" && resource.kind == \"token\" && context.lifetime > 5 && principal.id == \"x\" };",
        );
        assert!(
            guard.starts_with("permit(") && guard.contains("principal is Caller"),
            "{guard}"
        );
        assert!(
            guard.contains("kind == \"oidc\"") && guard.contains("\"token\"") && !guard.contains("lifetime"),
            "{guard}"
        );
        let rest = rest.unwrap();
        assert!(rest.starts_with("forbid( principal, action, resource )"), "{rest}");
        assert!(
            rest.contains("lifetime") && rest.contains("\"x\"") && !rest.contains("oidc"),
            "{rest}"
        );
    }

    #[test]
    fn a_policy_without_context_is_all_guard() {
        let (guard, rest) = parts("permit (principal, action, resource) unless { principal has roles };");
        assert!(guard.contains("!(principal has roles)"), "{guard}");
        assert_eq!(rest, None);
    }

    #[test]
    fn nothing_moves_in_front_of_what_reads_context() {
        let (guard, rest) = parts(
            "permit (principal, action, resource) unless { context.lifetime > 5 } when { principal.id == \"x\" };",
        );
        assert!(!guard.contains("when") && !guard.contains("unless"), "{guard}");
        assert!(rest.unwrap().contains("\"x\""));
        let (guard, rest) =
            parts("permit (principal, action, resource) when { principal.id == \"x\" || context.now > 5 };");
        assert!(!guard.contains("\"x\""), "{guard}");
        assert!(rest.unwrap().contains("||"));
    }
}
