//! `signet plugin push`: a component into a registry or a directory, signed.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use policies::bundle::MAX_PLUGIN_BYTES;
use serde_json::{Value, json};

use super::component;
use crate::client::key_api::{CallError, KeyApi, KeyApiArgs};
use crate::client::{AdminArgs, runtime};
use crate::failure::{Context, Failure};
use crate::oci::{self, Artifact, Reference, RegistryArgs, Signer};
use crate::output;

/// What the key API says of keys that make no signatures here.
const NOT_FOR_THIS: [&str; 2] = ["InvalidKeyUsageException", "UnsupportedOperationException"];

/// Sign a component and store it by its digest, in a registry or a directory.
///
/// Prints the reference that pins it. The signature is cosign's, over the digest of the artifact's manifest, and is stored
/// beside it. Who the registry takes it from is said by `docker login`.
#[derive(Debug, Args)]
pub struct Push {
    /// The component.
    file: PathBuf,
    /// Where to: oci://HOST/REPOSITORY[:TAG], or DIRECTORY[:TAG] for an OCI image layout.
    to: Reference,
    /// The key that signs: id, ARN, alias or alias ARN of a key of family `raw`.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    key_api: KeyApiArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

impl Push {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        if self.to.digest.is_some() {
            return Err(Failure::new(format!(
                "`{}` says a digest, which only the push can tell; leave it out",
                self.to
            )));
        }
        let wasm = oci::read_file(&self.file, MAX_PLUGIN_BYTES)?
            .ok_or_else(|| Failure::new(format!("`{}` is not there", self.file.display())))?;
        let shape = component::shape(&wasm);
        if shape.world.is_none() {
            return Err(Failure::new(format!(
                "`{}` is no rule ({}); `signet plugin inspect` says more",
                self.file.display(),
                shape.kind
            )));
        }
        let title = self.file.file_name().unwrap_or_default().to_string_lossy();
        let identity = self.to.identity();
        let artifact = Artifact {
            wasm: &wasm,
            title: &title,
            imports: &shape.imports,
            exports: &shape.exports,
            identity: &identity,
        };
        // Before anything is stored: a key that cannot sign leaves nothing behind.
        let (api, tasks) = (self.key_api.open(&self.admin)?, runtime()?);
        let mut signer = signer(&api, &tasks, &self.key).context(|| format!("the key `{:.200}`", self.key))?;
        let mut store = self.registry.open_to_write(&self.to)?;
        let digest = oci::push(store.as_mut(), &artifact, self.to.tag.as_deref(), &mut signer)?;
        let pinned = self.to.pinned(digest.clone());
        if self.json {
            return output::json(&json!({
                "reference": pinned.to_string(), "digest": digest.to_string(), "tag": self.to.tag,
                "sha256": component::digest(&wasm), "bytes": wasm.len(), "key": self.key,
            }));
        }
        output::line(&pinned.to_string())
    }
}

/// Signs by the key API, as any client of KMS does.
fn signer<'a>(api: &'a KeyApi, tasks: &'a tokio::runtime::Runtime, key: &'a str) -> Result<Signer<'a>, Failure> {
    let call = move |operation: &str, input: Value| tasks.block_on(api.call(operation, &input)).map_err(told);
    let described = call("GetPublicKey", json!({"KeyId": key}))?;
    let public = oci::key_of(&bytes(&described, "PublicKey")?)?;
    let algorithm = oci::signs_with(&public)?;
    let sign = move |message: &[u8]| -> Result<Vec<u8>, Failure> {
        let input = json!({
            "KeyId": key, "Message": BASE64_STANDARD.encode(message), "MessageType": "RAW", "SigningAlgorithm": algorithm,
        });
        bytes(&call("Sign", input)?, "Signature")
    };
    Ok(Signer {
        key: public,
        sign: Box::new(sign),
    })
}

/// With what to do where the key is one that signs through edges, or is none that signs.
fn told(error: CallError) -> Failure {
    match &error {
        CallError::Refused { code, .. } if NOT_FOR_THIS.contains(&code.as_str()) => Failure::new(format!(
            "{error}; `signet keys create --alias alias/plugins --spec ECC_NIST_P256` makes one of family `raw`"
        )),
        _ => Failure::from(error),
    }
}

fn bytes(answer: &Value, member: &str) -> Result<Vec<u8>, Failure> {
    let text = answer.get(member).and_then(Value::as_str);
    let text = text.ok_or_else(|| Failure::new(format!("the key API answered no `{member}`")))?;
    Ok(BASE64_STANDARD.decode(text)?)
}
