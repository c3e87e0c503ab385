//! What a rule in JavaScript or Python is built with around it: an exception that it does not catch is then a line of its log
//! before it is the trap that the host sees, whose backtrace has the interpreter's own functions only.

use std::path::Path;

use super::manifest::{Language, Manifest};
use crate::failure::{Context, Failure};

const JS: (&str, &str) = ("target/entry.js", include_str!("entry/entry.js"));
const PYTHON: (&str, &str) = ("target/signet_entry.py", include_str!("entry/signet_entry.py"));

/// Writes it into the directory's `target`. Returns the file to build: the rule's own if it may not import `log`.
pub fn write(dir: &Path, file: &str, manifest: &Manifest) -> Result<String, Failure> {
    let (path, text) = match manifest.lang {
        // The compilers import all that the world has: nothing is imported for this that would not be anyway.
        _ if !manifest.imports.iter().any(|name| name == "log") => return Ok(file.to_owned()),
        Language::Js => JS,
        Language::Python => PYTHON,
        _ => return Ok(file.to_owned()),
    };
    std::fs::write(dir.join(path), text).context(|| format!("`{path}`"))?;
    Ok(path.to_owned())
}
