//! The components that a bundle names instead of holding them: fetched here, since the authority fetches nothing.

use std::path::Path;

use policies::bundle::{File, sources};

use crate::failure::{Context, Failure};
use crate::oci::{self, Reference, RegistryArgs};
use crate::plugin::fetch;

/// Adds each component that a `source` of `bundle.toml` names, checked against its digest and its key. One that the folder
/// holds as well must be the same.
///
/// # Errors
/// A source that cannot be read, a signature that is missing, or a file that differs.
pub fn add(files: &mut Vec<File>, dir: &Path, registry: &RegistryArgs) -> Result<(), Failure> {
    for source in sources::of(files)? {
        let at = || source.at.clone();
        let artifact = source.artifact.parse::<Reference>().context(at)?;
        let key = oci::read_key(&source.key).context(at)?;
        let pulled = fetch(registry, &artifact.within(dir), Some(&key)).context(at)?;
        match files.iter().find(|(path, _)| *path == source.file) {
            Some((_, content)) if *content != pulled.wasm => {
                return Err(Failure::new(format!(
                    "{}: the folder's `{:.128}` is another component than the source; take one of them away",
                    at(),
                    source.file
                )));
            }
            Some(_) => {}
            None => files.push((source.file, pulled.wasm)),
        }
    }
    files.sort();
    Ok(())
}
