//! The right edge of the tree in tiles: all that is needed to append a leaf and to know the root.

use std::collections::BTreeMap;

use super::LogError;
use super::objects::Objects;
use super::tiles::{self, WIDTH, fold};
use crate::record::Hash;
use crate::tree::{empty_root, leaf_hash, node_hash};

/// The tiles and the bundle that are not full yet.
#[derive(Debug, Default)]
pub(super) struct RightEdge {
    size: u64,
    /// Of each level the hashes of its last tile: fewer than 256.
    levels: Vec<Vec<Hash>>,
    bundle: Vec<u8>,
}

impl RightEdge {
    /// Of a log of `size` leaves.
    pub(super) fn read(objects: &dyn Objects, size: u64) -> Result<RightEdge, LogError> {
        let mut levels = Vec::new();
        let mut hashes = size;
        while hashes > 0 {
            let (index, width) = (hashes / WIDTH, hashes % WIDTH);
            let level = u32::try_from(levels.len()).unwrap_or(u32::MAX);
            let read = if width == 0 {
                Vec::new()
            } else {
                let name = tiles::tile(level, index, width);
                let tile = tiles::get(objects, &name)?.and_then(|tile| tiles::read_tile(&tile, width));
                tile.ok_or_else(|| LogError::Damaged(format!("`{name}` is missing or damaged")))?
            };
            levels.push(read);
            hashes = index;
        }
        let width = size % WIDTH;
        let mut bundle = Vec::new();
        if width > 0 {
            let name = tiles::entries(size / WIDTH, width);
            bundle = tiles::get(objects, &name)?.unwrap_or_default();
            let leaves = tiles::read_entries(&bundle, width).map(|leaves| tiles::hashes(&leaves));
            if leaves.as_deref() != levels.first().map(Vec::as_slice) {
                return Err(LogError::Damaged(format!("`{name}` is missing or damaged")));
            }
        }
        Ok(RightEdge { size, levels, bundle })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; what is full with it goes to `full`, by its name.
    pub(super) fn push(&mut self, leaf: &[u8], full: &mut BTreeMap<String, Vec<u8>>) {
        tiles::push_entry(&mut self.bundle, leaf);
        let mut index = self.size / WIDTH;
        self.size = self.size.saturating_add(1);
        if self.size.is_multiple_of(WIDTH) {
            full.insert(tiles::entries(index, WIDTH), std::mem::take(&mut self.bundle));
        }
        let (mut hash, mut level) = (leaf_hash(leaf), 0);
        loop {
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let Some(tile) = self.levels.get_mut(level) else { return };
            tile.push(hash);
            if tile.len() < 256 {
                return;
            }
            hash = fold(tile);
            let name = tiles::tile(u32::try_from(level).unwrap_or(u32::MAX), index, WIDTH);
            full.insert(name, std::mem::take(tile).concat());
            (index, level) = (index / WIDTH, level.saturating_add(1));
        }
    }

    /// The tiles that are not full, by their names.
    pub(super) fn partials(&self, out: &mut BTreeMap<String, Vec<u8>>) {
        let mut hashes = self.size;
        for (level, tile) in (0..).zip(&self.levels) {
            let (index, width) = (hashes / WIDTH, hashes % WIDTH);
            if width > 0 {
                out.insert(tiles::tile(level, index, width), tile.concat());
            }
            hashes = index;
        }
        let width = self.size % WIDTH;
        if width > 0 {
            out.insert(tiles::entries(self.size / WIDTH, width), self.bundle.clone());
        }
    }

    /// The root of the whole tree: complete subtrees, the smallest and last first.
    pub(super) fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        for tile in &self.levels {
            let mut rest = tile.as_slice();
            while !rest.is_empty() {
                let last = 1_usize.checked_shl(rest.len().trailing_zeros()).unwrap_or(1);
                let (before, subtree) = rest.split_at(rest.len().saturating_sub(last));
                let hash = fold(subtree);
                root = Some(root.map_or(hash, |right| node_hash(&hash, &right)));
                rest = before;
            }
        }
        root.unwrap_or_else(empty_root)
    }
}
