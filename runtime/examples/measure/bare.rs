//! What WebAssembly itself takes, with the host's way to allocate and interrupt, and nothing else of it.

use crate::memory;
use crate::request::request;
use runtime::Request;
use std::hint::black_box;
use wasmtime::component::{Component, InstancePre as ComponentPre, Linker as ComponentLinker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, Store,
};

pub(crate) struct Bare {
    engine: Engine,
    core: InstancePre<()>,
    component: ComponentPre<()>,
    single: ComponentPre<()>,
    batch: ComponentPre<()>,
}

const CORE: &str = r#"(module (memory (export "memory") 1)
  (func (export "evaluate") (param i32) (result i32) (i32.add (local.get 0) (i32.load (i32.const 1024)))))"#;

/// Three texts in, a number out: what a component costs beside its core module.
const THREE_TEXTS: &str = r#"(component
  {{memory}}
  (core module $rule (func (export "evaluate") (param i32 i32 i32 i32 i32 i32) (result i32) (local.get 1)))
  (core instance $m (instantiate $memory))
  (core instance $r (instantiate $rule))
  (func (export "evaluate") (param "a" string) (param "b" string) (param "c" string) (result u32)
    (canon lift (core func $r "evaluate") (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"#;

impl Bare {
    pub(crate) fn new() -> Bare {
        let engine = Engine::new(&config()).expect("an engine");
        let module = Module::new(&engine, wat::parse_str(CORE).expect("a module")).expect("a module");
        let core = Linker::new(&engine)
            .instantiate_pre(&module)
            .expect("a module without imports");
        let component = component(&engine, &THREE_TEXTS.replace("{{memory}}", &memory()));
        let (single, batch) = (
            with_request(&engine, "$request", "i32"),
            with_request(&engine, "(list $request)", "i32 i32"),
        );
        Bare {
            engine,
            core,
            component,
            single,
            batch,
        }
    }

    pub(crate) fn core(&self) {
        let mut store = self.store();
        let instance = self.core.instantiate(&mut store).expect("an instance");
        let evaluate = instance
            .get_typed_func::<i32, i32>(&mut store, "evaluate")
            .expect("a function");
        black_box(evaluate.call(&mut store, 7).expect("an answer"));
    }

    pub(crate) fn component(&self) {
        let mut store = self.store();
        let instance = self.component.instantiate(&mut store).expect("an instance");
        let evaluate = instance.get_typed_func::<(&str, &str, &str), (u32,)>(&mut store, "evaluate");
        let texts = ("user-1", "https://api.example", "editor");
        black_box(
            evaluate
                .expect("a function")
                .call(&mut store, texts)
                .expect("an answer"),
        );
    }

    pub(crate) fn single(&self) {
        let mut store = self.store();
        let instance = self.single.instantiate(&mut store).expect("an instance");
        let evaluate = instance.get_typed_func::<(Request<'_>,), (u32,)>(&mut store, "evaluate");
        black_box(
            evaluate
                .expect("a function")
                .call(&mut store, (request(),))
                .expect("an answer"),
        );
    }

    /// So many requests in one call: what a world `rule-batch` would cost at the least, as nothing is lifted back.
    pub(crate) fn batch(&self, elements: u32) {
        let mut store = self.store();
        let instance = self.batch.instantiate(&mut store).expect("an instance");
        let evaluate = instance.get_typed_func::<(&[Request<'_>],), (u32,)>(&mut store, "evaluate");
        let requests: Vec<Request<'_>> = (0..elements).map(|_| request()).collect();
        let answer = evaluate.expect("a function").call(&mut store, (&requests,));
        black_box(answer.expect("an answer"));
    }

    fn store(&self) -> Store<()> {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1_000_000);
        store
    }
}

/// The world's component with a function that takes this instead of one request, and answers with a number.
fn with_request(engine: &Engine, parameter: &str, lowered: &str) -> ComponentPre<()> {
    let world = include_str!("../../tests/hostile/world.wat");
    let rule =
        format!(r#"(core module $rule (func (export "evaluate") (param {lowered}) (result i32) (i32.const 1)))"#);
    let text = world
        .replace("{{memory}}", &memory())
        .replace("{{rule}}", &rule)
        .replace(
            r#"(param "request" $request)"#,
            &format!(r#"(param "request" {parameter})"#),
        )
        .replace("(result (result $verdict (error $refusal)))", "(result u32)");
    component(engine, &text)
}

fn component(engine: &Engine, text: &str) -> ComponentPre<()> {
    let component = Component::new(engine, wat::parse_str(text).expect("a component")).expect("a component");
    let mut linker = ComponentLinker::new(engine);
    linker
        .define_unknown_imports_as_traps(&component)
        .expect("imports of functions");
    linker
        .instantiate_pre(&component)
        .expect("a component with its imports")
}

/// As the host's own, where it matters: pooled slots that are cleared in place, and epochs.
fn config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(64)
        .total_tables(64)
        .total_core_instances(256)
        .max_memory_size(64 << 20)
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(16 << 10);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Bytes of native code and what belongs to it, of one component.
pub(crate) fn code_bytes(wasm: &[u8]) -> usize {
    let engine = Engine::new(&config()).expect("an engine");
    engine.precompile_component(wasm).expect("a component").len()
}
