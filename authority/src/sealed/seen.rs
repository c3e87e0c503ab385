//! What this process knows of single rows: the newest revision that it has read or written of each. A row that shows an older one
//! was put back beneath a running authority (R29), and is not used.
//!
//! Reads are linearizable, so what was known before a read began holds for it. Nothing is known of a row that was deleted: it may
//! have been deleted by another authority.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::fault::Fault;

/// Rows remembered; when there are more, all are forgotten, and what is read from then on is remembered again.
const MOST: usize = 1 << 16;

/// Path → revision.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<Box<str>, u64>>);

impl Seen {
    /// What a read that begins now must show at least; 0 where nothing is known.
    pub(super) fn least(&self, path: &str) -> u64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(path).copied().unwrap_or_default()
    }

    /// That the row was read or written at this revision.
    pub(super) fn note(&self, path: &str, revision: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get_mut(path) {
            *known = revision.max(*known);
            return;
        }
        if seen.len() >= MOST {
            seen.clear();
        }
        seen.insert(path.into(), revision);
    }

    /// Refuses a row of an older revision than was known when its read began.
    pub(super) fn demand(&self, path: &str, least: u64, revision: u64) -> Result<(), Fault> {
        if revision < least {
            let detail = format!(
                "`{path}` shows revision {revision} and had {least}: an older row was put back beneath this authority; stop it \
                 and restore a backup"
            );
            return Err(Fault::Corrupt { detail });
        }
        self.note(path, revision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R29
    #[test]
    fn a_row_never_goes_back() {
        let seen = Seen::default();
        assert_eq!(seen.least("keys/a"), 0);
        seen.demand("keys/a", 0, 5).unwrap();
        seen.note("keys/a", 3);
        assert_eq!(seen.least("keys/a"), 5, "a slower reader lowers nothing");
        // A read that began before another one was answered may show what was before.
        seen.demand("keys/a", 0, 4).unwrap();
        seen.demand("keys/a", 5, 9).unwrap();
        let refused = seen.demand("keys/a", seen.least("keys/a"), 8).unwrap_err();
        let detail = refused.detail().unwrap();
        assert!(detail.contains("`keys/a` shows revision 8 and had 9"), "{detail}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let seen = Seen::default();
        for number in 0..=MOST {
            seen.note(&number.to_string(), 7);
        }
        assert_eq!((seen.least("0"), seen.least(&MOST.to_string())), (0, 7));
        assert_eq!(seen.0.lock().unwrap().len(), 1);
    }
}
