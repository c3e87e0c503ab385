//! From a compiler's core module to a component of the world `rule` or `rule-batch`, and what a component looks like from outside.

mod worlds;

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{IndexMap, WorldItem, WorldKey};

use super::exports;
use super::manifest::{Language, World};
use crate::failure::Failure;
pub use worlds::{NO_COUNTER, WIT, world_of};

/// The function that makes a rule one of [`World::Batch`].
const BATCH: &str = "evaluate-batch";

/// Why a module is no component of the world that it is built for.
#[derive(Debug)]
pub enum Misfit {
    /// The world has `evaluate-batch`, and the module does not export it.
    NoBatch,
    /// The module exports `evaluate-batch`, and the world has none.
    Batch(World),
    /// It calls `counter`, which its world does not have.
    Counts,
    /// What the encoder says.
    Other(World, String),
}

impl Misfit {
    /// With what to do about it, in the language of the rule.
    pub fn told(&self, lang: Language) -> Failure {
        let batch = World::Batch.name();
        Failure::new(match self {
            Misfit::NoBatch => format!(
                "the rule does not export `{BATCH}`, which the world `{batch}` of plugin.toml has; {}, or write `world = \"{}\"` there",
                exporting(lang),
                World::NEWEST.name()
            ),
            Misfit::Batch(world) => format!(
                "the rule exports `{BATCH}`, which the world `{}` of plugin.toml does not have; write `world = \"{batch}\"` there, or remove the export",
                world.name()
            ),
            Misfit::Counts => format!(
                "{NO_COUNTER}; remove the calls of `counter`, or remove `{BATCH}` and write `world = \"{}\"` in plugin.toml",
                World::NEWEST.name()
            ),
            Misfit::Other(world, error) => {
                format!("the module does not fit the world `{}`: {error}", world.name())
            }
        })
    }
}

/// How a rule in this language gets an `evaluate-batch`.
fn exporting(lang: Language) -> &'static str {
    match lang {
        Language::Rust => "write `impl BatchGuest for …`, and `signet_plugin::export_batch!` in place of `export!`",
        Language::C => "write `#define SIGNET_EVALUATE_BATCH` before the include of signet_rule.h",
        Language::Zig => "write `comptime { signet.exportBatch(evaluate); }`",
        Language::AssemblyScript => {
            "write `export function evaluate_batch(at: usize, length: usize): Answers { return answers(at, length, evaluate); }`"
        }
        Language::Wat => "export it as plugins/wit/1.2.0/rule-batch.wit has it",
        // What stands around the rule exports it.
        Language::Js | Language::Python => "build it again",
    }
}

/// Makes a component of a core module. One whose compiler put no world into it gets `world`, of which it keeps the imports
/// that it uses.
pub fn encode(module: Vec<u8>, world: World) -> Result<Vec<u8>, Misfit> {
    let is_component =
        matches!((module.get(..4), module.get(4..8)), (Some(b"\0asm"), Some(rest)) if rest != [1, 0, 0, 0]);
    let component = match is_component {
        true => module,
        false => {
            if exports::has(&module, BATCH) && !world.is_batch() {
                return Err(Misfit::Batch(world));
            }
            component(module, world)?
        }
    };
    // A compiler may have put another world into it than plugin.toml names.
    let shape = shape(&component);
    let has_batch = shape.exports.iter().any(|name| name == BATCH);
    match (has_batch, world.is_batch()) {
        (true, false) => Err(Misfit::Batch(world)),
        (false, true) => Err(Misfit::NoBatch),
        (true, true) if shape.counts() => Err(Misfit::Counts),
        _ => Ok(component),
    }
}

fn component(mut module: Vec<u8>, world: World) -> Result<Vec<u8>, Misfit> {
    // `{:#}` has the causes, which say which export or import it is.
    let text = |error| Misfit::Other(world, format!("{error:#}"));
    if metadata::decode(&module).map_err(text)?.0.is_none() {
        if world.is_batch() && !exports::has(&module, BATCH) {
            return Err(Misfit::NoBatch);
        }
        let (resolve, id) = worlds::resolved(world).map_err(|error| Misfit::Other(world, error))?;
        embed_component_metadata(&mut module, &resolve, id, StringEncoding::UTF8, false).map_err(text)?;
    }
    let misfit = |error| match text(error) {
        Misfit::Other(world, error) if world.is_batch() && error.contains("signet:rule/counter@") => Misfit::Counts,
        other => other,
    };
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).map_err(misfit)?;
    encoder.encode().map_err(misfit)
}

/// What a file is, as far as its outside tells.
#[derive(Debug)]
pub struct Shape {
    pub kind: &'static str,
    /// The lowest version that has all it imports and exports; none if it exports no `evaluate` of any version.
    pub world: Option<String>,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Shape {
    /// Whether it imports `counter` of any version.
    pub fn counts(&self) -> bool {
        self.imports.iter().any(|name| name.starts_with("signet:rule/counter@"))
    }

    /// Whether it exports `evaluate-batch` and imports what no rule that does may have.
    pub fn counts_a_batch(&self) -> bool {
        self.counts() && self.exports.iter().any(|name| name == BATCH)
    }
}

/// Looks at a file.
pub fn shape(wasm: &[u8]) -> Shape {
    let kind = match (wasm.get(..4), wasm.get(4..8)) {
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => "core module",
        (Some(b"\0asm"), Some(_)) => "component",
        _ => "not WebAssembly",
    };
    let none = Shape {
        kind,
        world: None,
        imports: Vec::new(),
        exports: Vec::new(),
    };
    if kind != "component" {
        return none;
    }
    let Ok(DecodedWasm::Component(resolve, id)) = decode(wasm) else {
        return none;
    };
    let Some(world) = resolve.worlds.get(id) else {
        return none;
    };
    // A world lists the types it uses among its imports; nothing is imported with them.
    let names = |items: &IndexMap<WorldKey, WorldItem>| {
        let items = items.iter().filter(|(_, item)| !matches!(item, WorldItem::Type { .. }));
        items.map(|(key, _)| resolve.name_world_key(key)).collect::<Vec<_>>()
    };
    let (imports, exports) = (names(&world.imports), names(&world.exports));
    let own = imports.iter().filter(|name| name.starts_with("signet:rule/"));
    let versions = own.filter_map(|name| name.split_once('@')).map(|(_, version)| version);
    let number = |version: &&str| -> Vec<Option<u64>> { version.split('.').map(|part| part.parse().ok()).collect() };
    let version = versions.max_by_key(number);
    let has = |function: &str| exports.iter().any(|name| name == function);
    let world = version.filter(|_| has("evaluate")).map(|version| match has(BATCH) {
        true => World::Batch.name().to_owned(),
        false => format!("signet:rule/rule@{version}"),
    });
    Shape {
        kind,
        world,
        imports,
        exports,
    }
}

/// SHA-256, as bundles, logs and `sha256sum` write it.
pub fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `evaluate` that answers with what lies at 0: a verdict with nothing in it.
    fn module(import: &str) -> Vec<u8> {
        let text = format!(
            "(module {import} (memory (export \"memory\") 1)
               (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
               (func (export \"evaluate\") (param i32) (result i32) (i32.const 0)))"
        );
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_component_imports_what_it_uses_in_the_lowest_version() {
        let counting = "(import \"signet:rule/counter@1.1.0\" \"increment\" (func (param i32 i32 i32 i32)))";
        let shape_of = |import| shape(&encode(module(import), World::NEWEST).unwrap());
        let (none, counting_shape) = (shape_of(""), shape_of(counting));
        assert_eq!(none.imports, ["signet:rule/types@1.0.0"]);
        assert_eq!(none.world.as_deref(), Some("signet:rule/rule@1.0.0"));
        let imports = ["signet:rule/types@1.0.0", "signet:rule/counter@1.1.0"];
        assert_eq!(
            BTreeSet::from(imports.map(str::to_owned)),
            BTreeSet::from_iter(counting_shape.imports)
        );
        assert_eq!(counting_shape.world.as_deref(), Some("signet:rule/rule@1.1.0"));
        let refused = encode(module(counting), World::V1_0).unwrap_err();
        let refused = refused.told(Language::Wat).to_string();
        assert!(
            refused.contains("rule@1.0.0") && refused.contains("counter"),
            "{refused}"
        );
    }

    /// `evaluate-batch` that answers with a list of nothing.
    const BATCH_FUNCTION: &str = "(func (export \"evaluate-batch\") (param i32 i32) (result i32) (i32.const 0))";
    const COUNTING: &str = "(import \"signet:rule/counter@1.1.0\" \"increment\" (func (param i32 i32 i32 i32)))";

    fn batch_module(import: &str) -> Vec<u8> {
        let text = format!(
            "(module {import} (memory (export \"memory\") 1)
               (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
               (func (export \"evaluate\") (param i32) (result i32) (i32.const 0)) {BATCH_FUNCTION})"
        );
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_rule_batch_has_both_functions_and_all_imports_but_the_counter() {
        let looking_up = "(import \"signet:rule/lookup@1.1.0\" \"get\" (func (param i32 i32 i32 i32 i32)))";
        let seen = shape(&encode(batch_module(looking_up), World::Batch).unwrap());
        assert_eq!(seen.world.as_deref(), Some("signet:rule/rule-batch@1.2.0"));
        assert_eq!(seen.exports, ["evaluate", "evaluate-batch"]);
        let imports = ["signet:rule/types@1.0.0", "signet:rule/lookup@1.1.0"];
        assert_eq!(
            BTreeSet::from(imports.map(str::to_owned)),
            BTreeSet::from_iter(seen.imports.clone())
        );
        assert!(!seen.counts_a_batch());
    }

    #[test]
    fn what_is_no_rule_batch_is_told_what_to_do() {
        let told = |module, world, lang| encode(module, world).unwrap_err().told(lang).to_string();
        let counts = told(batch_module(COUNTING), World::Batch, Language::C);
        assert!(
            counts.contains("has no `counter`") && counts.contains("remove the calls of `counter`"),
            "{counts}"
        );
        for (lang, words) in [
            (Language::C, "`#define SIGNET_EVALUATE_BATCH`"),
            (Language::Rust, "`signet_plugin::export_batch!`"),
            (Language::Zig, "`comptime { signet.exportBatch(evaluate); }`"),
            (Language::Wat, "rule-batch.wit"),
        ] {
            let none = told(module(""), World::Batch, lang);
            assert!(
                none.contains("does not export `evaluate-batch`") && none.contains(words),
                "{none}"
            );
        }
        for world in [World::V1_0, World::V1_1] {
            let surplus = told(batch_module(""), world, Language::C);
            let words = [world.name(), "write `world = \"signet:rule/rule-batch@1.2.0\"`"];
            assert!(words.iter().all(|word| surplus.contains(word)), "{surplus}");
        }
    }

    /// As compilers make them that put their own world into a module, or write components.
    #[test]
    fn a_component_is_held_to_the_world_of_its_manifest_too() {
        let one = encode(module(""), World::NEWEST).unwrap();
        assert!(matches!(encode(one, World::Batch), Err(Misfit::NoBatch)));
        let batch = encode(batch_module(""), World::Batch).unwrap();
        assert!(matches!(
            encode(batch, World::NEWEST),
            Err(Misfit::Batch(World::NEWEST))
        ));
    }
}
