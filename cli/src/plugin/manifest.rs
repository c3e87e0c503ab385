//! `plugin.toml`: what a plugin is, and what it is given in tests and measurements here, as `[[plugins]]` in a bundle has it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use policies::bundle::Isolation;
use policies::names;
use policies::units::{ByteSize, Span};
use serde::Deserialize;
use toml::Spanned;

use super::component::NO_COUNTER;
use super::document::{Document, shortened};
use super::runner;
use super::table::{self, Table, Tables};
use crate::failure::Failure;

/// The file that makes a directory a plugin's.
pub const MANIFEST: &str = "plugin.toml";

/// A version of the world `rule` that plugins are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum World {
    #[serde(rename = "signet:rule/rule@1.0.0")]
    V1_0,
    #[serde(rename = "signet:rule/rule@1.1.0")]
    V1_1,
    /// The world `rule-batch`, which also judges several requests in one call.
    #[serde(rename = "signet:rule/rule-batch@1.2.0")]
    Batch,
}

impl World {
    /// What a new plugin is built for.
    pub const NEWEST: World = World::V1_1;

    /// With its version.
    pub fn name(self) -> &'static str {
        match self {
            World::V1_0 => "signet:rule/rule@1.0.0",
            World::V1_1 => "signet:rule/rule@1.1.0",
            World::Batch => "signet:rule/rule-batch@1.2.0",
        }
    }

    /// Whether a component of it exports `evaluate-batch`.
    pub fn is_batch(self) -> bool {
        self == World::Batch
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    lang: Language,
    world: World,
    max_size: Option<Spanned<ByteSize>>,
    deadline: Option<Spanned<Span>>,
    memory: Option<Spanned<ByteSize>>,
    #[serde(default)]
    isolation: Isolation,
    imports: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    config: BTreeMap<String, Spanned<toml::Value>>,
    #[serde(default)]
    tables: BTreeMap<String, Spanned<Table>>,
}

/// `plugin.toml`, its values within the bounds of a bundle.
#[derive(Debug)]
pub struct Manifest {
    /// The component is NAME.wasm. 1 to 63 of `a-z 0-9 -`.
    pub name: String,
    pub lang: Language,
    /// The newest version that it may use.
    pub world: World,
    /// 1 ms to 100 ms, default 5 ms.
    pub deadline: Option<Duration>,
    /// In bytes, 64 KiB to 64 MiB, default 16 MiB.
    pub memory: Option<usize>,
    /// Whether tests and measurements are made in a worker process. Default: not.
    pub isolated: bool,
    /// The interfaces that it may import, as in a bundle. Default: `log` and `config`.
    pub imports: Vec<String>,
    /// Default: none.
    pub config: BTreeMap<String, toml::Value>,
    /// Up to 32 MiB. Default here: whatever a bundle can allow.
    max_size: Option<Spanned<ByteSize>>,
    tables: BTreeMap<String, Spanned<Table>>,
    document: Document,
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
        let document = Document::read(&path)?;
        let raw: Raw = document.parse()?;
        check(&raw, &document)?;
        let default = || runtime::DEFAULT_IMPORTS.map(str::to_owned).to_vec();
        let config = raw.config.into_iter();
        Ok(Manifest {
            name: raw.name.into_inner(),
            lang: raw.lang,
            world: raw.world,
            deadline: raw.deadline.map(|span| span.into_inner().0),
            memory: raw.memory.map(|size| bytes(&size)),
            isolated: raw.isolation == Isolation::Process,
            imports: raw.imports.map_or_else(default, Spanned::into_inner),
            config: config.map(|(name, value)| (name, value.into_inner())).collect(),
            max_size: raw.max_size,
            tables: raw.tables,
            document,
        })
    }

    /// What its import `lookup` answers from, the files among them read. Default: none.
    pub fn tables(&self) -> Result<Tables, Failure> {
        table::read_all(&self.tables, &self.document)
    }

    /// Holds the component to `max_size`, if that is there.
    pub fn check_size(&self, component: &Path, size: usize) -> Result<(), Failure> {
        let Some(most) = self.max_size.as_ref().filter(|most| size > bytes(most)) else {
            return Ok(());
        };
        let file = component.file_name().unwrap_or_default().to_string_lossy();
        let mebibytes = size.div_ceil(1 << 20);
        let what = format!(
            "max_size: `{}` has {size} bytes, this plugin may have {} (strip debug information and names, or write `max_size = \"{mebibytes}MiB\"`)",
            shortened(&file),
            bytes(most)
        );
        Err(self.document.error(most.span(), &what))
    }
}

fn bytes(size: &Spanned<ByteSize>) -> usize {
    usize::try_from(size.get_ref().0).unwrap_or(usize::MAX)
}

/// Each value by itself, in the words of a bundle that has it.
fn check(raw: &Raw, document: &Document) -> Result<(), Failure> {
    let name = raw.name.get_ref();
    if !names::is_name(name) {
        let hint = "use 1 to 63 of a-z, 0-9 and -, starting with a letter or digit";
        let what = format!("`{}` cannot name a plugin; {hint}", shortened(name));
        return Err(document.error(raw.name.span(), &what));
    }
    let sizes = [
        (
            "max_size",
            &raw.max_size,
            1..=runner::MAX_COMPONENT,
            "a size up to 32MiB",
        ),
        ("memory", &raw.memory, runner::MEMORY, "a size from 64KiB to 64MiB"),
    ];
    for (field, size, bounds, write) in sizes {
        if let Some(size) = size.as_ref().filter(|size| !bounds.contains(&bytes(size))) {
            return Err(document.error(size.span(), &format!("{field}: out of bounds (write {write})")));
        }
    }
    if let Some(span) = raw
        .deadline
        .as_ref()
        .filter(|span| !runner::DEADLINE.contains(&span.get_ref().0))
    {
        let what = "deadline: out of bounds (write a duration from 1ms to 100ms)";
        return Err(document.error(span.span(), what));
    }
    check_imports(raw, document)?;
    for (name, value) in &raw.config {
        let read = runner::setting(name, value.get_ref());
        read.map_err(|failure| document.error(value.span(), &failure.to_string()))?;
    }
    Ok(())
}

fn check_imports(raw: &Raw, document: &Document) -> Result<(), Failure> {
    let Some(imports) = &raw.imports else { return Ok(()) };
    let is_known = |name: &&String| runtime::grantable().any(|known| known == name.as_str());
    if let Some(unknown) = imports.get_ref().iter().find(|name| !is_known(name)) {
        let known = runtime::grantable().collect::<Vec<_>>().join(", ");
        let what = format!("the host has no interface `{}`; it has {known}", shortened(unknown));
        return Err(document.error(imports.span(), &what));
    }
    if raw.world.is_batch() && imports.get_ref().iter().any(|name| name == "counter") {
        let newest = World::NEWEST.name();
        let what = format!("imports: {NO_COUNTER} (remove `counter`, or write `world = \"{newest}\"`)");
        return Err(document.error(imports.span(), &what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Result<Manifest, String> {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join(MANIFEST), text).unwrap();
        Manifest::read(dir.path()).map_err(|failure| failure.to_string())
    }

    const GOOD: &str = "name = \"a\"\nlang = \"zig\"\nworld = \"signet:rule/rule@1.0.0\"\nmemory = \"1MiB\"\n";

    #[test]
    fn a_manifest_is_read_and_its_mistakes_have_a_line() {
        let read = manifest(GOOD).unwrap();
        assert_eq!((read.lang, read.memory), (Language::Zig, Some(1 << 20)));
        assert_eq!(
            (read.imports, read.isolated),
            (vec!["log".into(), "config".into()], false)
        );
        for (text, words) in [
            (
                format!("{GOOD}colour = 1\n"),
                ["plugin.toml:5: unknown field", "`colour`"],
            ),
            (
                format!("imports = [\"exec\"]\n{GOOD}"),
                ["plugin.toml:1: ", "`exec`; it has log, config, counter"],
            ),
            (GOOD.replace("zig", "cobol"), ["plugin.toml:2: ", "assemblyscript"]),
            (
                GOOD.replace("1.0.0", "9.0.0"),
                ["plugin.toml:3: ", World::NEWEST.name()],
            ),
            (GOOD.replace("\"a\"", "\"../a\""), ["plugin.toml:1: ", "a-z"]),
        ] {
            let failure = manifest(&text).unwrap_err();
            assert!(words.iter().all(|word| failure.contains(word)), "{words:?}: {failure}");
        }
    }

    #[test]
    fn a_rule_batch_may_not_count() {
        let batch = GOOD.replace("signet:rule/rule@1.0.0", World::Batch.name());
        let imports = |names: &str| manifest(&format!("{batch}imports = [{names}]\n"));
        let read = imports("\"log\", \"lookup\"").unwrap();
        assert!(read.world.is_batch() && read.imports == ["log", "lookup"]);
        let refused = imports("\"log\", \"counter\"").unwrap_err();
        let words = [
            "plugin.toml:5: imports: ",
            "no `counter`",
            "`world = \"signet:rule/rule@1.1.0\"`",
        ];
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    }

    #[test]
    fn values_are_held_to_the_bounds_of_a_bundle() {
        for (line, words) in [
            (
                "deadline = \"101ms\"",
                "deadline: out of bounds (write a duration from 1ms to 100ms)",
            ),
            ("deadline = \"0ms\"", "deadline: out of bounds"),
            (
                "max_size = \"33MiB\"",
                "max_size: out of bounds (write a size up to 32MiB)",
            ),
            ("isolation = \"vm\"", "`shared`"),
            (
                "config = { a = 1979-05-27 }",
                "setting `a` is of a kind that plugins cannot read",
            ),
        ] {
            let failure = manifest(&format!("{GOOD}\n{line}\n")).unwrap_err();
            assert!(
                failure.contains("plugin.toml:6: ") && failure.contains(words),
                "{failure}"
            );
        }
        for memory in ["63KiB", "65MiB"] {
            let failure = manifest(&GOOD.replace("1MiB", memory)).unwrap_err();
            let words = "plugin.toml:4: memory: out of bounds (write a size from 64KiB to 64MiB)";
            assert!(failure.contains(words), "{failure}");
        }
    }

    #[test]
    fn a_component_is_held_to_the_size_that_a_bundle_would_allow() {
        let component = Path::new("a/a.wasm");
        let read = manifest(&format!("{GOOD}max_size = \"1KiB\"\nisolation = \"process\"\n")).unwrap();
        assert!(read.isolated && read.check_size(component, 1024).is_ok());
        let failure = read.check_size(component, 1025).unwrap_err().to_string();
        let words = "plugin.toml:5: max_size: `a.wasm` has 1025 bytes, this plugin may have 1024 (";
        assert!(
            failure.contains(words) && failure.contains("`max_size = \"1MiB\"`"),
            "{failure}"
        );
        assert!(manifest(GOOD).unwrap().check_size(component, 20 << 20).is_ok());
    }
}
