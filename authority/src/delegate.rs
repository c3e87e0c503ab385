//! Delegation: an edge asks to sign with a key, and gets a certificate for its own or the shared key itself.
//!
//! Every check is made on rows read for this request: the edge is not revoked (the caller holds a [`KnownEdge`]), the key
//! is enabled and of this delegation, the policies permit it, and for `own` the edge has shown that it holds the private key.

use std::collections::BTreeMap;
use std::sync::Arc;

use node::contract::{
    DelegateRequest, DelegateResponse, OwnDelegation, OwnKey, SharedDelegation, SharedKey, SharedVersion,
    delegate_request, delegate_response,
};
use node::handover::{self, Address};
use policies::engine::{DelegationMode, EdgeFacts};
use signing::certificate::Certificate;
use signing::delegation::{ANY_AUDIENCE, DelegationName, Scope, possession_message};
use signing::format::Format;
use signing::key::{PublicKey, Secret};

use crate::bundle::{Bundles, InForce};
use crate::clock::Clock;
use crate::edges::KnownEdge;
use crate::fault::Fault;
use crate::halts;
use crate::hsm::queue::on_behalf_of;
use crate::issue::Issuer;
use crate::keys::{CaRecord, Delegation, Family, KeyRecord, State, secret};
use crate::names::{Tenant, check_incarnation, shown};
use crate::paths;
use crate::rotation::Version;
use crate::sealed::{Change, Held, Vault};
use crate::world::World;

mod sign;

/// Bytes of a public key and of a proof.
const MAX_SPKI: usize = 1024;
/// Audiences that a scope can name; a key with more gets "any", and the policies bound it.
const MAX_AUDIENCES: usize = 64;
/// The scope's lifetime for artifacts, which have none.
const NO_LIFETIME: u32 = 1;

/// Hands keys to edges.
pub struct Delegations {
    vault: Arc<Vault>,
    issuer: Arc<Issuer>,
    bundles: Arc<Bundles>,
    world: Arc<World>,
    clock: Clock,
    /// Life of a delegation, own or shared, seconds. Edges renew at half of it.
    lifetime: u64,
}

impl Delegations {
    /// Delegations live for `lifetime` seconds.
    pub fn new(
        vault: Arc<Vault>,
        issuer: Arc<Issuer>,
        bundles: Arc<Bundles>,
        world: Arc<World>,
        clock: Clock,
        lifetime: u64,
    ) -> Self {
        Self {
            vault,
            issuer,
            bundles,
            world,
            clock,
            lifetime,
        }
    }

    /// Answers one request of an edge.
    pub async fn delegate(&self, edge: &KnownEdge, request: DelegateRequest) -> Result<DelegateResponse, Fault> {
        check_incarnation(&request.incarnation)?;
        let Some(mode) = request.mode else {
            return Err(Fault::invalid(
                "bad_request",
                "say which mode of delegation: own or shared",
            ));
        };
        let key = self.find(&request.key_id).await?;
        let wanted = match &mode {
            delegate_request::Mode::Own(_) => (Delegation::Own, DelegationMode::Own),
            delegate_request::Mode::Shared(_) => (Delegation::Shared, DelegationMode::Shared),
        };
        demand_usable(&key.value, wanted.0)?;
        self.authorize(edge, &key.value, wanted.1)?;
        let answer = self.hand_over(edge, &request.incarnation, &key.value, mode);
        let answer = on_behalf_of(&key.value.tenant, answer).await?;
        self.demand_unchanged(edge, &key).await?;
        halts::demand_delegable(&self.vault, &key.value.tenant, &key.value.id, edge.id()).await?;
        tracing::info!(edge = %edge.id(), key = key.value.id, mode = wanted.1.as_str(), "key delegated");
        Ok(DelegateResponse { mode: Some(answer) })
    }

    async fn hand_over(
        &self,
        edge: &KnownEdge,
        incarnation: &str,
        key: &KeyRecord,
        mode: delegate_request::Mode,
    ) -> Result<delegate_response::Mode, Fault> {
        Ok(match mode {
            delegate_request::Mode::Own(own) => {
                delegate_response::Mode::Own(self.own(edge, incarnation, key, own).await?)
            }
            delegate_request::Mode::Shared(shared) => {
                let receiver = self.receiver(edge, incarnation, shared)?;
                delegate_response::Mode::Shared(self.shared(&receiver, key).await?)
            }
        })
    }

    async fn find(&self, id: &str) -> Result<Held<KeyRecord>, Fault> {
        let missing = || Fault::not_found(format!("there is no key `{}`", shown(id)));
        let tenant: Tenant = match self.world.tenant_of(id) {
            Some(tenant) => tenant,
            // The edge asks again, or another authority.
            None if !self.world.is_loaded() => {
                let detail = "the keys are still being read".to_owned();
                return Err(Fault::Unavailable { part: "store", detail });
            }
            None => return Err(missing()),
        };
        self.vault.get(&paths::key(&tenant, id)).await?.ok_or_else(missing)
    }

    fn authorize(&self, edge: &KnownEdge, key: &KeyRecord, mode: DelegationMode) -> Result<Vec<String>, Fault> {
        let facts = EdgeFacts {
            id: edge.id().to_string(),
            labels: edge.record().labels.clone(),
        };
        let in_force = self.bundles.in_force();
        match in_force
            .engine
            .authorize_delegate(&facts, &key.facts(), mode, self.clock.now())
        {
            Ok(allowed) => Ok(allowed.policies().iter().map(ToString::to_string).collect()),
            Err(denial) => {
                tracing::warn!(edge = %edge.id(), key = key.id, detail = denial.detail, "delegation denied: {denial}");
                Err(Fault::Denied {
                    code: denial.code.as_str(),
                    message: denial.to_string(),
                    policies: denial.policies.iter().map(ToString::to_string).collect(),
                })
            }
        }
    }

    async fn own(
        &self,
        edge: &KnownEdge,
        incarnation: &str,
        key: &KeyRecord,
        own: OwnKey,
    ) -> Result<OwnDelegation, Fault> {
        let public = self.prove(edge, incarnation, key, &own)?;
        let version = key.versions.first().map_or(1, |version| version.number);
        let name = DelegationName {
            trust_domain: self.issuer.trust_domain().to_owned(),
            tenant: key.tenant.to_string(),
            key: key.id.clone(),
            version,
            edge: edge.id().to_string(),
            incarnation: incarnation.to_owned(),
        };
        let scope = scope(key, &self.bundles.in_force())?;
        let ca = self.ca(key).await?;
        let code_signing = key.family == Family::Artifact;
        let certificates = self
            .issuer
            .delegation(&name, &scope, public.to_spki_der(), self.lifetime, &ca, code_signing)
            .await?;
        Ok(OwnDelegation { certificates })
    }

    /// Proof of possession: the edge signed, with the key it wants certified, who it is and what for.
    fn prove(&self, edge: &KnownEdge, incarnation: &str, key: &KeyRecord, own: &OwnKey) -> Result<PublicKey, Fault> {
        let invalid = |message: &str| Fault::invalid("bad_request", message);
        if own.public_key.len() > MAX_SPKI || own.proof.len() > MAX_SPKI {
            return Err(invalid("the public key or the proof is too long"));
        }
        let public = PublicKey::from_spki_der(&own.public_key).map_err(|_| invalid("the public key does not read"))?;
        if Some(public.algorithm()) != key.algorithm() {
            return Err(invalid("the public key is not of the logical key's algorithm"));
        }
        if public.to_spki_der() != own.public_key {
            return Err(invalid("the public key is not in its one DER form"));
        }
        let domain = self.issuer.trust_domain();
        let message = possession_message(domain, edge.id().as_str(), incarnation, &key.id, &own.public_key);
        let proven = public.verify(&message, &own.proof);
        proven.map_err(|_| Fault::denied("no_possession", "the proof of possession does not verify"))?;
        Ok(public)
    }

    /// The key's CA, certified anew where a delegation would outlive its certificate.
    async fn ca(&self, key: &KeyRecord) -> Result<CaRecord, Fault> {
        let path = paths::ca(&key.tenant, &key.id);
        let held = self.vault.get::<CaRecord>(&path).await?;
        let held = held.ok_or_else(|| Fault::Corrupt {
            detail: format!("`{path}` is missing"),
        })?;
        let ends = Certificate::from_der(&held.value.certificate).map(|certificate| certificate.not_after());
        let ends = ends.map_err(|error| Fault::Corrupt {
            detail: format!("`{path}`: {error}"),
        })?;
        if ends > self.clock.now().saturating_add(self.lifetime) {
            return Ok(held.value);
        }
        let renewed = self.issuer.renew_ca(key, &held.value).await?;
        self.vault
            .commit(Change::new().replace(path, &renewed, held.stamp))
            .await?;
        Ok(renewed)
    }

    /// The process that asked, once the key of its connection's certificate has signed its receiving key.
    fn receiver(&self, edge: &KnownEdge, incarnation: &str, shared: SharedKey) -> Result<Receiver, Fault> {
        let key = shared.receiving_key;
        if key.len() != handover::RECEIVING_KEY_LEN || shared.signature.len() > MAX_SPKI {
            let message = "a shared key needs a receiving key of 32 bytes and its signature; update the edge";
            return Err(Fault::invalid("bad_request", message));
        }
        let message = handover::receiving_message(self.issuer.trust_domain(), edge.id().as_str(), incarnation, &key);
        let signed = edge.key().verify(&message, &shared.signature);
        signed.map_err(|_| Fault::denied("no_possession", "the receiving key is not signed by this node's key"))?;
        Ok(Receiver {
            edge: edge.id().to_string(),
            incarnation: incarnation.to_owned(),
            key,
        })
    }

    async fn shared(&self, receiver: &Receiver, key: &KeyRecord) -> Result<SharedDelegation, Fault> {
        let now = self.clock.now();
        let not_after = now.saturating_add(self.lifetime);
        let mut versions = Vec::new();
        for version in key.versions.iter().filter(|version| is_handed_out(version, key, now)) {
            let material = secret(&self.vault, key, version).await?;
            let sealed = receiver.seal(key, version, not_after, &material)?;
            versions.push(SharedVersion {
                kid: version.kid.clone(),
                sign_from: version.sign_from,
                sign_until: version.sign_until,
                encapsulated: sealed.encapsulated,
                ciphertext: sealed.ciphertext,
            });
        }
        Ok(SharedDelegation { versions, not_after })
    }

    /// Nothing leaves that was stopped while it was being made: edge and key are read once more.
    async fn demand_unchanged(&self, edge: &KnownEdge, key: &Held<KeyRecord>) -> Result<(), Fault> {
        let path = paths::key(&key.value.tenant, &key.value.row());
        let now = self.vault.get::<KeyRecord>(&path).await?;
        match now {
            Some(now) if now.stamp == key.stamp => {}
            Some(now) => demand_usable(&now.value, key.value.delegation)?,
            None => return Err(Fault::not_found(format!("there is no key `{}`", key.value.id))),
        }
        let record = self
            .vault
            .get::<crate::edges::EdgeRecord>(&paths::edge(edge.id()))
            .await?;
        let record = record.ok_or_else(|| Fault::denied("edge_revoked", "the edge is gone"))?;
        crate::edges::demand_active(&record.value)
    }
}

/// A process that shared keys are sealed to. Only [`Delegations::receiver`] makes one.
struct Receiver {
    edge: String,
    incarnation: String,
    key: Vec<u8>,
}

impl Receiver {
    fn seal(
        &self,
        key: &KeyRecord,
        version: &Version,
        not_after: u64,
        material: &Secret,
    ) -> Result<handover::Sealed, Fault> {
        let to = Address {
            edge: &self.edge,
            incarnation: &self.incarnation,
            key: &key.id,
            kid: &version.kid,
            not_after,
        };
        handover::seal(&self.key, &to, material.expose())
            .map_err(|_| Fault::invalid("bad_request", "nothing can be sealed to this receiving key"))
    }
}

fn demand_usable(key: &KeyRecord, wanted: Delegation) -> Result<(), Fault> {
    if key.delegation != wanted {
        let has = key.delegation.as_str();
        return Err(Fault::state(
            "wrong_delegation",
            format!("the key `{}` has delegation `{has}`", key.id),
        ));
    }
    match key.state {
        State::Enabled => Ok(()),
        State::Disabled | State::PendingImport => Err(Fault::state(
            "key_disabled",
            format!("the key `{}` is disabled", key.id),
        )),
        State::PendingDeletion { .. } | State::PendingReplicaDeletion { .. } => Err(Fault::state(
            "key_disabled",
            format!("the key `{}` is pending deletion", key.id),
        )),
    }
}

/// An edge gets what signs now and what stands by. What has retired verifies by its public half, so its private half
/// stays here; a secret's verifier needs the secret.
fn is_handed_out(version: &Version, key: &KeyRecord, now: u64) -> bool {
    let to_verify = key.is_secret() && version.verifies(now);
    !version.compromised && (version.signs(now) || version.is_standby(now) || to_verify)
}

/// What the published profiles let this key sign; a key that no profile names signs nothing.
fn scope(key: &KeyRecord, in_force: &InForce) -> Result<Scope, Fault> {
    let names = |reference: &str| reference == key.id || key.aliases.contains(reference);
    let profiles = in_force.bundle.profiles.iter();
    let profiles: Vec<_> = profiles
        .filter(|profile| profile.tenant == key.tenant.as_str() && names(&profile.key))
        .collect();
    if profiles.is_empty() {
        return Err(Fault::state(
            "no_profile",
            format!("no profile of the bundle signs with the key `{}`", key.id),
        ));
    }
    if key.family != Family::Token {
        let formats = vec![Format::Raw.as_str().to_owned()];
        return Ok(Scope {
            formats,
            issuer: None,
            audiences: Vec::new(),
            max_lifetime: NO_LIFETIME,
        });
    }
    let (mut issuers, mut audiences, mut any, mut max_lifetime) = (BTreeMap::new(), Vec::new(), false, 1);
    for token in profiles.iter().filter_map(|profile| profile.token()) {
        issuers.insert(
            &token.issuer,
            in_force
                .bundle
                .issuer(&token.issuer)
                .and_then(|issuer| issuer.url.clone()),
        );
        any |= token.audiences.any;
        audiences.extend(
            token
                .audiences
                .listed
                .iter()
                .filter(|audience| *audience != ANY_AUDIENCE)
                .cloned(),
        );
        max_lifetime = token.max_lifetime.max(max_lifetime);
    }
    audiences.sort();
    audiences.dedup();
    if any || audiences.len() > MAX_AUDIENCES {
        audiences = vec![ANY_AUDIENCE.to_owned()];
    }
    match issuers.into_values().collect::<Vec<_>>().as_slice() {
        [Some(url)] => Ok(Scope {
            formats: vec![Format::Jwt.as_str().to_owned()],
            issuer: Some(url.clone()),
            audiences,
            max_lifetime,
        }),
        _ => Err(Fault::state(
            "no_issuer",
            "a token key with delegation `own` needs exactly one issuer, with a `url`",
        )),
    }
}

#[cfg(test)]
mod tests;
