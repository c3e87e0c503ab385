//! Signatures as `cosign` keeps them: a small JSON that names the manifest's digest is signed, and stored beside the
//! artifact under the tag `sha256-HEX.sig`, with the signature in an annotation.
//!
//! So `cosign verify --key FILE --insecure-ignore-tlog`, and the admission controllers and registries that know its
//! format, check them too. There is no transparency log in it: the authority's own audit log has the use of the key.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signing::Algorithm;
use signing::certificate::pem_decode;
use signing::digest::Digest;
use signing::encoding::hex;
use signing::key::PublicKey;
use signing::signature::der_to_fixed;

use super::manifest::{Descriptor, Manifest};
use super::{Name, Store, fetch};
use crate::failure::{Context, Failure};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";
/// Signatures of one artifact that are looked at, and that there may be.
const MOST_SIGNATURES: usize = 32;
/// Bytes of what is signed: others put annotations of theirs into it.
const MOST_PAYLOAD: usize = 64 << 10;

/// Says that a key signed an artifact. Only [`verify`] makes one.
#[derive(Debug)]
pub struct Verified {
    identity: String,
}

/// Signs a message; ECDSA signatures are DER.
pub type Sign<'a> = dyn FnMut(&[u8]) -> Result<Vec<u8>, Failure> + 'a;

/// A key that signs, and what its signatures are checked with before they are stored.
pub struct Signer<'a> {
    /// The public key.
    pub key: PublicKey,
    /// Signs with it.
    pub sign: Box<Sign<'a>>,
}

/// What is signed; members that others add are passed over.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    /// What cosign writes where it has nothing to say: some readers want the member.
    #[serde(default, skip_deserializing)]
    optional: Option<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Verified {
    /// What the signer said that the artifact is, `HOST/REPOSITORY`; nothing checks that it is where it is now.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

/// Checks that `key` signed the manifest with this digest.
///
/// # Errors
/// No signature is there, or none of the first [`MOST_SIGNATURES`] is this key's over this digest.
pub fn verify(store: &mut dyn Store, key: &PublicKey, digest: &Digest) -> Result<Verified, Failure> {
    let Some(manifest) = stored(store, digest)? else {
        return Err(Failure::new(format!(
            "{digest} has no signature; `signet plugin push` signs what it stores"
        )));
    };
    if let Some(verified) = find(store, &manifest, key, digest)? {
        return Ok(verified);
    }
    let others = match manifest.layers.len() {
        1 => "one signature is there".to_owned(),
        count => format!("{count} signatures are there"),
    };
    Err(Failure::new(format!("{digest} is not signed by that key; {others}")))
}

/// Signs the manifest with this digest and stores the signature beside those that are there; one of that key that is
/// there already stays.
///
/// # Errors
/// The signer refuses, or what it made is no signature of its key, or the store refuses.
pub fn attach(store: &mut dyn Store, digest: &Digest, identity: &str, signer: &mut Signer<'_>) -> Result<(), Failure> {
    let before = stored(store, digest)?;
    if let Some(manifest) = &before
        && find(store, manifest, &signer.key, digest)?.is_some()
    {
        return Ok(());
    }
    let payload = serde_json::to_vec(&Payload {
        critical: Critical {
            identity: Identity {
                reference: identity.to_owned(),
            },
            image: Image {
                digest: digest.to_string(),
            },
            kind: KIND.to_owned(),
        },
        optional: None,
    })?;
    let signature = (signer.sign)(&payload)?;
    if !is_signature(&signer.key, &payload, &signature) {
        return Err(Failure::new(
            "what the authority answered is no signature of that key; nothing was stored",
        ));
    }
    let mut layer = Descriptor::of(SIMPLE_SIGNING, &payload);
    layer
        .annotations
        .insert(SIGNATURE.to_owned(), BASE64_STANDARD.encode(signature));
    let mut layers = before.map(|manifest| manifest.layers).unwrap_or_default();
    layers.push(layer);
    if layers.len() > MOST_SIGNATURES {
        return Err(Failure::new(format!(
            "{digest} has {MOST_SIGNATURES} signatures already; take some away"
        )));
    }
    let config = image_config(&layers)?;
    store.put_blob(&payload)?;
    store.put_blob(&config)?;
    let manifest = Manifest::new(Descriptor::of(IMAGE_CONFIG, &config), layers);
    store.put_manifest(Some(&tag(digest)), &serde_json::to_vec(&manifest)?)
}

/// A public key of a PEM text, as `signet keys public-key` prints it.
///
/// # Errors
/// Not one key, or one whose signatures cosign does not check the way KMS makes them.
pub fn read_key(pem: &str) -> Result<PublicKey, Failure> {
    match pem_decode("PUBLIC KEY", pem)?.as_slice() {
        [der] => key_of(der),
        keys => Err(Failure::new(format!(
            "it has {} public keys, not one; `signet keys public-key KEY` prints one",
            keys.len()
        ))),
    }
}

/// A DER SubjectPublicKeyInfo of P-256, Ed25519 or RSA.
pub fn key_of(der: &[u8]) -> Result<PublicKey, Failure> {
    let key = PublicKey::from_spki_der_as(Algorithm::Rs256, der).or_else(|_| PublicKey::from_spki_der(der))?;
    signs_with(&key)?;
    Ok(key)
}

/// KMS's name for how such a key signs.
///
/// # Errors
/// Of P-384: KMS signs with SHA-384 there, and cosign checks with SHA-256.
pub fn signs_with(key: &PublicKey) -> Result<&'static str, Failure> {
    match key.algorithm() {
        Algorithm::Es256 => Ok("ECDSA_SHA_256"),
        Algorithm::EdDsa => Ok("ED25519_SHA_512"),
        Algorithm::Rs256 => Ok("RSASSA_PKCS1_V1_5_SHA_256"),
        other => Err(Failure::new(format!(
            "artifacts are not signed with {other}; take a key of ECC_NIST_P256, ECC_NIST_EDWARDS25519 or RSA"
        ))),
    }
}

fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", hex(digest.as_bytes()))
}

/// The manifest that holds the signatures.
fn stored(store: &mut dyn Store, digest: &Digest) -> Result<Option<Manifest>, Failure> {
    let tag = tag(digest);
    let content = store.manifest(&Name::Tag(tag.clone()))?;
    content
        .map(|content| Manifest::read(&content).context(|| format!("the signatures `{tag}`")))
        .transpose()
}

/// The first signature of `key` over `digest`. Others are passed over, also those that cannot be fetched: anybody who may
/// write may add some. Such a failure is told where none was found.
fn find(
    store: &mut dyn Store,
    manifest: &Manifest,
    key: &PublicKey,
    digest: &Digest,
) -> Result<Option<Verified>, Failure> {
    let layers = manifest
        .layers
        .iter()
        .filter(|layer| layer.media_type == SIMPLE_SIGNING);
    let mut first_failure = None;
    for layer in layers.take(MOST_SIGNATURES) {
        let signature = layer
            .annotations
            .get(SIGNATURE)
            .and_then(|text| BASE64_STANDARD.decode(text).ok());
        let Some(signature) = signature else { continue };
        let payload = match fetch(store, layer, MOST_PAYLOAD) {
            Ok(payload) => payload,
            Err(failure) => {
                first_failure.get_or_insert(failure);
                continue;
            }
        };
        if !is_signature(key, &payload, &signature) {
            continue;
        }
        // Signed by the key: but is it this artifact that it speaks of?
        if let Ok(Payload { critical, .. }) = serde_json::from_slice(&payload)
            && critical.kind == KIND
            && critical.image.digest == digest.to_string()
        {
            let identity = critical.identity.reference;
            return Ok(Some(Verified { identity }));
        }
    }
    first_failure.map_or(Ok(None), Err)
}

fn is_signature(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    match key.algorithm() {
        Algorithm::Es256 => {
            der_to_fixed(Algorithm::Es256, signature).is_ok_and(|fixed| key.verify(message, &fixed).is_ok())
        }
        _ => key.verify(message, signature).is_ok(),
    }
}

/// The config that image tools look for beside layers.
fn image_config(layers: &[Descriptor]) -> Result<Vec<u8>, Failure> {
    let ids: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
    let rootfs = json!({"type": "layers", "diff_ids": ids});
    Ok(serde_json::to_vec(
        &json!({"architecture": "", "os": "", "config": {}, "rootfs": rootfs}),
    )?)
}

impl fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.key)
    }
}
