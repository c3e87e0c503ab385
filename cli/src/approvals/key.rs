//! An approver's key file: PKCS #8 in PEM, as `openssl genpkey` writes it too.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use signing::Algorithm;
use signing::certificate::{pem_decode, pem_encode};
use signing::key::{Secret, SigningKey};

use crate::failure::{Context, Failure};

const PRIVATE: &str = "PRIVATE KEY";

/// Makes a key; its private half is readable by this user only. Answers its thumbprint.
pub fn generate(path: &Path, algorithm: &str) -> Result<String, Failure> {
    let algorithm = match algorithm {
        "es256" => Algorithm::Es256,
        _ => Algorithm::EdDsa,
    };
    let key = SigningKey::generate(algorithm)?;
    let private = Secret::new(pem_encode(PRIVATE, key.export()?.expose()).into_bytes());
    write(path, 0o600, private.expose())?;
    let spki = key.public().map(|public| public.to_spki_der()).unwrap_or_default();
    write(&public_path(path), 0o644, pem_encode("PUBLIC KEY", spki).as_bytes())?;
    Ok(key.kid().to_owned())
}

/// `FILE.pub`
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Reads a private key that approves.
pub fn read(path: &Path) -> Result<SigningKey, Failure> {
    let shown = || format!("`{}`", path.display());
    let text = Secret::new(std::fs::read(path).context(shown)?);
    let text = std::str::from_utf8(text.expose()).unwrap_or_default();
    let blocks = pem_decode(PRIVATE, text).context(shown)?;
    let wrong =
        "is no approver's key; give one PEM `PRIVATE KEY`, Ed25519 or P-256, as `signet approvals keygen` makes it";
    let [der] = <[Vec<u8>; 1]>::try_from(blocks).map_err(|_| Failure::new(format!("{} {wrong}", shown())))?;
    let secret = Secret::new(der);
    SigningKey::import(Algorithm::EdDsa, &secret)
        .or_else(|_| SigningKey::import(Algorithm::Es256, &secret))
        .map_err(|_| Failure::new(format!("{} {wrong}", shown())))
}

/// A new file: what is there is never overwritten.
fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.context(|| format!("`{}`", path.display()))?;
    file.write_all(content).context(|| format!("`{}`", path.display()))?;
    file.sync_all().context(|| format!("`{}`", path.display()))
}
