//! From a compiler's core module to a component of the world `rule`, and what a component looks like from outside.

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{IndexMap, Resolve, SourceMap, WorldId, WorldItem, WorldKey};

use crate::failure::Failure;

/// The package `signet:rule`, file by file.
pub const WIT: [(&str, &str); 1] = [("rule.wit", include_str!("../../../plugins/wit/rule.wit"))];

/// Makes a component of a core module. One whose compiler put no world into it gets the world `rule`.
pub fn encode(module: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let is_component =
        matches!((module.get(..4), module.get(4..8)), (Some(b"\0asm"), Some(rest)) if rest != [1, 0, 0, 0]);
    if is_component {
        return Ok(module);
    }
    component(module).map_err(|error| {
        let world = super::project::WORLD;
        Failure::new(format!("the module does not fit the world `{world}`: {error}"))
    })
}

fn component(mut module: Vec<u8>) -> Result<Vec<u8>, String> {
    // `{:#}` has the causes, which say which export or import it is.
    let text = |error| format!("{error:#}");
    if metadata::decode(&module).map_err(text)?.0.is_none() {
        let (resolve, world) = world()?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).map_err(text)?;
    }
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).map_err(text)?;
    encoder.encode().map_err(text)
}

fn world() -> Result<(Resolve, WorldId), String> {
    let mut sources = SourceMap::new();
    for (path, text) in WIT {
        sources.push_str(path, text);
    }
    let mut resolve = Resolve::default();
    let package = sources.parse().map_err(|(_, error)| error.to_string())?;
    let package = resolve.push_group(package).map_err(|error| error.to_string())?;
    let world = resolve.select_world(&[package], Some("rule"));
    Ok((resolve, world.map_err(|error| format!("{error:#}"))?))
}

/// What a file is, as far as its outside tells.
#[derive(Debug)]
pub struct Shape {
    pub kind: &'static str,
    /// With its version; none if it exports no `evaluate` of any version.
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
    let version = imports.iter().find(|name| name.starts_with("signet:rule/"));
    let version = version
        .and_then(|name| name.split_once('@'))
        .map(|(_, version)| version);
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

/// SHA-256, as bundles, logs and `sha256sum` write it.
pub fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}
