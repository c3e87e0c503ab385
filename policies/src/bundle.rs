//! A bundle: the declarative content of one folder, parsed and checked across its files.
//!
//! | path | holds |
//! | --- | --- |
//! | `bundle.toml` | limits, callers we trust, issuers we sign as, plugins, what is sampled of their requests, roles that tokens may assume |
//! | `profiles/NAME.toml` | one profile each: what may be signed, with which key |
//! | `policies/*.cedar` | who may |
//! | `trust/*` | JWKS and CA files that `bundle.toml` names |
//! | `plugins/*.wasm` | components that `bundle.toml` names |
//! | `plugins/*.csv` | tables that plugins look things up in |
//!
//! Every field is described in `docs/reference/bundle.md`.

mod callers;
mod check;
pub mod dir;
mod error;
mod issuers;
mod manifest;
mod plugins;
mod roles;
mod sampling;
pub mod sources;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

pub use callers::{Callers, OidcCaller, SpiffeCaller, SubjectPin, TrustedKeys};
pub use error::BundleError;
pub(crate) use error::{Document, position};
pub use issuers::Issuer;
pub use manifest::Limits;
pub(crate) use manifest::tenant;
pub use plugins::{ConfigValue, Isolation, MAX_ISOLATED, OnFailure, Plugin, PluginTable};
pub use roles::Role;
pub use sampling::{MAX_SAMPLES, SAMPLING_KEY_LEN, Sampling, key_text};

use crate::profile::{self, Profile};
pub use crate::units::Rate;

/// Most files in a bundle.
pub const MAX_FILES: usize = 4096;
/// Most bytes in one file that is not a plugin.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Most bytes in one plugin.
pub const MAX_PLUGIN_BYTES: usize = 32 << 20;
/// Most bytes in a whole bundle.
pub const MAX_BUNDLE_BYTES: usize = 256 << 20;

/// One file of a bundle: its path with `/` between the parts, and its bytes.
pub type File = (String, Vec<u8>);

/// A whole bundle that is consistent in itself. Policies are validated by [`crate::Engine::new`].
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Rates per address, caller and tenant.
    pub limits: Limits,
    /// Which callers are believed, and as whose.
    pub callers: Callers,
    /// Issuers we sign as, in the order of their names, which are unique.
    pub issuers: Vec<Issuer>,
    /// Plugins, in the order of the file; their names are unique.
    pub plugins: Vec<Plugin>,
    /// Roles, in the order of the file; their names are unique in their tenants.
    pub roles: Vec<Role>,
    /// Which requests are kept for trying new versions of plugins; none unless the bundle asks for it.
    pub sampling: Option<Arc<Sampling>>,
    /// Profiles, in the order of their names, which are unique.
    pub profiles: Vec<Arc<Profile>>,
    /// Policy files in the order of their paths.
    pub policies: Vec<PolicyFile>,
    /// SHA-256 over all files, 64 hex digits: see [`digest`].
    pub digest: String,
}

/// A Cedar file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its path, such as `policies/ci.cedar`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Bundle {
    /// Parses and checks a whole bundle.
    ///
    /// # Errors
    /// Every fault that was found, in the order of the files. Nothing of a bundle with a fault is used.
    pub fn parse(files: &[File]) -> Result<Self, Vec<BundleError>> {
        let mut errors = Vec::new();
        let by_path = index(files, &mut errors);
        let mut bundle = Self {
            digest: digest(files),
            ..Self::empty()
        };
        match by_path.get("bundle.toml") {
            Some(content) => manifest::parse(content, &by_path, &mut bundle, &mut errors),
            None => errors.push(BundleError::in_file(
                "bundle.toml",
                "the file is missing",
                "a bundle needs one, it may be empty",
            )),
        }
        for (path, content) in &by_path {
            if let Some(name) = file_name(path, "profiles/", ".toml") {
                parse_profile(path, name, content, &mut bundle, &mut errors);
            } else if path.starts_with("policies/") {
                match std::str::from_utf8(content) {
                    Ok(text) => {
                        bundle.policies.push(PolicyFile {
                            path: (*path).to_owned(),
                            text: text.to_owned(),
                        });
                    }
                    Err(_) => errors.push(BundleError::in_file(
                        path,
                        "the file is not UTF-8 text",
                        "save it as UTF-8",
                    )),
                }
            }
        }
        check::across(&bundle, &by_path, &mut errors);
        if errors.is_empty() { Ok(bundle) } else { Err(errors) }
    }

    /// A bundle of no files: no caller is believed and nothing is signed.
    pub fn empty() -> Self {
        Self {
            limits: Limits::default(),
            callers: Callers::default(),
            issuers: Vec::new(),
            plugins: Vec::new(),
            roles: Vec::new(),
            sampling: None,
            profiles: Vec::new(),
            policies: Vec::new(),
            digest: digest(&[]),
        }
    }

    /// The profile `name`.
    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// The issuer `name`.
    pub fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.name == name)
    }

    /// The role `name` of `tenant`.
    pub fn role(&self, tenant: &str, name: &str) -> Option<&Role> {
        self.roles
            .iter()
            .find(|role| role.tenant == tenant && role.name == name)
    }

    /// Components and tables among the files it was made of that no plugin names: no fault, and most likely a mistake.
    pub fn unnamed(&self, files: &[File]) -> Vec<BundleError> {
        let named = |path: &str| {
            let tables = |plugin: &Plugin| plugin.tables.values().any(|table| table.file == path);
            self.plugins.iter().any(|plugin| plugin.file == path || tables(plugin))
        };
        let unnamed = files
            .iter()
            .filter(|(path, _)| path.starts_with("plugins/") && !named(path));
        let unnamed = unnamed.map(|(path, _)| {
            BundleError::in_file(
                path,
                "no plugin of the bundle names this file",
                "name it in bundle.toml, or remove it",
            )
        });
        unnamed.collect()
    }

    /// The plugin `name`.
    pub fn plugin(&self, name: &str) -> Option<&Plugin> {
        self.plugins.iter().find(|plugin| plugin.name == name)
    }
}

/// SHA-256, as 64 hex digits, over the files in the order of their paths, each as length and path, length and content
/// (lengths as 8 bytes, big-endian). The same content in any order has the same digest.
pub fn digest(files: &[File]) -> String {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort();
    let mut message = b"signet bundle v1".to_vec();
    for (path, content) in sorted {
        for part in [path.as_bytes(), content.as_slice()] {
            message.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            message.extend_from_slice(part);
        }
    }
    signing::digest::sha256(&message)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

pub(crate) type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

fn index<'a>(files: &'a [File], errors: &mut Vec<BundleError>) -> Files<'a> {
    let mut by_path = Files::new();
    let mut total = 0usize;
    if files.len() > MAX_FILES {
        let message = format!("{} files, at most {MAX_FILES} are taken", files.len());
        errors.push(BundleError::in_file("bundle.toml", message, "split the bundle"));
        return by_path;
    }
    for (path, content) in files {
        total = total.saturating_add(content.len());
        if let Err(error) = check_file(path, content) {
            errors.push(error);
        } else if by_path.insert(path, content).is_some() {
            errors.push(BundleError::in_file(
                path,
                "the file is there twice",
                "send each path once",
            ));
        }
    }
    if total > MAX_BUNDLE_BYTES {
        let message = format!("the bundle has {total} bytes, at most {MAX_BUNDLE_BYTES} are taken");
        errors.push(BundleError::in_file("bundle.toml", message, "shrink the plugins"));
    }
    by_path
}

/// Whether a bundle has a file of this path.
fn is_known(path: &str) -> bool {
    path == "bundle.toml"
        || file_name(path, "profiles/", ".toml").is_some()
        || file_name(path, "policies/", ".cedar").is_some()
        || file_name(path, "plugins/", ".wasm").is_some()
        || file_name(path, "plugins/", ".csv").is_some()
        || file_name(path, "trust/", "").is_some()
}

fn check_file(path: &str, content: &[u8]) -> Result<(), BundleError> {
    if !is_known(path) {
        return Err(BundleError::in_file(
            path,
            "a bundle has no such file",
            "it holds bundle.toml, profiles/NAME.toml, policies/NAME.cedar, trust/NAME, plugins/NAME.wasm and plugins/NAME.csv",
        ));
    }
    let most = if path.starts_with("plugins/") {
        MAX_PLUGIN_BYTES
    } else {
        MAX_TEXT_BYTES
    };
    if content.len() > most {
        let message = format!("the file has {} bytes, at most {most} are taken", content.len());
        return Err(BundleError::in_file(path, message, "make it smaller"));
    }
    Ok(())
}

/// NAME of `FOLDER/NAME.EXTENSION`, where NAME is plain: no further folder, nothing hidden.
fn file_name<'a>(path: &'a str, folder: &str, extension: &str) -> Option<&'a str> {
    let name = path.strip_prefix(folder)?.strip_suffix(extension)?;
    let plain = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    plain.then_some(name)
}

fn parse_profile(path: &str, name: &str, content: &[u8], bundle: &mut Bundle, errors: &mut Vec<BundleError>) {
    if !crate::names::is_name(name) {
        errors.push(BundleError::in_file(
            path,
            format!("`{name}` cannot name a profile"),
            "use 1 to 63 of a-z, 0-9 and -, starting with a letter or digit",
        ));
        return;
    }
    match Document::new(path, content).and_then(|document| profile::parse::read(name, &document)) {
        Ok(profile) => bundle.profiles.push(Arc::new(profile)),
        Err(error) => errors.push(error),
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
