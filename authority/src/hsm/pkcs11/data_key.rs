//! AES keys of custody `token`, and the data keys that they wrap. Both wrappings are AES key wrap (RFC 3394; NIST SP 800-38F,
//! KW): it has no nonce, so that no number of data keys is too many, and it finds every altered bit. A data key is made in the
//! token and leaves it on purpose; the AES key does not.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};

use super::super::protocol::Sensitive;
use super::super::{DATA_KEY_LEN, HsmErrorKind, WRAPPED_DATA_KEY_LEN, WrappedAes};
use super::failure::Failure;
use super::objects::Master;
use super::wrapped::{Kind, tampered};
use super::{Connected, Module, mechanisms};

impl Connected {
    /// Makes a key, wraps it, and tests what comes out of the wrapping: the key as it will be used.
    pub(super) fn generate_aes(&mut self, module: &Module) -> Result<WrappedAes, Failure> {
        module.demand(&mechanisms::KEY_WRAP)?;
        let wrapping = self.master(Master::Wrapping)?;
        let made = self.generate(true, &[Attribute::Wrap(true), Attribute::Unwrap(true)])?;
        let blob = self.session.wrap_key(&Mechanism::AesKeyWrap, wrapping, made);
        self.session.destroy_object(made)?;
        let key = WrappedAes { blob: blob? };
        let (secret, wrapped) = self.generate_data_key(&key)?;
        match self.unwrap_data_key(&key, &wrapped)? {
            Some(opened) if opened.0 == secret.0 => Ok(key),
            _ => Err(HsmErrorKind::Token
                .because("a new AES key does not open what it wrapped")
                .into()),
        }
    }

    /// A fresh data key, and as the key wraps it.
    pub(super) fn generate_data_key(&mut self, key: &WrappedAes) -> Result<(Sensitive, Vec<u8>), Failure> {
        let wrapping = self.unwrapped_aes(key)?;
        let made = self.generate(false, &[])?;
        let wrapped = self.session.wrap_key(&Mechanism::AesKeyWrap, wrapping, made);
        let secret = self.value(made);
        self.session.destroy_object(made)?;
        Ok((secret?, wrapped?))
    }

    /// Opens a data key; none when this key did not wrap it.
    pub(super) fn unwrap_data_key(&mut self, key: &WrappedAes, wrapped: &[u8]) -> Result<Option<Sensitive>, Failure> {
        let wrapping = self.unwrapped_aes(key)?;
        if wrapped.len() != WRAPPED_DATA_KEY_LEN {
            return Ok(None);
        }
        let template = session_secret_key(false);
        let opened = self
            .session
            .unwrap_key(&Mechanism::AesKeyWrap, wrapping, wrapped, &template);
        let opened = match opened {
            Ok(opened) => opened,
            Err(Error::Pkcs11(code, _)) if self.blames_blob(code) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let secret = self.value(opened);
        self.session.destroy_object(opened)?;
        secret.map(Some)
    }

    /// A new AES-256 key of this session, which another may wrap.
    fn generate(&self, sensitive: bool, more: &[Attribute]) -> Result<ObjectHandle, Failure> {
        let len = u64::try_from(DATA_KEY_LEN).unwrap_or_default();
        let template = [
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(sensitive),
            Attribute::Extractable(true),
            Attribute::ValueLen(len.into()),
        ];
        let template = [template.as_slice(), more].concat();
        Ok(self.session.generate_key(&Mechanism::AesKeyGen, &template)?)
    }

    /// The AES key as an object of this session that does not leave the token.
    fn unwrapped_aes(&mut self, key: &WrappedAes) -> Result<ObjectHandle, Failure> {
        // A token may take any bytes for an AES key.
        if key.blob.len() != WRAPPED_DATA_KEY_LEN {
            return Err(tampered().into());
        }
        let mut template = session_secret_key(true);
        template.extend([Attribute::Wrap(true), Attribute::Unwrap(true)]);
        self.unwrapped(Kind::Aes, &key.blob, &template)
    }

    fn value(&self, object: ObjectHandle) -> Result<Sensitive, Failure> {
        let attributes = self.session.get_attributes(object, &[AttributeType::Value])?;
        let value = attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::Value(value) => Some(Sensitive(value)),
            _ => None,
        });
        let value = value.filter(|value| value.0.len() == DATA_KEY_LEN);
        value.ok_or_else(|| {
            HsmErrorKind::Token
                .because("it answered a data key of another length")
                .into()
        })
    }
}

/// The template of an AES key that was unwrapped; one that is not kept in the token may be read.
fn session_secret_key(kept: bool) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(kept),
        Attribute::Extractable(!kept),
    ]
}
