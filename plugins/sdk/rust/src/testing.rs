//! For native tests of a rule: requests, of which a test fills in what the rule looks at, and a [`Host`] that answers.

mod host;

pub use host::Host;
pub(crate) use host::{add_line, with_host};

use std::string::{String, ToString};
use std::vec::Vec;

use crate::{Artifact, ArtifactForm, Caller, Payload, Protocol, Request, Token, Value};

/// A request for a token.
pub fn token(claims: &[(&str, Value)], attributes: &[(&str, Value)]) -> Request {
    let claims = owned(claims);
    let audience = vec!["https://api.example".into()];
    Request {
        profile: "web".into(),
        key: "5f0c1b52-6a0e-4c1e-9c9b-0d1f5a4b7c11".into(),
        format: "jwt".into(),
        tenant: "000000000001".into(),
        caller: Caller {
            id: "oidc:https://ci.example#build".into(),
            kind: "oidc".into(),
            issuer: "https://ci.example".into(),
            subject: "build".into(),
            attributes: owned(attributes),
        },
        payload: Payload::Token(Token {
            subject: Some("user-1".into()),
            audience,
            lifetime: 300,
            claims,
        }),
        time: 1_800_000_000,
        request_id: "2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10".into(),
        trace_id: None,
        source_address: "192.0.2.1".into(),
        protocol: Protocol::Http2,
    }
}

/// A request for an artifact.
pub fn artifact(attributes: &[(&str, Value)]) -> Request {
    let digest = vec![7; 32];
    let payload = Payload::Artifact(Artifact {
        form: ArtifactForm::Digest,
        algorithm: "sha256".into(),
        digest,
    });
    Request {
        profile: "release".into(),
        format: "der".into(),
        payload,
        ..token(&[], attributes)
    }
}

fn owned(pairs: &[(&str, Value)]) -> Vec<(String, Value)> {
    pairs
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect()
}
