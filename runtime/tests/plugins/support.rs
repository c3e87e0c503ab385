//! A host with small bounds, components from text, and requests.

use runtime::{
    Argument, ArtifactForm, ArtifactRequest, Caller, FailureKind, Host, Payload, Plugin, PluginSource, Protocol,
    Request, RuleError, Settings, TokenRequest, Verdict,
};
use std::path::PathBuf;

pub(crate) const DIGEST: [u8; 32] = [7; 32];

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hostile")
}

pub(crate) fn text(name: &str) -> String {
    let file = folder().join(format!("{name}.wat"));
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Puts a core module `$rule`, `$memory` or both into the world's component; whole components and modules stay as they are.
pub(crate) fn component(text_of_modules: &str) -> Vec<u8> {
    let whole = text_of_modules.contains("(component");
    let has = |module: &str| !whole && text_of_modules.contains(&format!("(core module ${module}"));
    let world = |memory: &str, rule: &str| text("world").replace("{{memory}}", memory).replace("{{rule}}", rule);
    let whole = match (has("memory"), has("rule")) {
        (false, false) => text_of_modules.to_owned(),
        (false, true) => world(&text("memory"), text_of_modules),
        (true, false) => world(text_of_modules, &text("good")),
        (true, true) => world(text_of_modules, ""),
    };
    wat::parse_str(&whole).unwrap_or_else(|error| panic!("{error}\n{whole:.4000}"))
}

/// Small, so that what one call does not give back is missed at once.
pub(crate) fn small_host() -> Host {
    let settings = Settings {
        max_calls: 4,
        max_calls_per_plugin: 4,
        max_compilations: 2,
        ..Settings::default()
    };
    Host::new(settings).unwrap()
}

pub(crate) fn load(host: &Host, name: &str) -> Plugin {
    host.load(PluginSource::new(name, component(&text(name)))).unwrap()
}

pub(crate) fn example(name: &str) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/dev/bundle/plugins/{name}.wasm"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn caller<'a>(attributes: Vec<(&'a str, Argument<'a>)>) -> Caller<'a> {
    Caller {
        id: "oidc:https://ci.example#build",
        kind: "oidc",
        issuer: "https://ci.example",
        subject: "build",
        attributes,
    }
}

pub(crate) fn token<'a>(claims: Vec<(&'a str, Argument<'a>)>, attributes: Vec<(&'a str, Argument<'a>)>) -> Request<'a> {
    let audience = vec!["https://api.example"];
    Request {
        profile: "web",
        key: "5f0c1b52-6a0e-4c1e-9c9b-0d1f5a4b7c11",
        format: "jwt",
        tenant: "000000000001",
        caller: caller(attributes),
        payload: Payload::Token(TokenRequest {
            subject: Some("user-1"),
            audience,
            lifetime: 300,
            claims,
        }),
        time: 1_800_000_000,
        request_id: "2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10",
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        source_address: "192.0.2.1",
        protocol: Protocol::Http2,
    }
}

pub(crate) fn artifact<'a>(attributes: Vec<(&'a str, Argument<'a>)>) -> Request<'a> {
    let payload = Payload::Artifact(ArtifactRequest {
        form: ArtifactForm::Digest,
        algorithm: "sha256",
        digest: &DIGEST,
    });
    Request {
        profile: "release",
        format: "der",
        payload,
        ..token(vec![], attributes)
    }
}

/// `allowed`, `refused`, or the failure's kind.
pub(crate) fn word(outcome: &Result<Verdict, RuleError>) -> &'static str {
    match outcome {
        Ok(_) => "allowed",
        Err(RuleError::Refused { .. }) => "refused",
        Err(RuleError::Failed { kind, .. }) => FailureKind::as_str(*kind),
    }
}

/// Asks again while a call that was given up still ends: at most a slice later, on a thread apart where its plugin is slow.
pub(crate) async fn once_free(plugin: &Plugin, request: &Request<'_>) -> Result<Verdict, RuleError> {
    let began = std::time::Instant::now();
    loop {
        let outcome = plugin.evaluate(request).await;
        if word(&outcome) != "busy" || began.elapsed() > std::time::Duration::from_secs(60) {
            return outcome;
        }
        tokio::task::yield_now().await;
    }
}
