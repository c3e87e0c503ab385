//! Which unwrapped keys a session holds: bounded, the least recently used leaves first.

use std::collections::HashMap;

use cryptoki::object::ObjectHandle;

/// The digest of a wrapped blob.
pub(super) type BlobDigest = [u8; 32];

/// A bounded map from a blob's digest to the session object that it was unwrapped into.
pub(super) struct Cache {
    capacity: usize,
    clock: u64,
    entries: HashMap<BlobDigest, Entry>,
}

struct Entry {
    handle: ObjectHandle,
    used: u64,
}

impl Cache {
    /// Holds `capacity` keys, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            clock: 0,
            entries: HashMap::new(),
        }
    }

    /// The key's handle, which becomes the most recently used.
    pub(super) fn get(&mut self, blob: &BlobDigest) -> Option<ObjectHandle> {
        self.clock = self.clock.saturating_add(1);
        let entry = self.entries.get_mut(blob)?;
        entry.used = self.clock;
        Some(entry.handle)
    }

    /// Adds a key and answers what the caller must destroy in the token: the one it displaced.
    #[must_use]
    pub(super) fn insert(&mut self, blob: BlobDigest, handle: ObjectHandle) -> Option<ObjectHandle> {
        self.clock = self.clock.saturating_add(1);
        let displaced = if self.entries.len() >= self.capacity && !self.entries.contains_key(&blob) {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(blob, _)| *blob);
            oldest
                .and_then(|blob| self.entries.remove(&blob))
                .map(|entry| entry.handle)
        } else {
            None
        };
        let replaced = self
            .entries
            .insert(
                blob,
                Entry {
                    handle,
                    used: self.clock,
                },
            )
            .map(|entry| entry.handle);
        displaced.or(replaced)
    }
}
