//! `signet plugin test --watch`: what has changed, and whether the component has to be built again for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::project::{self, Subject};
use super::{build, case};
use crate::failure::Failure;
use crate::output;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(200);

/// Files, each with the time of its last change.
type State = Vec<(PathBuf, Option<SystemTime>)>;

/// Runs `once` now and after each change, for ever. After a change of a source of the directory `path`, and where nothing is
/// built yet, it builds first; a component's file by itself is built by others.
pub fn watch(path: &Path, cases: Option<&Path>, once: impl Fn() -> Result<(), Failure>) -> ! {
    let mut is_stale = path.is_dir() && project::component(path).is_err();
    loop {
        // Seen before it is built and tested: what changes meanwhile is a change.
        let seen_sources = sources(path);
        let built = if is_stale { build::build(path) } else { Ok(()) };
        // As long as the sources do not build, an older component would be tested.
        is_stale = built.is_err();
        let seen = tested(path, cases);
        if let Err(failure) = built.and_then(|()| once()) {
            output::note(&failure.to_string());
        }
        output::note("waiting for a change; end with ctrl-c");
        while sources(path) == seen_sources && tested(path, cases) == seen {
            std::thread::sleep(EVERY);
        }
        is_stale |= sources(path) != seen_sources;
    }
}

/// The component, what it is given, and the cases.
fn tested(path: &Path, cases: Option<&Path>) -> State {
    let Ok(subject) = Subject::find(path, cases) else {
        return State::new();
    };
    let mut paths = case::paths(&subject.cases).unwrap_or_default();
    paths.extend([subject.manifest(), subject.component]);
    paths.into_iter().map(with_time).collect()
}

/// What a plugin's directory is built from: all files but those that are known to be something else. None if `path` is no
/// directory.
fn sources(path: &Path) -> State {
    let (mut found, mut dirs) = (State::new(), vec![path.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            match entry.file_type() {
                _ if name.starts_with('.') => {}
                Ok(kind) if kind.is_dir() => {
                    if !["target", "cases", "node_modules", "__pycache__"].contains(&&*name) {
                        dirs.push(path);
                    }
                }
                _ if name.ends_with(".wasm") || name.ends_with(".md") => {}
                _ => found.push(with_time(path)),
            }
        }
    }
    found.sort();
    found
}

fn with_time(path: PathBuf) -> (PathBuf, Option<SystemTime>) {
    let changed = path.metadata().and_then(|data| data.modified()).ok();
    (path, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_what_is_neither_made_nor_a_case() {
        let dir = tempfile::TempDir::new().unwrap();
        for file in [
            "rule.js",
            "plugin.toml",
            "src/lib.rs",
            "README.md",
            "a.wasm",
            "cases/a.toml",
            "target/a.js",
            ".venv/a.py",
            "node_modules/a/b.js",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found: Vec<_> = sources(dir.path()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            found,
            ["plugin.toml", "rule.js", "src/lib.rs"].map(|file| dir.path().join(file))
        );
        assert!(sources(&dir.path().join("rule.js")).is_empty());
    }
}
