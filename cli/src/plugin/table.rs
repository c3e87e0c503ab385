//! Tables that a rule looks things up in: in `plugin.toml` for all cases, in a case for that one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use runtime::{TableKind, TableSource};
use serde::Deserialize;
use toml::Spanned;

use super::document::{Document, shortened};
use crate::failure::Failure;

/// By name, as the host takes them.
pub type Tables = BTreeMap<String, TableSource>;

/// A table's rows, from a file or in place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    kind: Kind,
    /// A CSV of `KEY,VALUE`, as a bundle has it; relative to the directory of `plugin.toml` or of the case.
    file: Option<PathBuf>,
    rows: Option<BTreeMap<String, Spanned<String>>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Exact,
    Prefix,
}

/// Reads the files among them. The host checks the rows when it loads them, and names a wrong one with its line.
pub fn read_all(tables: &BTreeMap<String, Spanned<Table>>, document: &Document) -> Result<Tables, Failure> {
    let read = |(name, table): (&String, &Spanned<Table>)| {
        let source = table.get_ref().read(name, document);
        let source = source.map_err(|what| {
            let what = format!("table `{}`{what}", shortened(name));
            document.error(table.span(), &what)
        });
        Ok((name.clone(), source?))
    };
    tables.iter().map(read).collect()
}

impl Table {
    /// What is wrong is said as it follows the table's name.
    fn read(&self, name: &str, document: &Document) -> Result<TableSource, String> {
        let (file, text) = match (&self.file, &self.rows) {
            (Some(file), None) => {
                let path = document.dir().join(file);
                let text = std::fs::read(&path).map_err(|error| format!(": `{}`: {error}", path.display()))?;
                (path.display().to_string(), text)
            }
            (None, Some(rows)) => {
                let (file, text) = lines(name, rows, document)?;
                (file, text.into_bytes())
            }
            _ => {
                let write = "write `file = \"NAME.csv\"` or `rows = { KEY = \"VALUE\" }`";
                return Err(format!(" has rows from one place; {write}"));
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

/// Rows as their file would have them, which cannot say everything that TOML can, and the name of that file. Where each stands
/// on a line of its own it keeps its number: the host leaves empty lines out, and names a wrong row as one of the document's.
fn lines(
    name: &str,
    rows: &BTreeMap<String, Spanned<String>>,
    document: &Document,
) -> Result<(String, String), String> {
    let mut placed = Vec::new();
    for (key, value) in rows {
        let line = document.line(&value.span());
        let value = value.get_ref();
        if key.starts_with('#') || key.contains([',', '\n']) || value.contains('\n') {
            return Err(format!(
                ": the row `{}` cannot be in a bundle's file; a key has no comma and no `#` in front, and neither it nor its value a line feed",
                shortened(key)
            ));
        }
        placed.push((line, key, value));
    }
    placed.sort();
    let is_numbered = placed.is_sorted_by(|(one, ..), (next, ..)| one < next);
    let (mut text, mut at) = (String::new(), 1);
    for (line, key, value) in placed {
        while is_numbered && at < line {
            text.push('\n');
            at = at.saturating_add(1);
        }
        text.push_str(&format!("{key},{value}\n"));
        at = at.saturating_add(1);
    }
    let file = match is_numbered {
        true => document.path().display().to_string(),
        false => format!("table `{}`", shortened(name)),
    };
    Ok((file, text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str, dir: &Path) -> Result<Tables, String> {
        let path = dir.join("plugin.toml");
        std::fs::write(&path, text).unwrap();
        let document = Document::read(&path).unwrap();
        read_all(&document.parse().unwrap(), &document).map_err(|failure| failure.to_string())
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
            (&b"\nacme,a,b\n"[..], TableKind::Exact)
        );
    }

    #[test]
    fn rows_keep_their_lines_where_each_has_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let head = "[plans]\nkind = \"exact\"\n";
        let tables = read(&format!("{head}[plans.rows]\nb = \"1\"\n\na = \"2\"\n"), dir.path()).unwrap();
        assert!(tables["plans"].file.ends_with("/plugin.toml"), "{tables:?}");
        assert_eq!(&*tables["plans"].text, b"\n\n\nb,1\n\na,2\n");
        let tables = read(&format!("{head}rows = {{ b = \"1\", a = \"2\" }}\n"), dir.path()).unwrap();
        assert_eq!(tables["plans"].file, "table `plans`");
        assert_eq!(&*tables["plans"].text, b"a,2\nb,1\n");
    }

    #[test]
    fn mistakes_say_where_and_what_to_write() {
        let dir = tempfile::TempDir::new().unwrap();
        for (text, words) in [
            ("nets = { kind = \"exact\" }", "`file = "),
            ("nets = { kind = \"exact\", file = \"a\", rows = {} }", "`rows = "),
            ("nets = { kind = \"exact\", file = \"no-such.csv\" }", "no-such.csv"),
            ("nets = { kind = \"exact\", rows = { \"a,b\" = \"c\" } }", "`a,b`"),
        ] {
            let failure = read(&format!("\n{text}"), dir.path()).unwrap_err();
            assert!(
                failure.contains("plugin.toml:2: table `nets`") && failure.contains(words),
                "{failure}"
            );
        }
    }
}
