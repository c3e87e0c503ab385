//! Exact keys: rows sorted by key, found by halving.

use super::{Fault, Line, Piece};

/// The value follows its key and a comma, so one place serves both.
#[derive(Debug)]
pub(super) struct Row {
    at: u32,
    key: u16,
    value: u16,
}

impl Row {
    fn key(&self) -> Piece {
        let (at, bytes) = (self.at, self.key);
        Piece { at, bytes }
    }

    fn value(&self) -> Piece {
        let at = self.at.saturating_add(u32::from(self.key)).saturating_add(1);
        Piece { at, bytes: self.value }
    }
}

pub(super) fn index(text: &[u8], mut lines: Vec<Line>) -> Result<Vec<Row>, Fault> {
    lines.sort_by(|a, b| a.key.of(text).cmp(b.key.of(text)));
    for (one, next) in lines.iter().zip(lines.iter().skip(1)) {
        if one.key.of(text) == next.key.of(text) {
            return Err((next.number, format!("the key of line {} again", one.number)));
        }
    }
    let row = |line: Line| Row {
        at: line.key.at,
        key: line.key.bytes,
        value: line.value.bytes,
    };
    Ok(lines.into_iter().map(row).collect())
}

pub(super) fn find(text: &[u8], rows: &[Row], key: &[u8]) -> Option<Piece> {
    let at = rows.binary_search_by(|row| row.key().of(text).cmp(key)).ok()?;
    rows.get(at).map(Row::value)
}
