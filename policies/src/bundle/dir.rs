//! Reading a bundle from a folder.

use std::fs;
use std::path::Path;

use super::{BundleError, File, MAX_FILES, MAX_PLUGIN_BYTES, is_known};

/// Reads every file of the folder `root`, in the order of their paths.
///
/// What a person keeps beside a bundle is left out: files and folders whose name begins with a dot, `*.md` in any
/// folder, and the folder `cases/` with the policies' tests. Links are refused: a bundle is self-contained. A file that no bundle
/// has is there without its content: it is a fault of the bundle, and what is in it is nobody's business.
///
/// # Errors
/// No `bundle.toml`, a folder or file that cannot be read, a link, too many files, or a file of more than [`MAX_PLUGIN_BYTES`].
pub fn read(root: &Path) -> Result<Vec<File>, BundleError> {
    if root.is_dir() && !root.join("bundle.toml").exists() {
        return Err(BundleError::in_file(
            "bundle.toml",
            format!("there is none in `{}`", root.display()),
            "is this the bundle's folder? it has one, which may be empty",
        ));
    }
    files(root)
}

/// As [`read`], of a folder whose files are put over a bundle's.
///
/// # Errors
/// As those of [`read`], but for the first.
pub(crate) fn files(root: &Path) -> Result<Vec<File>, BundleError> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) -> Result<(), BundleError> {
    let entries = fs::read_dir(folder).map_err(|e| unreadable(&folder.display().to_string(), &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| unreadable(&folder.display().to_string(), &e))?;
        let name = entry.file_name();
        let path = format!("{prefix}{}", name.to_string_lossy());
        if path == "cases" || name.as_encoded_bytes().starts_with(b".") || path.ends_with(".md") {
            continue;
        }
        let kind = entry.file_type().map_err(|e| unreadable(&path, &e))?;
        if kind.is_symlink() {
            return Err(BundleError::in_file(
                &path,
                "the file is a link",
                "put the file itself into the bundle",
            ));
        }
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
            continue;
        }
        let size = entry.metadata().map_err(|e| unreadable(&path, &e))?.len();
        if files.len() >= MAX_FILES || size > u64::try_from(MAX_PLUGIN_BYTES).unwrap_or(u64::MAX) {
            let message = format!("more than {MAX_FILES} files, or a file of more than {MAX_PLUGIN_BYTES} bytes");
            return Err(BundleError::in_file(&path, message, "is this the bundle's folder?"));
        }
        let content = match is_known(&path) {
            true => fs::read(entry.path()).map_err(|e| unreadable(&path, &e))?,
            false => Vec::new(),
        };
        files.push((path, content));
    }
    Ok(())
}

fn unreadable(path: &str, error: &std::io::Error) -> BundleError {
    BundleError::in_file(
        path,
        format!("cannot be read: {error}"),
        "check the path and its permissions",
    )
}
