//! A backup key that is made and not in force yet. Where a quorum approves it, the identical request comes twice, and by hours
//! apart: all that it takes lies in the directory of the shares until then.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use authority::backup::{BackupKey, make_key};
use serde::{Deserialize, Serialize};

use crate::dev::{files, now};
use crate::failure::{Context, Failure};

const NAME: &str = "unfinished.json";

/// The body of the request. Written (mode 0600) after the shares: where it is, they were.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unfinished {
    pub(super) key: BackupKey,
    /// 64 hexadecimal digits; a secret.
    authentication: String,
}

impl Unfinished {
    /// The one in a directory, or a new one that is put there with its shares, a file each.
    pub(super) fn resume_or_make(directory: &Path, shares: u8, threshold: u8) -> Result<Self, Failure> {
        let Some(found) = Self::read(directory)? else {
            return Self::make(directory, shares, threshold);
        };
        if (found.key.shares, found.key.threshold) != (shares, threshold) {
            return Err(Failure::new(format!(
                "`{}` holds the unfinished backup key {}, of {} shares and threshold {}; give the same numbers to go on with it, \
                 or name another directory",
                directory.display(),
                found.key.id,
                found.key.shares,
                found.key.threshold
            )));
        }
        Ok(found)
    }

    /// Forgets it: its key is in force.
    pub(super) fn finish(directory: &Path) -> Result<(), Failure> {
        let path = path(directory);
        std::fs::remove_file(&path).context(|| format!("`{}`", path.display()))
    }

    fn read(directory: &Path) -> Result<Option<Self>, Failure> {
        let path = path(directory);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(|| format!("`{}`", path.display())),
        };
        let read = serde_json::from_slice(&text).context(|| format!("`{}`", path.display()));
        read.map(Some)
    }

    fn make(directory: &Path, shares: u8, threshold: u8) -> Result<Self, Failure> {
        let made = make_key(shares, threshold, now())?;
        files::private_dir(directory)?;
        for share in &made.shares {
            let name = format!("share-{}-of-{}-{}", share.index, share.shares, share.key);
            let text = format!("{}\n", share.to_text().as_str());
            files::private_file(&directory.join(name), text.as_bytes())?;
        }
        let unfinished = Self {
            authentication: signing::encoding::hex(made.authentication.expose()),
            key: made.key,
        };
        files::private_file(&path(directory), &serde_json::to_vec(&unfinished)?)?;
        Ok(unfinished)
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_same_request_is_made_again_until_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let dir = &dir.path().join("shares");
        let body = |made: &Unfinished| serde_json::to_value(made).unwrap();
        let first = Unfinished::resume_or_make(dir, 3, 2).unwrap();
        let again = Unfinished::resume_or_make(dir, 3, 2).unwrap();
        assert_eq!(body(&first), body(&again));
        for entry in std::fs::read_dir(dir).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(Unfinished::resume_or_make(dir, 5, 3).is_err(), "other numbers");
        assert!(Unfinished::resume_or_make(&dir.join("none"), 2, 3).is_err());
        assert!(!dir.join("none").exists());
        Unfinished::finish(dir).unwrap();
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 3, "the shares");
        let next = Unfinished::resume_or_make(dir, 3, 2).unwrap();
        assert_ne!(next.key.id, first.key.id);
    }
}
