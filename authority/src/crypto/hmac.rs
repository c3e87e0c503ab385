//! HMAC keys (FIPS 198-1). A secret is as long as its hash: that is what the service makes and what it imports.

use aws_lc_rs::hmac::{self, HMAC_SHA224, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use signing::key::Secret;

use super::CryptoError;
use super::algorithm::{MAX_MESSAGE, MacAlgorithm, check_len};
use super::spec::KeySpec;

pub(super) struct Key {
    algorithm: MacAlgorithm,
    key: Box<hmac::Key>,
    secret: Secret,
}

impl Key {
    pub fn generate(spec: KeySpec, algorithm: MacAlgorithm) -> Result<Self, CryptoError> {
        Self::read(spec, algorithm, Secret::random(algorithm.tag_len())?.expose())
    }

    pub fn read(spec: KeySpec, algorithm: MacAlgorithm, secret: &[u8]) -> Result<Self, CryptoError> {
        if secret.len() != algorithm.tag_len() {
            let reason = "the secret is not as long as the hash";
            return Err(CryptoError::MalformedKey { spec, reason });
        }
        let hash = match algorithm {
            MacAlgorithm::HmacSha224 => HMAC_SHA224,
            MacAlgorithm::HmacSha256 => HMAC_SHA256,
            MacAlgorithm::HmacSha384 => HMAC_SHA384,
            MacAlgorithm::HmacSha512 => HMAC_SHA512,
        };
        Ok(Self {
            algorithm,
            key: Box::new(hmac::Key::new(hash, secret)),
            secret: Secret::new(secret.to_vec()),
        })
    }

    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    pub fn mac(&self, spec: KeySpec, algorithm: MacAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.demand(spec, algorithm, message)?;
        Ok(hmac::sign(&self.key, message).as_ref().to_vec())
    }

    /// Whole MACs only, compared in constant time.
    pub fn verify(
        &self,
        spec: KeySpec,
        algorithm: MacAlgorithm,
        message: &[u8],
        mac: &[u8],
    ) -> Result<(), CryptoError> {
        self.demand(spec, algorithm, message)?;
        hmac::verify(&self.key, message, mac).map_err(|_| CryptoError::BadMac)
    }

    fn demand(&self, spec: KeySpec, algorithm: MacAlgorithm, message: &[u8]) -> Result<(), CryptoError> {
        if algorithm != self.algorithm {
            let algorithm = algorithm.as_str();
            return Err(CryptoError::Algorithm { spec, algorithm });
        }
        check_len(0, MAX_MESSAGE, message)
    }
}
