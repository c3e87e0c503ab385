//! What hostile rules add to an honest one's time: `cargo run --release -p runtime --example neighbour -- CALLERS HONEST.wasm HOSTILE.wasm…`
//!
//! Calls of the honest rule, one every 200 µs, alone and beside CALLERS that each call a hostile one again and again,
//! taken in turns; prints the percentiles of both and what the hostile ones add to the 99th.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

use runtime::{Caller, Host, Payload, Plugin, PluginSource, Protocol, Request, Settings, TokenRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CALLS: usize = 2_000;
const ROUNDS: usize = 5;

fn request() -> Request<'static> {
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
            attributes: vec![],
        },
        payload: Payload::Token(TokenRequest {
            subject: Some("user-1"),
            audience: vec!["https://api.example"],
            lifetime: 300,
            claims: vec![],
        }),
        time: 1_800_000_000,
        request_id: "2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10",
        trace_id: None,
        source_address: "192.0.2.1",
        protocol: Protocol::Http2,
    }
}

fn load(host: &Host, file: &str) -> Plugin {
    let wasm = std::fs::read(file).expect("a readable file");
    host.load(PluginSource::new(file, wasm)).expect("a plugin")
}

#[tokio::main]
async fn main() {
    let host = Host::new(Settings::default()).expect("a host");
    let mut files = std::env::args().skip(1);
    let callers = files.next().and_then(|callers| callers.parse().ok());
    let callers: usize = callers.expect("the number of hostile callers, then files");
    let honest = load(&host, &files.next().expect("an honest plugin's file"));
    for file in files {
        let hostile = load(&host, &file);
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.extend(times(&honest).await);
            let ended = Arc::new(AtomicBool::new(false));
            let flood: Vec<_> = (0..callers)
                .map(|_| tokio::spawn(again(hostile.clone(), ended.clone())))
                .collect();
            beside.extend(times(&honest).await);
            ended.store(true, Ordering::Relaxed);
            for call in flood {
                call.await.expect("a flood that ends");
            }
        }
        println!("{file}: {:?}", hostile.metrics());
        let (alone, beside) = (shown("alone", alone), shown("beside", beside));
        println!("{file}: adds {:?} to the honest p99", beside.saturating_sub(alone));
    }
}

async fn again(plugin: Plugin, ended: Arc<AtomicBool>) {
    while !ended.load(Ordering::Relaxed) {
        // It fails, which is what it is here for.
        let _ = plugin.evaluate(&request()).await;
        tokio::task::yield_now().await;
    }
}

/// From when each call was due, so that one that is late is not left out.
async fn times(plugin: &Plugin) -> Vec<Duration> {
    let plugin = plugin.clone();
    let measured = tokio::spawn(async move {
        let mut times = Vec::with_capacity(CALLS);
        let mut due = Instant::now();
        for _ in 0..CALLS {
            while Instant::now() < due {
                tokio::task::yield_now().await;
            }
            let outcome = plugin.evaluate(&request()).await;
            times.push(due.elapsed());
            std::hint::black_box(outcome).ok();
            due += Duration::from_micros(200);
        }
        times
    });
    measured.await.expect("calls that end")
}

/// Prints the percentiles; the 99th.
fn shown(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1000];
    println!("{what}: p50 {:?} p99 {:?} p99.9 {:?}", at(500), at(990), at(999));
    at(990)
}
