//! Plugins that profiles may name: a component, its bounds and its configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::sources::RawSource;
use super::{BundleError, Document, Files, MAX_PLUGIN_BYTES};
use crate::names;
use crate::units::{ByteSize, Span};

/// One Wasm rule and how it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Its name, by which profiles call it.
    pub name: String,
    /// The file it came from.
    pub file: String,
    /// The component's bytes.
    pub wasm: Arc<[u8]>,
    /// Most bytes that the component may have. Default 4 MiB, at most 32 MiB: an interpreter needs it, a typo does not.
    pub max_size: u64,
    /// How long one call may take. 1 ms to 100 ms, default 5 ms.
    pub deadline: Duration,
    /// How much linear memory one call may have, in bytes. 64 KiB to 64 MiB, default 16 MiB.
    pub memory: u64,
    /// What it reads through its `config` import.
    pub config: BTreeMap<String, ConfigValue>,
    /// The interfaces of the host it may import. Default `log` and `config`.
    pub imports: Vec<String>,
    /// What it looks up through its `lookup` import, by name.
    pub tables: BTreeMap<String, PluginTable>,
    /// What becomes of a request when it fails. Default [`OnFailure::Deny`].
    pub on_failure: OnFailure,
    /// Where it runs. Default [`Isolation::Shared`].
    pub isolation: Isolation,
}

/// Where a plugin runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In the sandbox of the edge's own process.
    #[default]
    Shared,
    /// In the same sandbox within processes of its own, which have no keys. At most [`MAX_ISOLATED`] plugins of a bundle.
    Process,
}

/// Most plugins of a bundle that run in processes of their own: each has several at every edge.
pub const MAX_ISOLATED: usize = 16;

/// What becomes of a request whose plugin fails: not one that it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Deny,
    /// It goes on without the plugin's verdict, in the profiles that list the plugin under `may_skip`; in others it is refused.
    Skip,
}

/// A read-only table of a plugin. Its rows are parsed where the plugin is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginTable {
    /// The file it came from, under `plugins/`.
    pub file: String,
    /// Asked by IP address and longest prefix, rather than by exact key.
    pub by_prefix: bool,
    /// Its text.
    pub text: Arc<[u8]>,
}

/// A typed value of a plugin's configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigValue {
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
}

/// The interfaces that a plugin can be granted.
const IMPORTS: [&str; 5] = ["log", "config", "counter", "lookup", "digest"];
/// Default of [`Plugin::imports`].
const DEFAULT_IMPORTS: [&str; 2] = ["log", "config"];
/// Default of [`Plugin::max_size`].
const DEFAULT_SIZE: u64 = 4 << 20;
/// Default of [`Plugin::deadline`].
pub(super) const DEFAULT_DEADLINE: Duration = Duration::from_millis(5);
/// Default of [`Plugin::memory`].
pub(super) const DEFAULT_MEMORY: u64 = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlugin {
    pub(super) name: String,
    file: String,
    source: Option<RawSource>,
    max_size: Option<ByteSize>,
    deadline: Option<Span>,
    memory: Option<ByteSize>,
    #[serde(default)]
    config: BTreeMap<String, toml::Value>,
    imports: Option<Vec<String>>,
    #[serde(default)]
    tables: BTreeMap<String, RawTable>,
    #[serde(default)]
    on_failure: OnFailure,
    #[serde(default)]
    isolation: Isolation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    file: String,
    kind: RawKind,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    Exact,
    Prefix,
}

impl RawPlugin {
    pub(super) fn build(self, index: usize, document: &Document<'_>, files: &Files<'_>) -> Result<Plugin, BundleError> {
        let at = |field: &str| format!("plugins[{index}].{field}");
        if !names::is_name(&self.name) {
            let hint = "use 1 to 63 of a-z, 0-9 and -, starting with a letter or digit";
            return Err(document.error(&at("name"), format!("`{}` cannot name a plugin", self.name), hint));
        }
        let is_elsewhere = self.source.is_some();
        if let Some(source) = self.source {
            source.build(self.file.clone(), index, document, files)?;
        }
        let Some(wasm) = files
            .get(self.file.as_str())
            .filter(|_| self.file.starts_with("plugins/"))
        else {
            let hint = match is_elsewhere {
                true => "`signet bundle apply` fetches it, or `signet plugin pull` into the folder",
                false => {
                    "put the component into the bundle's plugins/ folder and write its path, such as plugins/x.wasm"
                }
            };
            let message = format!("the bundle has no file `{}` under plugins/", self.file);
            return Err(document.error(&at("file"), message, hint));
        };
        if !wasm.starts_with(b"\0asm") {
            let hint = "give the built component: `signet plugin build` makes one";
            return Err(document.error(&at("file"), format!("`{}` is no WebAssembly file", self.file), hint));
        }
        let max_size = self.max_size.map_or(DEFAULT_SIZE, |size| size.0);
        let (size, most) = (bytes(wasm.len()), bytes(MAX_PLUGIN_BYTES));
        if !(1..=most).contains(&max_size) {
            return Err(document.error(&at("max_size"), "out of bounds", "write a size up to 32MiB"));
        }
        if size > max_size {
            let message = format!("`{:.128}` has {size} bytes, this plugin may have {max_size}", self.file);
            let mebibytes = size.div_ceil(1 << 20);
            let hint = format!("strip debug information and names, or write `max_size = \"{mebibytes}MiB\"`");
            return Err(document.error(&at("max_size"), message, hint));
        }
        let deadline = self.deadline.map_or(DEFAULT_DEADLINE, |span| span.0);
        if !(Duration::from_millis(1)..=Duration::from_millis(100)).contains(&deadline) {
            return Err(document.error(&at("deadline"), "out of bounds", "write a duration from 1ms to 100ms"));
        }
        let memory = self.memory.map_or(DEFAULT_MEMORY, |size| size.0);
        if !((64 << 10)..=(64 << 20)).contains(&memory) {
            return Err(document.error(&at("memory"), "out of bounds", "write a size from 64KiB to 64MiB"));
        }
        let mut config = BTreeMap::new();
        for (key, value) in self.config {
            let Some(value) = setting(value) else {
                let hint = "write a text, an integer, a float, a boolean or a list of texts";
                let field = at(&format!("config.{key}"));
                return Err(document.error(&field, "a value of a kind that plugins cannot read", hint));
            };
            config.insert(key, value);
        }
        let imports = imports(self.imports, &at, document)?;
        let tables = tables(self.tables, &at, document, files)?;
        Ok(Plugin {
            name: self.name,
            file: self.file,
            wasm: Arc::from(*wasm),
            max_size,
            deadline,
            memory,
            config,
            imports,
            tables,
            on_failure: self.on_failure,
            isolation: self.isolation,
        })
    }
}

/// TOML's dates and times are none of these: a plugin would get a text that nobody wrote.
fn setting(value: toml::Value) -> Option<ConfigValue> {
    Some(match value {
        toml::Value::String(text) => ConfigValue::Text(text),
        toml::Value::Integer(int) => ConfigValue::Int(int),
        toml::Value::Float(float) => ConfigValue::Float(float),
        toml::Value::Boolean(bool) => ConfigValue::Bool(bool),
        toml::Value::Array(items) => {
            let texts = items.into_iter().map(|item| match item {
                toml::Value::String(text) => Some(text),
                _ => None,
            });
            ConfigValue::Texts(texts.collect::<Option<_>>()?)
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn imports(
    named: Option<Vec<String>>,
    at: &impl Fn(&str) -> String,
    document: &Document<'_>,
) -> Result<Vec<String>, BundleError> {
    let named = named.unwrap_or_else(|| DEFAULT_IMPORTS.map(str::to_owned).to_vec());
    if let Some(unknown) = named.iter().find(|name| !IMPORTS.contains(&name.as_str())) {
        let message = format!("the host has no interface `{unknown:.64}`");
        return Err(document.error(&at("imports"), message, format!("it has {}", IMPORTS.join(", "))));
    }
    Ok(named)
}

fn tables(
    raw: BTreeMap<String, RawTable>,
    at: &impl Fn(&str) -> String,
    document: &Document<'_>,
    files: &Files<'_>,
) -> Result<BTreeMap<String, PluginTable>, BundleError> {
    let mut tables = BTreeMap::new();
    for (name, table) in raw {
        let field = at(&format!("tables.{name}"));
        if !names::is_name(&name) {
            let hint = "use 1 to 63 of a-z, 0-9 and -, starting with a letter or digit";
            return Err(document.error(&field, format!("`{name:.64}` cannot name a table"), hint));
        }
        let text = files
            .get(table.file.as_str())
            .filter(|_| table.file.starts_with("plugins/") && table.file.ends_with(".csv"));
        let Some(text) = text else {
            let hint = "put the table into the bundle's plugins/ folder and write its path, such as plugins/x.csv";
            let message = format!("the bundle has no table `{:.128}` under plugins/", table.file);
            return Err(document.error(&field, message, hint));
        };
        let table = PluginTable {
            file: table.file,
            by_prefix: matches!(table.kind, RawKind::Prefix),
            text: Arc::from(*text),
        };
        tables.insert(name, table);
    }
    Ok(tables)
}
