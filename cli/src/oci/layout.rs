//! A directory that is an OCI image layout (image specification 1.1): `oci-layout`, `index.json`, `blobs/sha256/HEX`.
//!
//! Files are put in place whole. Of two pushes at once into one directory one waits for the other where they would write
//! the same index.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use signing::digest::Digest;
use signing::encoding::hex;

use super::manifest::{Descriptor, MANIFEST, MOST_MANIFEST, sha256};
use super::{Name, Store};
use crate::failure::{Context, Failure};

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image layout that is there.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Makes an empty one where nothing is, or an empty directory.
    pub fn create(dir: &Path) -> Result<(), Failure> {
        let named = || format!("`{}`", dir.display());
        fs::create_dir_all(dir).context(named)?;
        if dir.join(MARKER).exists() {
            return Ok(());
        }
        if fs::read_dir(dir).context(named)?.next().is_some() {
            return Err(Failure::new(format!(
                "{} holds something else; name an empty directory or a new one",
                named()
            )));
        }
        replace(
            &dir.join(INDEX),
            &serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": []}))?,
        )?;
        // Last: what has it is whole.
        replace(&dir.join(MARKER), VERSION.as_bytes())
    }

    /// One that is there.
    pub fn open(dir: &Path) -> Result<Layout, Failure> {
        let marker = dir.join(MARKER);
        let content = read(&marker, 4096)?;
        let content = content.ok_or_else(|| {
            Failure::new(format!(
                "`{}` is no OCI image layout; a registry is written oci://HOST/REPOSITORY",
                dir.display()
            ))
        })?;
        let version: Value = serde_json::from_slice(&content).context(|| format!("`{}`", marker.display()))?;
        if version.get("imageLayoutVersion").and_then(Value::as_str) != Some("1.0.0") {
            return Err(Failure::new(format!(
                "`{}` says another version than 1.0.0",
                marker.display()
            )));
        }
        Ok(Layout { dir: dir.to_owned() })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(hex(digest.as_bytes()))
    }

    /// The index, with whatever others put into it.
    fn index(&self) -> Result<Value, Failure> {
        let path = self.dir.join(INDEX);
        let content = read(&path, MOST_MANIFEST)?.unwrap_or_default();
        serde_json::from_slice(&content).context(|| format!("`{}`", path.display()))
    }

    /// The digest that a tag names.
    fn tagged(&self, tag: &str) -> Result<Option<Digest>, Failure> {
        let index = self.index()?;
        let found = entries(&index).iter().find(|entry| ref_name(entry) == Some(tag));
        let Some(found) = found else { return Ok(None) };
        let descriptor: Descriptor = serde_json::from_value(found.clone()).context(|| format!("`{INDEX}`"))?;
        descriptor.digest().map(Some)
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
        let content = read(&self.blob_path(&digest), MOST_MANIFEST)?;
        // A registry cannot name by tag what it has another digest of; a directory that somebody changed can.
        match content {
            Some(content) if sha256(&content) != digest => Err(Failure::new(format!(
                "`{}` is not what its name says",
                self.blob_path(&digest).display()
            ))),
            content => Ok(content),
        }
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        let digest = descriptor.digest()?;
        let content = read(&self.blob_path(&digest), usize::try_from(descriptor.size)?)?;
        content.ok_or_else(|| Failure::new(format!("the blob {digest} is not in `{}`", self.dir.display())))
    }

    fn put_blob(&mut self, content: &[u8]) -> Result<(), Failure> {
        let path = self.blob_path(&sha256(content));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).context(|| format!("`{}`", parent.display()))?;
        }
        replace(&path, content)
    }

    fn put_manifest(&mut self, tag: Option<&str>, content: &[u8]) -> Result<(), Failure> {
        self.put_blob(content)?;
        let marker = self.dir.join(MARKER);
        let lock = File::open(&marker).context(|| format!("`{}`", marker.display()))?;
        lock.lock().context(|| format!("`{}`", marker.display()))?;
        let mut index = self.index()?;
        let descriptor = Descriptor::of(MANIFEST, content);
        enter(&mut index, &descriptor, tag)?;
        replace(&self.dir.join(INDEX), &serde_json::to_vec(&index)?)
    }
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

/// A regular file's content, if there is one; refused if it has more than `most` bytes.
fn read(path: &Path, most: usize) -> Result<Option<Vec<u8>>, Failure> {
    let named = || format!("`{}`", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(named),
    };
    if !file.metadata().context(named)?.is_file() {
        return Err(Failure::new(format!("{} is no file", named())));
    }
    let mut content = Vec::new();
    let bound = u64::try_from(most)?.saturating_add(1);
    file.take(bound).read_to_end(&mut content).context(named)?;
    if content.len() > most {
        return Err(Failure::new(format!("{} has more than {most} bytes", named())));
    }
    Ok(Some(content))
}

/// Puts a file in place: after a crash either what was there is there, or all of the new one.
fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        io::Write::write_all(&mut file, content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.context(|| format!("`{}`", path.display()))
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

    #[test]
    fn a_directory_with_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes"), "mine").unwrap();
        let refused = Layout::create(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("holds something else"), "{refused}");
        let refused = Layout::open(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("no OCI image layout"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_somebody_changed_or_made_larger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Layout::create(dir.path()).unwrap();
        let mut layout = Layout::open(dir.path()).unwrap();
        layout.put_manifest(Some("1.0"), b"{}").unwrap();
        let path = layout.blob_path(&sha256(b"{}"));
        fs::write(&path, "{ }").unwrap();
        let tag = Name::Tag("1.0".to_owned());
        let refused = layout.manifest(&tag).unwrap_err().to_string();
        assert!(refused.contains("not what its name says"), "{refused}");
        fs::write(&path, vec![b' '; MOST_MANIFEST.saturating_add(1)]).unwrap();
        let refused = layout.manifest(&tag).unwrap_err().to_string();
        assert!(refused.contains("more than 4194304 bytes"), "{refused}");
        let refused = layout.blob(&Descriptor::of(MANIFEST, b"{}")).unwrap_err().to_string();
        assert!(refused.contains("more than 2 bytes"), "{refused}");
    }
}
