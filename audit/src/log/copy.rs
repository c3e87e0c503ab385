//! A log copied to another storage, to be written on there.

use std::io;

use super::chains::Chains;
use super::objects::Objects;
use super::read::View;
use super::tiles::{self, WIDTH};
use super::{CHAINS, CHECKPOINT, LogError};
use crate::batch::Batch;
use crate::note::Checkpoint;

/// Copies all that a checkpoint covers, and packs behind it. The checkpoint comes last: until then there is no log at the other
/// place. A copy that was interrupted, or of the log as it was before, is completed. `tell` hears of progress: leaves done, and
/// all. What was copied is for [`super::verify`] to check.
///
/// # Errors
/// [`LogError`]: a storage's; something is missing here; or there is another log, or more of it.
pub fn copy(view: &View, to: &mut dyn Objects, tell: impl FnMut(u64, u64)) -> Result<(), LogError> {
    let before = to.get(CHECKPOINT)?;
    if let Some(before) = &before {
        let before: Checkpoint = String::from_utf8_lossy(before).parse()?;
        let (origin, size) = (&view.checkpoint().origin, view.checkpoint().size);
        let grew = before.origin == *origin && before.size <= size && view.root_at(before.size)? == before.root;
        if !grew {
            let (there, leaves) = (before.origin, before.size);
            let what = format!("the log `{there}` is there with {leaves} batches, and this one did not grow from it");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what).into());
        }
    }
    records(view, to, tell)?;
    hashes(view, to)?;
    let chains = view.objects().get(CHAINS)?;
    let covered = |chains: &Vec<u8>| Chains::read(chains).is_some_and(|chains| chains.size() <= view.checkpoint().size);
    if let Some(chains) = chains.filter(covered) {
        to.put(CHAINS, &chains)?;
    }
    to.swap(CHECKPOINT, before.as_deref(), view.note().as_bytes())?;
    Ok(())
}

/// Leaves and packs.
fn records(view: &View, to: &mut dyn Objects, mut tell: impl FnMut(u64, u64)) -> Result<(), LogError> {
    let (objects, size) = (view.objects(), view.checkpoint().size);
    let (mut last, mut bundle) = (0, 0_u64);
    while bundle.saturating_mul(WIDTH) < size {
        let width = tiles::width(0, bundle, size);
        let name = tiles::entries(bundle, width);
        let entries = needed(objects, &name)?;
        let leaves = tiles::read_entries(&entries, width).ok_or_else(|| damaged(&name))?;
        for leaf in leaves {
            let batch = Batch::parse(leaf).map_err(|_| damaged(&name))?;
            if batch.pack > last {
                last = batch.pack;
                let pack = tiles::pack(last);
                to.create(&pack, &needed(objects, &pack)?)?;
            }
        }
        to.put(&name, &entries)?;
        bundle = bundle.saturating_add(1);
        tell(bundle.saturating_mul(WIDTH).min(size), size);
    }
    loop {
        last = last.saturating_add(1);
        let pack = tiles::pack(last);
        match objects.get(&pack)? {
            Some(content) => to.create(&pack, &content)?,
            None => return Ok(()),
        }
    }
}

/// The tiles of every level.
fn hashes(view: &View, to: &mut dyn Objects) -> Result<(), LogError> {
    let size = view.checkpoint().size;
    for level in 0.. {
        for index in 0.. {
            let width = tiles::width(level, index, size);
            if width == 0 {
                break;
            }
            let name = tiles::tile(level, index, width);
            to.put(&name, &needed(view.objects(), &name)?)?;
        }
        if tiles::width(level, 0, size) == 0 {
            break;
        }
    }
    Ok(())
}

fn needed(objects: &dyn Objects, name: &str) -> Result<Vec<u8>, LogError> {
    tiles::get(objects, name)?.ok_or_else(|| damaged(name))
}

fn damaged(name: &str) -> LogError {
    LogError::Damaged(format!("`{name}` is missing or damaged"))
}
