//! `request.json`: who asks for what, in the words of the schema.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::account::{self, Account};
use super::{Decision, Explanation, Outcome};
use crate::bundle::Bundle;
use crate::engine::{
    AdminAction, AdminResource, Attribute, CallerFacts, Considered, DelegationMode, Denial, Depth, EdgeFacts, Engine,
    KeyFacts, OperatorFacts, Principal, Question, RequestFacts,
};
use crate::intent::{Intent, IntentError, VerifyRequest};
use crate::profile::Profile;

/// A request to decide. Fields that its action does not take are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRequest {
    action: String,
    caller: Option<Caller>,
    profile: Option<String>,
    key: Option<Key>,
    body: Option<Box<RawValue>>,
    edge: Option<Edge>,
    mode: Option<String>,
    operator: Option<Operator>,
    principal: Option<Account>,
    key_policy: Option<String>,
    grant: Option<bool>,
    resource: Option<Resource>,
    now: Option<u64>,
    source_ip: Option<IpAddr>,
    protocol: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Caller {
    id: String,
    kind: String,
    tenant: String,
    issuer: String,
    subject: String,
    #[serde(default)]
    attributes: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    Texts(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    id: Option<String>,
    tenant: Option<String>,
    aliases: Option<Vec<String>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    id: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operator {
    id: String,
    role: String,
    tenant: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Resource {
    Key(Key),
    Tenant(String),
    Edge(String),
    Authority,
}

/// The key of a case that names none.
const ANY_KEY: &str = "00000000-0000-4000-8000-000000000000";
/// The time of a case that names none: 2026-01-01T00:00:00Z.
const ANY_TIME: u64 = 1_767_225_600;

/// What came of a case before or in Cedar.
enum Answer {
    Refused(IntentError),
    Denied(Denial, Vec<Considered>),
    Allowed(Vec<Arc<str>>, Vec<Considered>),
}

impl CaseRequest {
    /// Reads a `request.json`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// The decision.
    ///
    /// # Errors
    /// What the request lacks, or names that the bundle does not have.
    pub fn decide(&self, bundle: &Bundle, engine: &Engine) -> Result<Outcome, String> {
        self.explain(bundle, engine).map(|explanation| explanation.outcome)
    }

    /// The decision, and what each policy said.
    ///
    /// # Errors
    /// What the request lacks, or names that the bundle does not have.
    pub fn explain(&self, bundle: &Bundle, engine: &Engine) -> Result<Explanation, String> {
        let answer = match self.action.as_str() {
            "Mint" | "SignArtifact" | "Verify" => self.of_caller(bundle, engine)?,
            "Delegate" => self.of_edge(engine)?,
            other => {
                let action = AdminAction::ALL.iter().copied().find(|action| action.as_str() == other);
                let action = action.ok_or_else(|| format!("the schema has no action `{other}`"))?;
                self.takes_no(&[("caller", self.caller.is_some()), ("profile", self.profile.is_some())])?;
                self.takes_no(&[
                    ("edge", self.edge.is_some()),
                    ("mode", self.mode.is_some()),
                    ("body", self.body.is_some()),
                ])?;
                match &self.principal {
                    Some(principal) => self.of_account(principal, action, engine)?,
                    None => self.of_operator(action, engine)?,
                }
            }
        };
        Ok(explanation(answer))
    }

    fn of_caller(&self, bundle: &Bundle, engine: &Engine) -> Result<Answer, String> {
        self.takes_no(&[("edge", self.edge.is_some()), ("mode", self.mode.is_some())])?;
        self.takes_no(&self.of_others())?;
        let name = self.profile.as_deref().ok_or("the action needs a `profile`")?;
        let profile = bundle
            .profile(name)
            .ok_or_else(|| format!("the bundle has no profile `{name}`"))?;
        let principal = Principal::new(self.caller.as_ref().ok_or("the action needs a `caller`")?.facts());
        let body = self.body.as_ref().map_or("{}", |body| body.get()).as_bytes();
        let intent = match self.action.as_str() {
            "Mint" => Intent::parse_token(profile, body),
            "SignArtifact" => Intent::parse_artifact(profile, body),
            _ => VerifyRequest::parse(body).and_then(|request| request.against(profile)),
        };
        let intent = match intent {
            Ok(intent) => intent,
            Err(error) => return Ok(Answer::Refused(error)),
        };
        let facts = RequestFacts {
            now: self.now(),
            source_ip: self.source_ip(),
            protocol: self.protocol()?,
        };
        let key = self
            .key
            .as_ref()
            .map_or_else(|| key_of(profile), |key| key.facts(Some(profile)));
        let question = |depth| engine.question(&principal, &facts, profile, &key, &intent, depth);
        let answer = question(Depth::Open).and_then(|question| engine.decide(&question));
        let considered = question(Depth::Whole)
            .map(|question| engine.consider(&question))
            .unwrap_or_default();
        Ok(match answer {
            Ok(policies) => Answer::Allowed(policies, considered),
            Err(denial) => Answer::Denied(denial, considered),
        })
    }

    fn of_edge(&self, engine: &Engine) -> Result<Answer, String> {
        self.takes_no(&[("caller", self.caller.is_some()), ("profile", self.profile.is_some())])?;
        self.takes_no(&self.of_others())?;
        self.takes_no(&[("body", self.body.is_some())])?;
        let edge = self.edge.as_ref().ok_or("the action needs an `edge`")?;
        let facts = EdgeFacts {
            id: edge.id.clone(),
            labels: edge.labels.clone(),
        };
        let key = self.key.as_ref().ok_or("the action needs a `key`")?.facts(None);
        let mode = match self.mode.as_deref() {
            None | Some("shared") => DelegationMode::Shared,
            Some("own") => DelegationMode::Own,
            Some("none") => DelegationMode::None,
            Some(other) => return Err(format!("`{other}` is no mode, write own, shared or none")),
        };
        Ok(ask(engine, engine.delegate_question(&facts, &key, mode, self.now())))
    }

    fn of_operator(&self, action: AdminAction, engine: &Engine) -> Result<Answer, String> {
        self.takes_no(&[
            ("key_policy", self.key_policy.is_some()),
            ("grant", self.grant.is_some()),
        ])?;
        let operator = self
            .operator
            .as_ref()
            .ok_or("the action needs an `operator` or a `principal`")?;
        let facts = OperatorFacts {
            id: operator.id.clone(),
            role: operator.role.clone(),
            tenant: operator.tenant.clone(),
        };
        self.on_resource(|resource| ask(engine, engine.admin_question(&facts, action, resource, self.now())))
    }

    fn of_account(&self, principal: &Account, action: AdminAction, engine: &Engine) -> Result<Answer, String> {
        self.takes_no(&[("operator", self.operator.is_some())])?;
        let facts = principal.facts()?;
        let access = account::access(self.key_policy.as_deref(), self.grant)?;
        self.on_resource(|resource| {
            ask(
                engine,
                engine.key_question(&facts, action, resource, access, self.now()),
            )
        })
    }

    /// What an operator's or an account's action is on.
    fn on_resource(&self, ask: impl FnOnce(AdminResource<'_>) -> Answer) -> Result<Answer, String> {
        let key;
        let resource = match self.resource.as_ref().ok_or("the action needs a `resource`")? {
            Resource::Key(given) => {
                key = given.facts(None);
                AdminResource::Key(&key)
            }
            Resource::Tenant(tenant) => AdminResource::Tenant(tenant),
            Resource::Edge(edge) => AdminResource::Edge(edge),
            Resource::Authority => AdminResource::Authority,
        };
        Ok(ask(resource))
    }

    /// What only operators and accounts have.
    fn of_others(&self) -> [(&'static str, bool); 5] {
        [
            ("operator", self.operator.is_some()),
            ("principal", self.principal.is_some()),
            ("key_policy", self.key_policy.is_some()),
            ("grant", self.grant.is_some()),
            ("resource", self.resource.is_some()),
        ]
    }

    fn takes_no(&self, fields: &[(&str, bool)]) -> Result<(), String> {
        match fields.iter().find(|(_, present)| *present) {
            Some((field, _)) => Err(format!("the action `{}` takes no `{field}`", self.action)),
            None => Ok(()),
        }
    }

    fn now(&self) -> u64 {
        self.now.unwrap_or(ANY_TIME)
    }

    fn source_ip(&self) -> IpAddr {
        self.source_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn protocol(&self) -> Result<&'static str, String> {
        match self.protocol.as_deref() {
            Some("http1") => Ok("http1"),
            None | Some("http2") => Ok("http2"),
            Some("http3") => Ok("http3"),
            Some(other) => Err(format!("`{other}` is no protocol, write http1, http2 or http3")),
        }
    }
}

fn ask(engine: &Engine, question: Result<Question<'_>, Denial>) -> Answer {
    let question = match question {
        Ok(question) => question,
        Err(denial) => return Answer::Denied(denial, Vec::new()),
    };
    let considered = engine.consider(&question);
    match engine.decide(&question) {
        Ok(policies) => Answer::Allowed(policies, considered),
        Err(denial) => Answer::Denied(denial, considered),
    }
}

fn explanation(answer: Answer) -> Explanation {
    let names = |policies: &[Arc<str>]| Some(policies.iter().map(|id| id.to_string()).collect());
    match answer {
        Answer::Refused(error) => Explanation {
            outcome: Outcome {
                decision: Decision::Deny,
                code: Some(error.code.to_owned()),
                policies: Some(Vec::new()),
                detail: Some(error.detail),
            },
            considered: Vec::new(),
        },
        Answer::Denied(denial, considered) => Explanation {
            outcome: Outcome {
                decision: Decision::Deny,
                code: Some(denial.code.as_str().to_owned()),
                policies: names(&denial.policies),
                detail: Some(denial.to_string()),
            },
            considered,
        },
        Answer::Allowed(policies, considered) => Explanation {
            outcome: Outcome {
                decision: Decision::Allow,
                code: None,
                policies: names(&policies),
                detail: None,
            },
            considered,
        },
    }
}

impl Caller {
    fn facts(&self) -> CallerFacts {
        let attribute = |value: &Value| match value {
            Value::Bool(value) => Attribute::Bool(*value),
            Value::Int(value) => Attribute::Int(*value),
            Value::Text(value) => Attribute::Text(value.clone()),
            Value::Texts(values) => Attribute::Texts(values.clone()),
        };
        CallerFacts {
            id: self.id.clone(),
            kind: self.kind.clone(),
            tenant: self.tenant.clone(),
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            attributes: self
                .attributes
                .iter()
                .map(|(name, value)| (name.clone(), attribute(value)))
                .collect(),
        }
    }
}

impl Key {
    /// What is left out is the profile's, or a key nobody has.
    fn facts(&self, profile: Option<&Profile>) -> KeyFacts {
        let tenant = profile.map_or("000000000000", |profile| profile.tenant.as_str());
        let aliases = profile
            .map(|profile| profile.key.clone())
            .filter(|key| key.starts_with("alias/"));
        KeyFacts::new(
            self.id.clone().unwrap_or_else(|| ANY_KEY.to_owned()),
            self.tenant.clone().unwrap_or_else(|| tenant.to_owned()),
            self.aliases.clone().unwrap_or_else(|| aliases.into_iter().collect()),
            self.tags.clone(),
        )
    }
}

/// The key of a case that describes none: the profile's, without tags.
fn key_of(profile: &Profile) -> KeyFacts {
    Key {
        id: None,
        tenant: None,
        aliases: None,
        tags: BTreeMap::new(),
    }
    .facts(Some(profile))
}
