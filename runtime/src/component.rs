//! Loading a plugin: bounded in size and time, off the request path, and tried once before anything relies on it.

use crate::artifact::Artifact;
use crate::breaker::Breaker;
use crate::call;
use crate::compile::Unfinished;
use crate::compile::helper::{self, Bounds, Compiler, Unmade};
use crate::engine::{self, Host, Shared};
use crate::failure::{RuleError, detail};
use crate::import;
use crate::import::counter::Counting;
use crate::limits::MAX_CONFIG;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::plugin::{Inner, Plugin};
use crate::question::Question;
use crate::seldom::Seldom;
use crate::slice::Lane;
use crate::table::{Table, TableSource};
use crate::target::{Level, Target};
use crate::value::Value;
use crate::worker::Pool;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::component::Component;

/// Bytes of a component that have one [`crate::Settings::compile_timeout`].
const TIMED: usize = 4 << 20;

/// A plugin to load.
#[derive(Debug, Clone)]
pub struct PluginSource {
    /// Its name in the bundle, for logs and refusals.
    pub name: String,
    /// The component, in the binary format.
    pub wasm: Vec<u8>,
    /// What its import `config` answers with. At most 64 KiB altogether.
    pub config: BTreeMap<String, Value>,
    /// The interfaces it may import, such as `log`. Default [`crate::DEFAULT_IMPORTS`].
    pub imports: Vec<String>,
    /// What its import `lookup` answers from, by name.
    pub tables: BTreeMap<String, TableSource>,
    /// How long one call may run; waits do not count. Default 5 ms, 1 ms to [`crate::Settings::max_deadline`]. Too
    /// short denies honest requests on a busy machine; too long lets a broken plugin hold its callers.
    pub deadline: Duration,
    /// Memory of one call, in bytes. Default 16 MiB, 64 KiB to [`crate::Settings::max_memory`].
    pub memory: usize,
    /// Whether its calls are made in processes of their own ([`crate::Settings::workers`]). Default false.
    pub isolated: bool,
}

impl PluginSource {
    /// A plugin with no settings and the default bounds.
    pub fn new(name: impl Into<String>, wasm: Vec<u8>) -> PluginSource {
        let (deadline, memory) = (Duration::from_millis(5), 16 << 20);
        PluginSource {
            name: name.into(),
            wasm,
            config: BTreeMap::new(),
            imports: import::DEFAULT_IMPORTS.map(str::to_owned).to_vec(),
            tables: BTreeMap::new(),
            deadline,
            memory,
            isolated: false,
        }
    }
}

/// Why a plugin was not loaded. The fault is the plugin's or its settings', unless the reason says otherwise.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {reason}")]
pub struct LoadError {
    /// The plugin's name.
    pub plugin: String,
    /// What is wrong with it.
    #[source]
    pub reason: LoadFailure,
}

/// What is wrong with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadFailure {
    /// A setting is out of its bounds.
    #[error("`{name}` must be {bounds}")]
    Setting {
        /// The field of [`PluginSource`].
        name: &'static str,
        /// What it must be.
        bounds: String,
    },
    /// Larger than [`crate::Settings::max_component`].
    #[error("{bytes} bytes, more than {limit}; strip debug information and names, or raise the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not WebAssembly at all.
    #[error("not a WebAssembly file")]
    NotWasm,
    /// A core module.
    #[error("a core module where a component is due; wrap it with `wasm-tools component new`")]
    CoreModule,
    /// A truncated, corrupt or unsupported component.
    #[error("not a valid component: {0}")]
    Malformed(String),
    /// It imports what no plugin is given.
    #[error(
        "imports `{0}`, which plugins do not have; they have log, config, counter, lookup and digest of `signet:rule@1.2.0`, and what 1.0.0 and 1.1.0 had"
    )]
    ForbiddenImport(String),
    /// It does not fit the world: no `evaluate`, or one of another type.
    #[error("does not implement the world `signet:rule/rule@1`: {0}")]
    WrongWorld(String),
    /// Its first instance failed.
    #[error("does not start: {0}")]
    DoesNotStart(RuleError),
    /// The compilation took longer than [`crate::Settings::compile_timeout`] gives its size.
    #[error("not compiled within {0:?}")]
    TooSlow(Duration),
    /// [`crate::Settings::max_compilations`] went on for all the time there was. Ours, not the plugin's: try again.
    #[error("too many compilations at once; try again")]
    Busy,
    /// A worker process of an isolated plugin could not be started, or died before it was ready. Ours, unless the plugin is what
    /// it died of.
    #[error("its worker process failed: {0}")]
    Worker(String),
    /// As many worker processes are running as may, those of bundles that are being replaced included.
    #[error("{0} worker processes of isolated plugins are running, as many as may; isolate fewer")]
    TooManyWorkers(usize),
    /// Machine code of another component than the source has.
    #[error("the machine code is of another component")]
    OtherComponent,
    /// [`crate::Compiler::Never`], and no machine code.
    #[error("this process compiles nothing itself")]
    NoCompiler,
    /// The compiler itself failed. Ours, and a defect.
    #[error("the compiler failed: {0}")]
    Compiler(String),
}

impl Host {
    /// Compiles a plugin and starts it once. Blocks for as long as that takes, at most twice what
    /// [`crate::Settings::compile_timeout`] gives its size (once to get a turn): call it where blocking is fine (`tokio::task::spawn_blocking`).
    pub fn load(&self, source: PluginSource) -> Result<Plugin, LoadError> {
        let (plugin, shared) = (source.name.clone(), self.0.clone());
        let time = time(self.0.settings.compile_timeout, source.wasm.len());
        // A process is ended by its own deadline, which comes first, so that its place is free again.
        let patience = match self.0.settings.compiler {
            Compiler::Thread | Compiler::Never => time,
            Compiler::Process { .. } => time.saturating_add(TRIAL),
        };
        let load = || {
            check(self, &source)?;
            self.run(patience, move || {
                let component = compile(&shared, &source.wasm, time)?;
                ready(shared, &source, &component)
            })
        };
        load().map_err(|reason| LoadError { plugin, reason })
    }

    /// As [`Host::load`], with machine code that there is already: the compiler is not asked.
    pub fn load_compiled(&self, source: PluginSource, artifact: Artifact) -> Result<Plugin, LoadError> {
        let (plugin, shared) = (source.name.clone(), self.0.clone());
        let load = || {
            check(self, &source)?;
            if <[u8; 32]>::from(Sha256::digest(&source.wasm)) != *artifact.component() {
                return Err(LoadFailure::OtherComponent);
            }
            self.run(TRIAL, move || {
                let component = artifact.load(&shared.engine)?;
                drop(artifact);
                ready(shared, &source, &component)
            })
        };
        load().map_err(|reason| LoadError { plugin, reason })
    }

    /// Compiles a component for any target that this program knows, within the bounds of [`Host::load`]: blocks as that does.
    /// Whether it is a plugin is not asked.
    pub fn compile(&self, wasm: &[u8], target: &Target) -> Result<Artifact, LoadFailure> {
        check_component(wasm, self.0.settings.max_component)?;
        let time = time(self.0.settings.compile_timeout, wasm.len());
        let (shared, wasm, level) = (self.0.clone(), wasm.to_vec(), target.level);
        let patience = time.saturating_add(TRIAL);
        self.run(patience, move || {
            let code = machine_code(&shared, &wasm, level, time)?;
            Ok(Artifact::of_own_child(code, Sha256::digest(&wasm).into()))
        })
    }

    /// What code is made for that this host loads.
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// Has a turn among the compilations, for at most `time`.
    fn run<T: Send + 'static>(
        &self,
        time: Duration,
        work: impl FnOnce() -> Result<T, LoadFailure> + Send + 'static,
    ) -> Result<T, LoadFailure> {
        let done = self.0.compilers.run(time, work);
        done.unwrap_or_else(|unfinished| {
            Err(match unfinished {
                Unfinished::Busy => LoadFailure::Busy,
                Unfinished::TooSlow => LoadFailure::TooSlow(time),
                Unfinished::Failed(reason) => LoadFailure::Compiler(reason),
            })
        })
    }
}

/// What a compilation takes no longer than: linking, and the first instance.
const TRIAL: Duration = Duration::from_secs(10);

/// How long the compilation of so many bytes may take.
fn time(each: Duration, bytes: usize) -> Duration {
    let steps = u32::try_from(bytes / TIMED).unwrap_or(u32::MAX).saturating_add(1);
    each.saturating_mul(steps)
}

fn check(host: &Host, source: &PluginSource) -> Result<(), LoadFailure> {
    let settings = &host.0.settings;
    let bound = |holds, name, bounds| {
        if holds {
            Ok(())
        } else {
            Err(LoadFailure::Setting { name, bounds })
        }
    };
    let deadlines = Duration::from_millis(1)..=settings.max_deadline;
    bound(
        deadlines.contains(&source.deadline),
        "deadline",
        format!("between 1 ms and {:?}", settings.max_deadline),
    )?;
    let memories = 64 << 10..=settings.max_memory;
    bound(
        memories.contains(&source.memory),
        "memory",
        format!("between 65536 and {} bytes", settings.max_memory),
    )?;
    let sizes = source
        .config
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.size()));
    let size = sizes.fold(0, usize::saturating_add);
    bound(
        size <= MAX_CONFIG,
        "config",
        format!("at most {MAX_CONFIG} bytes altogether, it is {size}"),
    )?;
    check_component(&source.wasm, settings.max_component)
}

fn check_component(wasm: &[u8], limit: usize) -> Result<(), LoadFailure> {
    let bytes = wasm.len();
    if bytes > limit {
        return Err(LoadFailure::TooLarge { bytes, limit });
    }
    // The preamble: magic, then version and layer (component-model, Binary.md).
    match (wasm.get(..4), wasm.get(4..8)) {
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => Err(LoadFailure::CoreModule),
        (Some(b"\0asm"), Some(_)) => Ok(()),
        (Some(b"\0asm"), None) => Err(LoadFailure::Malformed("it ends within its first 8 bytes".into())),
        _ => Err(LoadFailure::NotWasm),
    }
}

/// Compiles where the host's settings say.
fn compile(shared: &Shared, wasm: &[u8], time: Duration) -> Result<Component, LoadFailure> {
    if matches!(shared.settings.compiler, Compiler::Thread) {
        let malformed = |error: wasmtime::Error| LoadFailure::Malformed(detail(&error));
        return Component::from_binary(&shared.engine, wasm).map_err(malformed);
    }
    let code = machine_code(shared, wasm, shared.target.level, time)?;
    Artifact::of_own_child(code, Sha256::digest(wasm).into()).load(&shared.engine)
}

fn machine_code(shared: &Shared, wasm: &[u8], level: Level, time: Duration) -> Result<Vec<u8>, LoadFailure> {
    let malformed = |error: wasmtime::Error| LoadFailure::Malformed(detail(&error));
    match &shared.settings.compiler {
        Compiler::Never => Err(LoadFailure::NoCompiler),
        Compiler::Thread => {
            let engine = engine::for_compiling(level).map_err(|error| LoadFailure::Compiler(detail(&error)))?;
            engine.precompile_component(wasm).map_err(malformed)
        }
        Compiler::Process { program, arguments } => {
            let made = helper::compile((program, arguments), (wasm, level), Bounds::new(time, wasm.len()));
            made.map_err(|unmade| match unmade {
                Unmade::Refused(reason) => LoadFailure::Malformed(reason),
                Unmade::TooSlow => LoadFailure::TooSlow(time),
                Unmade::Failed(reason) => LoadFailure::Compiler(reason),
            })
        }
    }
}

/// What is compiled, with what the bundle gives it, started once: here, or in each of its workers.
fn ready(shared: Arc<Shared>, source: &PluginSource, component: &Component) -> Result<Plugin, LoadFailure> {
    let mut plugin = link(shared.clone(), source, component, Counting::default())?;
    if source.isolated {
        // The code is mapped here and runs nowhere but in the workers, which have tables of their own.
        plugin.tables.clear();
        plugin.workers = Some(Pool::start(
            &shared,
            source,
            &Artifact::of_component(component, plugin.digest)?,
        )?);
        return Ok(Plugin(Arc::new(plugin)));
    }
    let plugin = Arc::new(plugin);
    start_once(&plugin)?;
    Ok(Plugin(plugin))
}

/// What is compiled, with what the bundle gives it. Nothing of the plugin runs yet.
pub(crate) fn link(
    shared: Arc<Shared>,
    source: &PluginSource,
    component: &Component,
    counters: Counting,
) -> Result<Inner, LoadFailure> {
    let imported = imports(&shared, component, &source.imports)?;
    let wrong_world = |error: wasmtime::Error| LoadFailure::WrongWorld(detail(&error));
    let pre = shared.linker.instantiate_pre(component).map_err(wrong_world)?;
    let Some(evaluate) = component.get_export_index(None, "evaluate") else {
        return Err(LoadFailure::WrongWorld("it exports no function `evaluate`".into()));
    };
    let evaluate_batch = component.get_export_index(None, "evaluate-batch");
    let counts = imported.contains(&"counter");
    if counts && evaluate_batch.is_some() {
        return Err(LoadFailure::WrongWorld(COUNTS_A_BATCH.into()));
    }
    Ok(Inner {
        name: source.name.clone(),
        digest: Sha256::digest(&source.wasm).into(),
        config: source
            .config
            .iter()
            .map(|(name, value)| (name.clone(), Arc::new(value.clone())))
            .collect(),
        tables: tables(&source.tables)?,
        counters,
        counts,
        deadline: source.deadline,
        memory: source.memory,
        pre,
        evaluate,
        evaluate_batch,
        batches: Breaker::default(),
        metrics: Metrics::default(),
        breaker: Breaker::default(),
        skips_logged: Seldom::default(),
        calls: AtomicUsize::new(0),
        pace: Pace::default(),
        turns: Arc::new(Semaphore::new(shared.settings.slow_lanes)),
        shared,
        workers: None,
    })
}

const COUNTS_A_BATCH: &str = "it exports `evaluate-batch` and imports `counter`: what a batch has counted would be counted anew where its requests \
     are judged one by one after all; leave out one of the two";

/// The interfaces it imports: each served, and granted.
fn imports(shared: &Shared, component: &Component, granted: &[String]) -> Result<Vec<&'static str>, LoadFailure> {
    let mut imported = Vec::new();
    for (name, _) in component.component_type().imports(&shared.engine) {
        let interface = import::served(name).ok_or_else(|| LoadFailure::ForbiddenImport(name.to_owned()))?;
        if import::needs_grant(interface) && !granted.iter().any(|grant| grant == interface) {
            let mut wanted: Vec<&str> = granted.iter().map(String::as_str).collect();
            wanted.push(interface);
            let bounds = format!(
                "a list with \"{interface}\": it imports `{name}`, which it is not granted; write `imports = {wanted:?}` in its [[plugins]]"
            );
            let name = "imports";
            return Err(LoadFailure::Setting { name, bounds });
        }
        imported.push(interface);
    }
    Ok(imported)
}

fn tables(sources: &BTreeMap<String, TableSource>) -> Result<BTreeMap<String, Table>, LoadFailure> {
    let parse = |(name, source): (&String, &TableSource)| match Table::parse(source) {
        Ok(table) => Ok((name.clone(), table)),
        Err(fault) => {
            let (name, bounds) = ("tables", format!("tables of rows `KEY,VALUE`: {fault}"));
            Err(LoadFailure::Setting { name, bounds })
        }
    };
    sources.iter().map(parse).collect()
}

/// Instantiates it, as each call does, and sees whether it can be called.
pub(crate) fn start_once(plugin: &Arc<Inner>) -> Result<(), LoadFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| LoadFailure::Compiler(error.to_string()))?;
    let _running = plugin.shared.ticker.running();
    let (lane, nothing) = (Arc::new(Lane::new(plugin.shared.lanes.clone())), Question::Many(&[]));
    let started = runtime.block_on(call::guarded(async {
        Ok(call::instantiate(plugin, lane, nothing).await)
    }));
    let (mut store, instance) = started.map_err(LoadFailure::DoesNotStart)?;
    let instance = instance.map_err(|error| {
        store.data().log.write(plugin, nothing);
        LoadFailure::DoesNotStart(call::failure(&store, &error))
    })?;
    let memory = u64::try_from(store.data().budget.used()).unwrap_or(u64::MAX);
    plugin.metrics.memory_peak.fetch_max(memory, Ordering::Relaxed);
    let wrong_type = |error: wasmtime::Error| LoadFailure::WrongWorld(detail(&error));
    call::check_types(&mut store, &instance).map_err(wrong_type)
}
