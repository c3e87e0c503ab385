//! The first start: roots in the HSM, their certificates, the authority's own key-encryption key, and the administrator's
//! token. Each step is durable before the next, and the last one makes it an authority: an interrupted `init` is run again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use signing::certificate::Certificate;
use signing::digest::sha256;
use signing::encoding::{base64url, hex};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::hsm::{Hsm, RootRole};
use crate::issue::{Roots, make_roots};
use crate::paths::{self, Scope};
use crate::sealed::{Change, Vault};

/// What the admin token begins with, so that secret scanners know it.
const TOKEN_PREFIX: &str = "signet-admin-";

/// What an authority is: never changed once made, but for a restore into another HSM.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identity {
    trust_domain: String,
    node_root: Vec<u8>,
    delegation_root: Vec<u8>,
    created_at: u64,
}

/// The administrator's token, hashed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Admin {
    sha256: String,
    created_at: u64,
}

/// What `init` made. The token is shown once and stored only as its hash.
pub struct Initialised {
    /// For `Authorization: Bearer`.
    pub admin_token: String,
    /// Under which node certificates are.
    pub node_root_pem: String,
    /// Under which delegations are.
    pub delegation_root_pem: String,
}

impl std::fmt::Debug for Initialised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initialised")
            .field("admin_token", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// Whether this store belongs to an authority already.
pub async fn is_initialised(vault: &Vault) -> Result<bool, Fault> {
    Ok(vault.store().get(paths::AUTHORITY).await?.is_some())
}

/// Makes an authority. `State` when there is one.
pub async fn initialise(vault: &Arc<Vault>, trust_domain: &str, clock: &Clock) -> Result<Initialised, Fault> {
    if is_initialised(vault).await? {
        return Err(Fault::state(
            "already_initialised",
            "this authority is initialised; run it",
        ));
    }
    let roots = make_roots(vault.hsm().as_ref(), trust_domain, clock.now()).await?;
    if !vault.has_kek(&Scope::System).await? {
        vault.new_kek(&Scope::System).await?;
    }
    let identity = Identity {
        trust_domain: trust_domain.to_owned(),
        node_root: roots.nodes.der().to_vec(),
        delegation_root: roots.delegations.der().to_vec(),
        created_at: clock.now(),
    };
    let (admin_token, admin) = new_token(clock)?;
    let before = vault.get::<Admin>(paths::ADMIN).await?.map(|held| held.stamp);
    let change = Change::new()
        .create(paths::AUTHORITY, &identity)
        .set(paths::ADMIN, &admin, before);
    vault.commit(change).await?;
    tracing::info!(trust_domain, hsm = vault.hsm().info().kind, "authority initialised");
    Ok(Initialised {
        admin_token,
        node_root_pem: roots.nodes.to_pem(),
        delegation_root_pem: roots.delegations.to_pem(),
    })
}

/// Makes what the HSM has to hold, where it does not yet.
pub(crate) async fn prepare_hsm(hsm: &dyn Hsm) -> Result<(), Fault> {
    for role in RootRole::ALL {
        hsm.ensure_root(role).await?;
    }
    Ok(())
}

/// Puts certificates of the HSM's own roots in the place of another HSM's: for a restore.
pub(crate) async fn replace_roots(vault: &Vault, trust_domain: &str, clock: &Clock) -> Result<(), Fault> {
    let held = vault.get::<Identity>(paths::AUTHORITY).await?;
    let mut held = held.ok_or_else(|| Fault::internal("the authority's row is not in the backup"))?;
    let roots = make_roots(vault.hsm().as_ref(), trust_domain, clock.now()).await?;
    held.value.node_root = roots.nodes.der().to_vec();
    held.value.delegation_root = roots.delegations.der().to_vec();
    let change = Change::new().replace(paths::AUTHORITY, &held.value, held.stamp);
    vault.commit(change).await.map(drop)
}

/// Replaces the administrator's token: for one that was lost or leaked. The old one ends at once.
pub async fn new_admin_token(vault: &Vault, clock: &Clock) -> Result<String, Fault> {
    let before = vault.get::<Admin>(paths::ADMIN).await?.map(|held| held.stamp);
    let (token, admin) = new_token(clock)?;
    vault.commit(Change::new().set(paths::ADMIN, &admin, before)).await?;
    Ok(token)
}

/// SHA-256 of the administrator's token, hex. Tokens have 256 random bits, so a plain hash is enough.
pub(crate) async fn admin_token_hash(vault: &Vault) -> Result<String, Fault> {
    let held = vault.get::<Admin>(paths::ADMIN).await?;
    Ok(held
        .ok_or_else(|| Fault::internal("there is no admin token; run `signet authority init`"))?
        .value
        .sha256)
}

/// The roots of an authority. Refuses a store of another trust domain, and an HSM that holds other root keys.
pub async fn load_roots(vault: &Vault, trust_domain: &str) -> Result<Roots, Fault> {
    if !is_initialised(vault).await? {
        return Err(Fault::state(
            "not_initialised",
            "this authority is not initialised; run `signet authority init` first",
        ));
    }
    let identity = vault.get::<Identity>(paths::AUTHORITY).await?;
    let identity = identity
        .ok_or_else(|| Fault::internal("the authority's row is gone"))?
        .value;
    if identity.trust_domain != trust_domain {
        let message = format!(
            "this store belongs to the trust domain `{}`, not `{trust_domain}`",
            identity.trust_domain
        );
        return Err(Fault::state("wrong_trust_domain", message));
    }
    let read = |der: &[u8]| {
        Certificate::from_der(der).map_err(|error| Fault::Corrupt {
            detail: format!("a root certificate: {error}"),
        })
    };
    let roots = Roots {
        nodes: read(&identity.node_root)?,
        delegations: read(&identity.delegation_root)?,
    };
    for (role, certificate) in [
        (RootRole::Nodes, &roots.nodes),
        (RootRole::Delegations, &roots.delegations),
    ] {
        let in_hsm = vault.hsm().root(role).await?;
        let public = certificate.public_key().map_err(|error| Fault::Corrupt {
            detail: error.to_string(),
        })?;
        if public.to_spki_der() != in_hsm.spki_der {
            let message = format!(
                "the HSM holds another {} root than this store was made with",
                role.as_str()
            );
            return Err(Fault::state("wrong_hsm", message));
        }
    }
    Ok(roots)
}

fn new_token(clock: &Clock) -> Result<(String, Admin), Fault> {
    let token = format!("{TOKEN_PREFIX}{}", base64url(&signing::key::random_bytes::<32>()?));
    let admin = Admin {
        sha256: hex(&sha256(token.as_bytes())),
        created_at: clock.now(),
    };
    Ok((token, admin))
}
