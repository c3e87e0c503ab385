//! No wrong signature leaves: what an HSM answers is checked before anything is built on it (R27).

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use signing::key::Secret;
use tokio::sync::OnceCell;

use super::{
    DATA_KEY_LEN, DataKey, EcCurve, Hsm, HsmError, HsmErrorKind, HsmInfo, MAX_SECRET_LEN, Prehashed, RootKey, RootRole,
    WRAPPED_DATA_KEY_LEN, WrappedAes, WrappedKey, WrappedMac,
};
use crate::crypto::MacAlgorithm;

/// An HSM whose signatures are verified, whose new keys have signed once, and whose sealings and wrapped
/// data keys have been opened once.
pub struct Verified<H> {
    inner: H,
    nodes: OnceCell<RootKey>,
    delegations: OnceCell<RootKey>,
}

impl<H: Hsm> Verified<H> {
    /// Distrusts `inner`.
    pub fn new(inner: H) -> Self {
        Self {
            inner,
            nodes: OnceCell::new(),
            delegations: OnceCell::new(),
        }
    }

    /// The HSM inside, unverified.
    pub fn inner(&self) -> &H {
        &self.inner
    }

    /// The root's public key as first seen by this process: it never changes afterwards, whatever the HSM says.
    async fn known_root(&self, role: RootRole) -> Result<&RootKey, HsmError> {
        self.cell(role).get_or_try_init(|| self.inner.root(role)).await
    }

    fn cell(&self, role: RootRole) -> &OnceCell<RootKey> {
        match role {
            RootRole::Nodes => &self.nodes,
            RootRole::Delegations => &self.delegations,
        }
    }
}

#[async_trait]
impl<H: Hsm> Hsm for Verified<H> {
    fn info(&self) -> HsmInfo {
        self.inner.info()
    }

    async fn ensure_root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        let answered = self.inner.ensure_root(role).await?;
        let known = self.cell(role).get_or_init(|| async { answered.clone() }).await;
        same_root(role, known, answered)
    }

    async fn root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        let answered = self.inner.root(role).await?;
        let known = self.cell(role).get_or_init(|| async { answered.clone() }).await;
        same_root(role, known, answered)
    }

    async fn sign_root(&self, role: RootRole, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        let root = self.known_root(role).await?;
        let signature = self.inner.sign_root(role, message).await?;
        Prehashed::of(root.curve, message).verify(&root.spki_der, &signature)?;
        Ok(signature)
    }

    async fn generate_wrapped(&self, curve: EcCurve) -> Result<WrappedKey, HsmError> {
        let key = self.inner.generate_wrapped(curve).await?;
        if key.curve != curve {
            return Err(HsmErrorKind::WrongSignature.because("it made a key of another curve than was asked"));
        }
        self.sign_wrapped(&key, b"signet pairwise test").await?;
        Ok(key)
    }

    async fn sign_wrapped_digest(&self, key: &WrappedKey, digest: &Prehashed) -> Result<Vec<u8>, HsmError> {
        let signature = self.inner.sign_wrapped_digest(key, digest).await?;
        digest.verify(&key.spki_der, &signature)?;
        Ok(signature)
    }

    async fn generate_aes(&self) -> Result<WrappedAes, HsmError> {
        let key = self.inner.generate_aes().await?;
        self.generate_data_key(&key).await?;
        Ok(key)
    }

    /// What a data key encrypts is lost when the token wrapped another one: so each is opened while it is still known.
    async fn generate_data_key(&self, key: &WrappedAes) -> Result<DataKey, HsmError> {
        let made = self.inner.generate_data_key(key).await?;
        if made.secret.len() != DATA_KEY_LEN || is_stuck(made.secret.expose()) {
            return Err(HsmErrorKind::Token.because("its random generator has failed"));
        }
        let opened = self.inner.unwrap_data_key(key, &made.wrapped).await?;
        let same = opened.is_some_and(|opened| opened.matches(made.secret.expose()));
        if !same || made.wrapped.len() != WRAPPED_DATA_KEY_LEN {
            return Err(HsmErrorKind::Token.because("it wrapped another data key than it answered"));
        }
        Ok(made)
    }

    async fn unwrap_data_key(&self, key: &WrappedAes, wrapped: &[u8]) -> Result<Option<Secret>, HsmError> {
        self.inner.unwrap_data_key(key, wrapped).await
    }

    async fn generate_mac_key(&self, algorithm: MacAlgorithm) -> Result<WrappedMac, HsmError> {
        let key = self.inner.generate_mac_key(algorithm).await?;
        if key.algorithm != algorithm {
            return Err(HsmErrorKind::WrongSignature.because("it made a key of another MAC than was asked"));
        }
        self.mac(&key, b"signet consistency test").await?;
        Ok(key)
    }

    /// Made twice: nobody out here can tell a right MAC from a wrong one, but two wrong ones are not the same.
    async fn mac(&self, key: &WrappedMac, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        let mac = self.inner.mac(key, message).await?;
        let again = self.inner.mac(key, message).await?;
        if mac.len() != key.algorithm.tag_len() || verify_slices_are_equal(&mac, &again).is_err() {
            return Err(HsmErrorKind::WrongSignature.because("two MACs of one message differ; both have been withheld"));
        }
        Ok(mac)
    }

    async fn seal(&self, plaintext: &Secret, associated: &[u8]) -> Result<Vec<u8>, HsmError> {
        let blob = self.inner.seal(plaintext, associated).await?;
        let opened = self.inner.unseal(&blob, associated).await?;
        if !opened.matches(plaintext.expose()) {
            return Err(HsmErrorKind::Token.because("it sealed another secret than it was given"));
        }
        Ok(blob)
    }

    async fn unseal(&self, blob: &[u8], associated: &[u8]) -> Result<Secret, HsmError> {
        self.inner.unseal(blob, associated).await
    }

    async fn random(&self, len: usize) -> Result<Secret, HsmError> {
        let random = self.inner.random(len).await?;
        let bytes = random.expose();
        if bytes.len() != len || len > MAX_SECRET_LEN || is_stuck(bytes) {
            return Err(HsmErrorKind::Token.because("its random generator has failed"));
        }
        Ok(random)
    }

    async fn healthy(&self) -> Result<(), HsmError> {
        self.inner.healthy().await
    }
}

/// Whether a generator has failed in the way that is seen in its bytes.
fn is_stuck(bytes: &[u8]) -> bool {
    bytes.len() >= 16 && bytes.iter().all(|byte| Some(byte) == bytes.first())
}

fn same_root(role: RootRole, known: &RootKey, answered: RootKey) -> Result<RootKey, HsmError> {
    if *known == answered {
        return Ok(answered);
    }
    let detail = format!(
        "the root of {} has changed while this process ran; was the token replaced?",
        role.as_str()
    );
    Err(HsmErrorKind::Misconfigured.because(detail))
}

#[cfg(test)]
#[path = "verified_tests.rs"]
mod tests;
