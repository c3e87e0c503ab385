//! `signet plugin pull` and `signet plugin verify`: a component from a registry or a directory, if it is signed.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use signing::key::PublicKey;

use super::component;
use crate::failure::{Context, Failure};
use crate::oci::{self, Pulled, Reference, RegistryArgs};
use crate::output;

/// Fetch a component, if it is what its digests say and signed by the key.
///
/// Prints the reference that pins it. A tag can be moved: to an older artifact that the same key signed, too. Where that
/// matters, name the digest.
#[derive(Debug, Args)]
pub struct Pull {
    /// Where from: oci://HOST/REPOSITORY or DIRECTORY, with :TAG or @sha256:DIGEST.
    from: Reference,
    /// The public key (PEM) that must have signed it: `signet keys public-key` prints it.
    #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
    key: Option<PathBuf>,
    /// Take it without a signature: whoever may write to the registry decides what it is, unless the digest is named.
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// Where to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Check that an artifact is whole, a component, and signed by a key.
#[derive(Debug, Args)]
pub struct Verify {
    /// Which: oci://HOST/REPOSITORY or DIRECTORY, with :TAG or @sha256:DIGEST.
    artifact: Reference,
    /// The public key (PEM) that must have signed it: `signet keys public-key` prints it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Pull {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let pulled = match &self.key {
            Some(key) => signed(&self.registry, &self.from, key)?,
            None => fetch(&self.registry, &self.from, None)?,
        };
        std::fs::write(&self.out, &pulled.wasm).context(|| format!("`{}`", self.out.display()))?;
        report(&self.from, &pulled, self.json)
    }
}

impl Verify {
    /// Runs the command. What is not signed is a failure.
    pub fn run(self) -> Result<(), Failure> {
        let pulled = signed(&self.registry, &self.artifact, &self.key)?;
        report(&self.artifact, &pulled, self.json)
    }
}

/// Fetches a component by its reference; with a key, only what that signed.
pub fn fetch(registry: &RegistryArgs, from: &Reference, key: Option<&PublicKey>) -> Result<Pulled, Failure> {
    let name = from.name();
    let name =
        name.ok_or_else(|| Failure::new(format!("`{from}` names no artifact there; add :TAG or @sha256:DIGEST")))?;
    let pulled = oci::pull(registry.open(from)?.as_mut(), &name, key).context(|| format!("`{from}`"))?;
    if component::shape(&pulled.wasm).kind != "component" {
        return Err(Failure::new(format!("`{from}`: what it holds is no component")));
    }
    Ok(pulled)
}

/// Fetches what the key in a PEM file signed.
pub fn signed(registry: &RegistryArgs, from: &Reference, key: &Path) -> Result<Pulled, Failure> {
    let named = || format!("`{}`", key.display());
    let key = oci::read_key(&std::fs::read_to_string(key).context(named)?).context(named)?;
    fetch(registry, from, Some(&key))
}

fn report(from: &Reference, pulled: &Pulled, as_json: bool) -> Result<(), Failure> {
    let pinned = from.pinned(pulled.digest.clone());
    if as_json {
        let identity = pulled
            .verified
            .as_ref()
            .map(|verified| Value::from(verified.identity()));
        return output::json(&json!({
            "reference": pinned.to_string(), "digest": pulled.digest.to_string(),
            "sha256": component::digest(&pulled.wasm), "bytes": pulled.wasm.len(),
            "signed": pulled.verified.is_some(), "signed_as": identity,
        }));
    }
    output::line(&pinned.to_string())
}
