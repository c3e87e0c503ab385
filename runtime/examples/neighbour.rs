//! What hostile rules add to an honest one's time: `cargo run --release -p runtime --example neighbour -- [CALLERS [NAME…]]`
//!
//! Calls of the honest rule, one every 200 µs, alone and beside CALLERS (16) that each call a hostile one again and again,
//! taken in turns; prints the percentiles of both, and what the hostile ones add to the 99th: the medians of the rounds' and the
//! worst, as on a virtual machine a round now and then is late by itself. NAME: a file of
//! `tests/hostile/` without `.wat`; those that take the most of a host where none is given.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

#[path = "measure/request.rs"]
mod request;

use request::request;
use runtime::{Host, Plugin, PluginSource, Settings};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CALLS: usize = 2_000;
const ROUNDS: usize = 25;
/// What hostile rules may add to the 99th percentile. What the machine itself holds up counts in both.
const BOUND: Duration = Duration::from_millis(1);

/// An endless loop, memory that is filled again and again, memory filled once by one instruction, an endless recursion, a flood of
/// host calls, and an answer that names the same megabyte many times.
const COSTLY: [&str; 6] = [
    "loop",
    "loop-filling-memory",
    "fill-once",
    "recursion",
    "config-flood",
    "claims-amplified",
];

/// A rule of `tests/hostile/` in the world's component, as the tests make it.
fn load(host: &Host, name: &str) -> Plugin {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let read = |name: &str| std::fs::read_to_string(directory.join(name).with_extension("wat")).expect("a rule's text");
    let text = read("world")
        .replace("{{memory}}", &read("memory"))
        .replace("{{rule}}", &read(name));
    let wasm = wat::parse_str(text).expect("a component");
    host.load(PluginSource::new(name, wasm)).expect("a plugin")
}

#[tokio::main]
async fn main() {
    let host = Host::new(Settings::default()).expect("a host");
    let mut arguments = std::env::args().skip(1);
    let callers = arguments
        .next()
        .map_or(16, |callers| callers.parse().expect("a number of callers"));
    let mut names: Vec<String> = arguments.collect();
    if names.is_empty() {
        names = COSTLY.map(str::to_owned).to_vec();
    }
    let honest = load(&host, "good");
    let apart = || honest.metrics().apart.load(Ordering::Relaxed);
    for name in names {
        let hostile = load(&host, &name);
        let (mut alone, mut beside, before) = (Vec::new(), Vec::new(), apart());
        for _ in 0..ROUNDS {
            alone.push(times(&honest).await);
            let ended = Arc::new(AtomicBool::new(false));
            let flood: Vec<_> = (0..callers)
                .map(|_| tokio::spawn(again(hostile.clone(), ended.clone())))
                .collect();
            beside.push(times(&honest).await);
            ended.store(true, Ordering::Relaxed);
            for call in flood {
                call.await.expect("a flood that ends");
            }
        }
        let (alone, beside) = (
            shown(&format!("alone, then beside {name}"), alone),
            shown("beside", beside),
        );
        let (added, apart) = (beside.saturating_sub(alone), apart() - before);
        println!("{name}: adds {added:?} to the honest p99; {apart} honest calls were made apart");
    }
}

async fn again(plugin: Plugin, ended: Arc<AtomicBool>) {
    while !ended.load(Ordering::Relaxed) {
        // It fails, which is what it is here for.
        let _ = plugin.evaluate(&request()).await;
        tokio::task::yield_now().await;
    }
}

/// From when each call was due, so that one that is late is not left out. A thread of its own says when: that wakes the task as a
/// socket would.
async fn times(plugin: &Plugin) -> Vec<Duration> {
    let plugin = plugin.clone();
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
    let sayer = std::thread::spawn(move || {
        let mut due = Instant::now();
        for _ in 0..CALLS {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            say.send(due).expect("a task that listens");
            due += Duration::from_micros(200);
        }
    });
    let measured = tokio::spawn(async move {
        let mut times = Vec::with_capacity(CALLS);
        while let Some(due) = said.recv().await {
            let outcome = plugin.evaluate(&request()).await;
            times.push(due.elapsed());
            std::hint::black_box(outcome).ok();
        }
        times
    });
    let times = measured.await.expect("calls that end");
    sayer.join().expect("a thread that ends");
    times
}

/// Prints the percentiles of the calls of all rounds; the 99th of them.
fn shown(what: &str, rounds: Vec<Vec<Duration>>) -> Duration {
    let mut times = rounds.concat();
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1000];
    let (p50, p99, p999, calls) = (at(500), at(990), at(999), times.len());
    let late = times.iter().filter(|time| **time > BOUND).count();
    println!("{what}: p50 {p50:?} p99 {p99:?} p99.9 {p999:?}; {late} of {calls} over {BOUND:?}");
    p99
}
