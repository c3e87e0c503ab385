//! What plugins cost: one call beside what WebAssembly itself takes, a chain of ten, a batch, and a thousand of them loaded.
//!
//! `cargo run --release -p runtime --example measure -- [--loaded N] [--only TEXT] [FILE.wasm…]`; without a file the
//! dev bundle's claim-guard. `--only` takes what has TEXT in its name, for a profiler. What is compared takes turns in one run, and the
//! medians of the rounds count.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

mod bare;
mod loaded;
mod request;

use bare::Bare;
use request::request;
use runtime::{Host, Plugin, PluginSource, Settings, Value};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;
use tokio::runtime::Runtime;

const CALLS: u32 = 2_000;
const ROUNDS: usize = 21;
/// Elements of a batch, as many as an edge signs in one turn.
const BATCH: u32 = 16;
const CHAIN: usize = 10;

/// The rule that allows everything, as text, around its memory.
pub(crate) fn smallest(rule: &str) -> Vec<u8> {
    let world = include_str!("../../tests/hostile/world.wat");
    wat::parse_str(world.replace("{{memory}}", &memory()).replace("{{rule}}", rule)).expect("a component")
}

/// A rule that allows everything, of the world `rule-batch`.
fn smallest_batch() -> Vec<u8> {
    let rule = include_str!("../../tests/world/batch-rule.wat");
    let rule = rule.replace("{{more}}", "").replace("{{answer}}", "(i32.const 1024)");
    let world = include_str!("../../tests/hostile/world.wat");
    let world = world.replace("{{memory}}", &memory()).replace("{{rule}}", &rule);
    let (world, end) = world.trim_end().rsplit_once(')').expect("a component");
    let export = include_str!("../../tests/world/batch.wat");
    wat::parse_str(format!("{world}{export}{end})")).expect("a component")
}

/// The allocator of the tests in one page, as a rule that is compiled with the flags of `signet plugin build` has: what a guest has,
/// it has cleared after each call.
pub(crate) fn memory() -> String {
    let memory = include_str!("../../tests/hostile/memory.wat");
    memory.replace(" 2)", " 1)").replace("65536", "4096")
}

/// One thing that is measured: its name, calls a round, and a way to make them.
struct Subject<'a> {
    name: String,
    divided_by: u32,
    call: Box<dyn FnMut() + 'a>,
    rounds: Vec<f64>,
}

impl<'a> Subject<'a> {
    fn new(name: impl Into<String>, divided_by: u32, call: impl FnMut() + 'a) -> Subject<'a> {
        Subject {
            name: name.into(),
            divided_by,
            call: Box::new(call),
            rounds: Vec::new(),
        }
    }

    fn round(&mut self) {
        let calls = CALLS / self.divided_by;
        let started = Instant::now();
        for _ in 0..calls {
            (self.call)();
        }
        let micros = started.elapsed().as_secs_f64() * 1e6;
        self.rounds.push(micros / f64::from(calls * self.divided_by));
    }

    fn print(&mut self) {
        self.rounds.sort_by(f64::total_cmp);
        let (least, median) = (self.rounds[0], self.rounds[ROUNDS / 2]);
        println!("{:<58}{median:>9.2} µs{least:>9.2}", self.name);
    }
}

fn main() {
    let mut loaded = 1_000;
    let mut only = String::new();
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // A worker of the isolated ones is this program.
            "plugin-worker" => return runtime::run_worker().expect("a worker"),
            "--only" => only = arguments.next().expect("--only TEXT"),
            "--loaded" => loaded = arguments.next().and_then(|n| n.parse().ok()).expect("--loaded N"),
            _ => files.push(argument),
        }
    }
    if files.is_empty() {
        let guard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev/bundle/plugins/claim-guard.wasm");
        files.push(guard.display().to_string());
    }
    calls(&files, &only);
    loaded::measure(loaded, &std::fs::read(&files[0]).expect("a readable file"));
}

fn load(host: &Host, name: &str, wasm: Vec<u8>) -> Plugin {
    host.load(source(name, wasm)).expect("a plugin")
}

fn isolated(host: &Host, name: &str, wasm: Vec<u8>) -> Plugin {
    let isolated = true;
    let source = PluginSource {
        isolated,
        ..source(name, wasm)
    };
    host.load(source).expect("a plugin")
}

fn source(name: &str, wasm: Vec<u8>) -> PluginSource {
    let mut source = PluginSource::new(name, wasm);
    // A machine that is busy with other things ends no measurement.
    source.deadline = Settings::default().max_deadline;
    source.config.insert("editor_max_seconds".into(), Value::Int(60));
    source.config.insert("plan".into(), Value::Text("free".into()));
    source
}

fn calls(files: &[String], only: &str) {
    let host = Host::new(Settings::default()).expect("a host");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let bare = Bare::new();
    let rule = load(
        &host,
        "smallest",
        smallest(include_str!("../../tests/hostile/good.wat")),
    );
    let batch = load(&host, "batch", smallest_batch());
    let read = |file: &String| (file.clone(), std::fs::read(file).expect("a readable file"));
    let files: Vec<(String, Vec<u8>)> = files.iter().map(read).collect();
    let plugins: Vec<(&str, Plugin)> = files
        .iter()
        .map(|(file, wasm)| (file.rsplit('/').next().unwrap_or(file), load(&host, file, wasm.clone())))
        .collect();
    let apart: Vec<Plugin> = files
        .iter()
        .map(|(file, wasm)| isolated(&host, file, wasm.clone()))
        .collect();
    let chained = |wasm: &[u8]| -> Vec<Plugin> {
        let one = |n: usize| load(&host, &n.to_string(), loaded::versioned(wasm, n));
        (0..CHAIN).map(one).collect()
    };
    let chains = [
        (
            "the smallest rule",
            chained(&smallest(include_str!("../../tests/hostile/good.wat"))),
        ),
        (plugins[0].0, chained(&files[0].1)),
    ];

    let mut subjects = vec![
        Subject::new("bare core module: fresh instance, one call", 1, || bare.core()),
        Subject::new("bare component: fresh instance, three texts", 1, || bare.component()),
        Subject::new("bare component: a request of ten claims", 1, || bare.single()),
        Subject::new("  as an element of a batch of 16, one instance", BATCH, || {
            bare.batch(BATCH)
        }),
        Subject::new("smallest rule, ten claims", 1, || serve(&runtime, &rule)),
        Subject::new("  as an element of a batch of 16, evaluate-batch", BATCH, || {
            serve_batch(&runtime, &batch)
        }),
    ];
    for ((name, plugin), apart) in plugins.iter().zip(&apart) {
        let title = format!("{name}, ten claims");
        subjects.push(Subject::new(title, 1, || serve(&runtime, plugin)));
        if plugin.is_batch() {
            let title = "  as an element of a batch of 16, evaluate-batch";
            subjects.push(Subject::new(title, BATCH, || serve_batch(&runtime, plugin)));
        }
        let title = format!("{name}, isolation = \"process\"");
        subjects.push(Subject::new(title, 1, || serve(&runtime, apart)));
        if apart.is_batch() {
            let title = "  as an element of a batch of 16, evaluate-batch";
            subjects.push(Subject::new(title, BATCH, || serve_batch(&runtime, apart)));
        }
    }
    for (name, chain) in &chains {
        let name = format!("ten of {name} in a chain, together");
        let runtime = &runtime;
        subjects.push(Subject::new(name, 1, move || {
            let request = request();
            runtime.block_on(async {
                for plugin in chain {
                    let answer = plugin.serve(&request, |_| ()).await;
                    black_box(answer.expect("a rule that allows"));
                }
            });
        }));
    }

    subjects.retain(|subject| subject.name.contains(only));
    println!("{:<58}{:>12}{:>9}", "", "median", "least");
    for _ in 0..ROUNDS {
        subjects.iter_mut().for_each(Subject::round);
    }
    subjects.iter_mut().for_each(Subject::print);
    drop(subjects);
    for (name, plugin) in &plugins {
        println!("{name}: {:?}", plugin.metrics());
    }
}

fn serve(runtime: &Runtime, plugin: &Plugin) {
    let answer = runtime.block_on(plugin.serve(&request(), |_| ()));
    black_box(answer.expect("a rule that allows"));
}

fn serve_batch(runtime: &Runtime, plugin: &Plugin) {
    let requests: Vec<_> = (0..BATCH).map(|_| request()).collect();
    for answer in runtime.block_on(plugin.serve_batch(&requests)).expect("a batch") {
        black_box(answer.expect("a rule that allows"));
    }
}
