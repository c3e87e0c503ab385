//! A plugin's directory: what `plugin.toml` says, the component it becomes, and its cases.

mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::sources::{State, newer, sources, tell_stale, with_time};
use super::manifest::{MANIFEST, Manifest};
use super::table::Tables;
use crate::failure::{Context, Failure};

/// What is to be tested, measured or replayed.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub component: PathBuf,
    pub cases: PathBuf,
    pub deadline: Duration,
    /// In bytes.
    pub memory: usize,
    /// Whether its calls are made in a worker process when nobody says.
    pub isolated: bool,
    pub config: BTreeMap<String, toml::Value>,
    pub imports: Vec<String>,
    pub tables: Tables,
}

impl Subject {
    /// A plugin's directory, or a component's file; beside a file, `plugin.toml` and `cases/` are its own if they are there.
    pub fn find(path: &Path, cases: Option<&Path>) -> Result<Subject, Failure> {
        let component = component(path)?;
        let dir = component.parent().unwrap_or(Path::new("")).to_owned();
        let manifest = dir.join(MANIFEST).exists().then(|| Manifest::read(&dir)).transpose()?;
        if let Some(manifest) = &manifest {
            let size = component
                .metadata()
                .context(|| format!("`{}`", component.display()))?
                .len();
            manifest.check_size(&component, usize::try_from(size).unwrap_or(usize::MAX))?;
        }
        // A file by itself says nothing about what it will be granted.
        let all = || runtime::grantable().map(str::to_owned).collect();
        let stem = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let defaults = runtime::PluginSource::new("", Vec::new());
        let own = manifest.as_ref();
        Ok(Subject {
            name: own.map_or(stem, |manifest| manifest.name.clone()),
            cases: cases.map_or_else(|| dir.join("cases"), Path::to_owned),
            deadline: own.and_then(|manifest| manifest.deadline).unwrap_or(defaults.deadline),
            memory: own.and_then(|manifest| manifest.memory).unwrap_or(defaults.memory),
            isolated: own.is_some_and(|manifest| manifest.isolated),
            imports: own.map_or_else(all, |manifest| manifest.imports.clone()),
            tables: own.map(Manifest::tables).transpose()?.unwrap_or_default(),
            config: manifest.map(|manifest| manifest.config).unwrap_or_default(),
            component,
        })
    }

    /// `plugin.toml`, whether it is there or not.
    pub fn manifest(&self) -> PathBuf {
        self.component.with_file_name(MANIFEST)
    }
}

/// A component's file as it is, or of a plugin's directory the one that `signet plugin build` writes. It is there.
pub fn component(path: &Path) -> Result<PathBuf, Failure> {
    if !path.exists() {
        return Err(Failure::new(format!("`{}` does not exist", path.display())));
    }
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let component = path.join(format!("{}.wasm", Manifest::read(path)?.name));
    if component.exists() {
        return Ok(component);
    }
    let (component, dir) = (component.display(), path.display());
    Err(Failure::new(format!(
        "`{component}` is not built yet; run `signet plugin build {dir}`"
    )))
}
