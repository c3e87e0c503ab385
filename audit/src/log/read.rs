//! Reading a log: its leaves, its records, its newest checkpoint. Also while it grows.

use std::io;
use std::path::Path;

use super::objects::{Directory, Objects};
use super::proof::Proof;
use super::tiles::{self, Stored, WIDTH};
use super::{CHECKPOINT, LogError};
use crate::batch::{Batch, Filled, unpack};
use crate::note::{Checkpoint, NoteError, VerifierKey};
use crate::record::Record;
use crate::tree::{self, leaf_hash};

/// Leaves that [`View::prove_newest`] looks at, at most: those of many seconds.
pub const NEWEST: u64 = 64 * WIDTH;

/// A log as a checkpoint has it.
pub struct View {
    objects: Box<dyn Objects>,
    /// What it says, signed.
    note: String,
    checkpoint: Checkpoint,
}

impl View {
    /// Whether a directory holds a log.
    pub fn is_log(directory: &Path) -> bool {
        directory.join(CHECKPOINT).is_file()
    }

    /// What the log in a storage calls itself, by its checkpoint's first line, which nobody has verified; none where there is no
    /// log.
    ///
    /// # Errors
    /// The storage's.
    pub fn name_of(objects: &dyn Objects) -> io::Result<Option<String>> {
        let note = objects.get(CHECKPOINT)?;
        Ok(note.and_then(|note| String::from_utf8_lossy(&note).lines().next().map(str::to_owned)))
    }

    /// The log in a directory. With a key the checkpoint is verified; without one, nothing here proves anything.
    ///
    /// # Errors
    /// [`LogError`] where there is no log, or its checkpoint is not signed by the key.
    pub fn open(directory: &Path, key: Option<&VerifierKey>) -> Result<View, LogError> {
        View::of(Box::new(Directory::read_only(directory)), key)
    }

    /// The log in a storage, as [`View::open`].
    ///
    /// # Errors
    /// [`LogError`].
    pub fn of(objects: Box<dyn Objects>, key: Option<&VerifierKey>) -> Result<View, LogError> {
        let note = objects.get(CHECKPOINT)?;
        let note = note.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no `checkpoint`"))?;
        let note = String::from_utf8(note).map_err(|_| NoteError::Note)?;
        let checkpoint = match key {
            Some(key) => key.checkpoint(&note)?,
            None => note.parse()?,
        };
        Ok(View {
            objects,
            note,
            checkpoint,
        })
    }

    /// The checkpoint's note.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub(super) fn objects(&self) -> &dyn Objects {
        self.objects.as_ref()
    }

    pub(super) fn stored(&self) -> Stored<'_> {
        Stored::new(self.objects(), self.checkpoint.size)
    }

    /// Every batch from leaf `from` on, with its records, which are checked against it, until `each` says no (false).
    ///
    /// # Errors
    /// [`LogError`]: a leaf or a pack that is missing or damaged.
    pub fn batches(&self, from: u64, mut each: impl FnMut(u64, &Filled) -> bool) -> Result<(), LogError> {
        let mut packs = Packs::new(self.objects());
        leaves(self.objects(), self.checkpoint.size, from, |index, leaf| {
            let damaged = || LogError::Damaged(format!("leaf {index} cannot be read"));
            let batch = Batch::parse(leaf).map_err(|_| damaged())?;
            let filled = packs.filled(&batch)?.ok_or_else(damaged)?;
            batch.holds(&filled.records).map_err(|_| damaged())?;
            Ok(each(index, filled))
        })
    }

    /// Every record from leaf `from` on, checked as those of [`View::batches`], until `each` says no (false).
    ///
    /// # Errors
    /// As [`View::batches`].
    pub fn records(&self, from: u64, mut each: impl FnMut(u64, Record) -> bool) -> Result<(), LogError> {
        self.batches(from, |index, filled| filled.decoded().all(|record| each(index, record)))
    }

    /// The proof of a record; none where the log has no such record.
    ///
    /// # Errors
    /// As [`View::batches`].
    pub fn prove(&self, edge: &str, incarnation: &str, sequence: u64) -> Result<Option<Proof>, LogError> {
        let mut found = None;
        self.batches(0, |index, filled| {
            let batch = &filled.batch;
            let own = (batch.edge.as_str(), batch.incarnation.as_str()) == (edge, incarnation);
            if own && (batch.first..=batch.last).contains(&sequence) {
                found = Some((index, filled.clone()));
            }
            found.is_none()
        })?;
        let made = found.map(|(index, filled)| Proof::make(self, index, &filled, sequence));
        made.transpose()
    }

    /// The proofs of those of a process's records that are in the newest leaves, from `since` on: for whoever has just shipped
    /// them. Looks from the log's end on back, and at no more than [`NEWEST`] leaves.
    ///
    /// # Errors
    /// As [`View::batches`].
    pub fn prove_newest(
        &self,
        (edge, incarnation): (&str, &str),
        sequences: &[u64],
        since: u64,
    ) -> Result<Vec<Proof>, LogError> {
        let size = self.checkpoint.size;
        let since = since.max(size.saturating_sub(NEWEST));
        let mut wanted = sequences.to_vec();
        let (mut proofs, mut packs) = (Vec::new(), Packs::new(self.objects()));
        let mut end = size;
        while end > since && !wanted.is_empty() {
            let start = (end.saturating_sub(1) / WIDTH).saturating_mul(WIDTH).max(since);
            leaves(self.objects(), size, start, |index, leaf| {
                let damaged = || LogError::Damaged(format!("leaf {index} cannot be read"));
                let batch = Batch::parse(leaf).map_err(|_| damaged())?;
                let own = (batch.edge.as_str(), batch.incarnation.as_str()) == (edge, incarnation);
                let range = batch.first..=batch.last;
                if own && wanted.iter().any(|sequence| range.contains(sequence)) {
                    let filled = packs.filled(&batch)?.ok_or_else(damaged)?;
                    for sequence in wanted.extract_if(.., |sequence| range.contains(sequence)) {
                        proofs.push(Proof::make(self, index, filled, sequence)?);
                    }
                }
                Ok::<_, LogError>(index.saturating_add(1) < end)
            })?;
            end = start;
        }
        Ok(proofs)
    }

    /// That the log grew from its first `old` leaves, which are at most all of them (RFC 9162, section 2.1.4).
    ///
    /// # Errors
    /// Tiles that are missing or damaged.
    pub fn consistency(&self, old: u64) -> io::Result<Vec<crate::record::Hash>> {
        tree::consistency(&mut self.stored(), old, self.checkpoint.size)
    }

    /// The root that the first `size` leaves have, as the tiles say.
    ///
    /// # Errors
    /// Tiles that are missing or damaged.
    pub fn root_at(&self, size: u64) -> io::Result<crate::record::Hash> {
        tree::root(&mut self.stored(), size)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("View")
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}

/// The batches of packs; the last pack is kept.
pub(super) struct Packs<'o> {
    objects: &'o dyn Objects,
    last: Option<(u64, Vec<Filled>)>,
}

impl<'o> Packs<'o> {
    pub(super) fn new(objects: &'o dyn Objects) -> Packs<'o> {
        Packs { objects, last: None }
    }

    /// The batch of a leaf, with its records; none where the pack has no such batch. Whether the records are the leaf's is
    /// not looked at.
    pub(super) fn filled(&mut self, batch: &Batch) -> io::Result<Option<&Filled>> {
        if self.last.as_ref().is_none_or(|(number, _)| *number != batch.pack) {
            let Some(bytes) = self.objects.get(&tiles::pack(batch.pack))? else {
                return Ok(None);
            };
            let Ok(batches) = unpack(&bytes) else {
                return Ok(None);
            };
            self.last = Some((batch.pack, batches));
        }
        let place = usize::try_from(batch.place).unwrap_or(usize::MAX);
        let filled = self.last.as_ref().and_then(|(_, batches)| batches.get(place));
        Ok(filled.filter(|filled| filled.batch == *batch))
    }
}

/// The leaves from `from` to before `size`, each checked against its hash in its tile, until `each` says no (false).
pub(super) fn leaves<E: From<io::Error>>(
    objects: &dyn Objects,
    size: u64,
    from: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<bool, E>,
) -> Result<(), E> {
    let mut index = from;
    while index < size {
        let bundle = index / WIDTH;
        let width = tiles::width(0, bundle, size);
        let (name, tile) = (tiles::entries(bundle, width), tiles::tile(0, bundle, width));
        let broken = |name: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{name}` is missing or damaged"));
        let entries = tiles::get(objects, &name)?.ok_or_else(|| broken(&name))?;
        let entries = tiles::read_entries(&entries, width).ok_or_else(|| broken(&name))?;
        let hashes = tiles::get(objects, &tile)?.and_then(|tile| tiles::read_tile(&tile, width));
        let hashes = hashes.ok_or_else(|| broken(&tile))?;
        let first = bundle.saturating_mul(WIDTH);
        for (at, (leaf, hash)) in (first..).zip(entries.into_iter().zip(hashes)) {
            if at < index {
                continue;
            }
            if leaf_hash(leaf) != hash {
                return Err(broken(&name).into());
            }
            if !each(at, leaf)? {
                return Ok(());
            }
        }
        index = first.saturating_add(WIDTH);
    }
    Ok(())
}
