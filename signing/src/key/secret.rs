use std::fmt;

use zeroize::Zeroizing;

use super::KeyError;

/// Bytes that must not be seen: wiped when dropped, printed as `[redacted]`, and neither cloned nor serialized.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over. Copies the caller made elsewhere are the caller's to wipe.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// `len` random bytes from the kernel.
    ///
    /// # Errors
    /// [`KeyError::Random`]: treat it as fatal (R24).
    pub fn random(len: usize) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
        Ok(Self(bytes))
    }

    /// The bytes. Every use is a place to look at in a review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in time that depends on the lengths only.
    pub fn matches(&self, other: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, other).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_nothing_of_itself() {
        let secret = Secret::new(b"canary-value".to_vec());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[redacted] Some([redacted])");
    }

    // R25: the field is of a type that is wiped when it is dropped, or this does not compile.
    #[test]
    fn it_is_wiped_when_it_is_dropped() {
        fn wiped(_: &impl zeroize::ZeroizeOnDrop) {}
        let Secret(bytes) = &Secret::new(vec![7]);
        wiped(bytes);
    }

    #[test]
    fn compares_contents() {
        let secret = Secret::new(b"abc".to_vec());
        assert!(secret.matches(b"abc"));
        assert!(!secret.matches(b"abd") && !secret.matches(b"ab") && !secret.matches(b""));
    }

    #[test]
    fn random_secrets_differ() {
        let (a, b) = (Secret::random(32).unwrap(), Secret::random(32).unwrap());
        assert!(!a.matches(b.expose()));
        assert_eq!(a.len(), 32);
    }
}
