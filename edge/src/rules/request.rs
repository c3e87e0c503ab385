//! What a rule is asked, made of what was verified and parsed.

use policies::engine::{Attribute, CallerFacts, RequestFacts};
use policies::intent::{Intent, Payload};
use policies::permit::Metered;
use policies::profile::{Encoding, Profile};
use runtime::{Argument, ArtifactForm, ArtifactRequest, Caller, Request, TokenRequest};

use crate::record::Subject;

/// Who asks, in all that is asked for together.
#[derive(Debug)]
pub struct Asker<'a> {
    caller: &'a CallerFacts,
    facts: &'a RequestFacts,
    source_address: String,
}

impl<'a> Asker<'a> {
    /// Of what was verified of a request.
    pub fn new(caller: &'a CallerFacts, facts: &'a RequestFacts) -> Asker<'a> {
        let source_address = facts.source_ip.to_string();
        Asker {
            caller,
            facts,
            source_address,
        }
    }

    /// About one signature; none about what is to be verified. `message_digest` as [`message_digest`] makes it.
    pub fn request<'r>(
        &'r self,
        (metered, subject): (&'r Metered, &'r Subject<'_>),
        message_digest: &'r [u8; 32],
    ) -> Option<Request<'r>> {
        Some(Request {
            profile: &metered.profile().name,
            key: metered.key_id(),
            format: format(metered.profile()),
            tenant: &self.caller.tenant,
            caller: caller(self.caller),
            payload: payload(metered.intent(), message_digest)?,
            time: self.facts.now,
            request_id: subject.id(),
            trace_id: subject.trace_id(),
            source_address: &self.source_address,
            protocol: protocol(self.facts.protocol),
        })
    }
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

/// SHA-256 of the message that is to be signed; nothing where there is none.
pub fn message_digest(intent: &Intent) -> [u8; 32] {
    match intent {
        Intent::Artifact(artifact) => match &artifact.payload {
            Payload::Message(message) => signing::digest::sha256(message),
            Payload::Digest(_) => [0; 32],
        },
        Intent::Token(_) | Intent::Verify(_) => [0; 32],
    }
}

fn payload<'a>(intent: &'a Intent, message_digest: &'a [u8; 32]) -> Option<runtime::Payload<'a>> {
    match intent {
        Intent::Token(token) => Some(runtime::Payload::Token(TokenRequest {
            subject: token.subject.as_deref(),
            audience: token.audience.iter().map(String::as_str).collect(),
            lifetime: token.lifetime,
            claims: token
                .claims
                .iter()
                .map(|(name, value)| (name.as_str(), Argument::from_json(value)))
                .collect(),
        })),
        Intent::Artifact(artifact) => Some(runtime::Payload::Artifact(match &artifact.payload {
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
        Intent::Verify(_) => None,
    }
}
