//! The two forms of an ECDSA signature: JOSE's fixed r‖s (RFC 7518 section 3.4) and DER (RFC 3279 section 2.2.3).

use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};

use crate::algorithm::Algorithm;

/// A signature that is not in the form it claims to be, or an algorithm with one form only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Only ECDSA signatures have a DER form.
    #[error("{0} signatures have no DER form")]
    NotEcdsa(Algorithm),
    /// The wrong length, not DER, or integers out of place.
    #[error("not an {0} signature in the {1} form")]
    Malformed(Algorithm, &'static str),
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// r‖s → DER. Zero and out-of-range values convert like any other: verifying is what refuses them (R4).
///
/// # Errors
/// [`FormError`] for a wrong length, or an algorithm that is not ECDSA.
pub fn fixed_to_der(algorithm: Algorithm, fixed: &[u8]) -> Result<Vec<u8>, FormError> {
    let malformed = FormError::Malformed(algorithm, "fixed");
    let half = half_len(algorithm)?;
    let (r, s) = fixed
        .split_at_checked(half)
        .filter(|(_, s)| s.len() == half)
        .ok_or(malformed)?;
    let signature = EcdsaSignature {
        r: UintRef::new(r).map_err(|_| malformed)?,
        s: UintRef::new(s).map_err(|_| malformed)?,
    };
    signature.to_der().map_err(|_| malformed)
}

/// DER → r‖s. Only strict DER is read: no negative numbers, no padding, nothing behind the end.
///
/// # Errors
/// [`FormError`] for anything else, for numbers longer than the curve's order, or an algorithm that is not ECDSA.
pub fn der_to_fixed(algorithm: Algorithm, der: &[u8]) -> Result<Vec<u8>, FormError> {
    let malformed = FormError::Malformed(algorithm, "DER");
    let half = half_len(algorithm)?;
    let signature = EcdsaSignature::from_der(der).map_err(|_| malformed)?;
    let mut fixed = Vec::with_capacity(half.saturating_mul(2));
    for number in [signature.r.as_bytes(), signature.s.as_bytes()] {
        let padding = half.checked_sub(number.len()).ok_or(malformed)?;
        fixed.resize(fixed.len().saturating_add(padding), 0);
        fixed.extend_from_slice(number);
    }
    Ok(fixed)
}

fn half_len(algorithm: Algorithm) -> Result<usize, FormError> {
    match algorithm {
        Algorithm::Es256 => Ok(32),
        Algorithm::Es384 => Ok(48),
        other => Err(FormError::NotEcdsa(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn forms_round_trip(wide in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 96)) {
            let (algorithm, fixed) = if wide { (Algorithm::Es384, &bytes[..]) } else { (Algorithm::Es256, &bytes[..64]) };
            let der = fixed_to_der(algorithm, fixed).unwrap();
            prop_assert_eq!(der_to_fixed(algorithm, &der).unwrap(), fixed);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(fixed) = der_to_fixed(Algorithm::Es256, &bytes) {
                prop_assert_eq!(fixed_to_der(Algorithm::Es256, &fixed).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn wrong_forms_are_refused() {
        let der = fixed_to_der(Algorithm::Es256, &[1; 64]).unwrap();
        assert!(fixed_to_der(Algorithm::Es256, &[1; 63]).is_err());
        assert!(fixed_to_der(Algorithm::Es256, &[1; 65]).is_err());
        assert!(fixed_to_der(Algorithm::Es384, &[1; 64]).is_err());
        assert!(fixed_to_der(Algorithm::Es256, &[]).is_err());
        assert_eq!(
            fixed_to_der(Algorithm::EdDsa, &[1; 64]),
            Err(FormError::NotEcdsa(Algorithm::EdDsa))
        );
        assert!(der_to_fixed(Algorithm::Es256, &der[..der.len() - 1]).is_err());
        assert!(der_to_fixed(Algorithm::Es256, &[&der[..], &[0]].concat()).is_err());
        assert!(der_to_fixed(Algorithm::Es256, &fixed_to_der(Algorithm::Es384, &[9; 96]).unwrap()).is_err());
        // Negative r; r with a needless leading zero.
        assert!(der_to_fixed(Algorithm::Es256, &[0x30, 6, 2, 1, 0x80, 2, 1, 1]).is_err());
        assert!(der_to_fixed(Algorithm::Es256, &[0x30, 7, 2, 2, 0, 1, 2, 1, 1]).is_err());
    }
}
