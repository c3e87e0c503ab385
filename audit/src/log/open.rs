//! Opening a log to write it: what a crash left is taken up, and whoever wrote it before is shut out.

use super::chains::Chains;
use super::objects::{Objects, PutError};
use super::right::RightEdge;
use super::{CHAINS, CHECKPOINT, Log, LogError, read, tiles};
use crate::batch::{Batch, unpack};
use crate::note::{Checkpoint, NoteKey};
use crate::tree;

/// What a pack's number is taken with by a process that opens the log; its name comes behind.
const CLAIM: &[u8] = b"signet audit claim v1\n";
/// Times that opening begins anew because the writer before is still writing.
const TRIES: usize = 16;

impl Log {
    /// Opens the log, or begins one where there is nothing: recovers what a crash left, and publishes it. Where the storage cannot
    /// keep other writers out, whoever had the log before writes nothing more to it from here on.
    ///
    /// # Errors
    /// [`LogError`]; a log whose checkpoint is gone or does not belong to its leaves is not opened.
    pub fn open(objects: Box<dyn Objects>, key: NoteKey) -> Result<Log, LogError> {
        let (note, signed, right, chains) = read_all(objects.as_ref(), &key)?;
        let mut log = Log {
            chains_at: chains.size(),
            next_pack: chains.packs().saturating_add(1),
            right,
            chains,
            signed,
            note: note.unwrap_or_default(),
            unwritten: None,
            dirty: std::collections::BTreeMap::new(),
            objects,
            key,
        };
        log.take_up()?;
        log.claim()?;
        log.publish()?;
        if log.note.is_empty() {
            log.sign(log.signed.clone())?;
        }
        Ok(log)
    }

    /// Appends packs that no checkpoint covers yet.
    fn take_up(&mut self) -> Result<(), LogError> {
        while let Some(bytes) = self.objects.get(&tiles::pack(self.next_pack))? {
            let damaged = || LogError::Damaged(format!("pack {} cannot be read", self.next_pack));
            if bytes.starts_with(CLAIM) {
                self.next_pack = self.next_pack.saturating_add(1);
                continue;
            }
            let batches = unpack(&bytes).map_err(|_| damaged())?;
            for (place, filled) in batches.iter().enumerate() {
                let at = (filled.batch.pack, usize::try_from(filled.batch.place));
                if at != (self.next_pack, Ok(place)) || filled.batch.holds(&filled.records).is_err() {
                    return Err(damaged());
                }
                self.chains.advance(&filled.batch);
            }
            self.append(&batches);
        }
        Ok(())
    }

    /// Takes the next number of the row: the writer before finds it taken when it writes its next pack. What it wrote until then
    /// is taken up.
    fn claim(&mut self) -> Result<(), LogError> {
        let Some(name) = self.objects.claim() else {
            return Ok(());
        };
        let claim = [CLAIM, name.as_bytes(), b"\n"].concat();
        for _ in 0..TRIES {
            match self.objects.create(&tiles::pack(self.next_pack), &claim) {
                Err(PutError::Taken) => self.take_up()?,
                created => {
                    created?;
                    self.next_pack = self.next_pack.saturating_add(1);
                    return Ok(());
                }
            }
        }
        Err(LogError::Taken("it goes on writing".into()))
    }
}

/// That a pack is there which this process did not write; with the name of the one that did, where it said one.
pub(super) fn taken(objects: &dyn Objects, pack: &str) -> LogError {
    let there = objects.get(pack).ok().flatten().unwrap_or_default();
    let name = there.strip_prefix(CLAIM).map(String::from_utf8_lossy);
    let shown = |name: &str| name.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    LogError::Taken(match name {
        Some(name) => format!("`{}` took it over with `{pack}`", shown(&name)),
        None => format!("`{pack}` is not this one's"),
    })
}

type Recovered = (Option<String>, Checkpoint, RightEdge, Chains);

/// The checkpoint and what it covers. The writer before may be publishing: then a newer checkpoint is there, and is read.
fn read_all(objects: &dyn Objects, key: &NoteKey) -> Result<Recovered, LogError> {
    let mut note = objects.get(CHECKPOINT)?;
    for _ in 0..TRIES {
        let signed = match &note {
            Some(note) => key.verifier().checkpoint(&String::from_utf8_lossy(note))?,
            None => Checkpoint {
                origin: key.verifier().name().to_owned(),
                size: 0,
                root: tree::empty_root(),
            },
        };
        let failed = match recover(objects, &signed) {
            Ok((right, chains)) => {
                let note = note.map(|note| String::from_utf8_lossy(&note).into_owned());
                return Ok((note, signed, right, chains));
            }
            Err(error) => error,
        };
        let newer = objects.get(CHECKPOINT)?;
        if newer == note {
            return Err(failed);
        }
        note = newer;
    }
    Err(LogError::Taken("it publishes faster than the log can be read".into()))
}

/// The right edge and the chains at a checkpoint, read from what is stored.
fn recover(objects: &dyn Objects, signed: &Checkpoint) -> Result<(RightEdge, Chains), LogError> {
    let right = RightEdge::read(objects, signed.size)?;
    if right.root() != signed.root {
        let what = format!("its {} leaves have another root than its checkpoint says", signed.size);
        return Err(LogError::Damaged(what));
    }
    let saved = objects.get(CHAINS)?;
    let mut chains = match saved.map(|saved| Chains::read(&saved)) {
        Some(Some(chains)) => chains,
        Some(None) => {
            return Err(LogError::Damaged(
                "the chains' ends cannot be read; remove `chains`".into(),
            ));
        }
        None => Chains::default(),
    };
    if chains.size() > signed.size {
        let what = format!(
            "it had {} leaves once and its checkpoint says {}",
            chains.size(),
            signed.size
        );
        return Err(LogError::Damaged(what));
    }
    let from = chains.size();
    read::leaves(objects, signed.size, from, |index, leaf| {
        let batch = Batch::parse(leaf).map_err(|_| LogError::Damaged(format!("leaf {index} cannot be read")))?;
        chains.advance(&batch);
        Ok::<_, LogError>(true)
    })?;
    Ok((right, chains))
}
