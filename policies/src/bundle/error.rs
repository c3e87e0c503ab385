//! What is wrong with a bundle, and where.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Deserializer};

/// One fault of a bundle. The bundle's author is to blame; the last good bundle stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleError {
    /// The file, relative to the bundle's root.
    pub file: String,
    /// The field's path, such as `callers.oidc[0].subject`; empty where the whole file is at fault.
    pub field: String,
    /// The line, from 1, where it is known.
    pub line: Option<u32>,
    /// The column in characters, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that can be said.
    pub hint: Option<String>,
}

impl BundleError {
    /// A fault of a whole file.
    pub fn in_file(file: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            field: String::new(),
            line: None,
            column: None,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let (Some(_), Some(column)) = (self.line, self.column) {
            write!(f, ":{column}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BundleError {}

/// A TOML file of a bundle that knows on which line each of its fields is.
pub(crate) struct Document<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub(crate) fn new(file: &'a str, content: &'a [u8]) -> Result<Self, BundleError> {
        match std::str::from_utf8(content) {
            Ok(text) => Ok(Self { file, text }),
            Err(_) => Err(BundleError::in_file(
                file,
                "the file is not UTF-8 text",
                "save it as UTF-8",
            )),
        }
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, BundleError> {
        let deserializer = Deserializer::parse(self.text).map_err(|e| self.toml_error("", &e))?;
        serde_path_to_error::deserialize(deserializer).map_err(|e| {
            let path = match e.path().to_string() {
                dot if dot == "." => String::new(),
                path => path,
            };
            self.toml_error(&path, e.inner())
        })
    }

    /// A fault of one field, found on its line.
    pub(crate) fn error(&self, field: &str, message: impl Into<String>, hint: impl Into<String>) -> BundleError {
        let span = DeTable::parse(self.text)
            .ok()
            .and_then(|tree| locate(tree.get_ref(), field));
        let (line, column) = span.map(|span| position(self.text, span.start)).unzip();
        BundleError {
            file: self.file.to_owned(),
            field: field.to_owned(),
            line,
            column,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    fn toml_error(&self, field: &str, error: &toml::de::Error) -> BundleError {
        let (line, column) = error.span().map(|span| position(self.text, span.start)).unzip();
        BundleError {
            file: self.file.to_owned(),
            field: field.to_owned(),
            line,
            column,
            message: error.message().trim_end().replace('\n', ", "),
            hint: None,
        }
    }
}

/// Line and column, both from 1, of the byte `at`.
pub(crate) fn position(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..at).unwrap_or(text);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    let line = number(before.matches('\n').count());
    let column = number(before.rsplit('\n').next().unwrap_or_default().chars().count());
    (line, column)
}

/// The span of a field, or of the deepest part of its path that exists.
fn locate(root: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let mut found = None;
    let mut table = Some(root);
    let mut array = None;
    for step in path.split(['.', '[']) {
        let value = match step.strip_suffix(']') {
            Some(index) => array.and_then(|items: &toml::de::DeArray<'_>| items.get(index.parse::<usize>().ok()?)),
            None => table.and_then(|table| {
                table
                    .iter()
                    .find(|(key, _)| key.get_ref() == step)
                    .map(|(_, value)| value)
            }),
        };
        let Some(value) = value else { break };
        found = Some(value.span());
        (table, array) = match value.get_ref() {
            DeValue::Table(table) => (Some(table), None),
            DeValue::Array(items) => (None, Some(items)),
            _ => (None, None),
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "list")]
        _list: Vec<Item>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[serde(rename = "size")]
        _size: crate::units::ByteSize,
    }

    #[test]
    fn reading_errors_name_field_line_and_column() {
        let text = b"[[list]]\nsize = \"1KiB\"\n[[list]]\nsize = \"1 KB\"\n";
        let error = Document::new("a.toml", text).unwrap().read::<Sample>().unwrap_err();
        assert_eq!(
            (error.field.as_str(), error.line, error.column),
            ("list[1].size", Some(4), Some(8))
        );
        assert!(
            error
                .to_string()
                .starts_with("a.toml:4:8: list[1].size: `1 KB` is no size"),
            "{error}"
        );
    }

    #[test]
    fn unknown_fields_and_broken_syntax_are_located() {
        let error = Document::new("a.toml", b"list = []\nlsit = 1\n")
            .unwrap()
            .read::<Sample>()
            .unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(error.message.contains("unknown field `lsit`"), "{error}");
        let error = Document::new("a.toml", b"list = [\n\"\n")
            .unwrap()
            .read::<Sample>()
            .unwrap_err();
        assert_eq!(error.line, Some(2), "{error}");
        assert!(Document::new("a.toml", b"\xff").is_err());
    }

    #[test]
    fn a_field_is_found_after_reading_too() {
        let text = b"[[list]]\nsize = \"1KiB\"\n[[list]]\nsize = \"2KiB\"\n";
        let document = Document::new("a.toml", text).unwrap();
        assert_eq!(document.error("list[1].size", "x", "y").line, Some(4));
        assert_eq!(document.error("list[1].none", "x", "y").line, Some(3));
        assert_eq!(document.error("none", "x", "y").line, None);
    }
}
