//! What can be signed with: each algorithm, its JOSE name, its hash and the length of its signatures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signature algorithm. It belongs to a key for the key's whole life and is never read from a token's header (R1).
///
/// Serialized as its JOSE name (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Algorithm {
    /// Ed25519 (RFC 8032). Takes whole messages only.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// HMAC with SHA-256. The verifier holds the same secret as the signer.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits. Verified, never signed.
    Rs256,
    /// RSASSA-PSS with SHA-256 and a 32-byte salt, 2048 to 8192 bits. Verified, never signed.
    Ps256,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Algorithm; 6] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Hs256,
        Self::Rs256,
        Self::Ps256,
    ];

    /// The JOSE name, as it stands in a JWK's or a header's `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The only hash whose digests this algorithm signs; none where it takes nothing but messages (Ed25519, HMAC).
    pub const fn digest(self) -> Option<DigestAlgorithm> {
        match self {
            Self::EdDsa | Self::Hs256 => None,
            Self::Es256 | Self::Rs256 | Self::Ps256 => Some(DigestAlgorithm::Sha256),
            Self::Es384 => Some(DigestAlgorithm::Sha384),
        }
    }

    /// Whether keys of this algorithm can be made here. RSA keys only verify.
    pub const fn can_sign(self) -> bool {
        !matches!(self, Self::Rs256 | Self::Ps256)
    }

    /// Whether the verifier needs the signer's secret.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256)
    }

    /// Whether this is ECDSA, the one family whose signatures have a DER form too.
    pub const fn is_ecdsa(self) -> bool {
        matches!(self, Self::Es256 | Self::Es384)
    }

    /// Bytes in a signature in JOSE's form; none for RSA, where it is the length of the modulus.
    pub const fn signature_len(self) -> Option<usize> {
        match self {
            Self::EdDsa | Self::Es256 => Some(64),
            Self::Es384 => Some(96),
            Self::Hs256 => Some(32),
            Self::Rs256 | Self::Ps256 => None,
        }
    }

    /// Whether a header's `alg` names this algorithm. Ed25519 has two names: `EdDSA` and, since RFC 9864, `Ed25519`.
    pub fn is_named(self, name: &str) -> bool {
        name == self.as_str() || (self == Self::EdDsa && name == "Ed25519")
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no algorithm of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} `{name}`, use one of {known}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    known: &'static str,
}

impl FromStr for Algorithm {
    type Err = UnknownName;

    /// Accepts exactly the JOSE names, and `Ed25519` for [`Algorithm::EdDsa`].
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.is_named(name))
            .ok_or_else(|| UnknownName {
                kind: "algorithm",
                name: name.chars().take(32).collect(),
                known: "EdDSA, ES256, ES384, HS256, RS256, PS256",
            })
    }
}

impl TryFrom<String> for Algorithm {
    type Error = UnknownName;

    fn try_from(name: String) -> Result<Self, UnknownName> {
        name.parse()
    }
}

impl From<Algorithm> for &'static str {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.as_str()
    }
}

/// A hash function whose digests callers may hand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl DigestAlgorithm {
    /// Every hash there is.
    pub const ALL: [DigestAlgorithm; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name before the colon: `sha256`, `sha384` or `sha512`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes in a digest; always 32, 48 or 64.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    pub(crate) fn aws(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::Sha256 => &aws_lc_rs::digest::SHA256,
            Self::Sha384 => &aws_lc_rs::digest::SHA384,
            Self::Sha512 => &aws_lc_rs::digest::SHA512,
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DigestAlgorithm {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or_else(|| UnknownName {
                kind: "digest algorithm",
                name: name.chars().take(32).collect(),
                known: "sha256, sha384, sha512",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_ed25519_has_two() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse::<Algorithm>(), Ok(algorithm));
        }
        assert_eq!("Ed25519".parse::<Algorithm>(), Ok(Algorithm::EdDsa));
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["none", "", "es256", "HS384", "ES256K", "RS1", "NONE"] {
            let error = name.parse::<Algorithm>().unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("unknown algorithm `{name}`")),
                "{error}"
            );
        }
        assert!("md5".parse::<DigestAlgorithm>().is_err());
        assert!("SHA256".parse::<DigestAlgorithm>().is_err());
    }

    #[test]
    fn a_configuration_reads_and_writes_the_jose_name() {
        let read: Algorithm = serde_json::from_str("\"ES384\"").unwrap();
        assert_eq!(read, Algorithm::Es384);
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"ES384\"");
        assert!(serde_json::from_str::<Algorithm>("\"none\"").is_err());
    }

    #[test]
    fn only_rsa_cannot_sign() {
        let refused: Vec<_> = Algorithm::ALL.into_iter().filter(|a| !a.can_sign()).collect();
        assert_eq!(refused, [Algorithm::Rs256, Algorithm::Ps256]);
    }
}
