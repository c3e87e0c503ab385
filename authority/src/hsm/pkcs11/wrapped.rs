//! Keys of custody `token`: made in the token as session objects, kept by the store wrapped under the wrapping master
//! (RFC 5649), unwrapped as session objects that cannot be extracted, and cached while in use.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};

use super::super::{EcCurve, HsmError, HsmErrorKind, Prehashed, RootKey, RootRole, WrappedKey};
use super::cache::BlobDigest;
use super::failure::Failure;
use super::objects::{Master, session_private_key};
use super::{Connected, Module, public_key};

/// Longest blob taken from the store, in bytes: a P-384 key's is 200 at most.
const MAX_BLOB_LEN: usize = 1024;

/// What is in a wrapped blob.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// An EC private key, PKCS#8, with padding (RFC 5649).
    Ec,
    /// An AES key (RFC 3394).
    Aes,
    /// The secret of a MAC key, with padding (RFC 5649).
    Mac,
}

impl Connected {
    /// Signs a certificate's to-be-signed bytes with a root.
    pub(super) fn sign_root(&mut self, role: RootRole, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let root = self.root(role)?;
        self.sign_digest(root.private, &Prehashed::of(root.key.curve, message))
    }

    /// Makes a pair, wraps it, and tests what comes out of the wrapping: the key as it will be used.
    pub(super) fn generate_wrapped(&mut self, module: &Module, curve: EcCurve) -> Result<WrappedKey, Failure> {
        if curve == EcCurve::P384 && module.largest_curve == EcCurve::P256 {
            return Err(HsmErrorKind::Unsupported
                .because("the token does not support P-384")
                .into());
        }
        let wrapping = self.master(Master::Wrapping)?;
        let (public, private) = self.session.generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[
                Attribute::Token(false),
                Attribute::Private(false),
                Attribute::EcParams(public_key::curve_parameters(curve)),
                Attribute::Verify(true),
            ],
            &[
                Attribute::Token(false),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(true),
                Attribute::Sign(true),
            ],
        )?;
        let wrapped = self.session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, private);
        let read = public_key::read(&self.session, public);
        self.session.destroy_object(private)?;
        self.session.destroy_object(public)?;
        let (curve, spki_der) = read?;
        let key = WrappedKey {
            curve,
            spki_der,
            blob: wrapped?,
        };
        let unwrapped = self.unwrapped(Kind::Ec, &key.blob, &session_private_key())?;
        self.self_test(
            unwrapped,
            &RootKey {
                curve,
                spki_der: key.spki_der.clone(),
            },
        )?;
        Ok(key)
    }

    /// Signs with a wrapped key. That the blob and the public key belong together shows when the signature is verified.
    pub(super) fn sign_wrapped(&mut self, key: &WrappedKey, digest: &Prehashed) -> Result<Vec<u8>, Failure> {
        if digest.curve() != key.curve {
            return Err(HsmErrorKind::BadRequest
                .because("the digest is not the one that the key's curve signs")
                .into());
        }
        let private = self.unwrapped(Kind::Ec, &key.blob, &session_private_key())?;
        self.sign_digest(private, digest)
    }

    /// CKM_ECDSA over a digest (SoftHSM2 has no CKM_ECDSA_SHA256), as DER.
    pub(super) fn sign_digest(&self, private: ObjectHandle, digest: &Prehashed) -> Result<Vec<u8>, Failure> {
        let fixed = self.session.sign(&Mechanism::Ecdsa, private, digest.as_bytes())?;
        ::signing::signature::fixed_to_der(digest.curve().algorithm(), &fixed).map_err(|_| {
            let detail = format!(
                "its signature has {} bytes that are no pair of integers of the curve",
                fixed.len()
            );
            HsmErrorKind::WrongSignature.because(detail).into()
        })
    }

    /// The key in a blob as an object of this session, made unless it is there.
    pub(super) fn unwrapped(
        &mut self,
        kind: Kind,
        blob: &[u8],
        template: &[Attribute],
    ) -> Result<ObjectHandle, Failure> {
        let digest = blob_digest(kind, blob)?;
        if let Some(handle) = self.cache.get(&digest) {
            return Ok(handle);
        }
        let wrapping = self.master(Master::Wrapping)?;
        let mechanism = match kind {
            Kind::Ec | Kind::Mac => Mechanism::AesKeyWrapPad,
            Kind::Aes => Mechanism::AesKeyWrap,
        };
        let unwrapped = self.session.unwrap_key(&mechanism, wrapping, blob, template);
        let handle = match unwrapped {
            Ok(handle) => handle,
            Err(Error::Pkcs11(code, _)) if self.blames_blob(code) => return Err(tampered().into()),
            Err(error) => return Err(error.into()),
        };
        if let Some(displaced) = self.cache.insert(digest, handle) {
            self.session.destroy_object(displaced)?;
        }
        Ok(handle)
    }
}

/// Of the blob and its kind: what was unwrapped as one is not used as the other.
fn blob_digest(kind: Kind, blob: &[u8]) -> Result<BlobDigest, HsmError> {
    if blob.is_empty() || blob.len() > MAX_BLOB_LEN {
        return Err(tampered());
    }
    let kind = match kind {
        Kind::Ec => b"ec\0\0",
        Kind::Aes => b"aes\0",
        Kind::Mac => b"mac\0",
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[kind.as_slice(), blob].concat());
    BlobDigest::try_from(digest.as_ref()).map_err(|_| tampered())
}

pub(super) fn tampered() -> HsmError {
    HsmErrorKind::Tampered.because("the wrapped key was not made by this token, or was altered")
}
