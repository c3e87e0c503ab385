//! RSA: RSASSA-PKCS1-v1_5, RSASSA-PSS and RSAES-OAEP (RFC 8017), by AWS-LC.

use aws_lc_rs::digest::{self, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{self as aws, KeyPair as _, RsaEncoding, RsaKeyPair, VerificationAlgorithm};
use der::asn1::UintRef;
use der::{Decode, Sequence};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::algorithm::{EncryptionAlgorithm, Message, SigningAlgorithm};
use super::spec::KeySpec;
use super::{BadCiphertext, CryptoError, encoding};

/// The smallest public exponent (FIPS 186-5 section 5.4: above 2¹⁶), big-endian.
const MIN_EXPONENT: [u8; 3] = [1, 0, 1];
/// Bytes of the largest: larger ones only make verifying slow.
const MAX_EXPONENT_LEN: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl Size {
    /// Bytes of the modulus, a signature and a ciphertext.
    pub const fn len(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
        }
    }

    /// RFC 8017 section 7.1.1: k − 2·hLen − 2.
    pub const fn max_plaintext(self, algorithm: EncryptionAlgorithm) -> Option<usize> {
        let overhead = match algorithm {
            EncryptionAlgorithm::RsaesOaepSha1 => 42,
            EncryptionAlgorithm::RsaesOaepSha256 => 66,
            EncryptionAlgorithm::SymmetricDefault => return None,
        };
        self.len().checked_sub(overhead)
    }
}

pub(super) struct Pair {
    size: Size,
    signer: RsaKeyPair,
    decrypter: OaepPrivateDecryptingKey,
}

impl Pair {
    /// A fresh key with the exponent 65537. Takes seconds for 4,096 bits.
    pub fn generate(spec: KeySpec, size: Size) -> Result<Self, CryptoError> {
        let failed = |_| CryptoError::Library("generate an RSA key");
        let bits = match size {
            Size::Rsa2048 => KeySize::Rsa2048,
            Size::Rsa3072 => KeySize::Rsa3072,
            Size::Rsa4096 => KeySize::Rsa4096,
        };
        let key = PrivateDecryptingKey::generate(bits).map_err(failed)?;
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
        Self::read(spec, size, pkcs8.as_ref())
    }

    /// Reads PKCS#8. The library checks the parts against each other, not that the factors are prime.
    pub fn read(spec: KeySpec, size: Size, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let malformed = |reason| CryptoError::MalformedKey { spec, reason };
        let info = encoding::read_pkcs8(spec, pkcs8)?;
        let document = info.version_1(spec)?;
        let inconsistent = "its parts are not those of one RSA key";
        let signer = RsaKeyPair::from_pkcs8(document.expose()).map_err(|_| malformed(inconsistent))?;
        check_public(spec, size, signer.public_key().as_ref())?;
        info.demand_public(spec, signer.public_key().as_ref())?;
        let decrypter = PrivateDecryptingKey::from_pkcs8(document.expose()).map_err(|_| malformed(inconsistent))?;
        let decrypter = OaepPrivateDecryptingKey::new(decrypter).map_err(|_| malformed(inconsistent))?;
        Ok(Self {
            size,
            signer,
            decrypter,
        })
    }

    pub fn pkcs8(&self) -> Result<Secret, CryptoError> {
        let pkcs8: Pkcs8V1Der<'_> = self
            .signer
            .as_der()
            .map_err(|_| CryptoError::Library("encode an RSA key"))?;
        Ok(Secret::new(pkcs8.as_ref().to_vec()))
    }

    /// RSAPublicKey (RFC 8017 appendix A.1.1): a SubjectPublicKeyInfo's bits.
    pub fn public_bits(&self) -> &[u8] {
        self.signer.public_key().as_ref()
    }

    pub fn sign(&self, algorithm: SigningAlgorithm, message: Message<'_>) -> Result<Vec<u8>, CryptoError> {
        let failed = |_| CryptoError::Library("sign with RSA");
        let Scheme { hash, encoding, .. } = scheme(algorithm).ok_or(CryptoError::Library("find an RSA scheme"))?;
        let mut signature = vec![0; self.size.len()];
        match message {
            Message::Raw(message) => self
                .signer
                .sign(encoding, &SystemRandom::new(), message, &mut signature)
                .map_err(failed)?,
            Message::Digest(bytes) | Message::ExternalMu(bytes) => {
                let digest = Digest::import_less_safe(bytes, hash).map_err(failed)?;
                self.signer
                    .sign_digest(encoding, &digest, &mut signature)
                    .map_err(failed)?;
            }
        }
        Ok(signature)
    }

    pub fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, BadCiphertext> {
        let scheme = oaep(algorithm).ok_or(BadCiphertext)?;
        if ciphertext.len() != self.size.len() {
            return Err(BadCiphertext);
        }
        let mut buffer = Zeroizing::new(vec![0; self.decrypter.min_output_size()]);
        let plaintext = self
            .decrypter
            .decrypt(scheme, ciphertext, &mut buffer, None)
            .map_err(|_| BadCiphertext)?;
        Ok(Zeroizing::new(plaintext.to_vec()))
    }
}

pub(super) struct Public {
    spec: KeySpec,
    size: Size,
    bits: Vec<u8>,
    encrypter: OaepPublicEncryptingKey,
}

impl Public {
    pub fn read(spec: KeySpec, size: Size, spki: &[u8]) -> Result<Self, CryptoError> {
        let bits = encoding::read_spki(spec, spki)?;
        check_public(spec, size, bits)?;
        let reason = "it is no RSA key";
        let key = PublicEncryptingKey::from_der(spki).map_err(|_| CryptoError::MalformedKey { spec, reason })?;
        let encrypter = OaepPublicEncryptingKey::new(key).map_err(|_| CryptoError::MalformedKey { spec, reason })?;
        Ok(Self {
            spec,
            size,
            bits: bits.to_vec(),
            encrypter,
        })
    }

    pub fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let Scheme { hash, verifier, .. } = scheme(algorithm).ok_or(CryptoError::BadSignature)?;
        let verified = match message {
            Message::Raw(message) => verifier.verify_sig(&self.bits, message, signature),
            Message::Digest(bytes) | Message::ExternalMu(bytes) => Digest::import_less_safe(bytes, hash)
                .and_then(|digest| verifier.verify_digest_sig(&self.bits, &digest, signature)),
        };
        verified.map_err(|_| CryptoError::BadSignature)
    }

    pub fn encrypt(&self, algorithm: EncryptionAlgorithm, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (Some(scheme), Some(max)) = (oaep(algorithm), self.size.max_plaintext(algorithm)) else {
            let (spec, algorithm) = (self.spec, algorithm.as_str());
            return Err(CryptoError::Algorithm { spec, algorithm });
        };
        super::algorithm::check_len(0, max, plaintext)?;
        let mut ciphertext = vec![0; self.encrypter.ciphertext_size()];
        let len = self
            .encrypter
            .encrypt(scheme, plaintext, &mut ciphertext, None)
            .map_err(|_| CryptoError::Library("encrypt with RSA"))?
            .len();
        ciphertext.truncate(len);
        Ok(ciphertext)
    }
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    n: UintRef<'a>,
    e: UintRef<'a>,
}

/// Exactly the size's modulus and an exponent in bounds.
fn check_public(spec: KeySpec, size: Size, bits: &[u8]) -> Result<(), CryptoError> {
    let malformed = |reason| CryptoError::MalformedKey { spec, reason };
    let key = RsaPublicKey::from_der(bits).map_err(|_| malformed("the RSA public key is not DER"))?;
    let (n, e) = (key.n.as_bytes(), key.e.as_bytes());
    if n.len() != size.len() || n.first().is_none_or(|byte| *byte < 0x80) {
        return Err(malformed("the modulus is of another size"));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|byte| !byte.is_multiple_of(2));
    let in_bounds = e.len() <= MAX_EXPONENT_LEN && (e.len() > MIN_EXPONENT.len() || e >= &MIN_EXPONENT[..]);
    if !odd(n) || !odd(e) || e.len() < MIN_EXPONENT.len() || !in_bounds {
        return Err(malformed("the modulus is odd, and the exponent odd and 65537 to 2^32"));
    }
    Ok(())
}

struct Scheme {
    hash: &'static digest::Algorithm,
    encoding: &'static dyn RsaEncoding,
    verifier: &'static dyn VerificationAlgorithm,
}

/// Salts of PSS are as long as the hash, when verifying too.
fn scheme(algorithm: SigningAlgorithm) -> Option<Scheme> {
    use SigningAlgorithm as Alg;
    let (hash, encoding, verifier): (_, &'static dyn RsaEncoding, &'static dyn VerificationAlgorithm) = match algorithm
    {
        Alg::RsassaPkcs1V15Sha256 => (&SHA256, &aws::RSA_PKCS1_SHA256, &aws::RSA_PKCS1_2048_8192_SHA256),
        Alg::RsassaPkcs1V15Sha384 => (&SHA384, &aws::RSA_PKCS1_SHA384, &aws::RSA_PKCS1_2048_8192_SHA384),
        Alg::RsassaPkcs1V15Sha512 => (&SHA512, &aws::RSA_PKCS1_SHA512, &aws::RSA_PKCS1_2048_8192_SHA512),
        Alg::RsassaPssSha256 => (&SHA256, &aws::RSA_PSS_SHA256, &aws::RSA_PSS_2048_8192_SHA256),
        Alg::RsassaPssSha384 => (&SHA384, &aws::RSA_PSS_SHA384, &aws::RSA_PSS_2048_8192_SHA384),
        Alg::RsassaPssSha512 => (&SHA512, &aws::RSA_PSS_SHA512, &aws::RSA_PSS_2048_8192_SHA512),
        _ => return None,
    };
    Some(Scheme {
        hash,
        encoding,
        verifier,
    })
}

fn oaep(algorithm: EncryptionAlgorithm) -> Option<&'static OaepAlgorithm> {
    match algorithm {
        EncryptionAlgorithm::RsaesOaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::RsaesOaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        EncryptionAlgorithm::SymmetricDefault => None,
    }
}
