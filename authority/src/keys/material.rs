//! The secrets behind versions: made, stored sealed in rows of their own, opened when used, wiped after.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use signing::digest::sha256;
use signing::encoding::hex;
use signing::key::{PublicKey as Verifying, Secret, SigningKey};

use super::{Custody, Delegation, KeyRecord, Keys, KmsError, KmsErrorType};
use crate::crypto::{BadCiphertext, CryptoError, KeySpec, Material, PublicKey};
use crate::fault::Fault;
use crate::hsm::{DataKey, EcCurve, WrappedAes, WrappedKey, WrappedMac};
use crate::names::Tenant;
use crate::paths;
use crate::rotation::{NEVER, Slot, Version};
use crate::sealed::{Change, Held, Vault};
use crate::turns::Turns;

/// Bytes of memory that an opened key takes, at most.
const KEY_BYTES: usize = 16 << 10;
const ID_DOMAIN: &[u8] = b"signet key material id v1\0";

/// A new version's secret, to be stored in the same transaction as the key.
pub(super) enum Made {
    /// As [`Material::export`] writes it, of a raw key; PKCS#8 or the HS256 secret, of a shared one.
    Wrapped(Secret),
    /// Wrapped by the HSM.
    InHsm(WrappedKey),
    /// Wrapped by the HSM, to wrap data keys there.
    AesInHsm(WrappedAes),
    /// Wrapped by the HSM, to make MACs there.
    MacInHsm(WrappedMac),
}

impl Made {
    /// Stores it as the material of a version.
    pub(super) fn store(&self, change: Change, key: &KeyRecord, version: &Version) -> Change {
        let path = key.material(version.number);
        match self {
            Self::Wrapped(secret) => change.create_secret(path, secret),
            Self::InHsm(wrapped) => change.create(path, wrapped),
            Self::AesInHsm(wrapped) => change.create(path, wrapped),
            Self::MacInHsm(wrapped) => change.create(path, wrapped),
        }
    }
}

/// Makes the next version of a key that edges are told of, for a slot. Nothing is stored yet.
pub(super) async fn make_announced(keys: &Keys, key: &KeyRecord, slot: &Slot) -> Result<(Version, Made), KmsError> {
    if (key.delegation, key.custody) == (Delegation::None, Custody::Token) {
        let hsm = keys.vault.hsm();
        let wrapped = hsm.generate_wrapped(curve(key.spec)).await.map_err(Fault::from)?;
        let public = Verifying::from_spki_der(&wrapped.spki_der)?;
        let version = slotted(key, slot, public.thumbprint(), Some(&public))?;
        return Ok((version, Made::InHsm(wrapped)));
    }
    let algorithm = key.algorithm().ok_or_else(|| Fault::Corrupt {
        detail: format!("the key `{}` has the spec {}", key.id, key.spec),
    })?;
    let pair = SigningKey::generate(algorithm)?;
    let version = slotted(key, slot, pair.kid(), pair.public())?;
    Ok((version, Made::Wrapped(pair.export()?)))
}

fn slotted(key: &KeyRecord, slot: &Slot, kid: &str, public: Option<&Verifying>) -> Result<Version, KmsError> {
    let public_jwk = match public.map(Verifying::to_jwk) {
        Some(jwk) => {
            serde_json::to_string(&jwk).map_err(|error| Fault::internal(format!("a JWK cannot be written: {error}")))?
        }
        None => String::new(),
    };
    Ok(Version {
        number: key.next_version,
        kid: kid.to_owned(),
        public_jwk,
        public_spki: String::new(),
        publish_at: slot.publish_at,
        sign_from: slot.sign_from,
        sign_until: slot.sign_until,
        retire_at: slot.retire_at,
        compromised: false,
    })
}

/// Makes the next version of a raw key. Nothing is stored yet.
pub(super) async fn make_raw(keys: &Keys, key: &KeyRecord) -> Result<(Version, Made), KmsError> {
    match key.custody {
        Custody::Wrapped => {
            let material = generate(&key.tenant, key.spec).await?;
            Ok((raw_version(keys, key, &material)?, Made::Wrapped(material.export()?)))
        }
        Custody::Token => make_in_hsm(keys, key).await,
    }
}

/// Nobody out here knows a secret that the HSM made: its id is that of its wrapped form, which is another for each key.
async fn make_in_hsm(keys: &Keys, key: &KeyRecord) -> Result<(Version, Made), KmsError> {
    let hsm = keys.vault.hsm();
    if key.spec == KeySpec::SymmetricDefault {
        let wrapped = hsm.generate_aes().await.map_err(Fault::from)?;
        return Ok((new_raw(keys, key, &wrapped.blob, None), Made::AesInHsm(wrapped)));
    }
    if let [algorithm] = key.spec.mac_algorithms(key.usage) {
        let wrapped = hsm.generate_mac_key(*algorithm).await.map_err(Fault::from)?;
        return Ok((new_raw(keys, key, &wrapped.blob, None), Made::MacInHsm(wrapped)));
    }
    let wrapped = hsm.generate_wrapped(curve(key.spec)).await.map_err(Fault::from)?;
    let version = new_raw(keys, key, &wrapped.spki_der, Some(&wrapped.spki_der));
    Ok((version, Made::InHsm(wrapped)))
}

fn curve(spec: KeySpec) -> EcCurve {
    match spec {
        KeySpec::EccNistP384 => EcCurve::P384,
        _ => EcCurve::P256,
    }
}

/// RSA keys are made one at a time: each keeps a processor busy for up to seconds, and the others are for everybody else.
static RSA: Turns = Turns::new(1);

/// Fresh material for an account, off the threads that serve others.
pub(super) async fn generate(account: &Tenant, spec: KeySpec) -> Result<Material, KmsError> {
    let _turn = match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
            let turn = RSA.take(Some(account.clone())).await;
            Some(turn.map_err(|_| KmsErrorType::Throttling.because("Rate exceeded"))?)
        }
        _ => None,
    };
    let made = tokio::task::spawn_blocking(move || Material::generate(spec)).await;
    Ok(made.map_err(|error| Fault::internal(format!("making a key: {error}")))??)
}

/// The version of a raw key that material becomes.
pub(super) fn raw_version(keys: &Keys, key: &KeyRecord, material: &Material) -> Result<Version, KmsError> {
    let public = material.public_spki_der();
    Ok(match public {
        Some(spki) => new_raw(keys, key, spki, public),
        None => new_raw(keys, key, material.export()?.expose(), None),
    })
}

fn new_raw(keys: &Keys, key: &KeyRecord, identity: &[u8], public: Option<&[u8]>) -> Version {
    let now = keys.clock.now();
    Version {
        number: key.next_version,
        kid: material_id(&key.id, identity),
        public_jwk: String::new(),
        public_spki: public.map(|spki| STANDARD.encode(spki)).unwrap_or_default(),
        publish_at: now,
        sign_from: now,
        sign_until: NEVER,
        retire_at: NEVER,
        compromised: false,
    }
}

/// `KeyMaterialId`: the same for the same material of the same key, and it tells nothing of a secret of 28 bytes or more.
fn material_id(key: &str, identity: &[u8]) -> String {
    hex(&sha256(&[ID_DOMAIN, key.as_bytes(), b"\0", identity].concat()))
}

/// What a version says of its material: `KeyMaterialId`, and the public half in base64 if there is one.
pub(super) fn identify(key: &str, material: &Material) -> Result<(String, String), KmsError> {
    Ok(match material.public_spki_der() {
        Some(spki) => (material_id(key, spki), STANDARD.encode(spki)),
        None => (material_id(key, material.export()?.expose()), String::new()),
    })
}

/// The secret of a version with custody `wrapped`, as it was stored.
pub(crate) async fn secret(vault: &Vault, key: &KeyRecord, version: &Version) -> Result<Secret, Fault> {
    let path = key.material(version.number);
    let missing = || Fault::Corrupt {
        detail: format!("`{path}` is missing"),
    };
    vault.get_secret(&path).await?.ok_or_else(missing)
}

/// The key of a version with custody `token`, wrapped: a [`WrappedKey`], a [`WrappedAes`] or a [`WrappedMac`].
pub(super) async fn wrapped_key<T: DeserializeOwned>(
    keys: &Keys,
    key: &KeyRecord,
    version: &Version,
) -> Result<T, KmsError> {
    let path = key.material(version.number);
    let row = keys.vault.get::<T>(&path).await?;
    Ok(row
        .ok_or_else(|| Fault::Corrupt {
            detail: format!("`{path}` is missing"),
        })?
        .value)
}

/// The version that a raw key works with.
pub(super) fn current(key: &KeyRecord) -> Result<&Version, KmsError> {
    key.current()
        .ok_or_else(|| KmsErrorType::KeyUnavailable.because("this key has no version"))
}

impl Keys {
    /// The material of a version of a raw key, kept while the key's row, which the caller has just read, is as it was.
    pub(super) async fn material(&self, key: &Held<KeyRecord>, version: &Version) -> Result<Arc<Material>, KmsError> {
        let (record, revision) = (&key.value, key.stamp.revision);
        let path = paths::key(&record.tenant, &record.row());
        if let Some(material) = self.cached.materials.get(&path, version.number, revision) {
            return Ok(material);
        }
        let stored = secret(&self.vault, record, version).await?;
        let material = Material::import(record.spec, &stored).map_err(|error| corrupt(record, &error))?;
        let public = material.public_spki_der().map(|spki| STANDARD.encode(spki));
        if public.unwrap_or_default() != version.public_spki {
            return Err(Fault::Corrupt {
                detail: format!("the material of `{}` is of another key", record.id),
            }
            .into());
        }
        let material = Arc::new(material);
        self.cached
            .materials
            .put(&path, version.number, revision, material.clone(), KEY_BYTES);
        Ok(material)
    }

    /// A data key for one ciphertext of a key of custody `token`, made and wrapped in the HSM.
    pub(super) async fn new_data_key(&self, key: &KeyRecord, version: &Version) -> Result<DataKey, KmsError> {
        let wrapping = wrapped_key::<WrappedAes>(self, key, version).await?;
        let made = self.vault.hsm().generate_data_key(&wrapping).await;
        Ok(made.map_err(Fault::from)?)
    }

    /// The data key of a ciphertext of a key of custody `token`, opened in the HSM.
    pub(super) async fn data_key(
        &self,
        key: &KeyRecord,
        version: &Version,
        wrapped: &[u8],
    ) -> Result<Secret, KmsError> {
        let wrapping = wrapped_key::<WrappedAes>(self, key, version).await?;
        let opened = self.vault.hsm().unwrap_data_key(&wrapping, wrapped).await;
        Ok(opened.map_err(Fault::from)?.ok_or(BadCiphertext)?)
    }

    /// The public half of a version of a raw key, parsed once for the row as it is.
    pub(super) fn public_key(&self, key: &Held<KeyRecord>, version: &Version) -> Result<Arc<PublicKey>, KmsError> {
        let (record, revision) = (&key.value, key.stamp.revision);
        let path = paths::key(&record.tenant, &record.row());
        if let Some(public) = self.cached.publics.get(&path, version.number, revision) {
            return Ok(public);
        }
        let spki = spki(record, version)?;
        let public = PublicKey::from_spki_der(record.spec, &spki).map_err(|error| corrupt(record, &error))?;
        let public = Arc::new(public);
        self.cached
            .publics
            .put(&path, version.number, revision, public.clone(), KEY_BYTES);
        Ok(public)
    }
}

/// The DER SubjectPublicKeyInfo of a version, of a raw or of a shared key.
pub(super) fn spki(key: &KeyRecord, version: &Version) -> Result<Vec<u8>, KmsError> {
    let broken = |what: String| Fault::Corrupt {
        detail: format!("the public key of `{}` does not read: {what}", key.id),
    };
    if !version.public_jwk.is_empty() {
        let jwk = serde_json::from_str(&version.public_jwk).map_err(|error| broken(error.to_string()))?;
        return Ok(Verifying::from_jwk(&jwk)?.to_spki_der().to_vec());
    }
    Ok(STANDARD
        .decode(&version.public_spki)
        .map_err(|error| broken(error.to_string()))?)
}

fn corrupt(key: &KeyRecord, error: &CryptoError) -> Fault {
    Fault::Corrupt {
        detail: format!("the key `{}` does not read: {error}", key.id),
    }
}
