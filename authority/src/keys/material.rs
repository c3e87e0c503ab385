//! The secrets behind versions: made, stored sealed in rows of their own, opened when used, wiped after.

use signing::jwk::Jwk;
use signing::key::{PublicKey, Secret, SigningKey, Verifier};

use super::{Custody, KeyRecord, Keys, KmsError, KmsErrorType};
use crate::fault::Fault;
use crate::hsm::{EcCurve, WrappedKey};
use crate::paths;
use crate::rotation::{Slot, Version};
use crate::sealed::Vault;

/// A new version's secret, to be stored in the same transaction as the key.
pub(super) enum Made {
    /// PKCS#8, or the raw HS256 secret.
    Wrapped(Secret),
    /// Wrapped by the HSM.
    InHsm(WrappedKey),
}

/// Makes the next version of `key` for a slot. Nothing is stored yet.
pub(super) async fn make(keys: &Keys, key: &KeyRecord, slot: &Slot) -> Result<(Version, Made), KmsError> {
    let (kid, public, made) = match key.custody {
        Custody::Wrapped => {
            let pair = SigningKey::generate(key.algorithm)?;
            let public = pair.public().map(PublicKey::to_jwk);
            (pair.kid().to_owned(), public, Made::Wrapped(pair.export()?))
        }
        Custody::Token => {
            let curve = match key.algorithm {
                signing::algorithm::Algorithm::Es384 => EcCurve::P384,
                _ => EcCurve::P256,
            };
            let wrapped = keys.vault.hsm().generate_wrapped(curve).await.map_err(Fault::from)?;
            let public = PublicKey::from_spki_der(&wrapped.spki_der)?;
            (
                public.thumbprint().to_owned(),
                Some(public.to_jwk()),
                Made::InHsm(wrapped),
            )
        }
    };
    let public_jwk = match &public {
        Some(jwk) => {
            serde_json::to_string(jwk).map_err(|error| Fault::internal(format!("a JWK cannot be written: {error}")))?
        }
        None => String::new(),
    };
    let version = Version {
        number: key.next_version,
        kid,
        public_jwk,
        publish_at: slot.publish_at,
        sign_from: slot.sign_from,
        sign_until: slot.sign_until,
        retire_at: slot.retire_at,
        compromised: false,
    };
    Ok((version, made))
}

/// The secret of a version with custody `wrapped`, as `SigningKey::import` reads it.
pub(crate) async fn secret(vault: &Vault, key: &KeyRecord, version: &Version) -> Result<Secret, Fault> {
    let path = paths::material(&key.tenant, &key.id, version.number);
    let missing = || Fault::Corrupt {
        detail: format!("`{path}` is missing"),
    };
    vault.get_secret(&path).await?.ok_or_else(missing)
}

/// The private key of a version with custody `wrapped`.
pub(super) async fn signing_key(keys: &Keys, key: &KeyRecord, version: &Version) -> Result<SigningKey, KmsError> {
    let pair = SigningKey::import(key.algorithm, &secret(&keys.vault, key, version).await?)?;
    let pair = if key.algorithm.is_symmetric() {
        pair.with_kid(&version.kid)?
    } else {
        pair
    };
    if pair.kid() != version.kid {
        return Err(Fault::Corrupt {
            detail: format!("the material of `{}` is of another key", key.id),
        }
        .into());
    }
    Ok(pair)
}

/// The private key of a version with custody `token`, wrapped.
pub(super) async fn wrapped_key(keys: &Keys, key: &KeyRecord, version: &Version) -> Result<WrappedKey, KmsError> {
    let path = paths::material(&key.tenant, &key.id, version.number);
    let row = keys.vault.get::<WrappedKey>(&path).await?;
    Ok(row
        .ok_or_else(|| Fault::Corrupt {
            detail: format!("`{path}` is missing"),
        })?
        .value)
}

/// The public half of a version.
pub(super) fn public_key(version: &Version) -> Result<PublicKey, KmsError> {
    let jwk: Jwk = serde_json::from_str(&version.public_jwk).map_err(|error| Fault::Corrupt {
        detail: format!("the JWK of `{}` does not read: {error}", version.kid),
    })?;
    Ok(PublicKey::from_jwk(&jwk)?)
}

/// What checks a raw key's signatures.
pub(super) async fn verifier(keys: &Keys, key: &KeyRecord, version: &Version) -> Result<Verifier, KmsError> {
    if key.algorithm.is_symmetric() {
        Ok(Verifier::hmac(&version.kid, &secret(&keys.vault, key, version).await?)?)
    } else {
        Ok(Verifier::Public(public_key(version)?))
    }
}

/// The version of a raw key: it has exactly one.
pub(super) fn only(key: &KeyRecord) -> Result<&Version, KmsError> {
    key.versions
        .first()
        .ok_or_else(|| KmsErrorType::KeyUnavailable.because("this key has no version"))
}
