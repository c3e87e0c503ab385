//! What a rule in JavaScript or Python is built with around it: an exception that it does not catch, or an answer that is no
//! verdict, is then a line of its log before it is the trap that the host sees, whose backtrace has the interpreter's own functions
//! only.

use std::path::Path;

use super::manifest::{Language, Manifest};
use crate::failure::{Context, Failure};

const JS: (&str, &str) = ("target/entry.js", include_str!("entry/entry.js"));
const PYTHON: (&str, &str) = ("target/signet_entry.py", include_str!("entry/signet_entry.py"));

/// How each imports `log`, and what stands there for a rule that may not: it is judged likewise, without a word.
const JS_LOG: [&str; 2] = [
    "import { log } from \"signet:rule/log@1.0.0\";\n",
    "const log = () => {};\n",
];
const PYTHON_LOG: [&str; 2] = [
    "from wit_world.imports import log, types\n",
    "from wit_world.imports import types\n\nlog = None\n",
];

/// Writes it into the directory's `target`. Returns the file to build.
pub fn write(dir: &Path, file: &str, manifest: &Manifest) -> Result<String, Failure> {
    let ((path, text), [imported, instead]) = match manifest.lang {
        Language::Js => (JS, JS_LOG),
        Language::Python => (PYTHON, PYTHON_LOG),
        _ => return Ok(file.to_owned()),
    };
    // The compilers import all that the world has: nothing is imported for this that would not be anyway.
    let text = match manifest.imports.iter().any(|name| name == "log") {
        true => text.to_owned(),
        false => text.replacen(imported, instead, 1),
    };
    std::fs::write(dir.join(path), text).context(|| format!("`{path}`"))?;
    Ok(path.to_owned())
}
