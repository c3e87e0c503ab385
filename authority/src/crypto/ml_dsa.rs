//! ML-DSA (FIPS 204), pure, with an empty context. AWS-LC signs and verifies messages; it offers no way in for μ, the
//! message representative computed elsewhere, so that goes through RustCrypto's implementation, from the same seed.
//!
//! A key is kept as its seed ξ of 32 bytes. Signatures are hedged (FIPS 204 section 3.4) on both paths.

use aws_lc_rs::signature::{
    self as aws, KeyPair as _, ParsedPublicKey, PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm,
};
use ml_dsa::signature::rand_core::{TryCryptoRng, TryRng};
use ml_dsa::{EncodedSignature, EncodedVerifyingKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams};
use signing::key::{Secret, random_bytes};
use zeroize::Zeroizing;

use super::algorithm::{MU_LEN, Message};
use super::spec::KeySpec;
use super::{CryptoError, encoding};

const SEED_LEN: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl Set {
    fn scheme(self) -> &'static PqdsaSigningAlgorithm {
        match self {
            Self::MlDsa44 => &aws::ML_DSA_44_SIGNING,
            Self::MlDsa65 => &aws::ML_DSA_65_SIGNING,
            Self::MlDsa87 => &aws::ML_DSA_87_SIGNING,
        }
    }

    fn verifier(self) -> &'static PqdsaVerificationAlgorithm {
        match self {
            Self::MlDsa44 => &aws::ML_DSA_44,
            Self::MlDsa65 => &aws::ML_DSA_65,
            Self::MlDsa87 => &aws::ML_DSA_87,
        }
    }
}

pub(super) struct Pair {
    set: Set,
    seed: Secret,
    pair: PqdsaKeyPair,
}

impl Pair {
    pub fn generate(spec: KeySpec, set: Set) -> Result<Self, CryptoError> {
        Self::from_seed(spec, set, Secret::random(SEED_LEN)?.expose())
    }

    pub fn from_seed(spec: KeySpec, set: Set, seed: &[u8]) -> Result<Self, CryptoError> {
        let reason = "an ML-DSA seed has 32 bytes";
        let pair =
            PqdsaKeyPair::from_seed(set.scheme(), seed).map_err(|_| CryptoError::MalformedKey { spec, reason })?;
        let seed = Secret::new(seed.to_vec());
        Ok(Self { set, seed, pair })
    }

    /// Reads PKCS#8 with a seed, or a seed and the expanded key that it gives (RFC 9881 section 6).
    pub fn read(spec: KeySpec, set: Set, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let info = encoding::read_pkcs8(spec, pkcs8)?;
        let key = encoding::read_seed(spec, info.key)?;
        let pair = Self::from_seed(spec, set, key.seed)?;
        if let Some(expanded) = key.expanded
            && !pair.expanded()?.matches(expanded)
        {
            let reason = "the expanded key is not the seed's";
            return Err(CryptoError::MalformedKey { spec, reason });
        }
        info.demand_public(spec, pair.public_bits())?;
        Ok(pair)
    }

    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    pub fn public_bits(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn sign(&self, message: Message<'_>) -> Result<Vec<u8>, CryptoError> {
        match message {
            Message::Raw(message) => {
                let mut signature = vec![0; self.set.scheme().signature_len()];
                let len = self.pair.sign(message, &mut signature);
                signature.truncate(len.map_err(|_| CryptoError::Library("sign with ML-DSA"))?);
                Ok(signature)
            }
            Message::Digest(bytes) | Message::ExternalMu(bytes) => {
                let mu = mu(bytes)?;
                match self.set {
                    Set::MlDsa44 => sign_mu::<MlDsa44>(&self.seed, mu),
                    Set::MlDsa65 => sign_mu::<MlDsa65>(&self.seed, mu),
                    Set::MlDsa87 => sign_mu::<MlDsa87>(&self.seed, mu),
                }
            }
        }
    }

    fn expanded(&self) -> Result<Secret, CryptoError> {
        use aws_lc_rs::encoding::AsRawBytes;
        let expanded = self.pair.private_key().as_raw_bytes();
        let expanded = expanded.map_err(|_| CryptoError::Library("expand an ML-DSA key"))?;
        Ok(Secret::new(expanded.as_ref().to_vec()))
    }
}

pub(super) struct Public {
    set: Set,
    bits: Vec<u8>,
    parsed: ParsedPublicKey,
}

impl Public {
    pub fn read(spec: KeySpec, set: Set, spki: &[u8]) -> Result<Self, CryptoError> {
        let bits = encoding::read_spki(spec, spki)?;
        let malformed = CryptoError::MalformedKey {
            spec,
            reason: "the ML-DSA public key has another length",
        };
        if bits.len() != set.scheme().public_key_len() {
            return Err(malformed);
        }
        let parsed = ParsedPublicKey::new(set.verifier(), bits).map_err(|_| malformed)?;
        let bits = bits.to_vec();
        Ok(Self { set, bits, parsed })
    }

    pub fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<(), CryptoError> {
        let verified = match message {
            Message::Raw(message) => self.parsed.verify_sig(message, signature).is_ok(),
            Message::Digest(bytes) | Message::ExternalMu(bytes) => {
                let mu = mu(bytes)?;
                match self.set {
                    Set::MlDsa44 => verifies_mu::<MlDsa44>(&self.bits, mu, signature),
                    Set::MlDsa65 => verifies_mu::<MlDsa65>(&self.bits, mu, signature),
                    Set::MlDsa87 => verifies_mu::<MlDsa87>(&self.bits, mu, signature),
                }
            }
        };
        if verified {
            Ok(())
        } else {
            Err(CryptoError::BadSignature)
        }
    }
}

fn mu(bytes: &[u8]) -> Result<&[u8; MU_LEN], CryptoError> {
    bytes.try_into().map_err(|_| CryptoError::DigestLength {
        expected: MU_LEN,
        actual: bytes.len(),
    })
}

fn sign_mu<P: MlDsaParams>(seed: &Secret, mu: &[u8; MU_LEN]) -> Result<Vec<u8>, CryptoError> {
    let failed = CryptoError::Library("read an ML-DSA seed");
    let seed: Zeroizing<[u8; SEED_LEN]> = Zeroizing::new(seed.expose().try_into().map_err(|_| failed)?);
    let seed = Zeroizing::new(ml_dsa::Seed::from(*seed));
    let key = ml_dsa::SigningKey::<P>::from_seed(&seed);
    let signature = key.expanded_key().sign_mu_randomized(&(*mu).into(), &mut Kernel);
    Ok(signature.map_err(|_| CryptoError::Random)?.encode().to_vec())
}

fn verifies_mu<P: MlDsaParams>(public: &[u8], mu: &[u8; MU_LEN], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (
        EncodedVerifyingKey::<P>::try_from(public),
        EncodedSignature::<P>::try_from(signature),
    ) else {
        return false;
    };
    let Some(signature) = ml_dsa::Signature::<P>::decode(&signature) else {
        return false;
    };
    ml_dsa::VerifyingKey::<P>::decode(&public).verify_mu(&(*mu).into(), &signature)
}

/// The kernel's random bytes, for the hedge.
struct Kernel;

impl TryRng for Kernel {
    type Error = signing::key::KeyError;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        random_bytes().map(u32::from_ne_bytes)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        random_bytes().map(u64::from_ne_bytes)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.copy_from_slice(Secret::random(bytes.len())?.expose());
        Ok(())
    }
}

impl TryCryptoRng for Kernel {}
