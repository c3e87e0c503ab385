//! The software HSM's file: JSON with the cost and salt of argon2id (RFC 9106) and the keys sealed under what it derives.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use signing::key::Secret;

use super::super::protocol::Sensitive;
use super::super::{HsmError, HsmErrorKind, RootRole};
use super::aead;

const VERSION: u32 = 1;
const KEY_LEN: usize = 32;
const SALT_LEN: usize = 16;
/// Longest file read, in bytes.
const MAX_FILE_LEN: u64 = 64 * 1024;

/// What argon2id costs whoever guesses the passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Memory in KiB: 8 to 1 GiB.
    pub memory_kib: u32,
    /// Passes: 1 to 100.
    pub passes: u32,
}

impl Default for Cost {
    /// 64 MiB and three passes (RFC 9106 section 4, second recommendation, with one lane).
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    signet_software_hsm: u32,
    warning: String,
    argon2id: Cost,
    salt: String,
    sealed: String,
}

/// The keys of a software HSM: 32-byte masters, roots as PKCS#8.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) sealing: Sensitive,
    pub(super) wrapping: Sensitive,
    roots: Vec<(RootRole, Sensitive)>,
}

impl Keys {
    /// Two masters and no root.
    pub(super) fn generate() -> Result<Self, HsmError> {
        Ok(Self {
            sealing: random(KEY_LEN)?,
            wrapping: random(KEY_LEN)?,
            roots: Vec::new(),
        })
    }

    /// The root's private key.
    pub(super) fn root(&self, role: RootRole) -> Option<&Sensitive> {
        self.roots.iter().find(|(known, _)| *known == role).map(|(_, key)| key)
    }

    pub(super) fn add_root(&mut self, role: RootRole, pkcs8: Sensitive) {
        self.roots.push((role, pkcs8));
    }

    fn encode(&self) -> Result<Sensitive, HsmError> {
        postcard::to_stdvec(self)
            .map(Sensitive)
            .map_err(|_| HsmErrorKind::Token.because("cannot encode the keys"))
    }

    fn decode(encoded: &Secret) -> Result<Self, HsmError> {
        postcard::from_bytes(encoded.expose())
            .map_err(|_| HsmErrorKind::Tampered.because("the software hsm's keys are of another version of signet"))
    }
}

/// Where the keys are kept, and under what.
pub(super) struct KeyFile {
    path: PathBuf,
    cost: Cost,
    salt: Vec<u8>,
    key: Sensitive,
    /// Held while open: two processes would overwrite each other's roots.
    _lock: File,
}

impl KeyFile {
    /// Reads the file, or prepares a new one with `cost`.
    pub(super) fn open(path: &Path, passphrase: &Secret, cost: Cost) -> Result<(Self, Option<Keys>), HsmError> {
        let lock = lock(path)?;
        let Some(envelope) = read(path)? else {
            let salt = random(SALT_LEN)?.0.clone();
            let key = derive(passphrase, &salt, cost)?;
            return Ok((
                Self {
                    path: path.to_owned(),
                    cost,
                    salt,
                    key,
                    _lock: lock,
                },
                None,
            ));
        };
        let damaged = || {
            HsmErrorKind::Misconfigured.because(format!("`{}` is not a software hsm of this version", path.display()))
        };
        if envelope.signet_software_hsm != VERSION {
            return Err(damaged());
        }
        let salt = STANDARD.decode(&envelope.salt).map_err(|_| damaged())?;
        let sealed = STANDARD.decode(&envelope.sealed).map_err(|_| damaged())?;
        let key = derive(passphrase, &salt, envelope.argon2id)?;
        let keys = aead::open(&key.0, &sealed, &associated(envelope.argon2id, &salt)).map_err(|_| {
            HsmErrorKind::Tampered.because(format!(
                "the passphrase is not that of `{}`, or the file is damaged",
                path.display()
            ))
        })?;
        let file = Self {
            path: path.to_owned(),
            cost: envelope.argon2id,
            salt,
            key,
            _lock: lock,
        };
        Ok((file, Some(Keys::decode(&keys)?)))
    }

    /// Replaces the file: written aside, flushed, renamed, so that a crash leaves the old one or the new one.
    pub(super) fn write(&self, keys: &Keys) -> Result<(), HsmError> {
        let sealed = aead::seal(&self.key.0, &keys.encode()?.0, &associated(self.cost, &self.salt))?;
        let envelope = Envelope {
            signet_software_hsm: VERSION,
            warning: "roots of a signet authority: anyone with this file and its passphrase can sign as it".to_owned(),
            argon2id: self.cost,
            salt: STANDARD.encode(&self.salt),
            sealed: STANDARD.encode(sealed),
        };
        let text = serde_json::to_vec_pretty(&envelope).map_err(|error| self.failed(error.into()))?;
        replace(&self.path, &text).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> HsmError {
        HsmErrorKind::Unavailable.because(format!("cannot write `{}`: {error}", self.path.display()))
    }
}

fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn lock(path: &Path) -> Result<File, HsmError> {
    let locked = path.with_extension("lock");
    let failed =
        |error: &dyn std::fmt::Display| HsmErrorKind::Misconfigured.because(format!("`{}`: {error}", locked.display()));
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&locked)
        .map_err(|error| failed(&error))?;
    file.try_lock()
        .map_err(|_| failed(&"another process uses this software hsm; stop it first"))?;
    Ok(file)
}

fn read(path: &Path) -> Result<Option<Envelope>, HsmError> {
    let misconfigured =
        |error: &dyn std::fmt::Display| HsmErrorKind::Misconfigured.because(format!("`{}`: {error}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(misconfigured(&error)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE_LEN)
        .read_to_end(&mut text)
        .map_err(|error| misconfigured(&error))?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| misconfigured(&error))
}

fn derive(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<Sensitive, HsmError> {
    if !(8..=1024 * 1024).contains(&cost.memory_kib) || !(1..=100).contains(&cost.passes) || salt.len() < 8 {
        return Err(HsmErrorKind::Misconfigured.because("the cost of argon2id is out of bounds"));
    }
    let mut key = Sensitive(vec![0; KEY_LEN]);
    Params::new(cost.memory_kib, cost.passes, 1, Some(KEY_LEN))
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                passphrase.expose(),
                salt,
                &mut key.0,
            )
        })
        .map_err(|error| HsmErrorKind::Misconfigured.because(format!("argon2id: {error}")))?;
    Ok(key)
}

fn random(len: usize) -> Result<Sensitive, HsmError> {
    let mut bytes = Sensitive(vec![0; len]);
    aws_lc_rs::rand::fill(&mut bytes.0)
        .map_err(|_| HsmErrorKind::Token.because("this machine's random source failed"))?;
    Ok(bytes)
}

fn associated(cost: Cost, salt: &[u8]) -> Vec<u8> {
    let mut associated = b"signet software hsm v1".to_vec();
    associated.extend_from_slice(&cost.memory_kib.to_be_bytes());
    associated.extend_from_slice(&cost.passes.to_be_bytes());
    associated.extend_from_slice(salt);
    associated
}
