//! The backup key: a key pair whose private half exists only as shares. The authority holds the public half and a secret that
//! shows that a backup was made by it, and can make backups with no share at hand.
//!
//! HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) delivers a random secret to the private key.
//! Anyone can do that who knows the public key, so the keys of a backup are derived from that secret *and* from the
//! authentication secret, which is derived from the private key in turn: shareholders come by both, a forger by neither.

use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use serde::{Deserialize, Serialize};
use signing::digest::sha256;
use signing::encoding::{from_hex, hex};
use signing::key::Secret;
use zeroize::Zeroizing;

use super::share::{self, Share};
use crate::fault::Fault;

/// Bytes of every secret here.
const LEN: usize = 32;
/// Hexadecimal digits of an id.
const ID_LEN: usize = 16;
const INFO: &[u8] = b"signet backup v1";
const AUTHENTICATION: &[u8] = b"signet backup authentication v1";

/// What may be known of a backup key. Part of every backup that was made under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupKey {
    /// The beginning of the SHA-256 of the public half, 16 hexadecimal digits.
    pub id: String,
    /// The public half, X25519, in hexadecimal digits.
    pub public: String,
    /// How many shares are needed.
    pub threshold: u8,
    /// How many there are.
    pub shares: u8,
    /// A commitment to each share, in order of their indices.
    pub commitments: Vec<String>,
    /// When it was made, Unix seconds.
    pub created_at: u64,
}

/// A backup key as it is made: the only time that its shares are together.
pub struct Made {
    /// For everyone.
    pub key: BackupKey,
    /// For the authority: shows that a backup is its own.
    pub authentication: Secret,
    /// For as many people, one each.
    pub shares: Vec<Share>,
}

/// A secret on its way to the shareholders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delivered {
    /// HPKE's encapsulated key, in hexadecimal digits.
    encapsulated: String,
    ciphertext: String,
}

/// The private half, for as long as a restore takes.
pub struct Combined(Secret);

/// Makes a backup key with `shares` shares, of which `threshold` are needed: 2 ≤ threshold ≤ shares ≤ 255.
///
/// # Errors
/// `Invalid` for numbers outside that; `Internal` when the random source fails.
pub fn make(shares: u8, threshold: u8, now: u64) -> Result<Made, Fault> {
    if threshold < 2 || shares < threshold {
        let message = format!(
            "a backup key has 2 to 255 shares, and at least 2 of them are needed to restore; {threshold} of {shares} is not that"
        );
        return Err(Fault::invalid("bad_request", message));
    }
    let (public, private) = SUITE.generate_key_pair().map_err(failed)?;
    let private = Combined(Secret::new(private.secret_bytes().to_vec()));
    let id = id(&public.0);
    let shares_made = share::split(&private.0, &id, threshold, shares);
    let key = BackupKey {
        id,
        public: hex(&public.0),
        threshold,
        shares,
        commitments: shares_made.iter().map(Share::commitment).collect(),
        created_at: now,
    };
    // What cannot be put together again must not be trusted with a backup (R24).
    let authentication = key.combine(&shares_made)?.authentication()?;
    Ok(Made {
        key,
        authentication,
        shares: shares_made,
    })
}

impl BackupKey {
    /// Whether its parts fit together.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let public = from_hex(&self.public).filter(|public| public.len() == LEN && id(public) == self.id);
        let counts = (2..=self.shares).contains(&self.threshold) && self.commitments.len() == usize::from(self.shares);
        match public {
            Some(_) if counts => Ok(()),
            _ => Err(Fault::invalid(
                "bad_request",
                "the backup key's parts do not fit together",
            )),
        }
    }

    /// The private half, from enough shares.
    ///
    /// # Errors
    /// `Invalid`, saying which share is wrong or how many are missing.
    pub fn combine(&self, shares: &[Share]) -> Result<Combined, Fault> {
        self.check()?;
        let secret = share::combine(&self.id, self.threshold, &self.commitments, shares)?;
        let private = PrivateKey::from_private_key(&X25519, secret.expose()).map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?;
        if hex(public.as_ref()) == self.public {
            Ok(Combined(secret))
        } else {
            Err(Fault::invalid(
                "bad_share",
                format!("these shares do not give the backup key `{}`", self.id),
            ))
        }
    }

    /// Encrypts a secret to the private half; `backup` is the backup's id.
    pub(super) fn deliver(&self, secret: &Secret, backup: &str) -> Result<Delivered, Fault> {
        let public = from_hex(&self.public).ok_or_else(|| Fault::internal("a backup key's public half"))?;
        let sealed = SUITE.seal(INFO, backup.as_bytes(), secret.expose(), &HpkePublicKey(public));
        let (encapsulated, ciphertext) = sealed.map_err(failed)?;
        Ok(Delivered {
            encapsulated: hex(&encapsulated.0),
            ciphertext: hex(&ciphertext),
        })
    }
}

impl Combined {
    /// What the authority holds of it.
    pub(crate) fn authentication(&self) -> Result<Secret, Fault> {
        derive(&[], &self.0, AUTHENTICATION)
    }

    pub(super) fn receive(&self, delivered: &Delivered, backup: &str) -> Result<Secret, Fault> {
        let refuse = || super::format::altered("what it holds for the backup key does not open");
        let encapsulated = from_hex(&delivered.encapsulated).ok_or_else(refuse)?;
        let ciphertext = from_hex(&delivered.ciphertext).ok_or_else(refuse)?;
        let private = HpkePrivateKey::from(self.0.expose().to_vec());
        let encapsulated = EncapsulatedSecret(encapsulated);
        let opened = SUITE.open(&encapsulated, INFO, backup.as_bytes(), &ciphertext, &private);
        Ok(Secret::new(opened.map_err(|_| refuse())?))
    }
}

/// 32 bytes by HKDF-SHA-256 (RFC 5869).
pub(super) fn derive(salt: &[u8], secret: &Secret, info: &[u8]) -> Result<Secret, Fault> {
    let mut derived = Zeroizing::new([0; LEN]);
    Salt::new(HKDF_SHA256, salt)
        .extract(secret.expose())
        .expand(&[info], HKDF_SHA256)
        .and_then(|okm| okm.fill(derived.as_mut_slice()))
        .map_err(failed)?;
    Ok(Secret::new(derived.to_vec()))
}

fn id(public: &[u8]) -> String {
    let mut id = hex(&sha256(public));
    id.truncate(ID_LEN);
    id
}

fn failed(error: impl std::fmt::Debug) -> Fault {
    Fault::internal(format!("the backup key: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_delivered_arrives_with_enough_shares_and_for_that_backup_only() {
        let made = make(5, 3, 7).unwrap();
        let secret = Secret::random(LEN).unwrap();
        let delivered = made.key.deliver(&secret, "a").unwrap();
        let combined = made.key.combine(&made.shares[1..4]).unwrap();
        assert!(secret.matches(combined.receive(&delivered, "a").unwrap().expose()));
        assert!(combined.receive(&delivered, "b").is_err(), "of another backup");
        assert!(made.authentication.matches(combined.authentication().unwrap().expose()));
        let other = make(2, 2, 7).unwrap();
        let other = other.key.combine(&other.shares).unwrap();
        assert!(other.receive(&delivered, "a").is_err(), "of another key");
        assert!(made.key.combine(&made.shares[..2]).is_err());
    }

    #[test]
    fn numbers_that_share_nothing_are_refused() {
        for (shares, threshold) in [(5, 0), (5, 1), (1, 1), (2, 3), (0, 0)] {
            assert!(make(shares, threshold, 0).is_err(), "{threshold} of {shares}");
        }
        let made = make(255, 255, 0).unwrap();
        assert!(made.key.check().is_ok());
        let mut wrong = made.key.clone();
        wrong.commitments.pop();
        assert!(wrong.check().is_err());
        wrong = made.key;
        wrong.public = hex(&[9; LEN]);
        assert!(wrong.check().is_err());
    }
}
