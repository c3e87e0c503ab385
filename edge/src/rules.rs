//! The plugins stage: every Wasm rule of the profile, in its order, before anything is signed.

use policies::bundle::{ConfigValue, PluginTable};
use policies::engine::{Attribute, CallerFacts, RequestFacts};
use policies::intent::{Intent, Payload};
use policies::permit::{Metered, Ruled, Ruling};
use policies::profile::{Encoding, Profile};
use runtime::{Argument, ArtifactForm, ArtifactRequest, Caller, Request, RuleError, TokenRequest, Value};

use crate::record::{Refusal, Subject};
use crate::sample::Sampler;
use crate::state::Edge;
use crate::world::World;

/// A setting of the bundle as the plugin host takes it.
pub fn config(value: &ConfigValue) -> Value {
    match value {
        ConfigValue::Text(text) => Value::Text(text.clone()),
        ConfigValue::Int(int) => Value::Int(*int),
        ConfigValue::Float(float) => Value::Float(*float),
        ConfigValue::Bool(bool) => Value::Bool(*bool),
        ConfigValue::Texts(texts) => Value::Texts(texts.clone()),
    }
}

/// A table of the bundle as the plugin host takes it.
pub fn table(table: &PluginTable) -> runtime::TableSource {
    runtime::TableSource {
        file: table.file.clone(),
        kind: if table.by_prefix {
            runtime::TableKind::Prefix
        } else {
            runtime::TableKind::Exact
        },
        text: table.text.clone(),
    }
}

/// Asks each rule of the profile ([`ask`]), and keeps a sample of the request where the bundle wants one of it.
pub async fn evaluate(
    (edge, world): (&Edge, &World),
    metered: &Metered,
    caller_facts: &CallerFacts,
    facts: &RequestFacts,
    subject: &Subject<'_>,
) -> Result<Vec<Ruling>, Refusal> {
    if metered.plugins().is_empty() {
        return Ok(Vec::new());
    }
    let source_address = facts.source_ip.to_string();
    let message_digest = message_digest(metered.intent());
    let request = Request {
        profile: &metered.profile().name,
        key: metered.key_id(),
        format: format(metered.profile()),
        tenant: &caller_facts.tenant,
        caller: caller(caller_facts),
        payload: payload(metered.intent(), &message_digest)?,
        time: facts.now,
        request_id: subject.id(),
        trace_id: subject.trace_id(),
        source_address: &source_address,
        protocol: protocol(facts.protocol),
    };
    let mut sampler = world
        .sampling()
        .filter(|sampling| sampling.takes(subject.id_bytes(), metered.plugins()))
        .map(Sampler::new);
    let ruled = ask((edge, world), metered, &request, subject, sampler.as_mut()).await;
    if let Some(sampler) = sampler {
        edge.samples().offer(sampler, &request, edge.metrics());
    }
    ruled
}

/// The first that refuses ends it, and so does one that fails, unless the profile lets it be skipped and the failure is its own.
async fn ask(
    (edge, world): (&Edge, &World),
    metered: &Metered,
    request: &Request<'_>,
    subject: &Subject<'_>,
    mut sampler: Option<&mut Sampler>,
) -> Result<Vec<Ruling>, Refusal> {
    let mut rulings = Vec::with_capacity(metered.plugins().len());
    let ruled = |rulings: Vec<Ruling>| rulings.into_iter().map(|ruling| ruling.by).collect();
    for name in metered.plugins() {
        let Some(plugin) = world.plugin(name) else {
            return Err(Refusal::rule_missing(name, ruled(rulings)));
        };
        let told = |change| edge.record_breaker(plugin, change);
        let (judge, judged) = match world.trial(name) {
            None => (&**plugin, plugin.serve(request, told).await),
            Some(trial) => trial.judge(plugin, request, metered, told).await,
        };
        if let Some(sampler) = &mut sampler {
            sampler.answered(name, &judged);
        }
        let by = |skipped| Ruled {
            plugin: name.clone(),
            component: *judge.digest(),
            skipped,
        };
        rulings.push(match judged {
            Ok(verdict) => Ruling {
                by: by(None),
                lifetime_cap: verdict.lifetime_cap,
                claims: verdict.claims,
            },
            Err(RuleError::Failed { kind, detail }) if kind.is_plugins_own() && metered.may_skip(name) => {
                plugin.skipped(kind, &detail, subject.id());
                Ruling {
                    by: by(Some(kind.as_str())),
                    lifetime_cap: None,
                    claims: Vec::new(),
                }
            }
            Err(error) => return Err(Refusal::by_rule(name, *judge.digest(), error, ruled(rulings))),
        });
    }
    Ok(rulings)
}

fn format(profile: &Profile) -> &'static str {
    match profile.artifact() {
        None => "jwt",
        Some(artifact) if artifact.encoding == Encoding::Fixed => "fixed",
        Some(_) => "der",
    }
}

fn protocol(protocol: &str) -> runtime::Protocol {
    match protocol {
        "http3" => runtime::Protocol::Http3,
        "http2" => runtime::Protocol::Http2,
        _ => runtime::Protocol::Http1,
    }
}

fn caller(facts: &CallerFacts) -> Caller<'_> {
    let attributes = facts.attributes.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(text) => Argument::Text(text),
            Attribute::Int(int) => Argument::Int(*int),
            Attribute::Bool(bool) => Argument::Bool(*bool),
            Attribute::Texts(texts) => Argument::Texts(texts.iter().map(String::as_str).collect()),
        };
        (name.as_str(), value)
    });
    Caller {
        id: &facts.id,
        kind: &facts.kind,
        issuer: &facts.issuer,
        subject: &facts.subject,
        attributes: attributes.collect(),
    }
}

fn message_digest(intent: &Intent) -> [u8; 32] {
    match intent {
        Intent::Artifact(artifact) => match &artifact.payload {
            Payload::Message(message) => signing::digest::sha256(message),
            Payload::Digest(_) => [0; 32],
        },
        Intent::Token(_) | Intent::Verify(_) => [0; 32],
    }
}

fn payload<'a>(intent: &'a Intent, message_digest: &'a [u8; 32]) -> Result<runtime::Payload<'a>, Refusal> {
    match intent {
        Intent::Token(token) => Ok(runtime::Payload::Token(TokenRequest {
            subject: token.subject.as_deref(),
            audience: token.audience.iter().map(String::as_str).collect(),
            lifetime: token.lifetime,
            claims: token
                .claims
                .iter()
                .map(|(name, value)| (name.as_str(), Argument::from_json(value)))
                .collect(),
        })),
        Intent::Artifact(artifact) => Ok(runtime::Payload::Artifact(match &artifact.payload {
            Payload::Digest(digest) => ArtifactRequest {
                form: ArtifactForm::Digest,
                algorithm: digest.algorithm().as_str(),
                digest: digest.as_bytes(),
            },
            Payload::Message(_) => ArtifactRequest {
                form: ArtifactForm::Message,
                algorithm: "sha256",
                digest: message_digest,
            },
        })),
        Intent::Verify(_) => Err(Refusal::not_ready()),
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
