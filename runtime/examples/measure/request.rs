//! What is asked: a token with ten claims.

use runtime::{Argument, Caller, Payload, Protocol, Request, TokenRequest};

/// As an edge builds one for each signature.
pub(crate) fn request() -> Request<'static> {
    let attributes = vec![("roles", Argument::Texts(vec!["reader", "editor"]))];
    let claims = vec![
        ("azp", Argument::Text("https://app.example")),
        ("email_verified", Argument::Bool(true)),
        ("groups", Argument::Texts(vec!["edge", "payments"])),
        ("locale", Argument::Text("en-GB")),
        ("nonce", Argument::Text("n-0S6_WzA2Mj")),
        ("role", Argument::Text("editor")),
        ("scope", Argument::Text("read write")),
        ("sid", Argument::Text("08a5019c-17e1-4977-8f42-65a12843ea02")),
        ("team", Argument::Text("edge")),
        ("version", Argument::Int(7)),
    ];
    Request {
        profile: "web",
        key: "5f0c1b52-6a0e-4c1e-9c9b-0d1f5a4b7c11",
        format: "jwt",
        tenant: "000000000001",
        caller: Caller {
            id: "oidc:https://ci.example#build",
            kind: "oidc",
            issuer: "https://ci.example",
            subject: "build",
            attributes,
        },
        payload: Payload::Token(TokenRequest {
            subject: Some("user-1"),
            audience: vec!["https://api.example"],
            lifetime: 300,
            claims,
        }),
        time: 1_800_000_000,
        request_id: "2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10",
        trace_id: None,
        source_address: "192.0.2.1",
        protocol: Protocol::Http2,
    }
}
