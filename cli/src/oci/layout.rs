//! A directory that is an OCI image layout (image specification 1.1): `oci-layout`, `index.json`, `blobs/sha256/HEX`.
//!
//! Paths in it come from digests that were read, never from its files' text, and links in it are refused: nothing is
//! read or written elsewhere. Files are put in place whole. Of two pushes at once one waits for the other where they
//! would write the same index.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use signing::digest::Digest;
use signing::encoding::hex;

use super::manifest::{Descriptor, MANIFEST, MOST_MANIFEST, sha256};
use super::{Name, Store, read_file};
use crate::failure::{Context, Failure};

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Bytes of [`MARKER`].
const MOST_MARKER: usize = 4096;

/// An image layout that is there.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Makes an empty one where nothing is, or an empty directory. What it would be in must be there: a registry whose
    /// `oci://` was forgotten is no directory to be made.
    pub fn create(dir: &Path) -> Result<(), Failure> {
        let named = || format!("`{}`", dir.display());
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = "is in no directory that is there; a registry is written oci://HOST/REPOSITORY";
                return Err(Failure::new(format!("{} {text}", named())));
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error).context(named),
            _ => {}
        }
        let layout = Layout { dir: dir.to_owned() };
        if layout.read(MARKER, MOST_MARKER)?.is_some() {
            return Ok(());
        }
        if fs::read_dir(dir).context(named)?.next().is_some() {
            return Err(Failure::new(format!(
                "{} holds something else; name an empty directory or a new one",
                named()
            )));
        }
        layout.replace(MARKER, VERSION.as_bytes())
    }

    /// One that is there.
    pub fn open(dir: &Path) -> Result<Layout, Failure> {
        let layout = Layout { dir: dir.to_owned() };
        let marker = layout.read(MARKER, MOST_MARKER)?;
        let marker = marker.ok_or_else(|| {
            Failure::new(format!(
                "`{}` is no OCI image layout; a registry is written oci://HOST/REPOSITORY",
                dir.display()
            ))
        })?;
        let named = || format!("`{}`", dir.join(MARKER).display());
        let version: Value = serde_json::from_slice(&marker).context(named)?;
        match version.get("imageLayoutVersion").and_then(Value::as_str) {
            Some("1.0.0") => Ok(layout),
            _ => Err(Failure::new(format!("{} says another version than 1.0.0", named()))),
        }
    }

    /// The index, with whatever others put into it; an empty one before the first manifest.
    fn index(&self) -> Result<Value, Failure> {
        match self.read(INDEX, MOST_MANIFEST)? {
            Some(content) => {
                serde_json::from_slice(&content).context(|| format!("`{}`", self.dir.join(INDEX).display()))
            }
            None => Ok(json!({"schemaVersion": 2, "manifests": []})),
        }
    }

    /// The digest that a tag names.
    fn tagged(&self, tag: &str) -> Result<Option<Digest>, Failure> {
        let index = self.index()?;
        let found = entries(&index).iter().find(|entry| ref_name(entry) == Some(tag));
        let Some(found) = found else { return Ok(None) };
        let descriptor: Descriptor = serde_json::from_value(found.clone()).context(|| format!("`{INDEX}`"))?;
        descriptor.digest().map(Some).context(|| format!("`{INDEX}`"))
    }

    /// The path of a file, none of whose parts below the directory is a link.
    fn path(&self, relative: &str) -> Result<PathBuf, Failure> {
        let mut path = self.dir.clone();
        for part in relative.split('/') {
            path.push(part);
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
                return Err(Failure::new(format!(
                    "`{}` is a link; put the file itself into the directory",
                    path.display()
                )));
            }
        }
        Ok(path)
    }

    fn read(&self, relative: &str, most: usize) -> Result<Option<Vec<u8>>, Failure> {
        read_file(&self.path(relative)?, most)
    }

    /// Puts a file in place: after a crash either what was there is there, or all of the new one.
    fn replace(&self, relative: &str, content: &[u8]) -> Result<(), Failure> {
        let path = self.path(relative)?;
        let temporary = self.path(&format!("{relative}.{}.new", std::process::id()))?;
        let write = || -> io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            // What is there is of a process that had this number and was killed.
            let _ = fs::remove_file(&temporary);
            let mut file = File::create_new(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.context(|| format!("`{}`", path.display()))
    }
}

impl Store for Layout {
    fn manifest(&mut self, name: &Name) -> Result<Option<Vec<u8>>, Failure> {
        let digest = match name {
            Name::Digest(digest) => digest.clone(),
            Name::Tag(tag) => match self.tagged(tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let content = self.read(&blob_path(&digest), MOST_MANIFEST)?;
        // A registry cannot name by tag what it has another digest of; a directory that somebody changed can.
        match content {
            Some(content) if sha256(&content) != digest => Err(Failure::new(format!(
                "`{}` is not what its name says",
                self.dir.join(blob_path(&digest)).display()
            ))),
            content => Ok(content),
        }
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        let digest = descriptor.digest()?;
        let content = self.read(&blob_path(&digest), usize::try_from(descriptor.size)?)?;
        content.ok_or_else(|| Failure::new(format!("the blob {digest} is not in `{}`", self.dir.display())))
    }

    fn put_blob(&mut self, content: &[u8]) -> Result<(), Failure> {
        self.replace(&blob_path(&sha256(content)), content)
    }

    fn put_manifest(&mut self, tag: Option<&str>, content: &[u8]) -> Result<(), Failure> {
        self.put_blob(content)?;
        let named = || format!("`{}`", self.dir.display());
        let lock = File::open(&self.dir).context(named)?;
        lock.lock().context(named)?;
        let mut index = self.index()?;
        let descriptor = Descriptor::of(MANIFEST, content);
        enter(&mut index, &descriptor, tag)?;
        self.replace(INDEX, &serde_json::to_vec(&index)?)
    }
}

/// Below the layout's directory.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", hex(digest.as_bytes()))
}

/// Enters a manifest into an index: under its tag, which names it alone from then on, or under none, unless it is there.
fn enter(index: &mut Value, descriptor: &Descriptor, tag: Option<&str>) -> Result<(), Failure> {
    let manifests = index.get_mut("manifests").and_then(Value::as_array_mut);
    let manifests = manifests.ok_or_else(|| Failure::new(format!("`{INDEX}` has no list of manifests")))?;
    let is_it = |entry: &Value| entry.get("digest").and_then(Value::as_str) == Some(descriptor.digest.as_str());
    let mut entry = descriptor.clone();
    match tag {
        None if manifests.iter().any(is_it) => return Ok(()),
        None => {}
        Some(tag) => {
            manifests.retain(|entry| ref_name(entry) != Some(tag) && !(is_it(entry) && ref_name(entry).is_none()));
            entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        }
    }
    manifests.push(serde_json::to_value(entry)?);
    Ok(())
}

fn entries(index: &Value) -> &[Value] {
    let list = index.get("manifests").and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_one_manifest_and_the_one_before_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("artifacts");
        Layout::create(&root).unwrap();
        Layout::create(&root).unwrap();
        let mut layout = Layout::open(&root).unwrap();
        let tag = Name::Tag("1.0".to_owned());
        assert_eq!(layout.manifest(&tag).unwrap(), None);
        layout.put_manifest(None, b"{}").unwrap();
        layout.put_manifest(Some("1.0"), b"{}").unwrap();
        layout.put_manifest(Some("1.0"), b"{ }").unwrap();
        layout.put_manifest(Some("1.1"), b"{ }").unwrap();
        layout.put_manifest(None, b"{ }").unwrap();
        assert_eq!(layout.manifest(&tag).unwrap().unwrap(), b"{ }");
        assert_eq!(layout.manifest(&Name::Digest(sha256(b"{}"))).unwrap().unwrap(), b"{}");
        let index = layout.index().unwrap();
        let names: Vec<_> = entries(&index).iter().map(ref_name).collect();
        assert_eq!(names, [Some("1.0"), Some("1.1")]);
        let files = fs::read_dir(root.join("blobs/sha256")).unwrap().count();
        assert_eq!(files, 2, "nothing is left of writing");
    }

    fn tagged(dir: &Path) -> (Layout, PathBuf) {
        Layout::create(dir).unwrap();
        let mut layout = Layout::open(dir).unwrap();
        layout.put_manifest(Some("1.0"), b"{}").unwrap();
        (layout, dir.join(blob_path(&sha256(b"{}"))))
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, Failure>, expected: &str) {
        let why = result.unwrap_err().to_string();
        assert!(why.contains(expected), "{why}");
    }

    fn tag() -> Name {
        Name::Tag("1.0".to_owned())
    }

    #[test]
    fn a_directory_with_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes"), "mine").unwrap();
        refused(Layout::create(dir.path()), "holds something else");
        refused(Layout::open(dir.path()), "no OCI image layout");
        refused(
            Layout::create(&dir.path().join("ghcr.io/acme/rule")),
            "oci://HOST/REPOSITORY",
        );
        refused(Layout::create(&dir.path().join("notes")), "notes");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join(MARKER), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        refused(Layout::open(dir.path()), "another version than 1.0.0");
    }

    #[test]
    fn a_file_that_somebody_changed_or_made_larger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut layout, path) = tagged(dir.path());
        fs::write(&path, "{ }").unwrap();
        refused(layout.manifest(&tag()), "not what its name says");
        fs::write(&path, vec![b' '; MOST_MANIFEST.saturating_add(1)]).unwrap();
        refused(layout.manifest(&tag()), "more than 4194304 bytes");
        refused(layout.blob(&Descriptor::of(MANIFEST, b"{}")), "more than 2 bytes");
        fs::remove_file(&path).unwrap();
        refused(layout.blob(&Descriptor::of(MANIFEST, b"{}")), "is not in");
        fs::create_dir(&path).unwrap();
        refused(layout.manifest(&tag()), "is no file");
    }

    #[test]
    fn nothing_is_read_or_written_elsewhere() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (dir.path().join("artifacts"), dir.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("secret"), "{}").unwrap();
        let (mut layout, path) = tagged(&root);
        let index = fs::read_to_string(root.join(INDEX)).unwrap();
        let digest = sha256(b"{}").to_string();
        for trick in [
            "sha256:../../../elsewhere/secret",
            "../../elsewhere/secret",
            "sha512:00",
        ] {
            fs::write(root.join(INDEX), index.replace(&digest, trick)).unwrap();
            refused(layout.manifest(&tag()), "is no SHA-256 digest");
        }
        fs::write(root.join(INDEX), &index).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(elsewhere.join("secret"), &path).unwrap();
        refused(layout.manifest(&tag()), "is a link");
        fs::remove_dir_all(root.join("blobs")).unwrap();
        symlink(&elsewhere, root.join("blobs")).unwrap();
        refused(layout.manifest(&tag()), "is a link");
        refused(layout.put_blob(b"new"), "is a link");
        fs::remove_file(root.join(INDEX)).unwrap();
        symlink(elsewhere.join("secret"), root.join(INDEX)).unwrap();
        refused(layout.manifest(&tag()), "is a link");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(elsewhere.join("secret")).unwrap(), "{}");
    }
}
