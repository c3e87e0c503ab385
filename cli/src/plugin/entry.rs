//! What a rule in Python is built with around it: an exception that it does not catch, or an answer that is no verdict, is then a
//! line of its log before it is the trap that the host sees, whose backtrace has the interpreter's own functions only. (JavaScript's
//! engine has its own: `plugins/engines/js/entry.js`.)

use std::path::Path;

use super::manifest::Manifest;
use crate::failure::{Context, Failure};

const FILE: &str = "target/signet_entry.py";
const TEXT: &str = include_str!("entry/signet_entry.py");

/// How it imports `log`, and what stands there for a rule that may not: it is judged likewise, without a word.
const LOG: &str = "from wit_world.imports import log, types\n";
const NO_LOG: &str = "from wit_world.imports import types\n\nlog = None\n";

/// Writes it into the directory's `target`. Returns the file to build.
pub fn write(dir: &Path, manifest: &Manifest) -> Result<&'static str, Failure> {
    // The compiler imports all that the world has: nothing is imported for this that would not be anyway.
    let text = match manifest.imports.iter().any(|name| name == "log") {
        true => TEXT.to_owned(),
        false => TEXT.replacen(LOG, NO_LOG, 1),
    };
    std::fs::write(dir.join(FILE), text).context(|| format!("`{FILE}`"))?;
    Ok(FILE)
}
