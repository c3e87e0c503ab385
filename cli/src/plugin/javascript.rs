//! A rule in JavaScript: the engine of `plugins/engines/js` runs here once and loads the rule's modules; what its memory is then becomes
//! the rule. Nothing needs to be installed for it.

mod place;
mod strip;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::runtime::Builder;
use wasmtime::{Caller, Config, Engine, Extern, Instance, Linker, Memory, Module, OptLevel, Store, Val};
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use super::manifest::Manifest;
use crate::failure::Failure;
use crate::progress;

/// Built from its sources and compared by `plugins/build.sh`.
const ENGINE: &[u8] = include_bytes!("../../../plugins/engines/js/engine.wasm");
/// The file that exports `evaluate`.
pub const FILE: &str = "rule.js";
/// What engine.c calls the interfaces by, in its order.
const INTERFACES: [&str; 5] = ["log", "config", "counter", "lookup", "digest"];
/// The longest that a rule's modules may run at a build.
const MOST_TIME: Duration = Duration::from_secs(30);
const MOST_MEMORY: usize = 64 << 20;
const MOST_SOURCE: u64 = 8 << 20;

/// What the engine is given at a build, and what it says.
struct State {
    dir: PathBuf,
    granted: Vec<String>,
    /// The interfaces that the rule has for its own.
    imported: BTreeSet<&'static str>,
    limits: StoreLimits,
}

/// The rule, or the engine's modules, cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Refused {
    what: String,
    stack: String,
}

/// The core module of a directory's rule.
pub fn build(dir: &Path, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    let file = dir.join(FILE);
    let (module, imported) = progress::during("running the rule's modules once", || prepared(dir, manifest))
        .map_err(|error| explained(&error, dir))?;
    let keeps = |module: &str| {
        imported
            .iter()
            .any(|name| module.starts_with(&format!("signet:rule/{name}@")))
    };
    strip::without_imports(&module, keeps).map_err(|error| Failure::new(format!("`{}`: {error}", file.display())))
}

fn explained(error: &wasmtime::Error, dir: &Path) -> Failure {
    let rule = dir.join(FILE);
    let trap = error.downcast_ref::<wasmtime::Trap>();
    match (error.downcast_ref::<Refused>(), trap) {
        (Some(refused), _) => Failure::new(place::located(&refused.what, &refused.stack, dir)),
        (None, Some(wasmtime::Trap::Interrupt)) => Failure::new(format!(
            "`{}`: its modules run for more than {} s outside of `evaluate`",
            rule.display(),
            MOST_TIME.as_secs()
        )),
        (None, Some(trap)) => Failure::new(format!(
            "`{}`: the engine ended while it loaded the rule's modules: {trap}; it has {} MiB of memory and ends where it recurses \
             too deep",
            rule.display(),
            MOST_MEMORY >> 20
        )),
        (None, None) => Failure::new(format!("`{}`: {error:#}", rule.display())),
    }
}

/// The engine as it is when the rule's modules have run, and what it may import.
fn prepared(dir: &Path, manifest: &Manifest) -> wasmtime::Result<(Vec<u8>, BTreeSet<&'static str>)> {
    let mut wizer = Wizer::new();
    wizer.init_func("prepare");
    let (context, instrumented) = wizer.instrument(ENGINE)?;
    let engine = Engine::new(
        Config::new()
            .cranelift_opt_level(OptLevel::None)
            .epoch_interruption(true),
    )?;
    let module = Module::new(&engine, &instrumented)?;
    let state = State {
        dir: dir.to_owned(),
        granted: manifest.imports.clone(),
        imported: BTreeSet::new(),
        limits: StoreLimitsBuilder::new().memory_size(MOST_MEMORY).build(),
    };
    let mut store = Store::new(&engine, state);
    store.limiter(|state| &mut state.limits);
    store.set_epoch_deadline(1);
    let mut linker = Linker::new(&engine);
    define(&mut linker)?;
    linker.define_unknown_imports_as_traps(&module)?;
    let instance = linker.instantiate(&mut store, &module)?;
    interrupted(&engine, || {
        for export in ["_initialize", "prepare"] {
            instance
                .get_typed_func::<(), ()>(&mut store, export)?
                .call(&mut store, ())?;
        }
        Ok(())
    })?;
    let runtime = Builder::new_current_thread().build()?;
    let mut taken = Taken { store, instance };
    let snapshot = runtime.block_on(wizer.snapshot(&context, &mut taken))?;
    Ok((snapshot, taken.store.into_data().imported))
}

/// Runs `work`, whose guests are interrupted after [`MOST_TIME`].
fn interrupted<T>(engine: &Engine, work: impl FnOnce() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            if ended.recv_timeout(MOST_TIME) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

/// What engine.c imports from `signet:build`.
fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "signet:build",
        "granted",
        |caller: Caller<'_, State>, interface: u32| {
            let name = INTERFACES.get(interface as usize).copied().unwrap_or_default();
            u32::from(caller.data().granted.iter().any(|granted| granted == name))
        },
    )?;
    linker.func_wrap(
        "signet:build",
        "imported",
        |mut caller: Caller<'_, State>, interface: u32| {
            let name = INTERFACES.get(interface as usize);
            caller.data_mut().imported.extend(name);
        },
    )?;
    linker.func_wrap(
        "signet:build",
        "read",
        |mut caller: Caller<'_, State>, name: u32, length: u32, into: u32, room: u32| -> wasmtime::Result<i32> {
            let name = text(&mut caller, name, length)?;
            let Some(source) = source(&caller.data().dir, &name) else {
                return Ok(-1);
            };
            if room as usize >= source.len() {
                memory(&mut caller)?.write(&mut caller, into as usize, &source)?;
            }
            Ok(i32::try_from(source.len())?)
        },
    )?;
    linker.func_wrap(
        "signet:build",
        "fail",
        |mut caller: Caller<'_, State>,
         what: u32,
         length: u32,
         stack: u32,
         stack_length: u32|
         -> wasmtime::Result<()> {
            let (what, stack) = (
                text(&mut caller, what, length)?,
                text(&mut caller, stack, stack_length)?,
            );
            Err(Refused { what, stack }.into())
        },
    )?;
    Ok(())
}

/// A module of the plugin's directory, by the name that engine.c resolved it to.
fn source(dir: &Path, name: &str) -> Option<Vec<u8>> {
    let name = Path::new(name);
    let stays = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !name.components().all(stays) {
        return None;
    }
    let path = dir.join(name);
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.is_file() && metadata.len() <= MOST_SOURCE).then(|| std::fs::read(&path).ok())?
}

fn memory(caller: &mut Caller<'_, State>) -> wasmtime::Result<Memory> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| wasmtime::Error::msg("the engine has no memory"))
}

fn text(caller: &mut Caller<'_, State>, at: u32, length: u32) -> wasmtime::Result<String> {
    let memory = memory(caller)?;
    let end = at.saturating_add(length) as usize;
    let bytes = memory.data(&caller).get(at as usize..end).unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// An instance whose memory becomes a module's.
struct Taken {
    store: Store<State>,
    instance: Instance,
}

impl InstanceState for Taken {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name);
        match global.map(|global| global.get(&mut self.store)) {
            Some(Val::I32(number)) => SnapshotVal::I32(number),
            Some(Val::I64(number)) => SnapshotVal::I64(number),
            other => unreachable!("the engine's globals are its stack's: {name} is {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name);
        contents(memory.map_or(&[], |memory| memory.data(&self.store)));
    }
}
