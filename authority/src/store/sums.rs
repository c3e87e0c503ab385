//! What shows that no single row was put back, taken away or added beneath the authority (R29): for each kind of row (the first
//! part of its path) the sum of a secret mark of every row, kept with each commit, in the same transaction, sealed for the
//! store's revision.
//!
//! A mark is HMAC-SHA-256 over the row's path, revision and bytes, and a sum is the XOR of marks: a commit takes the old row's
//! mark out and puts the new one's in. That is safe because nobody without the key sees a mark or a sum: who saw sums of
//! many states could put together a set of older rows that leaves them as they are. So the sums are encrypted, not only
//! authenticated. A sealed one of an earlier revision does not open at this one, and sums that do not open are never
//! written anew by a commit: what was wrong once stays wrong until an operator has decided.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::{StoreError, Transaction};

/// First byte of sealed sums, raised when the form changes.
const FORM: u8 = 1;
const SUM_LEN: usize = 32;
const MARKS: &[u8] = b"signet row marks v1";
const SEALING: &[u8] = b"signet row sums v1";

/// What marks are made and sums are sealed with: derived from the authority's key-encryption key, so only who may use the HSM
/// has it.
pub struct SumKey {
    marks: hmac::Key,
    sealing: LessSafeKey,
}

impl SumKey {
    /// Derived from the authority's key-encryption key; none where the library takes no key of that length.
    pub fn derive(secret: &Secret) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let derived = |label: &[u8]| Zeroizing::new(hmac::sign(&root, label).as_ref().to_vec());
        let sealing = UnboundKey::new(&AES_256_GCM, &derived(SEALING)).ok()?;
        Some(Self {
            marks: hmac::Key::new(hmac::HMAC_SHA256, &derived(MARKS)),
            sealing: LessSafeKey::new(sealing),
        })
    }

    /// Form ‖ nonce ‖ ciphertext ‖ tag, for this revision of the store alone.
    pub(super) fn seal(&self, revision: u64, sums: &Sums) -> Result<Vec<u8>, StoreError> {
        let failed = || super::unwritten("the sums over its rows cannot be sealed");
        let nonce: [u8; NONCE_LEN] = signing::key::random_bytes().map_err(|_| failed())?;
        let mut body = postcard::to_stdvec(sums).map_err(|_| failed())?;
        let associated = Aad::from(revision.to_be_bytes());
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated, &mut body)
            .map_err(|_| failed())?;
        Ok([&[FORM][..], &nonce, &body].concat())
    }

    /// The sums, if they were sealed for this revision.
    pub(super) fn open(&self, revision: u64, sealed: &[u8]) -> Option<Sums> {
        let (nonce, body) = sealed.strip_prefix(&[FORM])?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self
            .sealing
            .open_in_place(nonce, Aad::from(revision.to_be_bytes()), &mut body);
        postcard::from_bytes(plain.ok()?).ok()
    }

    fn mark(&self, path: &str, revision: u64, value: &[u8]) -> [u8; SUM_LEN] {
        let mut context = hmac::Context::with_key(&self.marks);
        context.update(&u64::try_from(path.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(path.as_bytes());
        context.update(&revision.to_be_bytes());
        context.update(value);
        let mut mark = [0; SUM_LEN];
        for (to, from) in mark.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        mark
    }
}

impl fmt::Debug for SumKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// For each kind of row the XOR of its rows' marks; a kind without rows has none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums(BTreeMap<String, [u8; SUM_LEN]>);

impl Sums {
    /// Puts a row in that is not in, or takes one out that is.
    pub(super) fn toggle(&mut self, key: &SumKey, path: &str, (revision, value): (u64, &[u8])) {
        let kind = path.split('/').next().unwrap_or_default();
        let mark = key.mark(path, revision, value);
        let sum = match self.0.get_mut(kind) {
            Some(sum) => sum,
            None => self.0.entry(kind.to_owned()).or_default(),
        };
        sum.iter_mut().zip(mark).for_each(|(sum, mark)| *sum ^= mark);
        if *sum == [0; SUM_LEN] {
            self.0.remove(kind);
        }
    }

    /// The kinds of row of which these sums and the others differ, in order.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let kinds: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let differ = |kind: &&&String| self.0.get(**kind) != other.0.get(**kind);
        kinds.iter().filter(differ).map(|kind| (*kind).clone()).collect()
    }
}

/// Who knows sums knows which rows would leave them as they are.
impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a transaction keeps sums with.
#[derive(Clone, Debug)]
pub struct Summing {
    /// The authority's.
    pub key: Arc<SumKey>,
    /// The sums of the rows before this transaction, and the revision at which they were added up: where none were kept, or
    /// an operator takes the rows as they are. `Conflict` when the store has another revision.
    pub begin: Option<(u64, Sums)>,
}

impl Summing {
    /// Refuses sums to begin with that are of another revision than the store's.
    pub(super) fn demand(&self, revision: u64) -> Result<(), StoreError> {
        if self.begin.is_none() || self.begins_at(revision) {
            return Ok(());
        }
        let path = "(the sums over all rows)".to_owned();
        Err(StoreError::Conflict { path })
    }

    /// Whether it has sums to begin with, of this revision.
    pub(super) fn begins_at(&self, revision: u64) -> bool {
        self.begin.as_ref().is_some_and(|(at, _)| *at == revision)
    }

    /// The sums of the rows before this transaction, of a store that is at `revision` and has them sealed; none where they were never
    /// kept or do not open, and stay as they are.
    pub(super) fn before(&self, revision: u64, sealed: &[u8]) -> Option<Sums> {
        match &self.begin {
            Some((at, sums)) if *at == revision => Some(sums.clone()),
            _ => self.key.open(revision, sealed),
        }
    }
}

/// All rows of a [`super::Snapshot`] added up, and what the commits have kept.
pub struct Summed {
    /// The rows that are there.
    pub found: Sums,
    /// What the commits say.
    pub kept: Kept,
}

/// The sums that the commits kept.
pub enum Kept {
    /// None yet.
    Never,
    /// What is there was not sealed by this authority at this revision.
    Unreadable,
    /// These.
    Sums(Sums),
}

impl Kept {
    pub(super) fn of(key: &SumKey, revision: u64, sealed: &[u8]) -> Self {
        match key.open(revision, sealed) {
            Some(sums) => Self::Sums(sums),
            None if sealed.is_empty() => Self::Never,
            None => Self::Unreadable,
        }
    }
}

impl Transaction {
    /// Keeps the sums over the rows right.
    #[must_use]
    pub fn summed(mut self, summing: Option<Summing>) -> Self {
        self.summing = summing;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SumKey {
        SumKey::derive(&Secret::new(vec![7; 32])).unwrap()
    }

    // R29
    #[test]
    fn a_sum_says_which_kind_of_row_differs() {
        let key = key();
        let of = |rows: &[(&str, u64, &[u8])]| {
            let mut sums = Sums::default();
            rows.iter()
                .for_each(|(path, revision, value)| sums.toggle(&key, path, (*revision, value)));
            sums
        };
        let now = of(&[("keys/a", 3, b"new"), ("keys/b", 2, b"b"), ("halts/x", 4, b"")]);
        assert!(
            now.differing(&of(&[("halts/x", 4, b""), ("keys/b", 2, b"b"), ("keys/a", 3, b"new")]))
                .is_empty()
        );
        let older = of(&[("keys/a", 1, b"old"), ("keys/b", 2, b"b"), ("halts/x", 4, b"")]);
        assert_eq!(now.differing(&older), ["keys"]);
        let relabelled = of(&[("keys/a", 3, b"old"), ("keys/b", 2, b"b"), ("halts/x", 4, b"")]);
        assert_eq!(now.differing(&relabelled), ["keys"], "old bytes under the new revision");
        let taken = of(&[("keys/a", 3, b"new"), ("keys/b", 2, b"b")]);
        assert_eq!(now.differing(&taken), ["halts"]);
        let moved = of(&[("keys/a", 3, b"newk"), ("eys/b", 2, b"b"), ("halts/x", 4, b"")]);
        assert_eq!(now.differing(&moved), ["eys", "keys"]);
        let mut undone = now.clone();
        undone.toggle(&key, "halts/x", (4, b""));
        assert!(undone == taken, "a kind without rows leaves nothing behind");
    }

    // R29
    #[test]
    fn sealed_sums_open_for_their_revision_and_key_and_nothing_else() {
        let key = key();
        let mut sums = Sums::default();
        sums.toggle(&key, "keys/a", (3, b"new"));
        let sealed = key.seal(9, &sums).unwrap();
        assert!(key.open(9, &sealed) == Some(sums));
        assert!(key.open(8, &sealed).is_none() && key.open(10, &sealed).is_none());
        let other = SumKey::derive(&Secret::new(vec![8; 32])).unwrap();
        assert!(other.open(9, &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(key.open(9, &bad).is_none(), "byte {at}");
            assert!(key.open(9, &sealed[..at]).is_none(), "cut to {at}");
        }
        assert!(matches!(Kept::of(&key, 9, &[]), Kept::Never));
        assert!(matches!(Kept::of(&key, 8, &sealed), Kept::Unreadable));
    }
}
