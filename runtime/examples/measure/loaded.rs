//! Many plugins loaded in one host: time, memory beyond their code, and open files.

use crate::bare::code_bytes;
use crate::request::request;
use crate::{load, smallest};
use runtime::{Host, Plugin, Settings};
use std::time::Instant;

/// Loads `n` of the smallest rule and `n` of `wasm`, each in bytes of its own, and calls each once.
pub(crate) fn measure(n: usize, wasm: &[u8]) {
    println!("\n{n} plugins loaded in one host, each called once; KiB a plugin");
    println!(
        "{:<24}{:>12}{:>10}{:>10}{:>12}{:>12}",
        "", "ms to load", "memory", "its code", "beyond it", "open files"
    );
    row(
        "the smallest rule",
        n,
        &smallest(include_str!("../../tests/hostile/good.wat")),
    );
    row("the first file", n, wasm);
}

fn row(name: &str, n: usize, wasm: &[u8]) {
    let host = Host::new(Settings::default()).expect("a host");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let call = |plugin: &Plugin| assert!(runtime.block_on(plugin.serve(&request(), |_| ())).is_ok(), "an answer");
    let code = code_bytes(wasm);
    // What the first one takes of the host's own, the others find there.
    call(&load(&host, "first", wasm.to_vec()));
    let (memory, files, started) = (resident(), open_files(), Instant::now());
    let mut plugins: Vec<Plugin> = Vec::with_capacity(n);
    for number in 0..n {
        plugins.push(load(&host, &number.to_string(), versioned(wasm, number)));
    }
    let took = started.elapsed();
    plugins.iter().for_each(call);
    let kib = |bytes: f64| bytes / 1024.0;
    let each = kib(resident().saturating_sub(memory) as f64 / n as f64);
    println!(
        "{name:<24}{:>12.1}{each:>10.1}{:>10.1}{:>12.1}{:>12}",
        took.as_secs_f64() * 1e3 / n as f64,
        kib(code as f64),
        each - kib(code as f64),
        open_files().saturating_sub(files)
    );
}

/// The same component in other bytes: with a custom section (core specification, 5.5.3) that holds its number.
pub(crate) fn versioned(wasm: &[u8], number: usize) -> Vec<u8> {
    let name = format!("{number:08}");
    // Section 0, of nine bytes: an empty name, and the content.
    [wasm, &[0, 9, 0], name.as_bytes()].concat()
}

/// Bytes of this process's memory that are in RAM.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.expect("VmRSS in kB") * 1024
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}
