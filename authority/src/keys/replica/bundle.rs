//! What goes from one authority to another: a multi-Region key with its material, sealed for one authority and signed by
//! the other. Pure but for the seal's randomness.
//!
//! ```text
//! bundle    = {"statement": TEXT, "signature": base64 of Ed25519 over "signet replica bundle v1\0" ‖ TEXT}
//! TEXT      = {"form": 1, "from", "to": fingerprints, "tenant", "key", "sequence", "enc", "sealed"}
//! sealed    = HPKE base mode (RFC 9180; DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM)
//!             info "signet replica bundle v1\0" ‖ from ‖ to, AAD: tenant/key/sequence
//! ```
//!
//! The signature is verified over the text as it came, before any of it is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as HPKE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::identity::{Own, Peer};
use crate::crypto::{KeySpec, KeyUsage};
use crate::fault::Fault;
use crate::keys::input::SecretText;
use crate::keys::{KmsError, KmsErrorType, Rotation};
use crate::names::Tenant;
use crate::rotation::Version;

const DOMAIN: &[u8] = b"signet replica bundle v1\0";
const FORM: u8 = 1;
/// Bytes of a bundle: a key has at most some dozens of versions, of some kilobytes each.
pub(super) const MAX_BUNDLE: usize = 160 << 10;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    statement: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct Statement {
    form: u8,
    from: String,
    to: String,
    #[serde(flatten)]
    about: About,
    enc: String,
    sealed: String,
}

/// Which key, and as of when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) tenant: Tenant,
    pub(super) key: String,
    /// Grows with each export: the exporting authority's time, Unix milliseconds.
    pub(super) sequence: u64,
}

/// What regions share of a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    pub(super) primary: String,
    pub(super) spec: KeySpec,
    pub(super) usage: KeyUsage,
    pub(super) description: String,
    pub(super) next_version: u32,
    pub(super) versions: Vec<Version>,
    pub(super) rotation: Rotation,
    /// Of each version in its order, as it is stored.
    pub(super) materials: Vec<SecretText>,
}

/// Seals and signs.
///
/// # Errors
/// [`Fault::Internal`] of the libraries.
pub(super) fn seal(own: &Own, from: &Peer, to: &Peer, about: &About, contents: &Contents) -> Result<Vec<u8>, Fault> {
    let failed = |error: &dyn std::fmt::Display| Fault::internal(format!("sealing a replica: {error}"));
    let plaintext = serde_json::to_vec(contents).map(Zeroizing::new);
    let plaintext = plaintext.map_err(|error| failed(&error))?;
    let (enc, sealed) = HPKE
        .seal(
            &info(&from.fingerprint, &to.fingerprint),
            &associated(about),
            &plaintext,
            &to.seal_for,
        )
        .map_err(|error| failed(&error))?;
    let statement = Statement {
        form: FORM,
        from: from.fingerprint.clone(),
        to: to.fingerprint.clone(),
        about: about.clone(),
        enc: STANDARD.encode(enc.0),
        sealed: STANDARD.encode(sealed),
    };
    let statement = serde_json::to_string(&statement).map_err(|error| failed(&error))?;
    let signature = own.signing.sign(&[DOMAIN, statement.as_bytes()].concat());
    let bundle = Bundle {
        signature: STANDARD.encode(signature.map_err(|error| failed(&error))?),
        statement,
    };
    serde_json::to_vec(&bundle).map_err(|error| failed(&error))
}

/// Verifies that `from` signed a bundle for this authority and its `tenant`, and opens it.
///
/// # Errors
/// [`KmsErrorType::Validation`], with what is wrong.
pub(super) fn open(
    own: &Own,
    to: &Peer,
    from: &Peer,
    tenant: &Tenant,
    bundle: &[u8],
) -> Result<(About, Contents), KmsError> {
    let invalid = |why: &str| KmsErrorType::Validation.because(why.to_owned());
    let malformed = || invalid("this is no bundle of a replica, or it was altered");
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_| malformed())?;
    let signature = STANDARD.decode(&bundle.signature).map_err(|_| malformed())?;
    let signed = [DOMAIN, bundle.statement.as_bytes()].concat();
    from.signed_by
        .verify(&signed, &signature)
        .map_err(|_| invalid("the bundle was not signed by the authority that `Sender` is, or it was altered"))?;
    let statement: Statement = serde_json::from_str(&bundle.statement).map_err(|_| malformed())?;
    if statement.form != FORM || statement.from != from.fingerprint {
        return Err(malformed());
    }
    if statement.to != to.fingerprint {
        return Err(invalid(
            "the bundle is for another authority: export it for this one's identity",
        ));
    }
    if statement.about.tenant != *tenant {
        return Err(invalid(
            "the bundle is of another tenant: ciphertexts name theirs, so it goes there only",
        ));
    }
    let enc = STANDARD.decode(&statement.enc).map_err(|_| malformed())?;
    let sealed = STANDARD.decode(&statement.sealed).map_err(|_| malformed())?;
    let (info, aad) = (info(&statement.from, &statement.to), associated(&statement.about));
    let plaintext = HPKE.open(&EncapsulatedSecret(enc), &info, &aad, &sealed, &own.opening);
    let plaintext = Zeroizing::new(plaintext.map_err(|_| malformed())?);
    let contents = serde_json::from_slice(&plaintext).map_err(|_| malformed())?;
    Ok((statement.about, contents))
}

fn info(from: &str, to: &str) -> Vec<u8> {
    [DOMAIN, from.as_bytes(), to.as_bytes()].concat()
}

fn associated(about: &About) -> Vec<u8> {
    format!("{}/{}/{}", about.tenant, about.key, about.sequence).into_bytes()
}
