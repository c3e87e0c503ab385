//! What policies see as `context`, built only as far as the policies at hand read it.

use std::collections::BTreeSet;

use cedar_policy::{Context, Policy, RestrictedExpression as Value};
use serde_json::Value as Json;

use super::entities::text;
use super::facts::RequestFacts;
use crate::intent::{ArtifactIntent, Intent, Payload, TokenIntent, VerifyIntent};
use crate::schema::{TYPES, uid};

/// Which members of `context` a set of policies reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// `context` is used in a way that cannot be told apart by members.
    All,
    /// Only these.
    Members(BTreeSet<String>),
}

impl Needs {
    pub(super) fn none() -> Self {
        Self::Members(BTreeSet::new())
    }

    /// Adds what `policy` reads.
    pub(super) fn add(&mut self, policy: &Policy) {
        match policy.to_json() {
            Ok(json) => self.walk(&json),
            Err(_) => *self = Self::All,
        }
    }

    /// Adds what `other` reads.
    pub(super) fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Members(ours), Self::Members(theirs)) => ours.extend(theirs.iter().cloned()),
            _ => *self = Self::All,
        }
    }

    pub(super) fn has(&self, member: &str) -> bool {
        match self {
            Self::All => true,
            Self::Members(members) => members.contains(member),
        }
    }

    /// Finds `context.x` and `context has x` in a policy's JSON form; any other use of `context` needs all of it.
    fn walk(&mut self, json: &Json) {
        match json {
            Json::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Json::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), value) {
                        ("Var", Json::String(variable)) if variable == "context" => *self = Self::All,
                        ("." | "has", Json::Object(access)) if is_context(access.get("left")) => {
                            match (access.get("attr"), &mut *self) {
                                (Some(Json::String(member)), Self::Members(needs)) => {
                                    needs.insert(member.clone());
                                }
                                _ => *self = Self::All,
                            }
                        }
                        _ => self.walk(value),
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_context(json: Option<&Json>) -> bool {
    json.and_then(|left| left.get("Var"))
        .is_some_and(|variable| variable == "context")
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

/// The context of an operator's action: the time.
pub(super) fn of_admin(now: u64) -> Result<Context, String> {
    Context::from_pairs([("now".to_owned(), long(now))]).map_err(|error| error.to_string())
}

fn long(value: u64) -> Value {
    Value::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(condition: &str) -> Needs {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let mut needs = Needs::none();
        needs.add(&Policy::parse(None, text).unwrap());
        needs
    }

    #[test]
    fn the_members_a_policy_reads_are_found() {
        let found = needs("context.lifetime < 60 && (if context has subject then context.subject == \"a\" else true)");
        assert_eq!(found, Needs::Members(["lifetime", "subject"].map(str::to_owned).into()));
        assert_eq!(
            needs("context.claims.getTag(\"a\").text == \"b\""),
            Needs::Members(["claims".to_owned()].into())
        );
        assert_eq!(needs("principal.subject like \"context.x*\""), Needs::none());
        assert_eq!(
            needs("[1, context.now].contains(2)"),
            Needs::Members(["now".to_owned()].into())
        );
    }

    #[test]
    fn any_other_use_of_context_needs_all_of_it() {
        assert_eq!(needs("context == {lifetime: 5}"), Needs::All);
        assert_eq!(needs("[context].contains(context)"), Needs::All);
        assert_eq!(needs("{a: context} has b"), Needs::All);
        assert_eq!(needs("context has a.b"), Needs::All);
    }
}
