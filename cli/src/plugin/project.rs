//! A plugin's directory: `plugin.toml`, the component it becomes, and its cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use policies::names;
use policies::units::{ByteSize, Span};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::table::{self, Table, Tables};
use crate::failure::{Context, Failure};

/// The file that makes a directory a plugin's.
pub const MANIFEST: &str = "plugin.toml";

/// A version of the world `rule` that plugins are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum World {
    #[serde(rename = "signet:rule/rule@1.0.0")]
    V1_0,
    #[serde(rename = "signet:rule/rule@1.1.0")]
    V1_1,
}

impl World {
    /// What a new plugin is built for.
    pub const NEWEST: World = World::V1_1;

    /// With its version.
    pub fn name(self) -> &'static str {
        match self {
            World::V1_0 => "signet:rule/rule@1.0.0",
            World::V1_1 => "signet:rule/rule@1.1.0",
        }
    }
}

/// A language that there are a template and a recipe for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    C,
    Js,
    Python,
    Zig,
    #[value(name = "assemblyscript")]
    AssemblyScript,
    Wat,
}

/// `plugin.toml`. Deadline, memory and config are those of `[[plugins]]` in a bundle, for tests and measurements here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The component is NAME.wasm. 1 to 63 of `a-z 0-9 -`.
    pub name: String,
    pub lang: Language,
    /// The newest version that it may use.
    pub world: World,
    /// 1 ms to 100 ms, default 5 ms.
    pub deadline: Option<Span>,
    /// 64 KiB to 64 MiB, default 16 MiB.
    pub memory: Option<ByteSize>,
    /// The interfaces that it may import, as in a bundle. Default: `log` and `config`.
    pub imports: Option<Vec<String>>,
    /// Default: none.
    #[serde(default)]
    pub config: BTreeMap<String, toml::Value>,
    /// What its import `lookup` answers from. Default: none.
    #[serde(default)]
    pub tables: BTreeMap<String, Table>,
}

impl Manifest {
    /// Reads DIR/plugin.toml.
    pub fn read(dir: &Path) -> Result<Manifest, Failure> {
        let path = dir.join(MANIFEST);
        if !path.exists() {
            return Err(Failure::new(format!(
                "`{}` has no {MANIFEST}; `signet plugin new` makes a directory with one",
                dir.display()
            )));
        }
        let manifest: Manifest = read_toml(&path)?;
        if !names::is_name(&manifest.name) {
            return Err(Failure::new(format!(
                "{}: `{}` cannot name a plugin; use 1 to 63 of a-z, 0-9 and -, starting with a letter or digit",
                path.display(),
                shortened(&manifest.name)
            )));
        }
        if let Some(unknown) = manifest.imports.iter().flatten().find(|name| !is_grantable(name)) {
            return Err(Failure::new(format!(
                "{}: the host has no interface `{}`; it has {}",
                path.display(),
                shortened(unknown),
                runtime::grantable().collect::<Vec<_>>().join(", ")
            )));
        }
        Ok(manifest)
    }

    /// The interfaces that it may import.
    pub fn imports(&self) -> Vec<String> {
        let default = || runtime::DEFAULT_IMPORTS.map(str::to_owned).to_vec();
        self.imports.clone().unwrap_or_else(default)
    }
}

fn is_grantable(name: &str) -> bool {
    runtime::grantable().any(|known| known == name)
}

/// What is to be tested, measured or replayed.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub component: PathBuf,
    pub cases: PathBuf,
    pub deadline: Duration,
    /// In bytes.
    pub memory: usize,
    pub config: BTreeMap<String, toml::Value>,
    pub imports: Vec<String>,
    pub tables: Tables,
}

impl Subject {
    /// A plugin's directory, or a component's file; beside a file, `plugin.toml` and `cases/` are its own if they are there.
    pub fn find(path: &Path, cases: Option<&Path>) -> Result<Subject, Failure> {
        if !path.exists() {
            return Err(Failure::new(format!("`{}` does not exist", path.display())));
        }
        let (dir, mut manifest) = if path.is_dir() {
            (path.to_owned(), Some(Manifest::read(path)?))
        } else {
            let dir = path.parent().unwrap_or(Path::new("")).to_owned();
            let manifest = dir.join(MANIFEST).exists().then(|| Manifest::read(&dir)).transpose()?;
            (dir, manifest)
        };
        let component = match &manifest {
            Some(manifest) if path.is_dir() => dir.join(format!("{}.wasm", manifest.name)),
            _ => path.to_owned(),
        };
        if !component.exists() {
            let (component, dir) = (component.display(), path.display());
            return Err(Failure::new(format!(
                "`{component}` is not built yet; run `signet plugin build {dir}`"
            )));
        }
        // A file by itself says nothing about what it will be granted.
        let all = || runtime::grantable().map(str::to_owned).collect();
        let imports = manifest.as_ref().map_or_else(all, Manifest::imports);
        let own = manifest.as_mut().map(|manifest| std::mem::take(&mut manifest.tables));
        let tables = table::read_all(own.unwrap_or_default(), &dir)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let defaults = runtime::PluginSource::new("", Vec::new());
        let (deadline, memory) = manifest
            .as_ref()
            .map_or((None, None), |manifest| (manifest.deadline, manifest.memory));
        Ok(Subject {
            name: manifest.as_ref().map_or(stem, |manifest| manifest.name.clone()),
            component,
            cases: cases.map_or_else(|| dir.join("cases"), Path::to_owned),
            deadline: deadline.map_or(defaults.deadline, |span| span.0),
            memory: memory.map_or(defaults.memory, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
            config: manifest.map(|manifest| manifest.config).unwrap_or_default(),
            imports,
            tables,
        })
    }
}

/// Reads a file of TOML; a mistake is named as `FILE:LINE: WHAT`.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).context(|| format!("`{}`", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        Failure::new(format!("{}:{line}: {}", path.display(), error.message()))
    })
}

/// A text of the user's for an error message.
pub fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Result<Manifest, String> {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join(MANIFEST), text).unwrap();
        Manifest::read(dir.path()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_manifest_is_read_and_its_mistakes_have_a_line() {
        let good = "name = \"a\"\nlang = \"zig\"\nworld = \"signet:rule/rule@1.0.0\"\nmemory = \"1MiB\"\n";
        let read = manifest(good).unwrap();
        assert_eq!((read.lang, read.memory.unwrap().0), (Language::Zig, 1 << 20));
        let unknown = manifest(&format!("{good}colour = 1\n")).unwrap_err();
        assert!(unknown.contains("plugin.toml:5: unknown field `colour`"), "{unknown}");
        assert_eq!(read.imports(), ["log", "config"]);
        let imports = manifest(&format!("imports = [\"exec\"]\n{good}")).unwrap_err();
        assert!(imports.contains("`exec`; it has log, config, counter"), "{imports}");
        let lang = manifest(&good.replace("zig", "cobol")).unwrap_err();
        assert!(
            lang.contains("plugin.toml:2") && lang.contains("assemblyscript"),
            "{lang}"
        );
        let world = manifest(&good.replace("1.0.0", "9.0.0")).unwrap_err();
        assert!(
            world.contains("9.0.0") && world.contains(World::NEWEST.name()),
            "{world}"
        );
        assert!(world.contains("plugin.toml:3"), "{world}");
        assert!(
            manifest(&good.replace("\"a\"", "\"../a\""))
                .unwrap_err()
                .contains("a-z")
        );
    }
}
