//! The signature algorithms a caller's issuer may use. No HMAC: a shared secret would make the verifier a signer.

use std::fmt;
use std::str::FromStr;

/// A JWS algorithm (RFC 7518 section 3.1, RFC 8037, RFC 9864).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519; `EdDSA`, or `Ed25519` as RFC 9864 calls it.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
}

/// The name, the algorithm, and how `jsonwebtoken` calls it.
const NAMES: [(&str, Algorithm, jsonwebtoken::Algorithm); 10] = [
    ("EdDSA", Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
    ("Ed25519", Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
    ("ES256", Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
    ("ES384", Algorithm::Es384, jsonwebtoken::Algorithm::ES384),
    ("RS256", Algorithm::Rs256, jsonwebtoken::Algorithm::RS256),
    ("RS384", Algorithm::Rs384, jsonwebtoken::Algorithm::RS384),
    ("RS512", Algorithm::Rs512, jsonwebtoken::Algorithm::RS512),
    ("PS256", Algorithm::Ps256, jsonwebtoken::Algorithm::PS256),
    ("PS384", Algorithm::Ps384, jsonwebtoken::Algorithm::PS384),
    ("PS512", Algorithm::Ps512, jsonwebtoken::Algorithm::PS512),
];

impl Algorithm {
    /// The JOSE name.
    pub fn as_str(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, algorithm, _)| *algorithm == self)
            .map_or("", |(name, _, _)| name)
    }

    /// Whether it verifies with an RSA key.
    pub fn is_rsa(self) -> bool {
        !matches!(self, Self::EdDsa | Self::Es256 | Self::Es384)
    }

    pub(super) fn verifier(self) -> jsonwebtoken::Algorithm {
        let found = NAMES.iter().find(|(_, algorithm, _)| *algorithm == self);
        found.map_or(jsonwebtoken::Algorithm::EdDSA, |(_, _, verifier)| *verifier)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not an algorithm that callers' tokens may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of EdDSA, Ed25519, ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Exact names only: `none`, `HS256` and other spellings are unknown.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NAMES
            .iter()
            .find(|(name, _, _)| *name == text)
            .map(|(_, algorithm, _)| *algorithm)
            .ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R1
    #[test]
    fn names_are_exact_and_secrets_have_no_place() {
        for (name, algorithm, verifier) in NAMES {
            assert_eq!(name.parse(), Ok(algorithm));
            assert_eq!(algorithm.verifier(), verifier);
        }
        assert_eq!(Algorithm::EdDsa.as_str(), "EdDSA");
        for name in [
            "none", "None", "HS256", "HS384", "HS512", "es256", "ES256 ", "", "ES512", "ES256K", "Ed448",
        ] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }
}
