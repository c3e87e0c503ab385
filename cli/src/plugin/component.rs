//! From a compiler's core module to a component of the world `rule`, and what a component looks like from outside.

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{IndexMap, Resolve, SourceMap, WorldId, WorldItem, WorldKey};

use super::manifest::World;
use crate::failure::Failure;

macro_rules! wit {
    ($($path:literal),+) => {
        [$(($path, include_str!(concat!("../../../plugins/wit/", $path)))),+]
    };
}

/// The package `signet:rule` in its first version, then file by file in this one.
pub const WIT: [(&str, &str); 8] = wit![
    "rule.wit",
    "1.1.0/config.wit",
    "1.1.0/counter.wit",
    "1.1.0/digest.wit",
    "1.1.0/log.wit",
    "1.1.0/lookup.wit",
    "1.1.0/rule.wit",
    "1.1.0/types.wit"
];

/// The world 1.1.0 with each interface in the lowest version that has it: what a rule does not use of 1.1.0 it does not
/// import, and then hosts of 1.0.0 load it too.
const LOWEST: &str = "
    package signet:build;
    world rule-1-0 { include signet:rule/rule@1.0.0; }
    world rule-1-1 {
        include signet:rule/rule@1.0.0;
        import signet:rule/counter@1.1.0;
        import signet:rule/lookup@1.1.0;
        import signet:rule/digest@1.1.0;
    }
";

/// Makes a component of a core module. One whose compiler put no world into it gets `world`, of which it keeps the imports
/// that it uses.
pub fn encode(module: Vec<u8>, world: World) -> Result<Vec<u8>, Failure> {
    let is_component =
        matches!((module.get(..4), module.get(4..8)), (Some(b"\0asm"), Some(rest)) if rest != [1, 0, 0, 0]);
    if is_component {
        return Ok(module);
    }
    component(module, world).map_err(|error| {
        let world = world.name();
        Failure::new(format!("the module does not fit the world `{world}`: {error}"))
    })
}

fn component(mut module: Vec<u8>, world: World) -> Result<Vec<u8>, String> {
    // `{:#}` has the causes, which say which export or import it is.
    let text = |error| format!("{error:#}");
    if metadata::decode(&module).map_err(text)?.0.is_none() {
        let (resolve, world) = resolved(world)?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).map_err(text)?;
    }
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).map_err(text)?;
    encoder.encode().map_err(text)
}

fn resolved(world: World) -> Result<(Resolve, WorldId), String> {
    let mut resolve = Resolve::default();
    let (first, second): (Vec<_>, Vec<_>) = WIT.iter().partition(|(path, _)| *path == "rule.wit");
    let mut package = None;
    for group in [first, second, vec![&("build.wit", LOWEST)]] {
        let mut sources = SourceMap::new();
        for (path, text) in group {
            sources.push_str(path, *text);
        }
        let group = sources.parse().map_err(|(_, error)| error.to_string())?;
        package = Some(resolve.push_group(group).map_err(|error| error.to_string())?);
    }
    let name = match world {
        World::V1_0 => "rule-1-0",
        World::V1_1 => "rule-1-1",
    };
    let package: Vec<_> = package.into_iter().collect();
    let world = resolve.select_world(&package, Some(name));
    Ok((resolve, world.map_err(|error| format!("{error:#}"))?))
}

/// What a file is, as far as its outside tells.
#[derive(Debug)]
pub struct Shape {
    pub kind: &'static str,
    /// The lowest version that has all it imports; none if it exports no `evaluate` of any version.
    pub world: Option<String>,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
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
    let world = version
        .filter(|_| exports.iter().any(|name| name == "evaluate"))
        .map(|version| format!("signet:rule/rule@{version}"));
    Shape {
        kind,
        world,
        imports,
        exports,
    }
}

/// A package with a world `rule` of just these imports, and what it refers to, file by file: for compilers that import
/// all that their world has, used or not.
pub fn world_of(imports: &[String]) -> Vec<(String, String)> {
    let import = |name: &String| {
        let version = if runtime::DEFAULT_IMPORTS.contains(&name.as_str()) {
            "1.0.0"
        } else {
            "1.1.0"
        };
        format!("    import signet:rule/{name}@{version};\n")
    };
    let world = format!(
        "package signet:build;\nworld rule {{\n    use signet:rule/types@1.0.0.{{request, verdict, refusal}};\n{}    \
         export evaluate: func(request: request) -> result<verdict, refusal>;\n}}\n",
        imports.iter().map(import).collect::<String>()
    );
    let dependency = |(path, text): &(&str, &str)| {
        let path = match *path {
            "rule.wit" => "deps/1.0.0/rule.wit".to_owned(),
            path => format!("deps/{path}"),
        };
        (path, (*text).to_owned())
    };
    let own = ("rule.wit".to_owned(), world);
    std::iter::once(own).chain(WIT.iter().map(dependency)).collect()
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
        let refused = encode(module(counting), World::V1_0).unwrap_err().to_string();
        assert!(
            refused.contains("rule@1.0.0") && refused.contains("counter"),
            "{refused}"
        );
    }

    #[test]
    fn a_world_for_an_interpreter_has_what_is_granted() {
        let files = world_of(&["config".into(), "counter".into()]);
        let world = &files[0].1;
        assert!(world.contains("import signet:rule/config@1.0.0;\n    import signet:rule/counter@1.1.0;\n    export"));
        assert!(!world.contains("lookup"), "{world}");
        assert!(
            files.iter().any(|(path, _)| path == "deps/1.1.0/lookup.wit"),
            "{files:?}"
        );
    }
}
