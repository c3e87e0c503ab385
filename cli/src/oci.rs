//! Plugins as OCI artifacts: pushed to and pulled from a registry, or a directory that is an OCI image layout.
//!
//! An artifact is what the CNCF's Wasm OCI Artifact Layout says; its signatures are kept beside it as cosign keeps
//! them, so that both are read by tools that know nothing of Signet. Nothing that a store answers is believed: sizes
//! bound what is read, digests say what it is, and a signature says whose it is before the component is fetched.

mod challenge;
mod credentials;
mod layout;
mod manifest;
mod origin;
mod reference;
mod registry;
mod session;
mod signature;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use signing::digest::Digest;
use signing::key::PublicKey;

pub use reference::{Name, Place, Reference};
pub use signature::{Signer, Verified, key_of, read_key, signs_with};

use self::layout::Layout;
use self::manifest::{Descriptor, Manifest, sha256};
use self::registry::Registry;
use self::session::Access;
use crate::failure::{Context, Failure};

/// Keeps manifests and blobs.
///
/// What it answers is what somebody stored: the caller checks it. What a `put_…` answered `Ok` for can be read by the
/// next call. Putting the same thing twice changes nothing.
pub trait Store {
    /// The manifest that has this name, [`manifest::MOST_MANIFEST`] bytes at most; `None` if there is none.
    fn manifest(&mut self, name: &Name) -> Result<Option<Vec<u8>>, Failure>;
    /// A blob; what is read of it is bounded by `descriptor.size`, or by what an error may take.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure>;
    /// Keeps a blob under its digest.
    fn put_blob(&mut self, content: &[u8]) -> Result<(), Failure>;
    /// Keeps a manifest, whose blobs are there already, under its digest and the tag.
    fn put_manifest(&mut self, tag: Option<&str>, content: &[u8]) -> Result<(), Failure>;
}

/// How to reach a registry.
#[derive(Debug, Clone, Args)]
pub struct RegistryArgs {
    /// Speak http to a registry that is not on this machine: whoever is on the way sees the credentials.
    #[arg(long)]
    plain_http: bool,
    /// CA certificates (PEM) to trust for the registry, instead of the system's.
    #[arg(long, value_name = "FILE", env = "SIGNET_REGISTRY_CA_FILE")]
    registry_ca_file: Option<PathBuf>,
}

impl RegistryArgs {
    /// The store that a reference names, to read from it.
    pub fn open(&self, reference: &Reference) -> Result<Box<dyn Store>, Failure> {
        self.store(reference, Access::Pull)
    }

    /// The store that a reference names, to write to it: a directory is made where there is none.
    pub fn open_to_write(&self, reference: &Reference) -> Result<Box<dyn Store>, Failure> {
        if let Place::Layout(dir) = &reference.place {
            Layout::create(dir)?;
        }
        self.store(reference, Access::PullAndPush)
    }

    fn store(&self, reference: &Reference, access: Access) -> Result<Box<dyn Store>, Failure> {
        Ok(match &reference.place {
            Place::Layout(dir) => Box::new(Layout::open(dir)?),
            Place::Registry { host, repository } => {
                let ca_file = self.registry_ca_file.as_deref();
                Box::new(Registry::new(host, repository, access, self.plain_http, ca_file)?)
            }
        })
    }
}

/// A component, whose it is, and the digest of its manifest.
#[derive(Debug)]
pub struct Pulled {
    /// The component's bytes, as the manifest's layer says.
    pub wasm: Vec<u8>,
    /// Of the manifest: what a signature covers and a reference pins.
    pub digest: Digest,
    /// The signature that was checked; `None` if none was asked for.
    pub verified: Option<Verified>,
}

/// Fetches a plugin. With a key it must be signed by it, which is checked before the component is fetched.
///
/// # Errors
/// There is none of that name, it is no plugin, it is not what its digests say, or not signed by that key.
pub fn pull(store: &mut dyn Store, name: &Name, key: Option<&PublicKey>) -> Result<Pulled, Failure> {
    let content = store.manifest(name)?;
    let content = content.ok_or_else(|| {
        Failure::new(format!(
            "there is no `{name}`; `signet plugin push` prints what it stores"
        ))
    })?;
    let digest = sha256(&content);
    if let Name::Digest(wanted) = name
        && *wanted != digest
    {
        return Err(Failure::new(format!(
            "the manifest that came has the digest {digest}, not {wanted}"
        )));
    }
    let manifest = Manifest::read(&content).context(|| format!("the manifest {digest}"))?;
    let layer = manifest.wasm().context(|| format!("the manifest {digest}"))?;
    let verified = key.map(|key| signature::verify(store, key, &digest)).transpose()?;
    let wasm = fetch(store, layer, policies::bundle::MAX_PLUGIN_BYTES)?;
    Ok(Pulled { wasm, digest, verified })
}

/// Signs a component's manifest and stores both; answers the manifest's digest.
///
/// The signature goes first: a key that cannot sign leaves nothing behind, and who pulls by the tag finds the signature. A
/// push that ends early leaves what nothing names, and may be done again.
///
/// # Errors
/// The signer refuses, or what it made is no signature of its key, or the store refuses.
pub fn push(
    store: &mut dyn Store,
    artifact: &Artifact<'_>,
    tag: Option<&str>,
    signer: &mut Signer<'_>,
) -> Result<Digest, Failure> {
    let (config, content) = manifest::of_plugin(artifact)?;
    let digest = sha256(&content);
    signature::attach(store, &digest, artifact.identity, signer)?;
    store.put_blob(&config)?;
    store.put_blob(artifact.wasm)?;
    store.put_manifest(tag, &content)?;
    Ok(digest)
}

/// What is pushed.
#[derive(Debug)]
pub struct Artifact<'a> {
    /// The component.
    pub wasm: &'a [u8],
    /// The file's name, which tools that pull give it.
    pub title: &'a str,
    /// What the component imports, for people who look at the artifact.
    pub imports: &'a [String],
    /// What it exports.
    pub exports: &'a [String],
    /// What the signature says that it is: `HOST/REPOSITORY`.
    pub identity: &'a str,
}

/// A blob that is what its descriptor says.
fn fetch(store: &mut dyn Store, descriptor: &Descriptor, most: usize) -> Result<Vec<u8>, Failure> {
    let wanted = descriptor.digest()?;
    if descriptor.size > u64::try_from(most)? {
        let size = descriptor.size;
        return Err(Failure::new(format!(
            "the blob {wanted} has {size} bytes, at most {most} are taken"
        )));
    }
    let content = store.blob(descriptor)?;
    let size = u64::try_from(content.len())?;
    if size != descriptor.size || sha256(&content) != wanted {
        return Err(Failure::new(format!(
            "what came in place of the blob {wanted} of {} bytes is another: {} of {size} bytes",
            descriptor.size,
            sha256(&content)
        )));
    }
    Ok(content)
}

/// A regular file's content, if there is one.
///
/// # Errors
/// It cannot be read, is no regular file, or has more than `most` bytes.
pub fn read_file(path: &Path, most: usize) -> Result<Option<Vec<u8>>, Failure> {
    let named = || format!("`{}`", path.display());
    // Before it is opened: that of a pipe would wait for somebody who writes.
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(named),
        Ok(found) if !found.is_file() => return Err(Failure::new(format!("{} is no file", named()))),
        Ok(_) => {}
    }
    let mut content = Vec::new();
    let bound = u64::try_from(most)?.saturating_add(1);
    let file = File::open(path).context(named)?;
    file.take(bound).read_to_end(&mut content).context(named)?;
    if content.len() > most {
        return Err(Failure::new(format!("{} has more than {most} bytes", named())));
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests;
