//! What one call of a plugin costs: `cargo run --release -p runtime --example measure -- FILE.wasm…`
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

use runtime::{Argument, Caller, Host, Payload, PluginSource, Protocol, Request, Settings, TokenRequest, Value};
use std::time::Instant;

const CALLS: u32 = 20_000;
const ROUNDS: usize = 5;

fn request<'a>() -> Request<'a> {
    let attributes = vec![("roles", Argument::Texts(vec!["reader", "editor"]))];
    let claims = vec![("role", Argument::Text("editor")), ("team", Argument::Text("edge"))];
    let audience = vec!["https://api.example"];
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
            audience,
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

fn main() {
    let host = Host::new(Settings::default()).expect("a host");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for file in std::env::args().skip(1) {
        let mut source = PluginSource::new(&file, std::fs::read(&file).expect("a readable file"));
        source.config.insert("editor_max_seconds".into(), Value::Int(60));
        source.config.insert("plan".into(), Value::Text("free".into()));
        let started = Instant::now();
        let plugin = host.load(source).expect("a plugin");
        println!("{file}: loaded in {:?}", started.elapsed());
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| runtime.block_on(round(&plugin))).collect();
        rounds.sort_by(f64::total_cmp);
        println!(
            "{file}: {:.2} µs a call, median of {ROUNDS} rounds ({rounds:.2?})",
            rounds[ROUNDS / 2]
        );
        println!("{:?}", plugin.metrics());
    }
}

async fn round(plugin: &runtime::Plugin) -> f64 {
    let started = Instant::now();
    for _ in 0..CALLS {
        let _ = std::hint::black_box(plugin.evaluate(&request()).await);
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}
