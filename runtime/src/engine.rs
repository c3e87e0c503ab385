//! The engine: which WebAssembly is accepted, how it is compiled, and the pool its instances come from.

use crate::apart::Apart;
use crate::call::State;
use crate::compile::Compilers;
use crate::compile::helper::Compiler;
use crate::import;
use crate::limits::{
    FIBER_STACK, GUEST_STACK, MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES, MemoryPool,
};
use crate::target::{Level, Target};
use crate::ticker::Ticker;
use crate::worker::{MAX_WORKERS, Workers};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy, WasmFeatures};

/// Bounds of a [`Host`], for all its plugins together.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Largest component, in bytes of Wasm. Default 32 MiB: an interpreter with its program. What one plugin may have of
    /// that is its bundle's to say.
    pub max_component: usize,
    /// Where components are compiled. Default on a thread of this process; what serves strangers' requests or takes bundles
    /// uses [`Compiler::this_program`].
    pub compiler: Compiler,
    /// Longest compilation for each 4 MiB of a component that were begun. Default 30 s. It runs on its own thread, never
    /// on the request path.
    pub compile_timeout: Duration,
    /// Compilations at a time, those included that ran over their time and have not ended yet. Default 2.
    pub max_compilations: usize,
    /// Calls at a time, those that wait for their next slice included. Default 256, 1 to 5,000. Each reserves 16 GiB
    /// of address space, and no memory.
    pub max_calls: u32,
    /// Calls of one plugin at a time. Default 64. A plugin that hangs takes no more than this from the others.
    pub max_calls_per_plugin: u32,
    /// Most memory that a plugin's own setting may ask for, in bytes a call. Default 64 MiB.
    pub max_memory: usize,
    /// Memory of all running calls together, in bytes. Default 512 MiB. Over it, calls fail as out of memory.
    pub max_total_memory: usize,
    /// Longest deadline that a plugin's own setting may ask for. Default 100 ms.
    pub max_deadline: Duration,
    /// How many calls that have run for more than about 1 ms may run at the same moment, and how many threads the plugins have
    /// that make such calls. Default: one fewer than there are cores, and at least 1, so that slow plugins leave a core to
    /// everything else.
    pub slow_lanes: usize,
    /// Bytes of each linear memory that are cleared in place rather than handed back to the kernel between two calls.
    /// Default 512 KiB. More is faster for guests that touch more, and stays resident.
    pub keep_resident: usize,
    /// The processes in which isolated plugins run.
    pub workers: Workers,
}

impl Default for Settings {
    fn default() -> Settings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Settings {
            max_component: 32 << 20,
            compiler: Compiler::default(),
            compile_timeout: Duration::from_secs(30),
            max_compilations: 2,
            max_calls: 256,
            max_calls_per_plugin: 64,
            max_memory: 64 << 20,
            max_total_memory: 512 << 20,
            max_deadline: Duration::from_millis(100),
            slow_lanes: cores.saturating_sub(1).max(1),
            keep_resident: 512 << 10,
            workers: Workers::default(),
        }
    }
}

/// Why a host cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A setting is out of its bounds.
    #[error("plugin host setting `{name}` must be {bounds}")]
    Setting {
        /// The field's name.
        name: &'static str,
        /// What it must be.
        bounds: &'static str,
    },
    /// Guests run as native code made by Cranelift, whose sandbox is relied on for x86-64 only.
    #[error("plugins run on x86-64 only; remove the plugins from the bundle, or run this edge on x86-64")]
    Architecture,
    /// The machine did not give what the engine needs, address space most likely.
    #[error("the plugin engine cannot start: {0}; check limits on address space (`ulimit -v`) or lower `max_calls`")]
    Engine(String),
}

/// Loads plugins and holds what their calls share. Cheap to clone; the last clone and the last plugin end its thread.
#[derive(Debug, Clone)]
pub struct Host(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) ticker: Ticker,
    /// For calls that were interrupted.
    pub(crate) lanes: Arc<Semaphore>,
    /// For plugins that are slow, so that a call which only waited for its core never queues behind theirs.
    pub(crate) apart: Apart,
    pub(crate) memory: Arc<MemoryPool>,
    pub(crate) calls: AtomicUsize,
    pub(crate) compilers: Arc<Compilers>,
    /// One for each worker process that may still be started.
    pub(crate) seats: Arc<Semaphore>,
    pub(crate) target: Target,
    pub(crate) settings: Settings,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The address space that guests run in, reserved: terabytes, given back by page, that never hold a key. Clones are the same one,
/// for hosts that follow each other.
#[derive(Clone)]
pub struct Pool {
    engine: Engine,
    target: Target,
    settings: Settings,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pool")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Reserves it, and starts no thread. Takes some milliseconds: once a process.
    ///
    /// # Errors
    /// [`HostError`]
    pub fn reserve(settings: Settings) -> Result<Pool, HostError> {
        check(&settings)?;
        let target = Target::of_this_machine()?;
        let engine = config(&settings, target.level).and_then(|config| Engine::new(&config));
        Ok(Pool {
            engine: engine.map_err(failed)?,
            target,
            settings,
        })
    }
}

fn failed(error: wasmtime::Error) -> HostError {
    HostError::Engine(format!("{error:#}"))
}

impl Host {
    /// A host with a pool of its own.
    ///
    /// # Errors
    /// [`HostError`]
    pub fn new(settings: Settings) -> Result<Host, HostError> {
        Host::within(Pool::reserve(settings)?)
    }

    /// Starts the thread that interrupts guests.
    ///
    /// # Errors
    /// [`HostError`]
    pub fn within(pool: Pool) -> Result<Host, HostError> {
        Host::with_imports(pool, import::add_all)
    }

    pub(crate) fn with_imports(
        pool: Pool,
        imports: impl FnOnce(&mut Linker<State>) -> wasmtime::Result<()>,
    ) -> Result<Host, HostError> {
        let Pool {
            engine,
            target,
            settings,
        } = pool;
        let mut linker = Linker::new(&engine);
        imports(&mut linker).map_err(failed)?;
        let ticker = Ticker::start(&engine).map_err(|error| HostError::Engine(error.to_string()))?;
        Ok(Host(Arc::new(Shared {
            engine,
            linker,
            ticker,
            lanes: Arc::new(Semaphore::new(settings.slow_lanes)),
            apart: Apart::new(settings.slow_lanes),
            memory: Arc::new(MemoryPool::new(settings.max_total_memory)),
            calls: AtomicUsize::new(0),
            compilers: Compilers::new(settings.max_compilations),
            seats: Arc::new(Semaphore::new(MAX_WORKERS)),
            target,
            settings,
        })))
    }
}

fn check(settings: &Settings) -> Result<(), HostError> {
    let bound = |holds, name, bounds| {
        if holds {
            Ok(())
        } else {
            Err(HostError::Setting { name, bounds })
        }
    };
    bound(
        (1..=5_000).contains(&settings.max_calls),
        "max_calls",
        "between 1 and 5000",
    )?;
    bound(settings.max_calls_per_plugin >= 1, "max_calls_per_plugin", "at least 1")?;
    bound(
        (1..=1024).contains(&settings.slow_lanes),
        "slow_lanes",
        "between 1 and 1024",
    )?;
    bound(settings.max_compilations >= 1, "max_compilations", "at least 1")?;
    bound(
        (1..=1 << 30).contains(&settings.max_memory),
        "max_memory",
        "between 1 byte and 1 GiB",
    )?;
    bound(
        (1..=16).contains(&settings.workers.each),
        "workers.each",
        "between 1 and 16",
    )?;
    bound(!settings.max_deadline.is_zero(), "max_deadline", "more than 0")?;
    bound(!settings.compile_timeout.is_zero(), "compile_timeout", "more than 0")?;
    if cfg!(target_arch = "x86_64") {
        Ok(())
    } else {
        Err(HostError::Architecture)
    }
}

/// What compilers emit for a plain guest. Everything else in WebAssembly is one more thing to get wrong. Several memories are for the
/// code between the parts of a composed component, which copies from one's to the other's; a module has one of its own at most.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL);

/// An engine that only compiles, for those of hosts: without a pool, which would reserve address space by the terabyte.
pub(crate) fn for_compiling(level: Level) -> wasmtime::Result<Engine> {
    Engine::new(&code(level)?)
}

fn config(settings: &Settings, level: Level) -> wasmtime::Result<Config> {
    let mut config = code(level)?;
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
    Ok(config)
}

/// What machine code depends on. For one level it is the same wherever this version of this program runs.
fn code(level: Level) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    level.set(&mut config)?;
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true);
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed);
    // One thread a compilation: the other cores are serving requests.
    config.parallel_compilation(false);
    config.epoch_interruption(true).concurrency_support(false);
    config.max_wasm_stack(GUEST_STACK).async_stack_size(FIBER_STACK);
    config.memory_init_cow(true);
    Ok(config)
}

fn pool(settings: &Settings) -> PoolingAllocationConfig {
    // Each compilation instantiates once, to see that it can.
    let slots = settings
        .max_calls
        .saturating_add(u32::try_from(settings.max_compilations).unwrap_or(u32::MAX));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MAX_MEMORIES))
        .total_tables(slots.saturating_mul(MAX_TABLES))
        .total_stacks(slots)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(1)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(settings.max_memory)
        .linear_memory_keep_resident(settings.keep_resident)
        .table_keep_resident(16 << 10);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_refused_by_name() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            Host::new(settings).unwrap_err().to_string()
        };
        assert!(refused(|settings| settings.max_calls = 0).contains("`max_calls`"));
        assert!(refused(|settings| settings.max_calls_per_plugin = 0).contains("`max_calls_per_plugin`"));
        assert!(refused(|settings| settings.slow_lanes = 0).contains("`slow_lanes`"));
        assert!(refused(|settings| settings.max_compilations = 0).contains("`max_compilations`"));
        assert!(refused(|settings| settings.max_memory = 2 << 30).contains("`max_memory`"));
        assert!(refused(|settings| settings.workers.each = 0).contains("`workers.each`"));
        assert!(refused(|settings| settings.max_deadline = Duration::ZERO).contains("`max_deadline`"));
        assert!(refused(|settings| settings.compile_timeout = Duration::ZERO).contains("`compile_timeout`"));
    }
}
