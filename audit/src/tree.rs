//! Merkle trees of RFC 9162 (section 2.1): hashes, proofs and their verification. Pure: where the nodes are kept is the
//! caller's business.

use sha2::{Digest as _, Sha256};

use crate::record::Hash;

/// The hash of a leaf's bytes.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// The hash of two neighbours.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let hash = Sha256::new().chain_update([1]).chain_update(left).chain_update(right);
    hash.finalize().into()
}

/// The root of a tree without leaves.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Gives the hash of the complete subtree at `level` (0: a leaf) with this index among those of its level.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;
    /// The hash over the leaves from `index << level` to `(index + 1) << level`.
    ///
    /// # Errors
    /// Whatever keeps the node from being read.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The leaf hashes of a small tree.
impl Nodes for &[Hash] {
    type Error = Outside;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Outside> {
        if level == 0 {
            let at = usize::try_from(index).map_err(|_| Outside)?;
            return self.get(at).copied().ok_or(Outside);
        }
        let (below, left) = (level.saturating_sub(1), index.saturating_mul(2));
        Ok(node_hash(
            &self.node(below, left)?,
            &self.node(below, left.saturating_add(1))?,
        ))
    }
}

/// There is no such node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no such node")]
pub struct Outside;

/// The root over the first `size` leaves.
///
/// # Errors
/// Those of `nodes`.
pub fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Hash, N::Error> {
    match size {
        0 => Ok(empty_root()),
        size => range(nodes, 0, size),
    }
}

/// That the leaf `index` is in the tree of `size` leaves: from the leaf's neighbour to the root's child.
///
/// # Errors
/// Those of `nodes`. `index` must be less than `size`.
pub fn inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high, mut path) = (0, size, Vec::new());
    while high.saturating_sub(low) > 1 {
        let middle = low.saturating_add(split(high.saturating_sub(low)));
        if index < middle {
            path.push(range(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range(nodes, low, middle)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// That the tree of `old` leaves is the beginning of the tree of `size`.
///
/// # Errors
/// Those of `nodes`. `old` must be at most `size`.
pub fn consistency<N: Nodes>(nodes: &mut N, old: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    if old == 0 || old >= size {
        return Ok(Vec::new());
    }
    let (mut low, mut high, mut whole, mut path) = (0, size, true, Vec::new());
    loop {
        if old == high {
            if !whole {
                path.push(range(nodes, low, high)?);
            }
            path.reverse();
            return Ok(path);
        }
        let middle = low.saturating_add(split(high.saturating_sub(low)));
        if old <= middle {
            path.push(range(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range(nodes, low, middle)?);
            (low, whole) = (middle, false);
        }
    }
}

/// Whether `path` shows that `leaf` (a leaf's hash) is the leaf `index` of the tree of `size` leaves with this root.
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size.saturating_sub(1), *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether `path` shows that the tree `(size, root)` `old` is the beginning of the tree `new`.
pub fn extends(old: (u64, &Hash), new: (u64, &Hash), path: &[Hash]) -> bool {
    let ((old_size, old_root), (size, root)) = (old, new);
    match old_size {
        _ if old_size > size => return false,
        _ if old_size == size => return path.is_empty() && old_root == root,
        0 => return path.is_empty() && *old_root == empty_root(),
        _ => {}
    }
    let mut path = path.iter();
    let first = match old_size.is_power_of_two() {
        true => Some(old_root),
        false => path.next(),
    };
    let Some(first) = first else {
        return false;
    };
    let (mut at, mut last) = (old_size.saturating_sub(1), size.saturating_sub(1));
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old_hash, mut hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && hash == *root
}

/// The hash over the leaves from `low` to `high`, which is a node of some tree: at most 64 steps deep.
fn range<N: Nodes>(nodes: &mut N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let leaves = high.saturating_sub(low);
    if leaves.is_power_of_two() {
        let level = leaves.trailing_zeros();
        return nodes.node(level, low.checked_shr(level).unwrap_or(0));
    }
    let middle = low.saturating_add(split(leaves));
    Ok(node_hash(&range(nodes, low, middle)?, &range(nodes, middle, high)?))
}

/// The largest power of two below `leaves`, which is at least 2.
fn split(leaves: u64) -> u64 {
    leaves.saturating_sub(1).checked_ilog2().map_or(1, |log| 1 << log)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9162's definition, word by word: the oracle.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let k = (1..leaves.len()).filter(|k| k.is_power_of_two()).max().unwrap();
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    fn leaves(count: u8) -> Vec<Hash> {
        (0..count).map(|leaf| leaf_hash(&[leaf])).collect()
    }

    #[test]
    fn hashes_are_those_of_the_rfc() {
        let hex = |hash: Hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // The vectors of the certificate-transparency test suite.
        assert_eq!(
            hex(leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        let two = node_hash(&leaf_hash(b""), &leaf_hash(&[0]));
        assert_eq!(
            hex(two),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_nothing_else() {
        for count in 1..40_u8 {
            let leaves = leaves(count);
            let mut nodes = leaves.as_slice();
            let size = u64::from(count);
            let top = root(&mut nodes, size).unwrap();
            assert_eq!(top, mth(&leaves));
            for index in 0..size {
                let leaf = leaves[usize::try_from(index).unwrap()];
                let path = inclusion(&mut nodes, index, size).unwrap();
                assert!(includes(&top, size, index, &leaf, &path));
                assert!(!includes(&top, size, index, &[9; 32], &path));
                assert!(!includes(&top, size, (index + 1) % size, &leaf, &path) || size == 1);
                assert!(!includes(&top, size, size, &leaf, &path));
                let longer = [path.as_slice(), &[[0; 32]]].concat();
                assert!(!includes(&top, size, index, &leaf, &longer));
                if !path.is_empty() {
                    assert!(!includes(&top, size, index, &leaf, &path[1..]));
                }
            }
        }
    }

    #[test]
    fn every_small_tree_extends_the_ones_before_it_and_no_other() {
        let all = leaves(33);
        let mut nodes = all.as_slice();
        for size in 1..=33 {
            let top = root(&mut nodes, size).unwrap();
            for old in 0..=size {
                let before = root(&mut nodes, old).unwrap();
                let path = consistency(&mut nodes, old, size).unwrap();
                assert!(extends((old, &before), (size, &top), &path), "{old} of {size}");
                assert!(!extends((old, &[1; 32]), (size, &top), &path), "{old} of {size}");
                if old > 0 {
                    assert!(!extends((old, &before), (size, &[1; 32]), &path), "{old} of {size}");
                }
                let longer = [path.as_slice(), &[[0; 32]]].concat();
                assert!(!extends((old, &before), (size, &top), &longer), "{old} of {size}");
                if !path.is_empty() {
                    assert!(!extends((old, &before), (size, &top), &path[1..]), "{old} of {size}");
                }
            }
            assert!(!extends((size + 1, &top), (size, &top), &[]), "a shorter tree");
        }
    }
}
