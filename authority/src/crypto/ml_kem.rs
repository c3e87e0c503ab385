//! ML-KEM (FIPS 203). AWS-LC encapsulates and decapsulates; RustCrypto's implementation expands the seed, which AWS-LC's
//! Rust interface cannot.
//!
//! A key is kept as its seed d ‖ z of 64 bytes.

use aws_lc_rs::kem::{self, Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::kem::KeyExport as _;
use ml_kem::{MlKem512, MlKem768, MlKem1024, Seed};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::spec::KeySpec;
use super::{BadCiphertext, CryptoError, encoding};

const SEED_LEN: usize = 64;
const Q: u16 = 3329;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    MlKem512,
    MlKem768,
    MlKem1024,
}

impl Set {
    fn algorithm(self) -> &'static kem::Algorithm {
        match self {
            Self::MlKem512 => &kem::ML_KEM_512,
            Self::MlKem768 => &kem::ML_KEM_768,
            Self::MlKem1024 => &kem::ML_KEM_1024,
        }
    }

    const fn ciphertext_len(self) -> usize {
        match self {
            Self::MlKem512 => 768,
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
        }
    }
}

pub(super) struct Pair {
    set: Set,
    seed: Secret,
    expanded: Secret,
    key: DecapsulationKey,
    public: Vec<u8>,
}

impl Pair {
    pub fn generate(spec: KeySpec, set: Set) -> Result<Self, CryptoError> {
        Self::from_seed(spec, set, Secret::random(SEED_LEN)?.expose())
    }

    pub fn from_seed(spec: KeySpec, set: Set, seed: &[u8]) -> Result<Self, CryptoError> {
        let reason = "an ML-KEM seed has 64 bytes";
        let bytes: Zeroizing<[u8; SEED_LEN]> = Zeroizing::new(
            seed.try_into()
                .map_err(|_| CryptoError::MalformedKey { spec, reason })?,
        );
        let (expanded, public) = expand(set, &bytes);
        let key = DecapsulationKey::new(set.algorithm(), expanded.expose())
            .map_err(|_| CryptoError::Library("read an ML-KEM key"))?;
        Ok(Self {
            set,
            seed: Secret::new(seed.to_vec()),
            expanded,
            key,
            public,
        })
    }

    /// Reads PKCS#8 with a seed, or a seed and the expanded key that it gives (RFC 9935 section 6).
    pub fn read(spec: KeySpec, set: Set, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let info = encoding::read_pkcs8(spec, pkcs8)?;
        let key = encoding::read_seed(spec, info.key)?;
        let pair = Self::from_seed(spec, set, key.seed)?;
        if key.expanded.is_some_and(|expanded| !pair.expanded.matches(expanded)) {
            let reason = "the expanded key is not the seed's";
            return Err(CryptoError::MalformedKey { spec, reason });
        }
        info.demand_public(spec, &pair.public)?;
        Ok(pair)
    }

    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    pub fn public_bits(&self) -> &[u8] {
        &self.public
    }

    /// A ciphertext of the right length always gives 32 bytes: those of another key's or an altered one are random
    /// (implicit rejection, FIPS 203 section 6.3).
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, BadCiphertext> {
        if ciphertext.len() != self.set.ciphertext_len() {
            return Err(BadCiphertext);
        }
        let secret = self.key.decapsulate(Ciphertext::from(ciphertext));
        Ok(Secret::new(secret.map_err(|_| BadCiphertext)?.as_ref().to_vec()))
    }
}

pub(super) struct Public {
    key: EncapsulationKey,
}

impl Public {
    /// The library looks at coefficients only when it encapsulates: they are checked here.
    pub fn read(spec: KeySpec, set: Set, spki: &[u8]) -> Result<Self, CryptoError> {
        let bits = encoding::read_spki(spec, spki)?;
        let reason = "it is no ML-KEM public key of this set";
        let key = EncapsulationKey::new(set.algorithm(), bits);
        match key {
            Ok(key) if is_reduced(bits) => Ok(Self { key }),
            _ => Err(CryptoError::MalformedKey { spec, reason }),
        }
    }

    /// A fresh shared secret of 32 bytes, and its ciphertext.
    pub fn encapsulate(&self) -> Result<(Secret, Vec<u8>), CryptoError> {
        let encapsulated = self.key.encapsulate();
        let (ciphertext, secret) = encapsulated.map_err(|_| CryptoError::Library("encapsulate a secret"))?;
        Ok((Secret::new(secret.as_ref().to_vec()), ciphertext.as_ref().to_vec()))
    }
}

/// The modulus check of FIPS 203 section 7.2: all coefficients, 12 bits each with ρ (32 bytes) behind them, are below q.
fn is_reduced(public: &[u8]) -> bool {
    let Some((coefficients, _)) = public.split_last_chunk::<32>() else {
        return false;
    };
    let (triples, rest) = coefficients.as_chunks::<3>();
    let below_q = |[a, b, c]: &[u8; 3]| {
        let low = u16::from_le_bytes([*a, b & 0x0f]);
        let high = u16::from_le_bytes([(b >> 4) | (c << 4), c >> 4]);
        low < Q && high < Q
    };
    rest.is_empty() && triples.iter().all(below_q)
}

/// The expanded decapsulation key and the encapsulation key (FIPS 203 algorithm 16).
#[expect(
    deprecated,
    reason = "the expanded form is what AWS-LC reads; it is not kept or exported"
)]
fn expand(set: Set, seed: &[u8; SEED_LEN]) -> (Secret, Vec<u8>) {
    use ml_kem::ExpandedKeyEncoding as _;
    macro_rules! expand {
        ($parameters:ty) => {{
            let key = ml_kem::DecapsulationKey::<$parameters>::from_seed(Seed::from(*seed));
            let expanded = Zeroizing::new(key.to_expanded_bytes());
            (
                Secret::new(expanded.to_vec()),
                key.encapsulation_key().to_bytes().to_vec(),
            )
        }};
    }
    match set {
        Set::MlKem512 => expand!(MlKem512),
        Set::MlKem768 => expand!(MlKem768),
        Set::MlKem1024 => expand!(MlKem1024),
    }
}
