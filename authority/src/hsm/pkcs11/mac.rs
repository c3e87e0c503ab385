//! HMAC keys of custody `token`: generic secrets, wrapped as EC keys are (RFC 5649) and used in the token.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass};

use super::super::{WrappedMac, check_mac_message};
use super::failure::Failure;
use super::objects::Master;
use super::wrapped::{Kind, tampered};
use super::{Connected, Module, mechanisms};
use crate::crypto::MacAlgorithm;

impl Connected {
    /// Makes a key, wraps it, and makes a MAC with what comes out of the wrapping.
    pub(super) fn generate_mac_key(&mut self, module: &Module, algorithm: MacAlgorithm) -> Result<WrappedMac, Failure> {
        let (_, mechanism, name) = mechanism(algorithm);
        module.demand(&mechanisms::macs(mechanism, name))?;
        let wrapping = self.master(Master::Wrapping)?;
        let len = u64::try_from(algorithm.tag_len()).unwrap_or_default();
        let made = self.session.generate_key(
            &Mechanism::GenericSecretKeyGen,
            &[
                Attribute::Token(false),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(true),
                Attribute::ValueLen(len.into()),
                Attribute::Sign(true),
            ],
        )?;
        let blob = self.session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, made);
        self.session.destroy_object(made)?;
        let key = WrappedMac { algorithm, blob: blob? };
        self.mac(&key, b"signet consistency test")?;
        Ok(key)
    }

    /// The MAC of a message.
    pub(super) fn mac(&mut self, key: &WrappedMac, message: &[u8]) -> Result<Vec<u8>, Failure> {
        check_mac_message(message)?;
        // A token may take any bytes for a secret: what was wrapped is a whole number of 8-byte blocks, and 8 bytes more.
        let blocks = key.algorithm.tag_len().next_multiple_of(8);
        if key.blob.len() != blocks.saturating_add(8) {
            return Err(tampered().into());
        }
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let secret = self.unwrapped(Kind::Mac, &key.blob, &template)?;
        let (mechanism, _, _) = mechanism(key.algorithm);
        Ok(self.session.sign(&mechanism, secret, message)?)
    }
}

fn mechanism(algorithm: MacAlgorithm) -> (Mechanism<'static>, MechanismType, &'static str) {
    match algorithm {
        MacAlgorithm::HmacSha224 => (Mechanism::Sha224Hmac, MechanismType::SHA224_HMAC, "CKM_SHA224_HMAC"),
        MacAlgorithm::HmacSha256 => (Mechanism::Sha256Hmac, MechanismType::SHA256_HMAC, "CKM_SHA256_HMAC"),
        MacAlgorithm::HmacSha384 => (Mechanism::Sha384Hmac, MechanismType::SHA384_HMAC, "CKM_SHA384_HMAC"),
        MacAlgorithm::HmacSha512 => (Mechanism::Sha512Hmac, MechanismType::SHA512_HMAC, "CKM_SHA512_HMAC"),
    }
}
