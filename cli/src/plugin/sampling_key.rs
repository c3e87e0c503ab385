//! `signet plugin sampling-key`: the key that opens samples of requests. PKCS #8 in PEM (RFC 8410), as `openssl genpkey -algorithm
//! X25519` writes it too.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use node::sampling::{self, KEY_LEN};
use serde_json::json;
use signing::certificate::{pem_decode, pem_encode};
use signing::encoding::base64url;
use signing::key::Secret;

use crate::failure::{Context, Failure};
use crate::output;

const PRIVATE: &str = "PRIVATE KEY";
/// What is before the 32 bytes of an X25519 private key (RFC 8410 section 7).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];

/// Make the key that edges seal samples of requests to; its private half opens them for `signet plugin replay`.
#[derive(Debug, Args)]
pub struct SamplingKey {
    /// A new file for the private half. Whoever has it can read the samples.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl SamplingKey {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (public, private) = sampling::generate()?;
        let der = Secret::new([&PKCS8[..], &private].concat());
        let pem = Secret::new(pem_encode(PRIVATE, der.expose()).into_bytes());
        write_new(&self.file, pem.expose())?;
        let public = base64url(&public);
        match self.json {
            true => output::json(&json!({"file": self.file, "key": public})),
            false => output::line(&format!(
                "`{}` opens the samples; in the bundle, under [sampling]:\nkey = \"{public}\"",
                self.file.display()
            )),
        }
    }
}

/// A new file that only this user can read: what is there is never overwritten.
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let shown = || format!("`{}`", path.display());
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!("{} is there already; name a new file", shown())));
        }
        opened => opened.context(shown)?,
    };
    file.write_all(content).context(shown)?;
    file.sync_all().context(shown)
}

/// Reads the private half.
pub fn read(path: &Path) -> Result<Secret, Failure> {
    let shown = || format!("`{}`", path.display());
    let text = Secret::new(std::fs::read(path).context(shown)?);
    let text = std::str::from_utf8(text.expose()).unwrap_or_default();
    let blocks = pem_decode(PRIVATE, text).context(shown)?;
    let der = blocks.into_iter().next().map(Secret::new);
    let key = der.as_ref().and_then(|der| der.expose().strip_prefix(&PKCS8));
    match key {
        Some(key) if key.len() == KEY_LEN => Ok(Secret::new(key.to_vec())),
        _ => Err(Failure::new(format!(
            "{} is no sampling key; give the file that `signet plugin sampling-key` made",
            shown()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_opens_what_is_sealed_to_it_and_is_nobody_elses_to_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("sampling.key");
        let make = || SamplingKey {
            file: file.clone(),
            json: true,
        };
        make().run().unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let key = read(&file).unwrap();
        assert_eq!(key.expose().len(), KEY_LEN);
        let again = make().run().unwrap_err().to_string();
        assert!(again.contains("sampling.key` is there already"), "{again}");
        assert_eq!(read(&file).unwrap().expose(), key.expose());
    }

    #[test]
    fn another_file_is_said_to_be_no_key() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("other.key");
        for content in [
            pem_encode(PRIVATE, &[7; 48]),
            pem_encode("PUBLIC KEY", &[7; 44]),
            String::new(),
        ] {
            std::fs::write(&file, content).unwrap();
            let failure = read(&file).unwrap_err().to_string();
            assert!(failure.contains("other.key"), "{failure}");
        }
    }
}
