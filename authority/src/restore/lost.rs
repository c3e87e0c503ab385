//! What a new HSM cannot have of the old one, key by key, and what becomes of it: a CA is made anew, a key whose secret never
//! left the old HSM is stopped. A public half stays, so that what it signed can be verified.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Clock;
use crate::fault::Fault;
use crate::init;
use crate::issue::Issuer;
use crate::keys::{CaRecord, Custody, Delegation, KeyRecord, State};
use crate::paths;
use crate::sealed::{Change, Held, Vault};

/// Something that did not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// `roots`, `key` or `key_ca`.
    pub what: &'static str,
    /// The account of a key.
    pub tenant: Option<String>,
    /// The key's id.
    pub key: Option<String>,
    /// Its aliases.
    pub aliases: Vec<String>,
    /// What was done.
    pub done: &'static str,
    /// What is left to do.
    pub to_do: &'static str,
}

/// Goes through every key; answers how many work, and what did not come back. Each row opens, or the restore fails.
pub(super) async fn settle(
    vault: &Arc<Vault>,
    trust_domain: &str,
    clock: &Clock,
    same_hsm: bool,
) -> Result<(u64, Vec<Lost>), Fault> {
    let rows = vault.all::<KeyRecord>(paths::KEYS).await?;
    let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    if same_hsm {
        return Ok((total, Vec::new()));
    }
    let roots = init::load_roots(vault, trust_domain).await?;
    let issuer = Issuer::new(vault.hsm().clone(), roots, trust_domain.to_owned(), clock.clone());
    let mut lost = vec![Lost {
        what: "roots",
        tenant: None,
        key: None,
        aliases: Vec::new(),
        done: "new roots were made in the new HSM",
        to_do: "give the new node root to the edges and enroll each anew, give the new delegation root to who verifies chains \
                (`GET /v1/roots`)",
    }];
    let mut stopped: u64 = 0;
    for (path, held) in rows {
        let key = &held.value;
        let loss = match (key.delegation, key.custody) {
            (Delegation::Own, _) => {
                new_ca(vault, &issuer, key).await?;
                (
                    "key_ca",
                    "a new CA was made for it",
                    "let verifiers of chains trust the new delegation root",
                )
            }
            (_, Custody::Token) => {
                stop(vault, path, held.clone()).await?;
                stopped = stopped.saturating_add(1);
                let to_do = match key.is_secret() {
                    false => "make a new key and move its aliases to it; its public half still verifies what it signed",
                    true => {
                        "make a new key and move its aliases to it; what it encrypted or authenticated needs the old HSM"
                    }
                };
                ("key", "its secret was in the old HSM alone: it is disabled", to_do)
            }
            _ => continue,
        };
        lost.push(Lost {
            what: loss.0,
            tenant: Some(key.tenant.to_string()),
            key: Some(key.id.clone()),
            aliases: key.aliases.iter().cloned().collect(),
            done: loss.1,
            to_do: loss.2,
        });
    }
    Ok((total.saturating_sub(stopped), lost))
}

async fn new_ca(vault: &Vault, issuer: &Issuer, key: &KeyRecord) -> Result<(), Fault> {
    let path = paths::ca(&key.tenant, &key.id);
    let seen = vault.get::<CaRecord>(&path).await?.map(|held| held.stamp);
    let ca = issuer.key_ca(key).await?;
    vault.commit(Change::new().set(path, &ca, seen)).await.map(drop)
}

async fn stop(vault: &Vault, path: String, mut held: Held<KeyRecord>) -> Result<(), Fault> {
    if held.value.state != State::Enabled {
        return Ok(());
    }
    held.value.state = State::Disabled;
    let change = Change::new().replace(path, &held.value, held.stamp);
    vault.commit(change).await.map(drop)
}
