//! A digest with its hash function, its length checked when it is made.

use std::fmt;
use std::str::FromStr;

use crate::algorithm::{DigestAlgorithm, UnknownName};
use crate::encoding::{from_hex, hex};

/// The digest of something that was hashed elsewhere. Written `sha256:HEX`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: DigestAlgorithm,
    bytes: Vec<u8>,
}

/// Why a text or bytes are no digest. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon.
    #[error("a digest is written ALGORITHM:HEX, for example sha256:9f86d0…")]
    Shape,
    /// The part before the colon names no hash we take.
    #[error(transparent)]
    Algorithm(#[from] UnknownName),
    /// The part after the colon is not hex.
    #[error("the digest after the colon must be hexadecimal")]
    Hex,
    /// The length does not fit the hash.
    #[error("a {algorithm} digest has {expected} bytes, this one has {actual}")]
    Length {
        /// The hash that was named.
        algorithm: DigestAlgorithm,
        /// Bytes it gives.
        expected: usize,
        /// Bytes there were.
        actual: usize,
    },
}

impl Digest {
    /// A digest from its bytes.
    ///
    /// # Errors
    /// [`DigestError::Length`] when the length is not the hash's own.
    pub fn new(algorithm: DigestAlgorithm, bytes: &[u8]) -> Result<Self, DigestError> {
        if bytes.len() != algorithm.output_len() {
            return Err(DigestError::Length {
                algorithm,
                expected: algorithm.output_len(),
                actual: bytes.len(),
            });
        }
        Ok(Self {
            algorithm,
            bytes: bytes.to_vec(),
        })
    }

    /// Hashes `message`.
    pub fn of(algorithm: DigestAlgorithm, message: &[u8]) -> Self {
        Self {
            algorithm,
            bytes: aws_lc_rs::digest::digest(algorithm.aws(), message).as_ref().to_vec(),
        }
    }

    /// The hash function.
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The digest itself: 32, 48 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, digits) = text.split_once(':').ok_or(DigestError::Shape)?;
        let algorithm = name.parse::<DigestAlgorithm>()?;
        let expected = algorithm.output_len();
        if digits.len() > expected.saturating_mul(2) {
            return Err(DigestError::Length {
                algorithm,
                expected,
                actual: digits.len().div_ceil(2),
            });
        }
        Self::new(algorithm, &from_hex(digits).ok_or(DigestError::Hex)?)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, hex(&self.bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// SHA-256 of `message`, 32 bytes.
pub fn sha256(message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out
        .iter_mut()
        .zip(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message).as_ref())
    {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let digest = Digest::of(DigestAlgorithm::Sha256, b"test");
        assert_eq!(
            digest.to_string(),
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
        assert_eq!(sha256(b"test").as_slice(), digest.as_bytes());
    }

    #[test]
    fn each_bad_text_says_what_is_wrong() {
        let cases = [
            ("", "a digest is written ALGORITHM:HEX"),
            ("9f86", "a digest is written ALGORITHM:HEX"),
            ("md5:00", "unknown digest algorithm `md5`"),
            ("sha256:", "a sha256 digest has 32 bytes, this one has 0"),
            ("sha256:00ff", "a sha256 digest has 32 bytes, this one has 2"),
            (
                "sha384:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "a sha384 digest has 48 bytes",
            ),
            (
                "sha256:zz86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "must be hexadecimal",
            ),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(format!("sha256:{}", "0".repeat(1 << 20)).parse::<Digest>().is_err());
    }
}
