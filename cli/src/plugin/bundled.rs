//! A plugin's settings as a bundle has them, for a replay: what edges call the rule with.

use std::path::Path;

use policies::Bundle;
use policies::bundle::{ConfigValue, PluginTable, dir};
use runtime::{TableKind, TableSource};

use super::project::Subject;
use crate::failure::{Context, Failure};

/// The subject with settings, tables, imports and bounds of the plugin `name` of the bundle in this directory.
pub fn settings(subject: Subject, bundle: &Path, name: &str) -> Result<Subject, Failure> {
    let shown = || format!("`{}`", bundle.display());
    let files = dir::read(bundle).context(shown)?;
    let parsed = Bundle::parse(&files).map_err(|errors| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        Failure::new(format!(
            "{}: {first}; `signet policy check` lists every mistake",
            shown()
        ))
    })?;
    let Some(plugin) = parsed.plugins.into_iter().find(|plugin| plugin.name == name) else {
        return Err(Failure::new(format!(
            "{} has no plugin `{name:.64}`; name one with --plugin",
            shown()
        )));
    };
    Ok(Subject {
        deadline: plugin.deadline,
        memory: usize::try_from(plugin.memory).unwrap_or(usize::MAX),
        config: plugin
            .config
            .into_iter()
            .map(|(name, setting)| (name, value(setting)))
            .collect(),
        imports: plugin.imports,
        tables: plugin
            .tables
            .into_iter()
            .map(|(name, text)| (name, table(text)))
            .collect(),
        ..subject
    })
}

fn value(value: ConfigValue) -> toml::Value {
    match value {
        ConfigValue::Text(text) => toml::Value::String(text),
        ConfigValue::Int(int) => toml::Value::Integer(int),
        ConfigValue::Float(float) => toml::Value::Float(float),
        ConfigValue::Bool(bool) => toml::Value::Boolean(bool),
        ConfigValue::Texts(texts) => toml::Value::Array(texts.into_iter().map(toml::Value::String).collect()),
    }
}

fn table(table: PluginTable) -> TableSource {
    TableSource {
        file: table.file,
        kind: match table.by_prefix {
            true => TableKind::Prefix,
            false => TableKind::Exact,
        },
        text: table.text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    fn subject() -> Subject {
        Subject {
            name: "rule".into(),
            component: PathBuf::from("rule.wasm"),
            cases: PathBuf::new(),
            deadline: Duration::from_millis(5),
            memory: 1 << 20,
            isolated: false,
            config: Default::default(),
            imports: Vec::new(),
            tables: Default::default(),
        }
    }

    #[test]
    fn a_rule_gets_what_the_bundle_says_and_keeps_its_component() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        std::fs::write(dir.path().join("plugins/a.wasm"), b"\0asm").unwrap();
        std::fs::write(dir.path().join("plugins/nets.csv"), "10.0.0.0/8,office\n").unwrap();
        let text = "[[plugins]]\nname = \"a\"\nfile = \"plugins/a.wasm\"\ndeadline = \"20ms\"\nimports = [\"lookup\"]\n\
                    config = { n = 1, list = [\"x\"] }\ntables.nets = { file = \"plugins/nets.csv\", kind = \"prefix\" }\n";
        std::fs::write(dir.path().join("bundle.toml"), text).unwrap();
        let found = settings(subject(), dir.path(), "a").unwrap();
        assert_eq!((found.deadline, found.memory), (Duration::from_millis(20), 16 << 20));
        assert_eq!(
            (found.imports, found.component),
            (vec!["lookup".to_owned()], PathBuf::from("rule.wasm"))
        );
        assert_eq!(found.config["n"], toml::Value::Integer(1));
        assert_eq!(
            (found.tables["nets"].kind, &*found.tables["nets"].text),
            (TableKind::Prefix, &b"10.0.0.0/8,office\n"[..])
        );
        let unknown = settings(subject(), dir.path(), "b").unwrap_err().to_string();
        assert!(
            unknown.contains("has no plugin `b`") && unknown.contains("--plugin"),
            "{unknown}"
        );
        std::fs::write(dir.path().join("bundle.toml"), "plugin = 1").unwrap();
        let wrong = settings(subject(), dir.path(), "a").unwrap_err().to_string();
        assert!(
            wrong.contains("bundle.toml:1:1") && wrong.contains("signet policy check"),
            "{wrong}"
        );
    }
}
