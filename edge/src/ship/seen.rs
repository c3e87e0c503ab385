//! What an edge has seen of the authorities' audit logs: the newest checkpoint of each, in the state directory.
//!
//! The one of the log that is written now is a file that operators copy. When the log is another one (another authority has its
//! own; one that lost its directory began another) it is put aside under the log's origin, and comes back with it.

use std::io;
use std::path::{Path, PathBuf};

use signing::digest::sha256;
use signing::encoding::hex;

/// The file with the newest checkpoint of the log that is written now, in the state directory.
pub const CHECKPOINT: &str = "audit-checkpoint";
/// The directory of the other logs' newest checkpoints.
const OTHERS: &str = "audit-checkpoints";
/// Logs that are remembered, besides the one that is written: of more the ones seen longest ago are forgotten.
const MOST: usize = 64;

/// The checkpoints below a state directory.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    newest: PathBuf,
    others: PathBuf,
}

impl Seen {
    pub(super) fn new(state: &Path) -> Seen {
        Seen {
            newest: state.join(CHECKPOINT),
            others: state.join(OTHERS),
        }
    }

    /// Of the log that was written last; empty where none was.
    fn newest(&self) -> String {
        std::fs::read_to_string(&self.newest).unwrap_or_default()
    }

    /// The one that was seen last of the log that this checkpoint is of.
    pub(super) fn of_log(&self, note: &str) -> Option<String> {
        let newest = self.newest();
        if origin(&newest) == origin(note) {
            return Some(newest).filter(|newest| !newest.is_empty());
        }
        std::fs::read_to_string(self.aside(note)).ok()
    }

    /// Keeps a checkpoint, whole or not at all; another log's is put aside before.
    pub(super) fn keep(&self, note: &str) -> io::Result<()> {
        let before = self.newest();
        if !before.is_empty() && origin(&before) != origin(note) {
            let (now, before) = (origin(note), origin(&before));
            // Of several authorities each has a log of its own, and an edge comes back to them.
            match self.aside(note).exists() {
                true => tracing::debug!(before, now, "the authority's audit log is one that was seen before"),
                false => tracing::warn!(
                    before,
                    now,
                    "the authority's audit log is one that was not seen before: another authority's, or a new one; the old \
                     one's checkpoint is kept"
                ),
            }
            std::fs::create_dir_all(&self.others)?;
            self.forget()?;
            std::fs::rename(&self.newest, self.aside(before))?;
        }
        let new = self.newest.with_extension("new");
        let written = std::fs::File::create(&new)?;
        io::Write::write_all(&mut &written, note.as_bytes())?;
        written.sync_data()?;
        std::fs::rename(new, &self.newest)
    }

    fn aside(&self, note: &str) -> PathBuf {
        self.others.join(hex(&sha256(origin(note).as_bytes())))
    }

    /// Makes room for one more.
    fn forget(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&self.others)? {
            let entry = entry?;
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
        kept.sort();
        let surplus = kept.len().saturating_add(1).saturating_sub(MOST);
        kept.iter()
            .take(surplus)
            .try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

/// The log's name, a note's first line.
fn origin(note: &str) -> &str {
    note.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_has_its_own_and_the_longest_unseen_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let seen = Seen::new(directory.path());
        assert_eq!((seen.newest(), seen.of_log("a\n1\n")), (String::new(), None));
        seen.keep("a\n1\n").unwrap();
        seen.keep("a\n2\n").unwrap();
        seen.keep("b\n1\n").unwrap();
        assert_eq!(seen.newest(), "b\n1\n");
        assert_eq!(seen.of_log("a\n7\n").unwrap(), "a\n2\n");
        assert_eq!(seen.of_log("b\n7\n").unwrap(), "b\n1\n");
        // Back at the first: the second's is aside, and a newer one of the first takes the old one's place when that goes aside.
        seen.keep("a\n3\n").unwrap();
        assert_eq!(
            (seen.newest().as_str(), seen.of_log("b\n2\n").unwrap().as_str()),
            ("a\n3\n", "b\n1\n")
        );
        seen.keep("b\n4\n").unwrap();
        assert_eq!(seen.of_log("a\n1\n").unwrap(), "a\n3\n");
        for log in 0..2 * MOST {
            seen.keep(&format!("log {log}\n1\n")).unwrap();
        }
        let kept = std::fs::read_dir(directory.path().join(OTHERS)).unwrap().count();
        assert_eq!(kept, MOST);
        assert_eq!(
            seen.of_log(&format!("log {}\n9\n", 2 * MOST - 2)).unwrap(),
            format!("log {}\n1\n", 2 * MOST - 2)
        );
    }
}
