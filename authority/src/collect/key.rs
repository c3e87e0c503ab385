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

/// The key of the log that is there, by its name, or a new one for a log that is about to begin; and whether it is new. No key is
/// ever thrown away: a log whose directory was away for a while is written on when it is back.
pub(super) async fn load(
    vault: &Vault,
    replica: &str,
    trust_domain: &str,
    there: Option<&str>,
) -> Result<(NoteKey, bool), Fault> {
    let path = paths::audit_key_of(replica);
    let Some(secret) = vault.get_secret(&path).await? else {
        return Ok((
            begin(vault, Change::new().absent(path.clone()), &path, trust_domain).await?,
            true,
        ));
    };
    let newest = import(trust_domain, &secret)?;
    let Some(name) = there else {
        tracing::error!("the audit log is gone: another one begins; find out what happened to the old one");
        let kept = Change::new().overwrite_bytes(former(newest.verifier().name()), secret.expose());
        return Ok((begin(vault, kept, &path, trust_domain).await?, true));
    };
    if newest.verifier().name() != name
        && let Some(secret) = vault.get_secret(&former(name)).await?
    {
        return Ok((import(trust_domain, &secret)?, false));
    }
    Ok((newest, false))
}

async fn begin(vault: &Vault, change: Change, path: &str, trust_domain: &str) -> Result<NoteKey, Fault> {
    let key = SigningKey::generate(Algorithm::EdDsa)?;
    let secret: Secret = key.export()?;
    vault.commit(change.overwrite_bytes(path, secret.expose())).await?;
    named(trust_domain, key)
}

/// Where the key of an earlier log is, by the log's name.
fn former(name: &str) -> String {
    paths::former_audit_key(name.rsplit('/').next().unwrap_or_default())
}

fn import(trust_domain: &str, secret: &Secret) -> Result<NoteKey, Fault> {
    named(trust_domain, SigningKey::import(Algorithm::EdDsa, secret)?)
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
