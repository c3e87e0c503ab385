//! Files with a secret that somebody else wrote: a PIN, a passphrase.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// The file's bytes. Where others can read it too, the log says so: it is read all the same, as platforms hand secrets to a process in
/// files that all of a container may read.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    if is_exposed(&fs::metadata(path)?) {
        let path = path.display();
        tracing::warn!(%path, "others can read or write this secret's file: set its mode to 0600, and change what is in it if they have");
    }
    fs::read(path).map(Zeroizing::new)
}

/// A file of another owner is for this process's group: so do platforms hand a secret to a process that is not root.
fn is_exposed(file: &Metadata) -> bool {
    let is_own = file.uid() == rustix::process::geteuid().as_raw();
    let others = if is_own { 0o077 } else { 0o007 };
    file.mode() & others != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_others_can_read_or_write_is_told_and_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "1234").unwrap();
        for (mode, exposed) in [
            (0o600, false),
            (0o400, false),
            (0o640, true),
            (0o604, true),
            (0o602, true),
        ] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_exposed(&fs::metadata(file.path()).unwrap()), exposed, "{mode:o}");
            assert_eq!(*read(file.path()).unwrap(), b"1234");
        }
        assert!(read(&file.path().join("none")).is_err());
    }
}
