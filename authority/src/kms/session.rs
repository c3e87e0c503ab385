//! Temporary credentials: everything an authority has to know of a session is in its token, sealed, so that every replica
//! can read it and none has to keep it.
//!
//! Token: base64 of form (1 byte), salt (16) and AES-256-GCM of the session as JSON, with the access key's id as
//! associated data. Each token has a key of its own, derived (HKDF-SHA-256, RFC 5869) from the salt and a secret that lies
//! sealed in the store, so that no limit on nonces is met; the session's secret access key is derived beside it.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use signing::key::{Secret, random_bytes};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::access_key::{is_id, new_id};
use crate::fault::Fault;
use crate::names::Tenant;
use crate::paths;
use crate::sealed::{Change, Vault};

/// Of an access key that belongs to a session.
pub(super) const PREFIX: &str = "ASIA";
/// First byte of a token, raised when its form changes.
const FORM: u8 = 1;
const SALT_LEN: usize = 16;
const MASTER_LEN: usize = 32;
/// Random-looking bytes of a session's secret: 40 characters of base64.
const SECRET_LEN: usize = 30;

/// A role that was assumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) account: Tenant,
    /// The role's name.
    pub(super) role: String,
    /// The session's own name.
    pub(super) name: String,
    /// Of the token that it was assumed with.
    pub(super) issuer: String,
    pub(super) subject: String,
    /// Unix seconds.
    pub(super) issued_at: u64,
    /// Unix seconds, the first at which it is over.
    pub(super) expires_at: u64,
}

/// What a client signs with until the session is over.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret: Secret,
    pub(super) token: String,
}

/// What a token proves: once the request's signature by `secret` has been verified, not before.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) secret: Secret,
}

/// Makes tokens and reads them.
pub(super) struct Sessions {
    vault: Arc<Vault>,
    master: OnceCell<Secret>,
}

impl Sessions {
    pub(super) fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            master: OnceCell::new(),
        }
    }

    /// Credentials for a session, under a fresh access key id.
    pub(super) async fn issue(&self, session: &Session) -> Result<Credentials, Fault> {
        let access_key_id = new_id(PREFIX)?;
        let salt: [u8; SALT_LEN] = random_bytes()?;
        let keys = TokenKeys::derive(self.master().await?, &salt, &access_key_id)?;
        let mut body = serde_json::to_vec(session).map_err(|error| Fault::internal(error.to_string()))?;
        keys.cipher
            .seal_in_place_append_tag(keys.nonce(), Aad::from(access_key_id.as_bytes()), &mut body)
            .map_err(|_| Fault::internal("a session token could not be sealed"))?;
        let token = STANDARD.encode([&[FORM], salt.as_slice(), body.as_slice()].concat());
        Ok(Credentials {
            access_key_id,
            secret: keys.secret,
            token,
        })
    }

    /// The session of a token that came with this access key id; none for a token that is not ours for this id. Whether it
    /// is over, and whether its role still exists, is the caller's to ask.
    pub(super) async fn open(&self, access_key_id: &str, token: &str) -> Result<Option<Opened>, Fault> {
        if !is_id(access_key_id, PREFIX) {
            return Ok(None);
        }
        let Some(bytes) = STANDARD.decode(token).ok() else {
            return Ok(None);
        };
        let Some((FORM, rest)) = bytes.split_first().map(|(form, rest)| (*form, rest)) else {
            return Ok(None);
        };
        let Some((salt, body)) = rest.split_at_checked(SALT_LEN) else {
            return Ok(None);
        };
        let keys = TokenKeys::derive(self.master().await?, salt, access_key_id)?;
        let mut body = body.to_vec();
        let opened = keys
            .cipher
            .open_in_place(keys.nonce(), Aad::from(access_key_id.as_bytes()), &mut body);
        let Ok(plain) = opened else { return Ok(None) };
        let session = serde_json::from_slice(plain).map_err(|error| Fault::Corrupt {
            detail: format!("a session token of ours does not read: {error}"),
        })?;
        Ok(Some(Opened {
            session,
            secret: keys.secret,
        }))
    }

    /// The secret behind all tokens, made by whichever authority needs it first.
    async fn master(&self) -> Result<&Secret, Fault> {
        let load = || async {
            if let Some(master) = self.vault.get_secret(paths::SESSIONS).await? {
                return Ok(master);
            }
            let master = Secret::random(MASTER_LEN)?;
            match self
                .vault
                .commit(Change::new().create_secret(paths::SESSIONS, &master))
                .await
            {
                Ok(_) => Ok(master),
                Err(Fault::Raced { .. }) => {
                    let missing = || Fault::internal("the secret of session tokens vanished");
                    self.vault.get_secret(paths::SESSIONS).await?.ok_or_else(missing)
                }
                Err(fault) => Err(fault),
            }
        };
        self.master.get_or_try_init(load).await
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

/// What is derived for one token.
struct TokenKeys {
    cipher: LessSafeKey,
    secret: Secret,
}

impl TokenKeys {
    fn derive(master: &Secret, salt: &[u8], access_key_id: &str) -> Result<Self, Fault> {
        let pseudorandom = Salt::new(HKDF_SHA256, salt).extract(master.expose());
        let key = expand::<32>(&pseudorandom, b"signet session token v1", access_key_id)?;
        let secret = expand::<SECRET_LEN>(&pseudorandom, b"signet session secret v1", access_key_id)?;
        let key =
            UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| Fault::internal("a key of another length"))?;
        Ok(Self {
            cipher: LessSafeKey::new(key),
            secret: Secret::new(STANDARD.encode(secret.as_slice()).into_bytes()),
        })
    }

    /// The key is used once, so its nonce may be fixed.
    fn nonce(&self) -> Nonce {
        Nonce::assume_unique_for_key([0; NONCE_LEN])
    }
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(from: &Prk, label: &[u8], access_key_id: &str) -> Result<Zeroizing<[u8; N]>, Fault> {
    let mut out = Zeroizing::new([0; N]);
    from.expand(&[label, b"\0", access_key_id.as_bytes()], Len(N))
        .and_then(|material| material.fill(out.as_mut_slice()))
        .map_err(|_| Fault::internal("a key could not be derived"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn session(bench: &Bench) -> Session {
        Session {
            account: bench.tenant(),
            role: "ci".to_owned(),
            name: "build-7".to_owned(),
            issuer: "https://ci.example".to_owned(),
            subject: "repo:acme/web".to_owned(),
            issued_at: bench.now(),
            expires_at: bench.now() + 900,
        }
    }

    #[tokio::test]
    async fn every_replica_reads_a_token_and_derives_the_same_secret() {
        let bench = Bench::new().await;
        let (one, two) = (
            Sessions::new(bench.wired.vault.clone()),
            Sessions::new(bench.wired.vault.clone()),
        );
        let made = one.issue(&session(&bench)).await.unwrap();
        assert!(is_id(&made.access_key_id, "ASIA") && made.secret.len() == 40);
        let opened = two.open(&made.access_key_id, &made.token).await.unwrap().unwrap();
        assert_eq!(opened.session, session(&bench));
        assert!(opened.secret.matches(made.secret.expose()));
        let again = one.issue(&session(&bench)).await.unwrap();
        assert!(!again.secret.matches(made.secret.expose()));
    }

    // R9
    #[tokio::test]
    async fn a_token_is_bound_to_its_access_key_and_to_every_bit() {
        let bench = Bench::new().await;
        let sessions = Sessions::new(bench.wired.vault.clone());
        let one = sessions.issue(&session(&bench)).await.unwrap();
        let two = sessions.issue(&session(&bench)).await.unwrap();
        assert!(sessions.open(&two.access_key_id, &one.token).await.unwrap().is_none());
        let bytes = STANDARD.decode(&one.token).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let bad = STANDARD.encode(bad);
            assert!(
                sessions.open(&one.access_key_id, &bad).await.unwrap().is_none(),
                "byte {at}"
            );
        }
        for len in 0..bytes.len() {
            let short = STANDARD.encode(&bytes[..len]);
            assert!(
                sessions.open(&one.access_key_id, &short).await.unwrap().is_none(),
                "{len}"
            );
        }
        for bad in ["", "%", "AKIA"] {
            assert!(sessions.open(&one.access_key_id, bad).await.unwrap().is_none());
            assert!(sessions.open(bad, &one.token).await.unwrap().is_none());
        }
        // R10: neither the secret nor who it is for can be read out of the token.
        assert!(!bytes.windows(4).any(|window| window == b"acme"));
        assert!(!one.token.contains(std::str::from_utf8(one.secret.expose()).unwrap()));
    }
}
