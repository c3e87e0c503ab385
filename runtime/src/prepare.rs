//! How an interpreter and a rule's modules become one core module: the interpreter runs once and loads them, and what its memory is then
//! becomes a module's. That is done where a rule is built, by whoever wrote it; an edge never does.

mod strip;

use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::runtime::Builder;
use wasmtime::{Caller, Config, Engine, Extern, Instance, Linker, Memory, Module, OptLevel, Store, Trap, Val};
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

/// The longest that a rule's modules may run.
const MOST_TIME: Duration = Duration::from_secs(30);
/// The most memory that the interpreter may have then.
const MOST_MEMORY: usize = 64 << 20;

/// The function of a rule that judges several requests in one call.
const BATCH: &str = "evaluate-batch";

/// What an interpreter asks for while it is prepared: imports of the module `signet:build`, as `plugins/engines/js/engine.c` has them.
#[derive(Debug)]
pub struct Interpreter<Source> {
    /// The interpreter's core module. It exports `memory`, `prepare` and, if it has constructors, `_initialize`.
    pub wasm: &'static [u8],
    /// What it calls the interfaces by: their places here.
    pub interfaces: &'static [&'static str],
    /// The interfaces that the rule may import, by the names of a bundle.
    pub granted: Vec<String>,
    /// Whether the rule is one of the world `rule-batch`. The module of another does not export `evaluate-batch`.
    pub batch: bool,
    /// A module of the rule's by its name, `lib/words.js`; none if there is none.
    pub source: Source,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The interpreter does not take the rule's modules.
    #[error("{what}")]
    Refused {
        /// What was thrown, as the interpreter shows it.
        what: String,
        /// Where: lines of the interpreter's own making, the innermost first.
        stack: String,
    },
    /// The modules do not end.
    #[error("the rule's modules run for more than {} s outside of `evaluate`", MOST_TIME.as_secs())]
    Time,
    /// The interpreter trapped.
    #[error(
        "the interpreter ended while it loaded the rule's modules: {0}; it has {most} MiB of memory, and ends where it recurses too deep",
        most = MOST_MEMORY >> 20
    )]
    Trap(String),
    /// Of the interpreter, or of this machine.
    #[error("the interpreter cannot be prepared: {0}")]
    Engine(String),
}

impl From<wasmtime::Error> for PrepareError {
    fn from(error: wasmtime::Error) -> PrepareError {
        match (error.downcast_ref::<Refused>(), error.downcast_ref::<Trap>()) {
            (Some(Refused { what, stack }), _) => PrepareError::Refused {
                what: what.clone(),
                stack: stack.clone(),
            },
            (None, Some(Trap::Interrupt)) => PrepareError::Time,
            (None, Some(trap)) => PrepareError::Trap(trap.to_string()),
            (None, None) => PrepareError::Engine(format!("{error:#}")),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Refused {
    what: String,
    stack: String,
}

struct State<Source> {
    interpreter: Interpreter<Source>,
    /// The interfaces that it uses for this rule.
    imported: BTreeSet<&'static str>,
    limits: StoreLimits,
}

/// The core module of a rule: the interpreter as it is when the rule's modules have run, with the imports of `signet:rule` that it
/// then uses, and no others. It exports `evaluate-batch` only where the rule's world does.
///
/// # Errors
/// [`PrepareError`]
pub fn prepare<Source>(interpreter: Interpreter<Source>) -> Result<Vec<u8>, PrepareError>
where
    Source: Fn(&str) -> Option<Vec<u8>> + Send + 'static,
{
    let batch = interpreter.batch;
    let (module, imported) = prepared(interpreter)?;
    let keeps = strip::Keeps {
        imports: &|module| {
            let mut imported = imported.iter();
            imported.any(|name| module.starts_with(&format!("signet:rule/{name}@")))
        },
        exports: &|name| batch || name != BATCH,
    };
    strip::stripped(&module, keeps).map_err(|error| PrepareError::Engine(error.to_string()))
}

fn prepared<Source>(interpreter: Interpreter<Source>) -> wasmtime::Result<(Vec<u8>, BTreeSet<&'static str>)>
where
    Source: Fn(&str) -> Option<Vec<u8>> + Send + 'static,
{
    let mut wizer = Wizer::new();
    wizer.init_func("prepare");
    let (context, instrumented) = wizer.instrument(interpreter.wasm)?;
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None).epoch_interruption(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, &instrumented)?;
    let state = State {
        interpreter,
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
            if instance.get_func(&mut store, export).is_some() {
                let function = instance.get_typed_func::<(), ()>(&mut store, export)?;
                function.call(&mut store, ())?;
            }
        }
        Ok(())
    })?;
    let mut taken = Taken { store, instance };
    let runtime = Builder::new_current_thread().build()?;
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

fn define<Source>(linker: &mut Linker<State<Source>>) -> wasmtime::Result<()>
where
    Source: Fn(&str) -> Option<Vec<u8>> + Send + 'static,
{
    let name = |state: &State<Source>, interface: u32| state.interpreter.interfaces.get(interface as usize).copied();
    linker.func_wrap(
        "signet:build",
        "granted",
        move |caller: Caller<'_, State<Source>>, interface: u32| {
            let name = name(caller.data(), interface).unwrap_or_default();
            let mut granted = caller.data().interpreter.granted.iter();
            u32::from(granted.any(|granted| granted == name))
        },
    )?;
    linker.func_wrap(
        "signet:build",
        "imported",
        move |mut caller: Caller<'_, State<Source>>, interface: u32| {
            let name = name(caller.data(), interface);
            caller.data_mut().imported.extend(name);
        },
    )?;
    linker.func_wrap("signet:build", "read", read::<Source>)?;
    linker.func_wrap("signet:build", "fail", fail::<Source>)?;
    Ok(())
}

/// The size of a rule's module, or -1; writes it where there is room.
fn read<Source>(
    mut caller: Caller<'_, State<Source>>,
    name: u32,
    length: u32,
    into: u32,
    room: u32,
) -> wasmtime::Result<i32>
where
    Source: Fn(&str) -> Option<Vec<u8>>,
{
    let name = text(&mut caller, name, length)?;
    let Some(source) = (caller.data().interpreter.source)(&name) else {
        return Ok(-1);
    };
    if room as usize >= source.len() {
        memory(&mut caller)?.write(&mut caller, into as usize, &source)?;
    }
    Ok(i32::try_from(source.len())?)
}

fn fail<Source>(
    mut caller: Caller<'_, State<Source>>,
    what: u32,
    length: u32,
    stack: u32,
    lines: u32,
) -> wasmtime::Result<()> {
    let (what, stack) = (text(&mut caller, what, length)?, text(&mut caller, stack, lines)?);
    Err(Refused { what, stack }.into())
}

fn memory<T>(caller: &mut Caller<'_, T>) -> wasmtime::Result<Memory> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| wasmtime::Error::msg("the interpreter has no memory"))
}

fn text<T>(caller: &mut Caller<'_, T>, at: u32, length: u32) -> wasmtime::Result<String> {
    let memory = memory(caller)?;
    let end = (at as usize).saturating_add(length as usize);
    let bytes = memory.data(&caller).get(at as usize..end).unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// An instance whose memory becomes a module's.
struct Taken<T: 'static> {
    store: Store<T>,
    instance: Instance,
}

impl<T: Send> InstanceState for Taken<T> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name);
        match global.map(|global| global.get(&mut self.store)) {
            Some(Val::I64(number)) => SnapshotVal::I64(number),
            Some(Val::F32(number)) => SnapshotVal::F32(number),
            Some(Val::F64(number)) => SnapshotVal::F64(number),
            Some(Val::I32(number)) => SnapshotVal::I32(number),
            other => unreachable!("the interpreter's globals are numbers, and {name} is {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name);
        contents(memory.map_or(&[], |memory| memory.data(&self.store)));
    }
}
