//! The key of the log's checkpoints: Ed25519, a sealed row. A log is named after its key, so that two logs never share a name:
//! where a key is known and the log is gone, another log begins, under another key and name.

use audit::note::NoteKey;
use signing::algorithm::Algorithm;
use signing::digest::sha256;
use signing::encoding::hex;
use signing::key::{Secret, SigningKey};

use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Vault};

/// The key of the log that is there, or a new one for a log that is about to begin; and whether it is new.
pub(super) async fn load(
    vault: &Vault,
    replica: &str,
    trust_domain: &str,
    begun: bool,
) -> Result<(NoteKey, bool), Fault> {
    let path = paths::audit_key_of(replica);
    let known = vault.get_secret(&path).await?;
    match known {
        Some(secret) if begun => {
            let key = SigningKey::import(Algorithm::EdDsa, &secret)?;
            Ok((named(trust_domain, key)?, false))
        }
        Some(_) => {
            tracing::error!("the audit log is gone: another one begins; find out what happened to the old one");
            Ok((fresh(vault, &path, trust_domain, true).await?, true))
        }
        None => Ok((fresh(vault, &path, trust_domain, false).await?, true)),
    }
}

async fn fresh(vault: &Vault, path: &str, trust_domain: &str, replaces: bool) -> Result<NoteKey, Fault> {
    let key = SigningKey::generate(Algorithm::EdDsa)?;
    let secret: Secret = key.export()?;
    let change = match replaces {
        true => Change::new().overwrite_bytes(path, secret.expose()),
        false => Change::new().create_secret(path, &secret),
    };
    vault.commit(change).await?;
    named(trust_domain, key)
}

fn named(trust_domain: &str, key: SigningKey) -> Result<NoteKey, Fault> {
    let public = key
        .public()
        .map(|public| sha256(public.to_spki_der()))
        .unwrap_or_default();
    let short = hex(public.get(..4).unwrap_or_default());
    let named = NoteKey::new(&format!("{trust_domain}/audit/{short}"), key);
    named.map_err(|error| Fault::internal(error.to_string()))
}
