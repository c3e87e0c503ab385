//! Where in a rule's sources a mistake is, from the stack of the engine's exception.

use std::path::Path;

use super::FILE;

/// `FILE:LINE:COLUMN: WHAT`, or without a place where the stack has none in the plugin's directory.
pub fn located(what: &str, stack: &str, dir: &Path) -> String {
    let place = stack.lines().find_map(|line| place(line, dir));
    let place = place.unwrap_or_else(|| dir.join(FILE).display().to_string());
    format!("{place}: {what}")
}

/// Of `    at NAME (FILE:LINE:COLUMN)` or `    at FILE:LINE:COLUMN`.
fn place(line: &str, dir: &Path) -> Option<String> {
    let at = line.trim().strip_prefix("at ")?;
    let at = at.rsplit_once('(').map_or(at, |(_, place)| place.trim_end_matches(')'));
    let file = at.split(':').next().unwrap_or(at);
    let path = dir.join(file);
    let numbers = at.strip_prefix(file)?;
    (!file.is_empty() && path.is_file()).then(|| format!("{}{numbers}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_the_first_place_that_is_the_plugins() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join(FILE), "").unwrap();
        let shown = |stack| located("SyntaxError: x", stack, dir.path());
        let rule = dir.path().join(FILE).display().to_string();
        let expected = format!("{rule}:7:15: SyntaxError: x");
        assert_eq!(shown("    at rule.js:7:15\n"), expected);
        assert_eq!(
            shown("    at get (native)\n    at limits (rule.js:7:15)\n    at rule.js:9:1\n"),
            expected
        );
        for none in ["", "    at <anonymous> (entry.js:1:1)\n", "    at (native)\n"] {
            assert_eq!(shown(none), format!("{rule}: SyntaxError: x"), "{none}");
        }
    }
}
