//! The child's end.

use std::io::{self, Read, Write};

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use super::{MADE, PREAMBLE, REFUSED};
use crate::compile::STACK;
use crate::engine;
use crate::failure::detail;
use crate::target::Level;

/// How much more willingly than its parent the child gives way to others: requests go before compilations.
const NICE: i32 = 10;
/// Descriptors it may have: its pipes, and what the kernel is asked about itself with.
const FILES: u64 = 16;
/// Seconds between the two limits on processor time.
const GRACE: u64 = 5;

/// The whole of `signet plugin-compiler`: reads a component from standard input, and writes its machine code to standard output,
/// within the bounds that its parent names. Started by [`super::Compiler::this_program`], never by hand.
///
/// # Errors
/// Where the pipes break, which they do when the parent has gone, or the kernel takes no limits.
pub fn run_compiler() -> io::Result<()> {
    // For a parent that is gone nothing is compiled.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, FILES)?;
    nice(NICE)?;
    let mut input = io::stdin().lock();
    let mut number = || {
        let mut bytes = [0; 8];
        input.read_exact(&mut bytes).map(|()| u64::from_be_bytes(bytes))
    };
    let (seconds, memory, level) = (number()?, number()?, number()?);
    let level = Level::numbered(level).ok_or(io::ErrorKind::InvalidInput)?;
    // At the soft limit comes a signal that says which one it was, at the hard one SIGKILL.
    let hard = seconds.saturating_add(GRACE);
    let processor = Rlimit {
        current: Some(seconds),
        maximum: Some(hard),
    };
    setrlimit(Resource::Cpu, processor)?;
    limit(Resource::As, memory)?;
    let mut wasm = Vec::new();
    // Bounded by the limit above.
    input.read_to_end(&mut wasm)?;
    let compiling = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || compile(&wasm, level))?;
    let (kind, content) = match compiling.join() {
        Ok(Ok(artifact)) => (MADE, artifact),
        Ok(Err(reason)) => (REFUSED, reason.into_bytes()),
        Err(_) => return Err(io::Error::other("the compiler panicked")),
    };
    let mut output = io::stdout().lock();
    output.write_all(PREAMBLE)?;
    output.write_all(&[kind])?;
    output.write_all(&u64::try_from(content.len()).unwrap_or(u64::MAX).to_be_bytes())?;
    output.write_all(&content)?;
    output.flush()
}

fn compile(wasm: &[u8], level: Level) -> Result<Vec<u8>, String> {
    let engine = engine::for_compiling(level).map_err(|error| detail(&error))?;
    engine.precompile_component(wasm).map_err(|error| detail(&error))
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}
