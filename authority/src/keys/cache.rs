//! What was opened or parsed for a row, kept while the row is as it was: bounded in number and size, and wiped when it
//! goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries that a cache keeps.
pub(super) const CAPACITY: usize = 1024;
/// Bytes that the entries of a cache take together, as far as whoever puts them says.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// One entry a key and version, valid for one revision of the key's row: whoever looks up has read the row for this
/// request, so what was deleted, disabled or replaced is never served.
pub(super) struct Cache<T> {
    entries: Mutex<Entries<T>>,
    capacity: usize,
    max_bytes: usize,
}

struct Entries<T> {
    map: HashMap<(String, u32), Entry<T>>,
    /// Counts look-ups.
    clock: u64,
    /// Of all entries.
    bytes: usize,
}

struct Entry<T> {
    revision: u64,
    used: u64,
    bytes: usize,
    value: Arc<T>,
}

impl<T> Cache<T> {
    pub(super) fn new(capacity: usize, max_bytes: usize) -> Self {
        let entries = Entries {
            map: HashMap::new(),
            clock: 0,
            bytes: 0,
        };
        Self {
            entries: Mutex::new(entries),
            capacity,
            max_bytes,
        }
    }

    /// What was kept for this path and version at this revision. An entry of another revision is dropped.
    pub(super) fn get(&self, path: &str, version: u32, revision: u64) -> Option<Arc<T>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock = entries.clock.wrapping_add(1);
        let now = entries.clock;
        let id = (path.to_owned(), version);
        let entry = entries.map.get_mut(&id)?;
        if entry.revision != revision {
            entries.remove(&id);
            return None;
        }
        entry.used = now;
        Some(entry.value.clone())
    }

    /// Keeps a value of about so many bytes, in the place of those that were used least recently where there is no room.
    /// One that has no room alone is not kept.
    pub(super) fn put(&self, path: &str, version: u32, revision: u64, value: Arc<T>, bytes: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (path.to_owned(), version);
        entries.remove(&id);
        if bytes > self.max_bytes {
            return;
        }
        let room = self.max_bytes.saturating_sub(bytes);
        while entries.map.len() >= self.capacity || entries.bytes > room {
            let oldest = entries.map.iter().min_by_key(|(_, entry)| entry.used);
            match oldest.map(|(id, _)| id.clone()) {
                Some(oldest) => entries.remove(&oldest),
                None => break,
            }
        }
        let used = entries.clock;
        entries.bytes = entries.bytes.saturating_add(bytes);
        let entry = Entry {
            revision,
            used,
            bytes,
            value,
        };
        entries.map.insert(id, entry);
    }

    /// Drops everything of a path.
    pub(super) fn forget(&self, path: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = entries.map.keys().filter(|(kept, _)| kept == path).cloned().collect();
        gone.iter().for_each(|id| entries.remove(id));
    }
}

impl<T> Entries<T> {
    fn remove(&mut self, id: &(String, u32)) {
        if let Some(entry) = self.map.remove(id) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_as_long_as_its_revision() {
        let cache = Cache::new(2, 100);
        cache.put("a", 1, 7, Arc::new("old"), 1);
        assert_eq!(cache.get("a", 1, 7).as_deref(), Some(&"old"));
        assert!(cache.get("a", 2, 7).is_none(), "another version");
        assert!(cache.get("a", 1, 8).is_none(), "the row was replaced");
        assert!(cache.get("a", 1, 7).is_none(), "and what it held is gone");
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let cache = Cache::new(2, 100);
        cache.put("a", 1, 1, Arc::new(1), 1);
        cache.put("b", 1, 1, Arc::new(2), 1);
        assert!(cache.get("a", 1, 1).is_some());
        cache.put("c", 1, 1, Arc::new(3), 1);
        let kept = ["a", "b", "c"].map(|path| cache.get(path, 1, 1).is_some());
        assert_eq!(kept, [true, false, true]);
        cache.forget("a");
        assert!(cache.get("a", 1, 1).is_none());
    }

    // R37
    #[test]
    fn large_entries_make_room_by_their_size() {
        let cache = Cache::new(10, 100);
        let kept = |paths: &[&str]| paths.iter().filter(|path| cache.get(path, 1, 1).is_some()).count();
        for path in ["a", "b", "c"] {
            cache.put(path, 1, 1, Arc::new(()), 40);
        }
        assert_eq!(kept(&["a", "b", "c"]), 2);
        cache.put("d", 1, 1, Arc::new(()), 100);
        assert_eq!((kept(&["a", "b", "c"]), kept(&["d"])), (0, 1));
        cache.put("d", 1, 1, Arc::new(()), 60);
        cache.put("e", 1, 1, Arc::new(()), 40);
        assert_eq!(kept(&["d", "e"]), 2);
        cache.put("f", 1, 1, Arc::new(()), 101);
        assert_eq!(kept(&["d", "e", "f"]), 2);
        cache.forget("d");
        cache.put("g", 1, 1, Arc::new(()), 60);
        assert_eq!(kept(&["e", "g"]), 2);
    }
}
