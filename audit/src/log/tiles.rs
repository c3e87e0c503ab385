//! The names and contents of tiles (c2sp.org/tlog-tiles): 256 hashes a tile, 256 leaves an entry bundle.

use std::io;

use super::objects::Objects;
use crate::record::Hash;
use crate::tree::{Nodes, leaf_hash, node_hash};

/// Hashes of a full tile, leaves of a full bundle.
pub(super) const WIDTH: u64 = 256;
const ENTRIES: &str = "tile/entries/";
/// Of the tree that a tile holds.
const HEIGHT: u32 = 8;

/// The name of a tile of hashes, `width` of 1 to 256 wide.
pub(super) fn tile(level: u32, index: u64, width: u64) -> String {
    format!("tile/{level}/{}{}", number(index), partial(width))
}

/// The name of a bundle of leaves.
pub(super) fn entries(index: u64, width: u64) -> String {
    format!("{ENTRIES}{}{}", number(index), partial(width))
}

/// The name of a pack.
pub(super) fn pack(index: u64) -> String {
    format!("pack/{}", number(index))
}

fn partial(width: u64) -> String {
    match width {
        WIDTH => String::new(),
        width => format!(".p/{width}"),
    }
}

/// Three digits an element, all but the last behind an `x`.
fn number(index: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    text
}

/// How wide tile `index` of `level` is in a tree of `size` leaves; 0 where there is none.
pub(super) fn width(level: u32, index: u64, size: u64) -> u64 {
    let hashes = size.checked_shr(level.saturating_mul(HEIGHT)).unwrap_or(0);
    hashes.saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH)
}

/// Appends a leaf to a bundle: its length (u16, big endian) and its bytes.
pub(super) fn push_entry(bundle: &mut Vec<u8>, leaf: &[u8]) {
    let length = u16::try_from(leaf.len()).unwrap_or(u16::MAX);
    bundle.extend(length.to_be_bytes());
    bundle.extend_from_slice(leaf);
}

/// The leaves of a bundle that has exactly `width`; none otherwise.
pub(super) fn read_entries(bundle: &[u8], width: u64) -> Option<Vec<&[u8]>> {
    let (mut rest, mut leaves) = (bundle, Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (leaf, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        leaves.push(leaf);
        rest = behind;
    }
    let whole = rest.is_empty() && u64::try_from(leaves.len()) == Ok(width);
    whole.then_some(leaves)
}

/// The hashes of a tile that has exactly `width`; none otherwise.
pub(super) fn read_tile(tile: &[u8], width: u64) -> Option<Vec<Hash>> {
    let (hashes, rest) = tile.as_chunks::<32>();
    let whole = rest.is_empty() && u64::try_from(hashes.len()) == Ok(width);
    whole.then(|| hashes.to_vec())
}

/// A tile or a bundle by its name. Of one that was not full when a checkpoint was signed, and is since, the full one has the
/// beginning.
pub(super) fn get(objects: &dyn Objects, name: &str) -> io::Result<Option<Vec<u8>>> {
    let found = objects.get(name)?;
    let Some((full, width)) = name.split_once(".p/").filter(|_| found.is_none()) else {
        return Ok(found);
    };
    let Some(mut full) = objects.get(full)? else {
        return Ok(None);
    };
    let width: usize = width.parse().unwrap_or(0);
    let length = match name.starts_with(ENTRIES) {
        true => read_entries(&full, WIDTH).map_or(0, |leaves| {
            leaves.iter().take(width).map(|leaf| leaf.len().saturating_add(2)).sum()
        }),
        false => width.saturating_mul(32),
    };
    full.truncate(length);
    Ok(Some(full))
}

/// The hashes of leaves.
pub(super) fn hashes(leaves: &[&[u8]]) -> Vec<Hash> {
    leaves.iter().map(|leaf| leaf_hash(leaf)).collect()
}

/// The nodes of a tree of `size` leaves, read from its tiles.
pub(super) struct Stored<'o> {
    objects: &'o dyn Objects,
    size: u64,
    last: Option<(String, Vec<Hash>)>,
}

impl<'o> Stored<'o> {
    pub(super) fn new(objects: &'o dyn Objects, size: u64) -> Stored<'o> {
        Stored {
            objects,
            size,
            last: None,
        }
    }

    fn tile(&mut self, level: u32, index: u64) -> io::Result<&[Hash]> {
        let width = width(level, index, self.size);
        let name = tile(level, index, width);
        let hit = self.last.as_ref().is_some_and(|(last, _)| *last == name);
        if !hit {
            let content = get(self.objects, &name)?;
            let hashes = content.and_then(|content| read_tile(&content, width));
            let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("`{name}` is missing or damaged"));
            let hashes = hashes.ok_or_else(missing)?;
            self.last = Some((name, hashes));
        }
        Ok(self
            .last
            .as_ref()
            .map(|(_, hashes)| hashes.as_slice())
            .unwrap_or_default())
    }
}

impl Nodes for Stored<'_> {
    type Error = io::Error;

    fn node(&mut self, level: u32, index: u64) -> io::Result<Hash> {
        let (tile_level, inside) = (level / HEIGHT, level % HEIGHT);
        // The hashes of the tile that are under this node.
        let count = 1_u64.checked_shl(inside).unwrap_or(u64::MAX);
        let first = index.saturating_mul(count);
        let hashes = self.tile(tile_level, first / WIDTH)?;
        let at = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let end = at.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        let under = hashes.get(at..end);
        let under =
            under.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a tile is too short for its tree"))?;
        Ok(fold(under))
    }
}

/// The root over a power of two of hashes.
pub(super) fn fold(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::default(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            node_hash(&fold(left), &fold(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(tile(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile(1, 0, 5), "tile/1/000.p/5");
        assert_eq!(entries(5, 112), "tile/entries/005.p/112");
        assert_eq!(pack(999), "pack/999");
    }

    #[test]
    fn widths_follow_from_the_size() {
        // The specification's example: a tree of 70,000 leaves.
        assert_eq!(width(0, 273, 70_000), 112);
        assert_eq!((width(1, 0, 70_000), width(1, 1, 70_000)), (256, 17));
        assert_eq!((width(2, 0, 70_000), width(3, 0, 70_000)), (1, 0));
        assert_eq!(width(9, 0, u64::MAX), 0);
    }

    #[test]
    fn bundles_and_tiles_of_another_width_are_refused() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"one");
        push_entry(&mut bundle, b"");
        assert_eq!(read_entries(&bundle, 2).unwrap(), [b"one".as_slice(), b""]);
        assert!(read_entries(&bundle, 1).is_none() && read_entries(&bundle[..4], 1).is_none());
        assert!(read_tile(&[0; 64], 2).is_some() && read_tile(&[0; 63], 1).is_none());
    }
}
