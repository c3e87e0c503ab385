//! A rule in JavaScript: the engine of `plugins/engines/js`, prepared with the rule's modules. Nothing needs to be installed for it.

mod place;
#[cfg(test)]
mod tests;

use std::path::{Component, Path};

use runtime::{Interpreter, PrepareError};

use super::manifest::Manifest;
use crate::failure::Failure;
use crate::progress;

/// Built from its sources and compared by `plugins/build.sh`.
const ENGINE: &[u8] = include_bytes!("../../../plugins/engines/js/engine.wasm");
/// The file that exports `evaluate`.
pub const FILE: &str = "rule.js";
/// What engine.c calls the interfaces by, in its order.
const INTERFACES: &[&str] = &["log", "config", "counter", "lookup", "digest"];
const MOST_SOURCE: u64 = 8 << 20;

/// The core module of a directory's rule.
pub fn build(dir: &Path, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    let of = dir.to_owned();
    let engine = Interpreter {
        wasm: ENGINE,
        interfaces: INTERFACES,
        granted: manifest.imports.clone(),
        batch: manifest.world.is_batch(),
        source: move |name: &str| source(&of, name),
    };
    let prepared = progress::during("running the rule's modules once", || runtime::prepare(engine));
    prepared.map_err(|error| match error {
        PrepareError::Refused { what, stack } => {
            Failure::new(place::located(&format!("{what}{}", hint(&what)), &stack, dir))
        }
        error => Failure::new(format!("`{}`: {error}", dir.join(FILE).display())),
    })
}

/// What somebody who comes from Node does not see in a mistake.
fn hint(what: &str) -> &'static str {
    let name = what.strip_prefix("ReferenceError: ");
    match name.and_then(|name| name.strip_suffix(" is not defined")) {
        Some("module" | "exports" | "require") => {
            "; a rule is an ES module, with `import` and `export function evaluate`"
        }
        _ => "",
    }
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
