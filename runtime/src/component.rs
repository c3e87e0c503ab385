//! Loading a plugin: bounded in size and time, off the request path, and tried once before anything relies on it.

use crate::call::{self, State};
use crate::engine::{Host, Shared};
use crate::failure::{FailureKind, RuleError};
use crate::import;
use crate::limits::MAX_CONFIG;
use crate::metrics::{Metrics, count};
use crate::request::Request;
use crate::value::Value;
use crate::verdict::Verdict;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

/// A plugin to load.
#[derive(Debug, Clone)]
pub struct PluginSource {
    /// Its name in the bundle, for logs and refusals.
    pub name: String,
    /// The component, in the binary format.
    pub wasm: Vec<u8>,
    /// What its import `config` answers with. At most 64 KiB altogether.
    pub config: BTreeMap<String, Value>,
    /// How long one call may run; waits do not count. Default 5 ms, 1 ms to [`crate::Settings::max_deadline`]. Too
    /// short denies honest requests on a busy machine; too long lets a broken plugin hold its callers.
    pub deadline: Duration,
    /// Memory of one call, in bytes. Default 16 MiB, 64 KiB to [`crate::Settings::max_memory`].
    pub memory: usize,
}

impl PluginSource {
    /// A plugin with no settings and the default bounds.
    pub fn new(name: impl Into<String>, wasm: Vec<u8>) -> PluginSource {
        let (deadline, memory) = (Duration::from_millis(5), 16 << 20);
        PluginSource { name: name.into(), wasm, config: BTreeMap::new(), deadline, memory }
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
    #[error("imports `{0}`, which plugins do not have; they have `signet:rule/log` and `signet:rule/config`")]
    ForbiddenImport(String),
    /// It does not fit the world: no `evaluate`, or one of another type.
    #[error("does not implement the world `signet:rule/rule@1.0.0`: {0}")]
    WrongWorld(String),
    /// Its first instance failed.
    #[error("does not start: {0}")]
    DoesNotStart(RuleError),
    /// The compilation took longer than [`crate::Settings::compile_timeout`]. It is left to end on its own thread.
    #[error("not compiled within {0:?}")]
    TooSlow(Duration),
    /// [`crate::Settings::max_compilations`] are going on. Ours, not the plugin's: try again.
    #[error("too many compilations at once; try again")]
    Busy,
    /// The compiler itself failed. Ours, and a defect.
    #[error("the compiler failed: {0}")]
    Compiler(String),
}

/// A plugin that is ready to be called. Cheap to clone; safe to call from many tasks at once.
#[derive(Debug, Clone)]
pub struct Plugin(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) digest: [u8; 32],
    pub(crate) config: BTreeMap<String, Arc<Value>>,
    pub(crate) deadline: Duration,
    pub(crate) memory: usize,
    pub(crate) pre: InstancePre<State>,
    pub(crate) evaluate: ComponentExportIndex,
    pub(crate) metrics: Metrics,
    pub(crate) calls: AtomicUsize,
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Plugin").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Plugin {
    /// The plugin's name in the bundle.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// SHA-256 of the component's bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// What its calls came to.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Asks the plugin about one request, in a fresh instance. A refusal and a failure of the plugin both deny.
    /// The future is `Send`, needs no particular runtime, and may be dropped at any point.
    pub async fn evaluate(&self, request: &Request<'_>) -> Result<Verdict, RuleError> {
        let (inner, started) = (&self.0, Instant::now());
        count(&inner.metrics.started);
        let outcome = match Slot::take(inner) {
            Some(_slot) => {
                let _running = inner.shared.ticker.running();
                call::guarded(call::call(inner, request)).await
            }
            None => Err(RuleError::failed(FailureKind::Busy, "as many calls are running as may")),
        };
        inner.metrics.ended(&outcome, started.elapsed());
        outcome
    }
}

/// One of the calls that may run at once, of this plugin and of all.
struct Slot<'a>(&'a Inner);

impl Slot<'_> {
    fn take(plugin: &Inner) -> Option<Slot<'_>> {
        let settings = &plugin.shared.settings;
        if !enter(&plugin.calls, settings.max_calls_per_plugin as usize) {
            return None;
        }
        if !enter(&plugin.shared.calls, settings.max_calls as usize) {
            leave(&plugin.calls);
            return None;
        }
        Some(Slot(plugin))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        leave(&self.0.calls);
        leave(&self.0.shared.calls);
    }
}

fn enter(counter: &AtomicUsize, limit: usize) -> bool {
    let one_more = |used: usize| used.checked_add(1).filter(|sum| *sum <= limit);
    counter.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
}

fn leave(counter: &AtomicUsize) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

impl Host {
    /// Compiles a plugin and starts it once. Blocks for as long as that takes, at most
    /// [`crate::Settings::compile_timeout`]: call it where blocking is fine (`tokio::task::spawn_blocking`).
    pub fn load(&self, source: PluginSource) -> Result<Plugin, LoadError> {
        let plugin = source.name.clone();
        check(self, &source).and_then(|()| compile_in_time(self, source)).map_err(|reason| LoadError { plugin, reason })
    }
}

fn check(host: &Host, source: &PluginSource) -> Result<(), LoadFailure> {
    let settings = &host.0.settings;
    let bound = |holds, name, bounds| if holds { Ok(()) } else { Err(LoadFailure::Setting { name, bounds }) };
    let deadlines = Duration::from_millis(1)..=settings.max_deadline;
    bound(deadlines.contains(&source.deadline), "deadline", format!("between 1 ms and {:?}", settings.max_deadline))?;
    let memories = 64 << 10..=settings.max_memory;
    bound(memories.contains(&source.memory), "memory", format!("between 65536 and {} bytes", settings.max_memory))?;
    let sizes = source.config.iter().map(|(name, value)| name.len().saturating_add(value.size()));
    let size = sizes.fold(0, usize::saturating_add);
    bound(size <= MAX_CONFIG, "config", format!("at most {MAX_CONFIG} bytes altogether, it is {size}"))?;
    let (bytes, limit) = (source.wasm.len(), settings.max_component);
    if bytes > limit {
        return Err(LoadFailure::TooLarge { bytes, limit });
    }
    // The preamble: magic, then version and layer (component-model, Binary.md).
    match (source.wasm.get(..4), source.wasm.get(4..8)) {
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => Err(LoadFailure::CoreModule),
        (Some(b"\0asm"), Some(_)) => Ok(()),
        (Some(b"\0asm"), None) => Err(LoadFailure::Malformed("it ends within its first 8 bytes".into())),
        _ => Err(LoadFailure::NotWasm),
    }
}

/// Stack of a compiling thread: the compiler recurses over what the plugin's author wrote.
const COMPILER_STACK: usize = 16 << 20;

fn compile_in_time(host: &Host, source: PluginSource) -> Result<Plugin, LoadFailure> {
    let shared = host.0.clone();
    if !enter(&shared.compilations, shared.settings.max_compilations) {
        return Err(LoadFailure::Busy);
    }
    let limit = shared.settings.compile_timeout;
    let compiling = Compiling(shared.clone());
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let _compiling = compiling;
        // Nobody listens any more when it took too long.
        let _ = sender.send(compile(shared, source));
    };
    let thread = std::thread::Builder::new().name("signet-compile".into()).stack_size(COMPILER_STACK);
    let thread = thread.spawn(work).map_err(|error| LoadFailure::Compiler(error.to_string()))?;
    match receiver.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(LoadFailure::TooSlow(limit)),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(LoadFailure::Compiler(thread.join().err().map_or("it ended early".into(), |panic| call::message(&*panic))))
        }
    }
}

struct Compiling(Arc<Shared>);

impl Drop for Compiling {
    fn drop(&mut self) {
        leave(&self.0.compilations);
    }
}

fn compile(shared: Arc<Shared>, source: PluginSource) -> Result<Plugin, LoadFailure> {
    let malformed = |error: wasmtime::Error| LoadFailure::Malformed(format!("{error:#}"));
    let component = Component::from_binary(&shared.engine, &source.wasm).map_err(malformed)?;
    let kind = component.component_type();
    let mut imports = kind.imports(&shared.engine).map(|(name, _)| name);
    if let Some(name) = imports.find(|name| !import::ALLOWED.contains(name)) {
        return Err(LoadFailure::ForbiddenImport(name.to_owned()));
    }
    let wrong_world = |error: wasmtime::Error| LoadFailure::WrongWorld(format!("{error:#}"));
    let pre = shared.linker.instantiate_pre(&component).map_err(wrong_world)?;
    let Some(evaluate) = component.get_export_index(None, "evaluate") else {
        return Err(LoadFailure::WrongWorld("it exports no function `evaluate`".into()));
    };
    let plugin = Arc::new(Inner {
        name: source.name,
        digest: Sha256::digest(&source.wasm).into(),
        config: source.config.into_iter().map(|(name, value)| (name, Arc::new(value))).collect(),
        deadline: source.deadline,
        memory: source.memory,
        pre,
        evaluate,
        metrics: Metrics::default(),
        calls: AtomicUsize::new(0),
        shared,
    });
    start_once(&plugin)?;
    Ok(Plugin(plugin))
}

fn start_once(plugin: &Arc<Inner>) -> Result<(), LoadFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| LoadFailure::Compiler(error.to_string()))?;
    let _running = plugin.shared.ticker.running();
    let started = runtime.block_on(call::guarded(call::instantiate(plugin, "")));
    let (mut store, instance) = started.map_err(LoadFailure::DoesNotStart)?;
    let wrong_type = |error: wasmtime::Error| LoadFailure::WrongWorld(format!("`evaluate`: {error:#}"));
    call::function(&mut store, &instance).map(drop).map_err(wrong_type)
}
