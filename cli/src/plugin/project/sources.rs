//! What a plugin's directory is built from, and whether its component was built from that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Subject;
use crate::output;
use crate::plugin::component;
use crate::plugin::manifest::{Language, Manifest};

/// Files, each with the time of its last change.
pub type State = Vec<(PathBuf, Option<SystemTime>)>;

/// Directories that are made, or are something else.
const OTHER_DIRS: [&str; 4] = ["target", "cases", "node_modules", "__pycache__"];
/// Files that are made, are for people, or are what `signet plugin replay` takes.
const OTHER_FILES: [&str; 4] = [".wasm", ".md", ".samples", ".key"];
/// A checkout writes a component and its sources within a moment, in any order.
const SLACK: Duration = Duration::from_secs(1);

/// What a plugin's directory is built from: all files but those that are known to be something else. None if `path` is no
/// directory.
pub fn sources(path: &Path) -> State {
    let (mut found, mut dirs) = (State::new(), vec![path.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            match entry.file_type() {
                _ if name.starts_with('.') => {}
                Ok(kind) if kind.is_dir() => {
                    if !OTHER_DIRS.contains(&&*name) {
                        dirs.push(path);
                    }
                }
                _ if OTHER_FILES.iter().any(|end| name.ends_with(end)) || path.is_dir() => {}
                _ => found.push(with_time(path)),
            }
        }
    }
    found.sort();
    found
}

pub fn with_time(path: PathBuf) -> (PathBuf, Option<SystemTime>) {
    let changed = path.metadata().and_then(|data| data.modified()).ok();
    (path, changed)
}

/// Tells, on standard error, of a source in the directory `path` that is newer than the component which is about to be used.
pub fn tell_stale(path: &Path, subject: &Subject, instead: &str) {
    if let Some(source) = newer(path, subject) {
        let (source, component, dir) = (source.display(), subject.component.display(), path.display());
        output::note(&format!(
            "`{source}` is newer than `{component}`; `signet plugin build {dir}` first{instead}"
        ));
    }
}

/// The newest source in the directory `path`, if the component there is older. What plugin.toml says is read at each test, and its
/// tables are: neither is built in. A component's file by itself is built by others.
pub fn newer(path: &Path, subject: &Subject) -> Option<PathBuf> {
    let built = subject.component.metadata().and_then(|data| data.modified()).ok()?;
    let after = built.checked_add(SLACK)?;
    let is_table = |path: &Path| subject.tables.values().any(|table| Path::new(&table.file) == path);
    let changed = sources(path).into_iter().filter_map(|(path, time)| Some((time?, path)));
    let newer = changed.filter(|(time, source)| *time > after && !is_table(source));
    let manifest = subject.manifest();
    let newer = newer.filter(|(_, source)| *source != manifest || has_other_imports(path, subject));
    newer.max().map(|(_, source)| source)
}

/// Python's compiler builds in all that `imports` of plugin.toml lists; the others keep what the rule uses.
fn has_other_imports(dir: &Path, subject: &Subject) -> bool {
    let is_python = Manifest::read(dir).is_ok_and(|manifest| manifest.lang == Language::Python);
    let Some(wasm) = is_python.then(|| std::fs::read(&subject.component).ok()).flatten() else {
        return false;
    };
    let shape = component::shape(&wasm);
    let imported = shape
        .imports
        .iter()
        .filter_map(|name| name.strip_prefix("signet:rule/")?.split('@').next());
    let imported: BTreeSet<_> = imported.filter(|name| *name != "types").collect();
    imported != subject.imports.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir_all, write};

    use super::*;
    use crate::plugin::manifest::{MANIFEST, World};

    const MANIFEST_TEXT: &str = "name = \"one\"\nlang = \"python\"\nworld = \"signet:rule/rule@1.1.0\"\n\
                                 imports = [\"counter\"]\n[tables.nets]\nkind = \"prefix\"\nfile = \"nets.csv\"\n";

    /// A plugin's directory, all of it written long ago.
    fn plugin(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::TempDir::new().unwrap();
        for file in files {
            let path = dir.path().join(file);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, if *file == MANIFEST { MANIFEST_TEXT } else { "" }).unwrap();
            changed(&path, 1000);
        }
        dir
    }

    fn changed(path: &Path, second: u64) {
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(second)).unwrap();
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    #[test]
    fn sources_are_what_is_neither_made_nor_a_case() {
        let dir = plugin(&[
            "rule.js",
            "plugin.toml",
            "src/lib.rs",
            "README.md",
            "a.wasm",
            "today.samples",
            "sampling.key",
            "cases/a.toml",
            "target/a.js",
            ".venv/a.py",
            "node_modules/a/b.js",
        ]);
        std::os::unix::fs::symlink(dir.path().join("cases"), dir.path().join("typings")).unwrap();
        let found: Vec<_> = sources(dir.path()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            found,
            ["plugin.toml", "rule.js", "src/lib.rs"].map(|file| dir.path().join(file))
        );
        assert!(sources(&dir.path().join("rule.js")).is_empty());
    }

    #[test]
    fn what_is_built_in_and_newer_is_found() {
        let files = [
            "plugin.toml",
            "rule.py",
            "src/more.py",
            "nets.csv",
            "README.md",
            "cases/a.toml",
        ];
        let dir = plugin(&files);
        let component = dir.path().join("one.wasm");
        let built = |imports: &str| {
            let text = format!(
                "(module {imports} (memory (export \"memory\") 1)
                   (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                   (func (export \"evaluate\") (param i32) (result i32) (i32.const 0)))"
            );
            let module = wat::parse_str(text).unwrap();
            write(&component, component::encode(module, World::NEWEST).unwrap()).unwrap();
            changed(&component, 2000);
        };
        let found = || {
            let subject = Subject::find(dir.path(), None).unwrap();
            let newer = newer(dir.path(), &subject)?;
            Some(newer.strip_prefix(dir.path()).unwrap().display().to_string())
        };
        built("(import \"signet:rule/counter@1.1.0\" \"increment\" (func (param i32 i32 i32 i32)))");
        assert_eq!(found(), None);
        for file in ["plugin.toml", "nets.csv", "README.md", "cases/a.toml"] {
            changed(&dir.path().join(file), 3000);
            assert_eq!(found(), None, "{file}");
        }
        // In the same moment, as in a checkout.
        changed(&dir.path().join("rule.py"), 2001);
        assert_eq!(found(), None);
        changed(&dir.path().join("rule.py"), 2002);
        assert_eq!(found().as_deref(), Some("rule.py"));
        changed(&dir.path().join("src/more.py"), 2003);
        assert_eq!(found().as_deref(), Some("src/more.py"), "the newest");
        built("");
        assert_eq!(
            found().as_deref(),
            Some("plugin.toml"),
            "it grants what is not built in"
        );
        let file = Subject::find(&component, None).unwrap();
        assert_eq!(newer(&component, &file), None);
    }
}
