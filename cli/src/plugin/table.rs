//! Tables that a rule looks things up in: in `plugin.toml` for all cases, in a case for that one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::{TableKind, TableSource};
use serde::Deserialize;

use super::project::shortened;
use crate::failure::{Context, Failure};

/// By name, as the host takes them.
pub type Tables = BTreeMap<String, TableSource>;

/// A table's rows, from a file or in place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    kind: Kind,
    /// A CSV of `KEY,VALUE`, as a bundle has it; relative to the directory of `plugin.toml` or of the case.
    file: Option<PathBuf>,
    rows: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Exact,
    Prefix,
}

/// Reads the files among them. The host checks the rows when it loads them, and names a wrong one with its line.
pub fn read_all(tables: BTreeMap<String, Table>, dir: &Path) -> Result<Tables, Failure> {
    let read = |(name, table): (String, Table)| {
        let source = table.read(&name, dir)?;
        Ok((name, source))
    };
    tables.into_iter().map(read).collect()
}

impl Table {
    fn read(self, name: &str, dir: &Path) -> Result<TableSource, Failure> {
        let (file, text) = match (self.file, self.rows) {
            (Some(file), None) => {
                let path = dir.join(file);
                let text =
                    std::fs::read(&path).context(|| format!("table `{}`: `{}`", shortened(name), path.display()))?;
                (path.display().to_string(), text)
            }
            (None, Some(rows)) => (format!("table `{}`", shortened(name)), lines(name, &rows)?.into_bytes()),
            _ => {
                return Err(Failure::new(format!(
                    "table `{}` has rows from one place; write `file = \"NAME.csv\"` or `rows = {{ KEY = \"VALUE\" }}`",
                    shortened(name)
                )));
            }
        };
        let kind = match self.kind {
            Kind::Exact => TableKind::Exact,
            Kind::Prefix => TableKind::Prefix,
        };
        let text = Arc::from(text);
        Ok(TableSource { file, kind, text })
    }
}

/// Rows as their file would have them, which cannot say everything that TOML can.
fn lines(name: &str, rows: &BTreeMap<String, String>) -> Result<String, Failure> {
    let mut text = String::new();
    for (key, value) in rows {
        if key.starts_with('#') || key.contains([',', '\n']) || value.contains('\n') {
            return Err(Failure::new(format!(
                "table `{}`: the row `{}` cannot be in a bundle's file; a key has no comma and no `#` in front, and neither it nor its value a line feed",
                shortened(name),
                shortened(key)
            )));
        }
        text.push_str(&format!("{key},{value}\n"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, dir: &Path) -> Result<Tables, String> {
        read_all(toml::from_str(text).unwrap(), dir).map_err(|failure| failure.to_string())
    }

    #[test]
    fn rows_come_from_a_file_or_stand_in_place() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("nets.csv"), "10.0.0.0/8,office\n").unwrap();
        let text = "nets = { kind = \"prefix\", file = \"nets.csv\" }\nplans = { kind = \"exact\", rows = { acme = \"a,b\" } }";
        let tables = read(text, dir.path()).unwrap();
        assert_eq!(
            (&*tables["nets"].text, tables["nets"].kind),
            (&b"10.0.0.0/8,office\n"[..], TableKind::Prefix)
        );
        assert_eq!(
            (&*tables["plans"].text, tables["plans"].kind),
            (&b"acme,a,b\n"[..], TableKind::Exact)
        );
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let here = Path::new(".");
        for (text, words) in [
            ("nets = { kind = \"exact\" }", "`file = "),
            ("nets = { kind = \"exact\", file = \"a\", rows = {} }", "`rows = "),
            ("nets = { kind = \"exact\", file = \"no-such.csv\" }", "no-such.csv"),
            ("nets = { kind = \"exact\", rows = { \"a,b\" = \"c\" } }", "`a,b`"),
        ] {
            let failure = read(text, here).unwrap_err();
            assert!(failure.contains("table `nets`") && failure.contains(words), "{failure}");
        }
    }
}
