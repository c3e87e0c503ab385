//! Verified proofs, so that verifying (36 to 50 µs) is done once and a hit costs about a microsecond.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;

const WAYS: usize = 4;

/// When a proof holds, in Unix seconds: `not_before <= now < not_after`. Asked at each hit (R19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

impl Window {
    pub(crate) fn holds(&self, now: u64) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// A bounded, set-associative cache: SHA-256 over a prefix that is random in each process picks a bucket of four, so
/// nobody can aim at a bucket, and a lookup, an insertion and an eviction each look at four entries. Each bucket has
/// its own lock. The proof itself is not kept, only its digest.
pub(crate) struct ProofCache<V> {
    prefix: [u8; 32],
    buckets: Box<[Mutex<Bucket<V>>]>,
}

struct Bucket<V> {
    ways: [Option<Entry<V>>; WAYS],
    next: usize,
}

struct Entry<V> {
    key: ProofKey,
    window: Window,
    value: V,
}

/// The digest that stands for a proof.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProofKey([u8; 32]);

impl<V: Clone> ProofCache<V> {
    /// Room for about `capacity` proofs (rounded up to a power of two).
    ///
    /// # Errors
    ///
    /// The random source failed (R24: fatal for whoever starts this).
    pub(crate) fn new(capacity: usize) -> Result<Self, RandomFailed> {
        let mut prefix = [0; 32];
        rand::fill(&mut prefix).map_err(|_| RandomFailed)?;
        let buckets = capacity.div_ceil(WAYS).next_power_of_two();
        Ok(Self {
            prefix,
            buckets: (0..buckets).map(|_| Mutex::new(Bucket::empty())).collect(),
        })
    }

    /// The key of a proof made of `parts`, each prefixed by its length.
    pub(crate) fn key<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> ProofKey {
        let mut context = Context::new(&SHA256);
        context.update(&self.prefix);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        ProofKey(key)
    }

    /// The value for `key` if its window holds `now` and `current` says that nothing it rests on has changed. A
    /// value that fails either is forgotten.
    pub(crate) fn get(&self, key: &ProofKey, now: u64, current: impl FnOnce(&V) -> bool) -> Option<V> {
        let mut bucket = self.bucket(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let way = bucket
            .ways
            .iter_mut()
            .find(|way| way.as_ref().is_some_and(|entry| entry.key == *key))?;
        let entry = way.as_ref()?;
        if entry.window.holds(now) && current(&entry.value) {
            return Some(entry.value.clone());
        }
        *way = None;
        None
    }

    /// Keeps `value`, in place of the same key's entry, an empty place, one past its end, or the oldest.
    pub(crate) fn insert(&self, key: ProofKey, window: Window, value: V, now: u64) {
        let Some(bucket) = self.bucket(&key) else { return };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let same = bucket
            .ways
            .iter()
            .position(|way| way.as_ref().is_some_and(|entry| entry.key == key));
        let free = || {
            bucket
                .ways
                .iter()
                .position(|way| way.as_ref().is_none_or(|entry| entry.window.not_after <= now))
        };
        let place = same.or_else(free).unwrap_or_else(|| bucket.next & (WAYS - 1));
        bucket.next = place.wrapping_add(1);
        if let Some(way) = bucket.ways.get_mut(place) {
            *way = Some(Entry { key, window, value });
        }
    }

    fn bucket(&self, key: &ProofKey) -> Option<&Mutex<Bucket<V>>> {
        let [a, b, c, d, ..] = key.0;
        let number = u32::from_be_bytes([a, b, c, d]) as usize;
        self.buckets.get(number & self.buckets.len().saturating_sub(1))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets
            .iter()
            .map(|bucket| bucket.lock().unwrap().ways.iter().flatten().count())
            .sum()
    }
}

impl<V> Bucket<V> {
    fn empty() -> Self {
        Self {
            ways: [const { None }; WAYS],
            next: 0,
        }
    }
}

impl<V> fmt::Debug for ProofCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofCache")
            .field("buckets", &self.buckets.len())
            .finish_non_exhaustive()
    }
}

/// The kernel gave no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the random source failed")]
pub(crate) struct RandomFailed;

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        not_before: 10,
        not_after: 20,
    };

    fn key(cache: &ProofCache<u32>, name: &str) -> ProofKey {
        cache.key([name.as_bytes()])
    }

    // R19
    #[test]
    fn the_window_is_asked_at_each_hit() {
        let cache = ProofCache::new(64).unwrap();
        let a = key(&cache, "a");
        for (now, hit) in [(9, None), (10, Some(7)), (19, Some(7)), (20, None)] {
            cache.insert(a, WINDOW, 7, 10);
            assert_eq!(cache.get(&a, now, |_| true), hit, "{now}");
        }
        assert_eq!(cache.get(&a, 15, |_| true), None, "an entry past its end is forgotten");
    }

    #[test]
    fn a_value_that_is_no_longer_current_is_forgotten() {
        let cache = ProofCache::new(64).unwrap();
        let a = key(&cache, "a");
        cache.insert(a, WINDOW, 7, 10);
        assert_eq!(cache.get(&a, 15, |_| false), None);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn it_stays_bounded_and_keeps_the_newest() {
        let cache = ProofCache::new(64).unwrap();
        for number in 0..10_000_u32 {
            let key = key(&cache, &number.to_string());
            cache.insert(key, WINDOW, number, 10);
            assert_eq!(cache.get(&key, 15, |_| true), Some(number));
        }
        assert!(cache.len() <= 64);
    }

    #[test]
    fn parts_cannot_be_shifted_and_processes_differ() {
        let cache = ProofCache::<u32>::new(4).unwrap();
        assert!(cache.key([&b"ab"[..], b"c"]) != cache.key([&b"a"[..], b"bc"]));
        assert!(cache.key([&b"a"[..]]) != ProofCache::<u32>::new(4).unwrap().key([&b"a"[..]]));
    }
}
