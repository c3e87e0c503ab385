//! Who an authority is to another: what is sealed for it, and what it signs. Two key pairs of its own for this and nothing
//! else, made when first asked for; the secret halves are sealed rows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as HPKE;
use rustls::crypto::hpke::{Hpke, HpkePrivateKey, HpkePublicKey};
use serde::{Deserialize, Serialize};
use signing::algorithm::Algorithm;
use signing::digest::sha256;
use signing::encoding::hex;
use signing::key::{PublicKey, Secret, SigningKey};

use crate::fault::Fault;
use crate::keys::{Keys, KmsError, KmsErrorType};
use crate::paths;
use crate::sealed::Change;

const DOMAIN: &[u8] = b"signet replica identity v1\0";
/// Bytes of an X25519 key, either half.
const X25519: usize = 32;

/// The public halves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(in crate::keys) struct Identity {
    /// X25519 (RFC 7748), base64: what is sealed for it.
    seal_for: String,
    /// Ed25519, DER SubjectPublicKeyInfo in base64: what it signs.
    signed_by: String,
}

/// An identity that was read.
pub(super) struct Peer {
    pub(super) seal_for: HpkePublicKey,
    pub(super) signed_by: PublicKey,
    /// SHA-256 of both keys, hex: what people compare.
    pub(super) fingerprint: String,
}

/// This authority's own.
pub(super) struct Own {
    pub(super) opening: HpkePrivateKey,
    pub(super) signing: SigningKey,
    pub(super) identity: Identity,
}

impl Identity {
    /// Reads the keys.
    pub(super) fn read(&self) -> Result<Peer, KmsError> {
        let invalid = || KmsErrorType::Validation.because("this is no identity of an authority: its keys do not read");
        let seal_for = STANDARD.decode(&self.seal_for).map_err(|_| invalid())?;
        let spki = STANDARD.decode(&self.signed_by).map_err(|_| invalid())?;
        let signed_by = PublicKey::from_spki_der_as(Algorithm::EdDsa, &spki).map_err(|_| invalid())?;
        if seal_for.len() != X25519 {
            return Err(invalid());
        }
        let fingerprint = hex(&sha256(&[DOMAIN, &seal_for, signed_by.to_spki_der()].concat()));
        Ok(Peer {
            seal_for: HpkePublicKey(seal_for),
            signed_by,
            fingerprint,
        })
    }
}

impl Keys {
    /// This authority's identity, made if there is none.
    pub(super) async fn own_identity(&self) -> Result<Own, KmsError> {
        Ok(self.vault.retry(|| self.read_or_make_identity()).await?)
    }

    async fn read_or_make_identity(&self) -> Result<Own, Fault> {
        let opening = self.vault.get_secret(paths::REPLICA_OPENING).await?;
        let signing = self.vault.get_secret(paths::REPLICA_SIGNING).await?;
        if let (Some(opening), Some(signing)) = (opening, signing) {
            return own(&opening, &signing);
        }
        let failed = |error: &dyn std::fmt::Display| Fault::internal(format!("making an identity: {error}"));
        let (public, private) = HPKE.generate_key_pair().map_err(|error| failed(&error))?;
        let opening = Secret::new([private.secret_bytes(), &public.0].concat());
        let signing = SigningKey::generate(Algorithm::EdDsa).and_then(|key| key.export());
        let signing = signing.map_err(|error| failed(&error))?;
        let change = Change::new()
            .create_secret(paths::REPLICA_OPENING, &opening)
            .create_secret(paths::REPLICA_SIGNING, &signing);
        self.vault.commit(change).await?;
        tracing::info!("an identity was made, for replicas at other authorities");
        own(&opening, &signing)
    }
}

/// `opening` is the private half and behind it the public one.
fn own(opening: &Secret, signing: &Secret) -> Result<Own, Fault> {
    let corrupt = |what: &str| Fault::Corrupt {
        detail: format!("the identity for replicas does not read: {what}"),
    };
    let halves = opening.expose().split_at_checked(X25519);
    let (private, public) = halves.ok_or_else(|| corrupt("its length"))?;
    let signing = SigningKey::import(Algorithm::EdDsa, signing).map_err(|error| corrupt(&error.to_string()))?;
    let spki = signing.public().map(|public| STANDARD.encode(public.to_spki_der()));
    Ok(Own {
        opening: HpkePrivateKey::from(private.to_vec()),
        identity: Identity {
            seal_for: STANDARD.encode(public),
            signed_by: spki.ok_or_else(|| corrupt("its signing key"))?,
        },
        signing,
    })
}
