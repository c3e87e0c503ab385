//! What was opened or parsed for a row, kept while the row is as it was: bounded, and wiped when it goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries that a cache keeps.
pub(super) const CAPACITY: usize = 1024;

/// One entry a key and version, valid for one revision of the key's row: whoever looks up has read the row for this
/// request, so what was deleted, disabled or replaced is never served.
pub(super) struct Cache<T> {
    entries: Mutex<Entries<T>>,
    capacity: usize,
}

struct Entries<T> {
    map: HashMap<(String, u32), Entry<T>>,
    /// Counts look-ups.
    clock: u64,
}

struct Entry<T> {
    revision: u64,
    used: u64,
    value: Arc<T>,
}

impl<T> Cache<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let entries = Entries {
            map: HashMap::new(),
            clock: 0,
        };
        Self {
            entries: Mutex::new(entries),
            capacity,
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
            entries.map.remove(&id);
            return None;
        }
        entry.used = now;
        Some(entry.value.clone())
    }

    /// Keeps a value, in the place of the one that was used least recently where there is no room.
    pub(super) fn put(&self, path: &str, version: u32, revision: u64, value: Arc<T>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (path.to_owned(), version);
        if entries.map.len() >= self.capacity && !entries.map.contains_key(&id) {
            let oldest = entries.map.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                entries.map.remove(&oldest);
            }
        }
        let used = entries.clock;
        entries.map.insert(id, Entry { revision, used, value });
    }

    /// Drops everything of a path.
    pub(super) fn forget(&self, path: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.map.retain(|(kept, _), _| kept != path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_as_long_as_its_revision() {
        let cache = Cache::new(2);
        cache.put("a", 1, 7, Arc::new("old"));
        assert_eq!(cache.get("a", 1, 7).as_deref(), Some(&"old"));
        assert!(cache.get("a", 2, 7).is_none(), "another version");
        assert!(cache.get("a", 1, 8).is_none(), "the row was replaced");
        assert!(cache.get("a", 1, 7).is_none(), "and what it held is gone");
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let cache = Cache::new(2);
        cache.put("a", 1, 1, Arc::new(1));
        cache.put("b", 1, 1, Arc::new(2));
        assert!(cache.get("a", 1, 1).is_some());
        cache.put("c", 1, 1, Arc::new(3));
        let kept = ["a", "b", "c"].map(|path| cache.get(path, 1, 1).is_some());
        assert_eq!(kept, [true, false, true]);
        cache.forget("a");
        assert!(cache.get("a", 1, 1).is_none());
    }
}
