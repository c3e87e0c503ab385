//! How a store lies in etcd's key space. Pure.
//!
//! | key, after the prefix | value |
//! | --- | --- |
//! | `head` | [`Head`]: the store's revision, and which batches were committed last |
//! | `rows/PATH` | [`Stored`]: a row, or where its value is |
//! | `chunk/STAGE/N/M` | piece M of the value of write N of a transaction whose values were too long |
//! | `staged/STAGE` | there are chunks for a transaction that has not been committed |
//!
//! `head` and `rows/` are neighbours, so that one watch sees both and nothing else.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::StoreError;
use super::proto::RangeRequest;

/// Names a batch of transactions, or the chunks of one transaction: random, 128 bits.
pub(super) type Token = [u8; 16];

/// How many batches a head remembers. Whoever does not know whether its batch was committed finds out while no more than these
/// have been committed since.
pub(super) const REMEMBERED: usize = 32;

/// What is written first of all values, so that another layout is noticed.
const FORMAT: u8 = 1;
/// As [`FORMAT`], of a head. One of version 1 has no sums; who writes that would leave them behind, and does not read 2.
const HEAD_FORMAT: u8 = 2;
const INLINE: u8 = 0;
const CHUNKED: u8 = 1;

/// The row that every commit changes and is conditional on: commits happen one after the other, whoever makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The store's revision.
    pub(super) revision: u64,
    /// The one before the last batch.
    pub(super) before: u64,
    /// The last batches, the newest last.
    pub(super) batches: Vec<Token>,
    /// The sealed sums over all rows, see [`super::super::sums`]; empty where none were kept.
    pub(super) sums: Vec<u8>,
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) revision: u64,
    pub(super) value: Value,
}

/// A row's value, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Inline(Bytes),
    Chunked(Chunks),
}

/// Pieces of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunks {
    pub(super) stage: Token,
    /// Which of the stage's values.
    pub(super) index: u32,
    /// Bytes of the whole value.
    pub(super) len: u64,
}

impl Head {
    /// After a batch that raised the revision.
    pub(super) fn next(&self, revision: u64, batch: Token) -> Self {
        let kept = self.batches.len().saturating_add(1).saturating_sub(REMEMBERED);
        let mut batches: Vec<Token> = self.batches.iter().skip(kept).copied().collect();
        batches.push(batch);
        Self {
            revision,
            before: self.revision,
            batches,
            sums: self.sums.clone(),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        postcard::to_extend(self, vec![HEAD_FORMAT]).map_err(|error| StoreError::Unavailable {
            detail: format!("its head cannot be written: {error}"),
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let without_sums;
        let rest = match bytes.split_first() {
            Some((&HEAD_FORMAT, rest)) => rest,
            Some((&FORMAT, rest)) => {
                without_sums = [rest, &[0]].concat();
                &without_sums
            }
            _ => return Err(corrupt("its head is of another version of signet")),
        };
        postcard::from_bytes(rest).map_err(|_| corrupt("its head does not read"))
    }
}

impl Stored {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let kind = match &self.value {
            Value::Inline(_) => INLINE,
            Value::Chunked(_) => CHUNKED,
        };
        let mut bytes = vec![FORMAT, kind];
        bytes.extend(self.revision.to_be_bytes());
        match &self.value {
            Value::Inline(value) => bytes.extend_from_slice(value),
            Value::Chunked(chunks) => {
                bytes = postcard::to_extend(chunks, bytes).map_err(|error| StoreError::Unavailable {
                    detail: format!("a row cannot be written: {error}"),
                })?;
            }
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, StoreError> {
        let unread = || corrupt("a row does not read, or is of another version of signet");
        let (head, value) = bytes.split_at_checked(10).ok_or_else(unread)?;
        let (format, revision) = head.split_at_checked(2).ok_or_else(unread)?;
        let revision = u64::from_be_bytes(revision.try_into().map_err(|_| unread())?);
        let value = match format {
            [FORMAT, INLINE] => Value::Inline(bytes.slice_ref(value)),
            [FORMAT, CHUNKED] => Value::Chunked(postcard::from_bytes(value).map_err(|_| unread())?),
            _ => return Err(unread()),
        };
        Ok(Self { revision, value })
    }
}

/// The keys of one store.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    prefix: String,
}

impl Layout {
    /// Under a prefix; a `/` is put behind it where there is none.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("{}/", prefix.trim_end_matches('/')),
        }
    }

    pub(super) fn head(&self) -> Vec<u8> {
        format!("{}head", self.prefix).into_bytes()
    }

    /// Behind the last key of `head` and `rows/`.
    pub(super) fn rows_end(&self) -> Vec<u8> {
        end(self.row(""))
    }

    pub(super) fn row(&self, path: &str) -> Vec<u8> {
        format!("{}rows/{path}", self.prefix).into_bytes()
    }

    /// The path of a row's key.
    pub(super) fn path<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let path = key.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b"rows/")?;
        std::str::from_utf8(path).ok()
    }

    /// The rows under a prefix behind a path, as a range.
    pub(super) fn rows(&self, prefix: &str, after: Option<&str>) -> RangeRequest {
        let first = self.row(prefix);
        let behind = after.map(|after| [self.row(after), vec![0]].concat());
        RangeRequest {
            range_end: end(first.clone()).into(),
            key: behind.filter(|behind| *behind > first).unwrap_or(first).into(),
            ..RangeRequest::default()
        }
    }

    pub(super) fn chunk(&self, chunks: &Chunks, piece: usize) -> Vec<u8> {
        let mut key = self.chunks(chunks).0;
        key.extend(format!("{piece:08}").into_bytes());
        key
    }

    /// All pieces of a value: first key, and the one behind the last.
    pub(super) fn chunks(&self, chunks: &Chunks) -> (Vec<u8>, Vec<u8>) {
        let first = format!("{}chunk/{}/{:08}/", self.prefix, hex(&chunks.stage), chunks.index).into_bytes();
        (first.clone(), end(first))
    }

    /// All pieces of all values of a stage.
    pub(super) fn stage(&self, stage: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let first = [self.prefix.as_bytes(), b"chunk/", stage, b"/"].concat();
        (first.clone(), end(first))
    }

    pub(super) fn marker(&self, stage: &Token) -> Vec<u8> {
        format!("{}staged/{}", self.prefix, hex(stage)).into_bytes()
    }

    /// All markers.
    pub(super) fn markers(&self) -> (Vec<u8>, Vec<u8>) {
        let first = format!("{}staged/", self.prefix).into_bytes();
        (first.clone(), end(first))
    }

    /// The name of a marker's stage, as [`Layout::stage`] takes it.
    pub(super) fn stage_of(&self, marker: &[u8]) -> Option<Vec<u8>> {
        marker
            .strip_prefix(self.prefix.as_bytes())?
            .strip_prefix(b"staged/")
            .map(<[u8]>::to_vec)
    }
}

pub(super) fn corrupt(detail: &str) -> StoreError {
    StoreError::Corrupt {
        detail: detail.to_owned(),
    }
}

/// Behind everything that begins with `key`, whose last byte is not 0xff: UTF-8 has none.
fn end(mut key: Vec<u8>) -> Vec<u8> {
    if let Some(last) = key.last_mut() {
        *last = last.saturating_add(1);
    }
    key
}

fn hex(token: &Token) -> String {
    signing::encoding::hex(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_reads_back_and_nothing_else_does() {
        for value in [
            Value::Inline(Bytes::from_static(b"value")),
            Value::Inline(Bytes::new()),
            Value::Chunked(Chunks {
                stage: [7; 16],
                index: 3,
                len: 1 << 24,
            }),
        ] {
            let stored = Stored {
                revision: u64::MAX - 1,
                value,
            };
            assert_eq!(Stored::decode(&stored.encode().unwrap().into()).unwrap(), stored);
        }
        let rows = [
            &b""[..],
            b"\x01\x00\0\0\0\0\0\0\0",
            b"\x02\x00\0\0\0\0\0\0\0\0",
            b"\x01\x02\0\0\0\0\0\0\0\0",
            b"\x01\x01\0\0\0\0\0\0\0\0",
        ];
        for bad in rows {
            assert!(Stored::decode(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
        for bad in [&b""[..], b"\x01", b"\x01\0", b"\x02\0\0\0", b"\x03\0\0\0\0"] {
            assert!(Head::decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_head_remembers_the_last_batches() {
        let mut head = Head::default();
        for number in 0..40_u8 {
            head = head.next(u64::from(number) + 1, [number; 16]);
        }
        assert_eq!(Head::decode(&head.encode().unwrap()).unwrap(), head);
        assert_eq!((head.revision, head.before, head.batches.len()), (40, 39, REMEMBERED));
        assert_eq!((head.batches[0], head.batches[REMEMBERED - 1]), ([8; 16], [39; 16]));
    }

    #[test]
    fn a_head_from_before_there_were_sums_reads_as_one_without() {
        let head = Head::default().next(3, [7; 16]);
        let mut older = head.encode().unwrap();
        assert_eq!(older.pop(), Some(0), "the length of no sums is last");
        older[0] = FORMAT;
        assert_eq!(Head::decode(&older).unwrap(), head);
    }

    #[test]
    fn a_watch_sees_rows_and_head_and_no_chunks() {
        let layout = Layout::new("/signet");
        let (from, to) = (layout.head(), layout.rows_end());
        let seen = |key: &[u8]| key >= from.as_slice() && key < to.as_slice();
        assert!(seen(&layout.head()) && seen(&layout.row("a")) && seen(&layout.row("~é")));
        let chunks = Chunks {
            stage: [1; 16],
            index: 0,
            len: 1,
        };
        assert!(!seen(&layout.chunk(&chunks, 0)) && !seen(&layout.marker(&[1; 16])));
        assert_eq!(layout.path(&layout.row("keys/1")), Some("keys/1"));
        assert_eq!(layout.path(&layout.head()), None);
    }

    #[test]
    fn ranges_are_those_of_the_contract() {
        let layout = Layout::new("/x/");
        let range = |prefix, after| {
            let range = layout.rows(prefix, after);
            (
                String::from_utf8(range.key.to_vec()).unwrap(),
                String::from_utf8(range.range_end.to_vec()).unwrap(),
            )
        };
        assert_eq!(range("p/", None), ("/x/rows/p/".into(), "/x/rows/p0".into()));
        assert_eq!(range("p/", Some("a")).0, "/x/rows/p/");
        assert_eq!(range("p/", Some("p/1")).0, "/x/rows/p/1\0");
        assert_eq!(range("", None), ("/x/rows/".into(), "/x/rows0".into()));
    }
}
