//! Files that may be lost: what they hold can be had anew, or is missed by nobody.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The extension of a file that is being written: one that is found was left by a process that ended.
pub(crate) const UNFINISHED: &str = "new";

/// Puts a file in place whole, for this user alone, and makes its directory. Not synced: a crash may lose it. Of two that write the same
/// path at once, the caller has to keep one waiting.
pub(crate) fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let temporary = path.with_extension(UNFINISHED);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    fs::rename(&temporary, path)
}
