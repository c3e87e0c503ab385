//! The syntax of a rule in JavaScript, which Node checks with file and line.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use super::find;
use crate::failure::{Context, Failure};

/// Lets `node` look at a module. What is not found is left to the compiler, and so is all where there is no `node`.
pub fn check_js(file: &Path) -> Result<(), Failure> {
    let Some(node) = find("node") else { return Ok(()) };
    // Given as a file, it would be a module only if a package.json said so.
    let text = File::open(file).context(|| format!("`{}`", file.display()))?;
    let mut node = Command::new(node);
    let checked = node
        .args(["--check", "--input-type=module"])
        .stdin(text)
        .stdout(Stdio::null())
        .output();
    let checked = checked.context(|| "`node --check`".to_owned())?;
    let said = String::from_utf8_lossy(&checked.stderr);
    match mistake(&said).filter(|_| !checked.status.success()) {
        Some(mistake) => Err(Failure::new(format!("{}:{mistake}", file.display()))),
        None => Ok(()),
    }
}

/// `LINE:COLUMN: SyntaxError: WHAT` of what Node says: `[stdin]:LINE`, that line, a caret under the place, and the error.
fn mistake(said: &str) -> Option<String> {
    let mut lines = said.lines().skip_while(|line| !line.starts_with("[stdin]:"));
    let line = lines.next()?.strip_prefix("[stdin]:")?;
    let lines: Vec<_> = lines.collect();
    let error = lines.iter().find(|line| line.starts_with("SyntaxError"))?;
    let caret = lines.iter().find(|line| line.trim_start().starts_with('^'));
    let column = caret.and_then(|caret| caret.find('^')).map(|at| at.saturating_add(1));
    let column = column.map(|column| format!(":{column}")).unwrap_or_default();
    Some(format!("{line}{column}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_its_place_and_what_else_node_says_is_none() {
        let said = "[stdin]:2\n  const x = ;\n            ^\n\nSyntaxError: Unexpected token ';'\n    at checkSyntax (node:internal/main/check_syntax:74:5)\n\nNode.js v20.20.2\n";
        assert_eq!(mistake(said).unwrap(), "2:13: SyntaxError: Unexpected token ';'");
        assert_eq!(mistake("[stdin]:7\n\nSyntaxError: x\n").unwrap(), "7: SyntaxError: x");
        assert_eq!(mistake("node: bad option: --input-type=module\n"), None);
    }
}
