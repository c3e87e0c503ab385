//! Tables that a bundle brings for the import `lookup`: parsed once, when the plugin is loaded, and compact in memory.
//!
//! One row a line: a key, a comma, its value (which may hold commas). Empty lines and lines that begin with `#` are left out.

mod exact;
mod prefix;

use crate::limits::{MAX_TABLE_FIELD, MAX_TABLE_ROWS};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A table as a bundle brings it.
#[derive(Debug, Clone)]
pub struct TableSource {
    /// Where it came from, for error messages.
    pub file: String,
    /// How it is asked.
    pub kind: TableKind,
    /// Its text. At most 1,000,000 rows; key and value of at most 256 bytes each.
    pub text: Arc<[u8]>,
}

/// How a table is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// By a key, which is there or not.
    Exact,
    /// By an IP address; the longest of the CIDR prefixes that hold it answers.
    Prefix,
}

/// A table that is ready to be asked. Besides its text: 8 bytes a row of exact keys, 48 a row of prefixes.
#[derive(Debug)]
pub(crate) struct Table {
    text: Arc<[u8]>,
    index: Index,
}

#[derive(Debug)]
enum Index {
    Exact(Vec<exact::Row>),
    Prefix(Vec<prefix::Row>),
}

/// What a table has for a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Value(String),
    Nothing,
    WrongKind,
}

/// A part of the text.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: u32,
    bytes: u16,
}

impl Piece {
    fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let start = self.at as usize;
        text.get(start..start.saturating_add(usize::from(self.bytes)))
            .unwrap_or_default()
    }
}

impl Table {
    /// # Errors
    /// What is wrong, with file and line.
    pub(crate) fn parse(source: &TableSource) -> Result<Table, String> {
        let fault = |line: usize, message: &str| format!("{}:{line}: {message}", source.file);
        let text = source.text.clone();
        let whole = std::str::from_utf8(&text).map_err(|error| {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
            fault(line, "not UTF-8 text")
        })?;
        let rows = rows(whole).map_err(|(line, message)| fault(line, &message))?;
        let index = match source.kind {
            TableKind::Exact => exact::index(&text, rows).map(Index::Exact),
            TableKind::Prefix => prefix::index(&text, rows).map(Index::Prefix),
        };
        let index = index.map_err(|(line, message)| fault(line, &message))?;
        Ok(Table { text, index })
    }

    pub(crate) fn get(&self, key: &str) -> Found {
        match &self.index {
            Index::Exact(rows) => self.found(exact::find(&self.text, rows, key.as_bytes())),
            Index::Prefix(_) => Found::WrongKind,
        }
    }

    pub(crate) fn prefix(&self, address: IpAddr) -> Found {
        match &self.index {
            Index::Prefix(rows) => self.found(prefix::find(rows, address)),
            Index::Exact(_) => Found::WrongKind,
        }
    }

    fn found(&self, piece: Option<Piece>) -> Found {
        match piece {
            Some(piece) => Found::Value(String::from_utf8_lossy(piece.of(&self.text)).into_owned()),
            None => Found::Nothing,
        }
    }
}

/// A row before it is sorted: its line, key and value.
struct Line {
    number: usize,
    key: Piece,
    value: Piece,
}

/// A line from 1, and what is wrong there.
type Fault = (usize, String);

fn rows(text: &str) -> Result<Vec<Line>, Fault> {
    let (mut rows, mut at) = (Vec::new(), 0usize);
    for (index, whole) in text.split('\n').enumerate() {
        let number = index.saturating_add(1);
        let line = whole.strip_suffix('\r').unwrap_or(whole);
        if !line.is_empty() && !line.starts_with('#') {
            if rows.len() >= MAX_TABLE_ROWS {
                return Err((number, format!("more than {MAX_TABLE_ROWS} rows")));
            }
            let Some((key, value)) = line.split_once(',') else {
                return Err((number, "no comma; write `KEY,VALUE`".to_owned()));
            };
            let piece = |at: usize, text: &str| {
                let fits = text.len() <= MAX_TABLE_FIELD;
                let piece = (u32::try_from(at).ok(), u16::try_from(text.len()).ok());
                match piece {
                    (Some(at), Some(bytes)) if fits => Ok(Piece { at, bytes }),
                    _ => Err((number, format!("a key or value of more than {MAX_TABLE_FIELD} bytes"))),
                }
            };
            if key.is_empty() {
                return Err((number, "an empty key; write `KEY,VALUE`".to_owned()));
            }
            let behind = at.saturating_add(key.len()).saturating_add(1);
            let (key, value) = (piece(at, key)?, piece(behind, value)?);
            rows.push(Line { number, key, value });
        }
        at = at.saturating_add(whole.len()).saturating_add(1);
    }
    Ok(rows)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
