//! The HSM of machines that have none: keys in this process's memory, sealed on disk under a passphrase. Whoever has the file and
//! the passphrase, or reads this process's memory, has every root. For trying Signet out; it says so at every start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use signing::key::Secret;

use super::protocol::Sensitive;
use super::{
    DATA_KEY_LEN, DataKey, EcCurve, Hsm, HsmError, HsmErrorKind, HsmInfo, MAX_ASSOCIATED_LEN, MAX_SECRET_LEN,
    Prehashed, RootKey, RootRole, WrappedAes, WrappedKey, WrappedMac, check_mac_message,
};
use crate::crypto::{KeySpec, MacAlgorithm, Material};
use file::{KeyFile, Keys};

mod aead;
mod file;
mod key_wrap;

pub use file::Cost;

/// The curve of software roots.
const ROOT_CURVE: EcCurve = EcCurve::P384;

/// Separates wrapped keys from sealed secrets, beside their different keys.
const WRAPPING_CONTEXT: &[u8] = b"signet software wrapped key v1";

const AES_CONTEXT: &[u8] = b"signet software aes key v1";

/// An [`Hsm`] in software.
pub struct Software {
    path: PathBuf,
    state: Arc<RwLock<State>>,
}

struct State {
    file: KeyFile,
    keys: Option<Keys>,
}

impl Software {
    /// Opens the file at `path`, or prepares one that the first [`Hsm::ensure_root`] writes. The passphrase has at least 12 bytes.
    /// Takes half a second and 64 MiB: argon2id. `Tampered` for a wrong passphrase or a damaged file.
    pub async fn open(path: impl Into<PathBuf>, passphrase: Secret) -> Result<Self, HsmError> {
        Self::open_with(path, passphrase, Cost::default()).await
    }

    /// As [`Self::open`], with another cost for a new file: an existing one says its own.
    pub async fn open_with(path: impl Into<PathBuf>, passphrase: Secret, cost: Cost) -> Result<Self, HsmError> {
        if passphrase.len() < 12 {
            return Err(
                HsmErrorKind::Misconfigured.because("the passphrase is shorter than 12 bytes; choose a longer one")
            );
        }
        let path = path.into();
        let opened = blocking({
            let path = path.clone();
            move || KeyFile::open(&path, &passphrase, cost)
        });
        let (file, keys) = opened.await?;
        tracing::warn!(
            path = %path.display(),
            "SOFTWARE HSM: the roots are in this process's memory and in a file, not in a token; use it for trials only"
        );
        Ok(Self {
            path,
            state: Arc::new(RwLock::new(State { file, keys })),
        })
    }

    /// The file it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn with_keys<T>(&self, use_keys: impl FnOnce(&Keys) -> Result<T, HsmError>) -> Result<T, HsmError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &state.keys {
            Some(keys) => use_keys(keys),
            None => {
                Err(HsmErrorKind::NotFound
                    .because("the software hsm has no keys yet; `signet authority init` makes them"))
            }
        }
    }
}

impl State {
    /// Makes what is missing; durable before it is used.
    fn ensure(&mut self, role: RootRole) -> Result<RootKey, HsmError> {
        let mut keys = match &self.keys {
            Some(keys) => keys.clone(),
            None => Keys::generate()?,
        };
        if keys.root(role).is_none() {
            let pair = EcdsaKeyPair::generate(algorithm(ROOT_CURVE)).map_err(|_| random_failed())?;
            keys.add_root(role, export(&pair)?);
            self_test(ROOT_CURVE, &pair)?;
            self.file.write(&keys)?;
            self.keys = Some(keys);
        }
        self.keys
            .as_ref()
            .map_or_else(|| Err(no_root(role)), |keys| root_key(keys, role))
    }
}

#[async_trait]
impl Hsm for Software {
    fn info(&self) -> HsmInfo {
        HsmInfo {
            kind: "software".to_owned(),
            label: self.path.display().to_string(),
            model: "no hardware protection: for trials only".to_owned(),
        }
    }

    async fn ensure_root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        let state = Arc::clone(&self.state);
        blocking(move || state.write().unwrap_or_else(PoisonError::into_inner).ensure(role)).await
    }

    async fn root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        self.with_keys(|keys| root_key(keys, role))
    }

    async fn sign_root(&self, role: RootRole, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.with_keys(|keys| {
            let pair = import(ROOT_CURVE, &keys.root(role).ok_or_else(|| no_root(role))?.0)?;
            sign(&pair, &Prehashed::of(ROOT_CURVE, message))
        })
    }

    async fn generate_wrapped(&self, curve: EcCurve) -> Result<WrappedKey, HsmError> {
        self.with_keys(|keys| {
            let pair = EcdsaKeyPair::generate(algorithm(curve)).map_err(|_| random_failed())?;
            self_test(curve, &pair)?;
            let blob = aead::seal(&keys.wrapping.0, &export(&pair)?.0, WRAPPING_CONTEXT)?;
            Ok(WrappedKey {
                curve,
                spki_der: spki(&pair)?,
                blob,
            })
        })
    }

    async fn sign_wrapped_digest(&self, key: &WrappedKey, digest: &Prehashed) -> Result<Vec<u8>, HsmError> {
        if digest.curve() != key.curve {
            return Err(HsmErrorKind::BadRequest.because("the digest is not the one that the key's curve signs"));
        }
        self.with_keys(|keys| {
            let pkcs8 = aead::open(&keys.wrapping.0, &key.blob, WRAPPING_CONTEXT)?;
            sign(&import(key.curve, pkcs8.expose())?, digest)
        })
    }

    async fn generate_aes(&self) -> Result<WrappedAes, HsmError> {
        let key = Secret::random(DATA_KEY_LEN).map_err(|_| random_failed())?;
        let wrapped = self.with_keys(|keys| aead::seal(&keys.wrapping.0, key.expose(), AES_CONTEXT));
        wrapped.map(|blob| WrappedAes { blob })
    }

    async fn generate_data_key(&self, key: &WrappedAes) -> Result<DataKey, HsmError> {
        let secret = Secret::random(DATA_KEY_LEN).map_err(|_| random_failed())?;
        let wrapped = self.with_keys(|keys| {
            let key = aead::open(&keys.wrapping.0, &key.blob, AES_CONTEXT)?;
            key_wrap::wrap(&key, &secret)
        })?;
        Ok(DataKey { secret, wrapped })
    }

    async fn unwrap_data_key(&self, key: &WrappedAes, wrapped: &[u8]) -> Result<Option<Secret>, HsmError> {
        self.with_keys(|keys| {
            let key = aead::open(&keys.wrapping.0, &key.blob, AES_CONTEXT)?;
            key_wrap::unwrap(&key, wrapped)
        })
    }

    async fn generate_mac_key(&self, algorithm: MacAlgorithm) -> Result<WrappedMac, HsmError> {
        let key = Secret::random(algorithm.tag_len()).map_err(|_| random_failed())?;
        let wrapped = self.with_keys(|keys| aead::seal(&keys.wrapping.0, key.expose(), &mac_context(algorithm)));
        wrapped.map(|blob| WrappedMac { algorithm, blob })
    }

    async fn mac(&self, key: &WrappedMac, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        check_mac_message(message)?;
        let secret = self.with_keys(|keys| aead::open(&keys.wrapping.0, &key.blob, &mac_context(key.algorithm)))?;
        let made = Material::import(mac_spec(key.algorithm), &secret);
        let made = made.and_then(|material| material.mac(key.algorithm, message));
        made.map_err(|error| HsmErrorKind::Token.because(error.to_string()))
    }

    async fn seal(&self, plaintext: &Secret, associated: &[u8]) -> Result<Vec<u8>, HsmError> {
        if plaintext.is_empty() || plaintext.len() > MAX_SECRET_LEN || associated.len() > MAX_ASSOCIATED_LEN {
            let detail =
                format!("sealing takes 1 to {MAX_SECRET_LEN} bytes with at most {MAX_ASSOCIATED_LEN} associated");
            return Err(HsmErrorKind::BadRequest.because(detail));
        }
        self.with_keys(|keys| aead::seal(&keys.sealing.0, plaintext.expose(), associated))
    }

    async fn unseal(&self, blob: &[u8], associated: &[u8]) -> Result<Secret, HsmError> {
        self.with_keys(|keys| aead::open(&keys.sealing.0, blob, associated))
    }

    async fn random(&self, len: usize) -> Result<Secret, HsmError> {
        if len == 0 || len > MAX_SECRET_LEN {
            let detail = format!("{len} random bytes asked; 1 to {MAX_SECRET_LEN} can be had");
            return Err(HsmErrorKind::BadRequest.because(detail));
        }
        Secret::random(len).map_err(|_| random_failed())
    }

    async fn healthy(&self) -> Result<(), HsmError> {
        self.with_keys(|_| Ok(()))
    }
}

/// What a MAC key is sealed with: it makes MACs of one kind (R1).
fn mac_context(algorithm: MacAlgorithm) -> Vec<u8> {
    [b"signet software mac key v1 ", algorithm.as_str().as_bytes()].concat()
}

fn mac_spec(algorithm: MacAlgorithm) -> KeySpec {
    match algorithm {
        MacAlgorithm::HmacSha224 => KeySpec::Hmac224,
        MacAlgorithm::HmacSha256 => KeySpec::Hmac256,
        MacAlgorithm::HmacSha384 => KeySpec::Hmac384,
        MacAlgorithm::HmacSha512 => KeySpec::Hmac512,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HsmError> + Send + 'static,
) -> Result<T, HsmError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| HsmErrorKind::Unavailable.because("the call was abandoned, since the authority is stopping"))?
}

fn algorithm(curve: EcCurve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        EcCurve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        EcCurve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
    }
}

fn sign(pair: &EcdsaKeyPair, digest: &Prehashed) -> Result<Vec<u8>, HsmError> {
    digest
        .import()
        .and_then(|digest| pair.sign_digest(&digest))
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| HsmErrorKind::Token.because("signing failed"))
}

fn self_test(curve: EcCurve, pair: &EcdsaKeyPair) -> Result<(), HsmError> {
    let challenge = Prehashed::of(curve, b"signet pairwise test");
    challenge.verify(&spki(pair)?, &sign(pair, &challenge)?)
}

fn spki(pair: &EcdsaKeyPair) -> Result<Vec<u8>, HsmError> {
    let der: Result<PublicKeyX509Der<'_>, _> = pair.public_key().as_der();
    der.map(|der| der.as_ref().to_vec())
        .map_err(|_| HsmErrorKind::Token.because("cannot encode a public key"))
}

fn export(pair: &EcdsaKeyPair) -> Result<Sensitive, HsmError> {
    let pkcs8 = pair
        .to_pkcs8v1()
        .map_err(|_| HsmErrorKind::Token.because("cannot encode a private key"))?;
    Ok(Sensitive(pkcs8.as_ref().to_vec()))
}

fn import(curve: EcCurve, pkcs8: &[u8]) -> Result<EcdsaKeyPair, HsmError> {
    EcdsaKeyPair::from_pkcs8(algorithm(curve), pkcs8)
        .map_err(|_| HsmErrorKind::Tampered.because("the wrapped key is of another curve"))
}

fn root_key(keys: &Keys, role: RootRole) -> Result<RootKey, HsmError> {
    let pair = import(ROOT_CURVE, &keys.root(role).ok_or_else(|| no_root(role))?.0)?;
    Ok(RootKey {
        curve: ROOT_CURVE,
        spki_der: spki(&pair)?,
    })
}

fn no_root(role: RootRole) -> HsmError {
    HsmErrorKind::NotFound.because(format!(
        "the software hsm has no root for {}; `signet authority init` makes it",
        role.as_str()
    ))
}

fn random_failed() -> HsmError {
    HsmErrorKind::Token.because("this machine's random source failed")
}

#[cfg(test)]
#[path = "software_tests.rs"]
mod tests;
