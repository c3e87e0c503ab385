//! That a revision which an edge says it has seen was told to it by this authority: a HMAC (SHA-256) over it, under a secret of
//! the store. Without that, one edge with a wrong or made-up revision could seal the authority for all.

use aws_lc_rs::hmac;
use signing::key::Secret;

use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Vault};

const SECRET_LEN: usize = 32;
const DOMAIN: &[u8] = b"signet revision v1\0";

/// Proves revisions and checks the proofs.
pub struct Revisions(hmac::Key);

impl Revisions {
    /// With the store's secret, made where there is none. Backups hold it, so a restored store knows what edges were told.
    pub async fn open(vault: &Vault) -> Result<Self, Fault> {
        let read = || async { vault.get_secret(paths::REVISIONS).await };
        let attempt = || async {
            if let Some(secret) = read().await? {
                return Ok(secret);
            }
            let secret = Secret::random(SECRET_LEN)?;
            let change = Change::new().create_secret(paths::REVISIONS, &secret);
            vault.commit(change).await.map(|_| secret)
        };
        let secret = vault.retry(attempt).await?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose())))
    }

    /// For the event that brings an edge to this revision.
    pub fn prove(&self, revision: u64) -> Vec<u8> {
        hmac::sign(&self.0, &message(revision)).as_ref().to_vec()
    }

    /// Whether the edge was told this revision. Takes the same time for every wrong proof.
    pub fn is_proven(&self, revision: u64, proof: &[u8]) -> bool {
        hmac::verify(&self.0, &message(revision), proof).is_ok()
    }
}

impl std::fmt::Debug for Revisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn message(revision: u64) -> Vec<u8> {
    [DOMAIN, &revision.to_be_bytes()].concat()
}
