//! `signet sign`: a file's signature from an edge.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Value, json};
use sha2::Digest;

use crate::client::EdgeArgs;
use crate::failure::{Context, Failure};
use crate::output;

/// Larger files go by digest only.
const MOST_MESSAGE: u64 = 64 << 10;

/// Sign a file and print the signature in base64.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet sign release app.tar.gz --out app.sig --chain app.pem
  openssl x509 -in app.pem -pubkey -noout > app.pub
  openssl dgst -sha256 -verify app.pub -signature app.sig app.tar.gz

  signet sign package notes.txt --message     Ed25519 takes the message itself, up to 64 KiB")]
pub struct Sign {
    /// The profile to sign with.
    profile: String,
    /// The file.
    file: PathBuf,
    /// Send the file itself instead of its digest (Ed25519 takes nothing else).
    #[arg(long)]
    message: bool,
    /// The digest to send.
    #[arg(long, value_parser = ["sha256", "sha384"], default_value = "sha256")]
    digest: String,
    /// Write the signature's bytes to this file instead.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the certificate chain (PEM, leaf first) to this file.
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    edge: EdgeArgs,
}

impl Sign {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let body = if self.message {
            message(&self.file)?
        } else {
            digest(&self.file, &self.digest)?
        };
        let answer = self
            .edge
            .target()?
            .call("POST", &format!("/v1/signatures/{}", self.profile), Some(&body))?;
        let member = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Some(chain) = &self.chain {
            let certificates = answer
                .get("certificates")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let pem: String = certificates.filter_map(Value::as_str).collect();
            std::fs::write(chain, pem).context(|| format!("`{}`", chain.display()))?;
        }
        if let Some(out) = &self.out {
            std::fs::write(out, BASE64_STANDARD.decode(member("signature"))?)
                .context(|| format!("`{}`", out.display()))?;
        }
        match (self.json, &self.out) {
            (true, _) => output::json(&answer),
            (false, None) => output::line(member("signature")),
            (false, Some(_)) => Ok(()),
        }
    }
}

fn message(file: &Path) -> Result<Value, Failure> {
    let size = std::fs::metadata(file)
        .context(|| format!("`{}`", file.display()))?
        .len();
    if size > MOST_MESSAGE {
        let text = format!(
            "`{}` has {size} bytes; a message has at most 64 KiB, send its digest with an ECDSA profile",
            file.display()
        );
        return Err(Failure::new(text));
    }
    let content = std::fs::read(file).context(|| format!("`{}`", file.display()))?;
    Ok(json!({"message": BASE64_STANDARD.encode(content)}))
}

fn digest(file: &Path, algorithm: &str) -> Result<Value, Failure> {
    let mut reader = std::fs::File::open(file).context(|| format!("`{}`", file.display()))?;
    let hex = match algorithm {
        "sha384" => hash::<sha2::Sha384>(&mut reader),
        _ => hash::<sha2::Sha256>(&mut reader),
    };
    Ok(json!({"digest": format!("{algorithm}:{}", hex.context(|| format!("`{}`", file.display()))?)}))
}

fn hash<D: Digest>(reader: &mut impl Read) -> std::io::Result<String> {
    let mut hash = D::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(signing::encoding::hex(&hash.finalize())),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
