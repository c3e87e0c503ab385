//! Putting what was taken under a checkpoint.

use super::objects::PutError;
use super::read::Packs;
use super::tiles::{Stored, WIDTH};
use super::{CHAINS, CHAINS_EVERY, CHECKPOINT, Log, LogError, objects, read};
use crate::batch::Batch;
use crate::note::Checkpoint;
use crate::tree;

/// Times that a checkpoint is put in place of one that this process did not know of.
const TRIES: usize = 4;

impl Log {
    /// Puts everything taken under a new checkpoint; nothing to do where there is nothing new. Answers whether there was.
    ///
    /// # Errors
    /// [`LogError`]. After [`LogError::Io`] it may be called again; after [`LogError::Damaged`] nothing is ever signed.
    pub fn publish(&mut self) -> Result<bool, LogError> {
        if self.right.size() == self.signed.size {
            return Ok(false);
        }
        self.right.partials(&mut self.dirty);
        for (name, content) in &self.dirty {
            self.objects.put(name, content)?;
        }
        let next = Checkpoint {
            origin: self.signed.origin.clone(),
            size: self.right.size(),
            root: self.right.root(),
        };
        self.read_back(&next).map_err(LogError::of_stored)?;
        self.sign(next)?;
        self.remove_partials();
        // With a pack that waits to be written, the chains are ahead of the leaves.
        if self.signed.size.saturating_sub(self.chains_at) >= CHAINS_EVERY && self.unwritten.is_none() {
            self.save_chains()?;
        }
        Ok(true)
    }

    /// Reads every leaf and record that the checkpoint adds from storage, and the tree from its tiles (R32).
    fn read_back(&self, next: &Checkpoint) -> Result<(), LogError> {
        let objects = self.objects.as_ref();
        let mut packs = Packs::new(objects);
        read::leaves(objects, next.size, self.signed.size, |index, leaf| {
            let damaged = || LogError::Damaged(format!("leaf {index} is not what was written"));
            let batch = Batch::parse(leaf).map_err(|_| damaged())?;
            let filled = packs.filled(&batch)?.ok_or_else(damaged)?;
            batch.holds(&filled.records).map_err(|_| damaged())?;
            Ok::<_, LogError>(true)
        })?;
        let mut stored = Stored::new(objects, next.size);
        let roots = [(next.size, next.root), (self.signed.size, self.signed.root)];
        for (size, root) in roots {
            if tree::root(&mut stored, size)? != root {
                return Err(LogError::Damaged(format!(
                    "the tiles of {size} leaves have another root"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn sign(&mut self, checkpoint: Checkpoint) -> Result<(), LogError> {
        let note = self.key.sign(&checkpoint.to_string())?;
        for _ in 0..TRIES {
            match self.swap(&note) {
                Err(PutError::Taken) => self.adopt(&checkpoint)?,
                swapped => {
                    swapped?;
                    (self.signed, self.note) = (checkpoint, note);
                    return Ok(());
                }
            }
        }
        Err(LogError::Taken("it goes on publishing".into()))
    }

    fn swap(&mut self, note: &str) -> Result<(), PutError> {
        let before = Some(self.note.as_bytes()).filter(|note| !note.is_empty());
        self.objects.swap(CHECKPOINT, before, note.as_bytes())
    }

    /// Another checkpoint is there than this process knows of: one that it wrote itself, and the answer was lost; or the last one
    /// of the writer before. Both are of leaves that `next` has too. Anything else is somebody else's log.
    fn adopt(&mut self, next: &Checkpoint) -> Result<(), LogError> {
        let note = self.objects.get(CHECKPOINT)?.unwrap_or_default();
        let note = String::from_utf8_lossy(&note).into_owned();
        let found = self.key.verifier().checkpoint(&note)?;
        if found.size > next.size {
            let what = format!(
                "its checkpoint has {} leaves, and this one knows of {}",
                found.size, next.size
            );
            return Err(LogError::Taken(what));
        }
        let mut stored = Stored::new(self.objects.as_ref(), next.size);
        let root = tree::root(&mut stored, found.size).map_err(|error| LogError::of_stored(error.into()))?;
        if found.size < self.signed.size || root != found.root {
            let what = "its checkpoint was replaced by one that it did not grow from".to_owned();
            return Err(LogError::Damaged(what));
        }
        (self.signed, self.note) = (found, note);
        Ok(())
    }

    /// The full tiles have everything that was in them. What stays of them takes room and nothing else.
    fn remove_partials(&mut self) {
        let full = std::mem::take(&mut self.dirty).into_keys();
        let full = full.filter(|name| !name.contains(".p/"));
        let partials = full.flat_map(|name| (1..WIDTH).map(move |width| format!("{name}.p/{width}")));
        let partials: Vec<String> = partials.collect();
        if partials.is_empty() {
            return;
        }
        if let Err(error) = self.objects.remove(&partials) {
            tracing::warn!(%error, "tiles of the audit log that are not needed any more were not removed");
        }
    }

    /// Publishes, and writes down where the chains end, so that opening takes no long.
    ///
    /// # Errors
    /// As [`Log::publish`].
    pub fn close(mut self) -> Result<(), LogError> {
        self.write_pack()?;
        self.publish()?;
        self.save_chains()
    }

    fn save_chains(&mut self) -> Result<(), LogError> {
        let saved = self.chains.save(self.signed.size);
        // What could not be read again is not written: opening reads the leaves since the last that was.
        if u64::try_from(saved.len()).is_ok_and(|len| len <= objects::MAX_OBJECT) {
            self.objects.put(CHAINS, &saved)?;
        }
        self.chains_at = self.signed.size;
        Ok(())
    }
}
