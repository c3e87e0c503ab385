//! What policies see as `context`, built only as far as the policies at hand read it.

use std::collections::BTreeSet;

use cedar_policy::{Context, Policy, RestrictedExpression as Value};
use serde_json::Value as Json;

use super::entities::text;
use super::facts::{KeyAccess, RequestFacts};
use crate::intent::{ArtifactIntent, Intent, Payload, TokenIntent, VerifyIntent};
use crate::schema::{TYPES, uid};

/// What a set of policies reads of `context`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// `context` is used in a way that cannot be told apart by members: all of it.
    all: bool,
    /// The members that are read.
    members: BTreeSet<String>,
    /// The claims that are read by a literal name. A token may carry 64 of them, and each costs.
    claims: BTreeSet<String>,
    /// `context.claims` is used in another way: all claims.
    all_claims: bool,
}

impl Needs {
    /// Everything.
    pub(super) fn all() -> Self {
        Self {
            all: true,
            all_claims: true,
            ..Self::default()
        }
    }

    /// Adds what `policy` reads.
    pub(super) fn add(&mut self, policy: &Policy) {
        match policy.to_json() {
            Ok(json) => self.walk(&json),
            Err(_) => *self = Self::all(),
        }
    }

    /// Adds what `other` reads.
    pub(super) fn join(&mut self, other: &Self) {
        self.all |= other.all;
        self.all_claims |= other.all_claims;
        self.members.extend(other.members.iter().cloned());
        self.claims.extend(other.claims.iter().cloned());
    }

    pub(super) fn has(&self, member: &str) -> bool {
        self.all || self.members.contains(member)
    }

    /// Whether the claim `name` is read.
    pub(super) fn has_claim(&self, name: &str) -> bool {
        self.all_claims || self.claims.contains(name)
    }

    /// Finds `context.x`, `context has x` and `context.claims.getTag("x")` in a policy's JSON form; any other use of
    /// `context`, or of the claims, needs all of it.
    fn walk(&mut self, json: &Json) {
        match json {
            Json::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Json::Object(members) => members.iter().for_each(|(name, value)| self.walk_member(name, value)),
            _ => {}
        }
    }

    fn walk_member(&mut self, name: &str, value: &Json) {
        match name {
            "Var" if value == "context" => *self = Self::all(),
            "getTag" | "hasTag"
                if member_of_context(value.get("left").and_then(|left| left.get("."))) == Some("claims") =>
            {
                self.members.insert("claims".to_owned());
                match value
                    .get("right")
                    .and_then(|right| right.get("Value"))
                    .and_then(Json::as_str)
                {
                    Some(claim) => drop(self.claims.insert(claim.to_owned())),
                    None => {
                        self.all_claims = true;
                        value.get("right").into_iter().for_each(|right| self.walk(right));
                    }
                }
            }
            "." | "has" => match member_of_context(Some(value)) {
                Some(member) => {
                    self.all_claims |= member == "claims";
                    self.members.insert(member.to_owned());
                }
                None => self.walk(value),
            },
            _ => self.walk(value),
        }
    }
}

/// `x` of the access `context.x` or `context has x`.
fn member_of_context(access: Option<&Json>) -> Option<&str> {
    let access = access?;
    access
        .get("left")
        .and_then(|left| left.get("Var"))
        .filter(|variable| *variable == "context")?;
    access.get("attr").and_then(Json::as_str)
}

/// The entity that `context.claims` refers to; it exists for one request only.
pub(super) const CLAIMS_ID: &str = "request";

/// The context of a caller's request.
pub(super) fn of_request(intent: &Intent, facts: &RequestFacts, needs: &Needs) -> Result<Context, String> {
    let mut members = Vec::with_capacity(10);
    {
        let mut put = |name: &str, value: &dyn Fn() -> Option<Value>| {
            if needs.has(name) {
                members.extend(value().map(|value| (name.to_owned(), value)));
            }
        };
        put("now", &|| Some(long(facts.now)));
        put("source_ip", &|| Some(Value::new_ip(facts.source_ip.to_string())));
        put("protocol", &|| Some(text(facts.protocol)));
        match intent {
            Intent::Token(token) => of_token(token, &mut put),
            Intent::Artifact(artifact) => of_artifact(artifact, &mut put),
            Intent::Verify(verify) => of_verify(verify, &mut put),
        }
    }
    Context::from_pairs(members).map_err(|error| error.to_string())
}

type Put<'a> = dyn FnMut(&str, &dyn Fn() -> Option<Value>) + 'a;

fn of_token(token: &TokenIntent, put: &mut Put<'_>) {
    put("subject", &|| token.subject.as_deref().map(text));
    put("audience", &|| {
        Some(Value::new_set(token.audience.iter().map(|audience| text(audience))))
    });
    put("claims", &|| Some(Value::new_entity_uid(uid(&TYPES.claims, CLAIMS_ID))));
    put("claim_names", &|| {
        Some(Value::new_set(token.claims.keys().map(|name| text(name))))
    });
    put("lifetime", &|| Some(Value::new_long(i64::from(token.lifetime))));
}

fn of_artifact(artifact: &ArtifactIntent, put: &mut Put<'_>) {
    let digest = match &artifact.payload {
        Payload::Digest(digest) => Some(digest),
        Payload::Message(_) => None,
    };
    put("payload", &|| Some(text(payload_name(&artifact.payload))));
    put("digest_algorithm", &|| {
        digest.map(|digest| text(digest.algorithm().as_str()))
    });
    put("digest", &|| {
        digest.map(|digest| text(&signing::encoding::hex(digest.as_bytes())))
    });
    put("message_bytes", &|| match &artifact.payload {
        Payload::Message(message) => Some(long(u64::try_from(message.len()).unwrap_or(u64::MAX))),
        Payload::Digest(_) => None,
    });
}

fn of_verify(verify: &VerifyIntent, put: &mut Put<'_>) {
    match verify {
        VerifyIntent::Token { audience, .. } => {
            put("payload", &|| Some(text("token")));
            put("audience", &|| audience.as_deref().map(text));
        }
        VerifyIntent::Signature { payload, .. } => put("payload", &|| Some(text(payload_name(payload)))),
    }
}

fn payload_name(payload: &Payload) -> &'static str {
    match payload {
        Payload::Digest(_) => "digest",
        Payload::Message(_) => "message",
    }
}

/// The context of a delegation: its mode and the time.
pub(super) fn of_delegation(mode: &str, now: u64) -> Result<Context, String> {
    let members = [("mode".to_owned(), text(mode)), ("now".to_owned(), long(now))];
    Context::from_pairs(members).map_err(|error| error.to_string())
}

/// The context of an operator's action that is not of the key API: the time.
pub(super) fn of_admin(now: u64) -> Result<Context, String> {
    Context::from_pairs([("now".to_owned(), long(now))]).map_err(|error| error.to_string())
}

/// The context of an action of the key API.
pub(super) fn of_keys(access: KeyAccess, now: u64) -> Result<Context, String> {
    let members = [
        ("now".to_owned(), long(now)),
        ("key_policy".to_owned(), text(access.key_policy.as_str())),
        ("grant".to_owned(), Value::new_bool(access.grant)),
    ];
    Context::from_pairs(members).map_err(|error| error.to_string())
}

fn long(value: u64) -> Value {
    Value::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(condition: &str) -> Needs {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let mut needs = Needs::default();
        needs.add(&Policy::parse(None, text).unwrap());
        needs
    }

    fn members(names: &[&str]) -> Needs {
        Needs {
            members: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Needs::default()
        }
    }

    #[test]
    fn the_members_a_policy_reads_are_found() {
        let found = needs("context.lifetime < 60 && (if context has subject then context.subject == \"a\" else true)");
        assert_eq!(found, members(&["lifetime", "subject"]));
        assert_eq!(needs("principal.subject like \"context.x*\""), Needs::default());
        assert_eq!(needs("[1, context.now].contains(2)"), members(&["now"]));
    }

    #[test]
    fn claims_are_found_by_name() {
        let found = needs("context.claims.hasTag(\"a\") && context.claims.getTag(\"b\").text == \"c\"");
        assert!(found.has("claims") && found.has_claim("a") && found.has_claim("b") && !found.has_claim("c"));
        for condition in [
            "context.claims.hasTag(principal.id)",
            "context.claims == principal",
            "[context.claims].isEmpty()",
            "context.claims in principal",
        ] {
            let found = needs(condition);
            assert!(found.has("claims") && found.has_claim("any"), "{condition}");
        }
        let found = needs("context.claims.hasTag(context.protocol)");
        assert!(found.has("protocol") && found.has_claim("any"));
    }

    #[test]
    fn any_other_use_of_context_needs_all_of_it() {
        for condition in [
            "context == {lifetime: 5}",
            "[context].contains(context)",
            "{a: context} has b",
            "context has a.b",
        ] {
            assert_eq!(needs(condition), Needs::all(), "{condition}");
        }
    }
}
