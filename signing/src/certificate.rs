//! X.509 certificates (RFC 5280): read, written as PEM, and issued with a signature that is made elsewhere.
//!
//! Issuing has two halves, because the issuer's key may live in an HSM behind a network: a `prepare_…` function of
//! [`crate::delegation`] or [`crate::node_certificate`] gives a [`Prepared`], whoever holds the issuer's key signs
//! [`Prepared::tbs`], and [`Prepared::finish`] checks the signature and assembles the [`Certificate`].

mod build;
mod pem;
mod prepared;
mod read;

pub(crate) use build::{Constraint, Issuer, Template, oid};
pub use pem::{pem_decode, pem_encode};
pub use prepared::Prepared;
pub use read::Certificate;

use crate::key::KeyError;

/// Seconds by which a certificate's life begins before it is made, for verifiers whose clocks are late.
pub const BACKDATE: u64 = 60;

/// A certificate's serial number: 128 random bits (RFC 5280 section 4.1.2.2 wants it positive and at most 20 bytes).
pub type Serial = [u8; 16];

/// From when to when a certificate counts, Unix seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: u64,
    /// Last second.
    pub not_after: u64,
}

impl Validity {
    /// From [`BACKDATE`] seconds before `now` to `lifetime` seconds after it.
    pub fn starting(now: u64, lifetime: u64) -> Self {
        Self {
            not_before: now.saturating_sub(BACKDATE),
            not_after: now.saturating_add(lifetime),
        }
    }
}

/// Why a certificate was not read or not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate, or not one of ours; the fault of whoever sent it.
    #[error("not a usable certificate: {0}")]
    Malformed(&'static str),
    /// Not PEM, or no certificate in it.
    #[error("not PEM: {0}")]
    Pem(&'static str),
    /// A name is empty, too long or has characters it must not have.
    #[error("{what} `{name}` is not acceptable: {rule}")]
    Name {
        /// Which name.
        what: &'static str,
        /// The name, cut short.
        name: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The validity is empty, or ends after the issuer's own.
    #[error("the validity must begin before it ends and end no later than the issuer's")]
    Validity,
    /// The issuer's certificate is no CA, or may not issue this.
    #[error("the issuer may not issue this certificate")]
    NotAnIssuer,
    /// The serial is zero, so it was not random.
    #[error("the serial number must be random")]
    Serial,
    /// The signature handed to [`Prepared::finish`] does not verify: the HSM, or whatever made it, is at fault (R27).
    #[error("the issuer's signature does not verify, so no certificate was made")]
    Signature,
    /// The subject's or the issuer's key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

pub(crate) fn name_error(what: &'static str, name: &str, rule: &'static str) -> CertificateError {
    CertificateError::Name {
        what,
        name: name.chars().take(80).collect(),
        rule,
    }
}
