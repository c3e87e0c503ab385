//! Makes the revocation list, again and again: whenever something is revoked, and well before the last one ends.
//!
//! It is signed by a key in memory under a delegation of a CA whose key is in the HSM: an HSM that is away stops the list only
//! when that delegation ends.

use std::sync::Arc;
use std::time::Duration;

use signing::algorithm::Algorithm;
use signing::certificate::Certificate;
use signing::delegation::{DelegationName, Scope};
use signing::key::SigningKey;
use signing::revocation::{FORMAT, RevocationList, Rule, SIGNER_KEY, SIGNER_TENANT};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::fault::Fault;
use crate::issue::Issuer;
use crate::keys::CaRecord;
use crate::paths;
use crate::seal::Seal;
use crate::sealed::{Change, Vault};
use crate::world::World;

/// For how long a list is good, and how old one becomes before the next is made, seconds.
const LIFETIME: u64 = 600;
const REFRESH: Duration = Duration::from_secs(60);
/// Between two tries where the HSM or the store failed.
const RETRY: Duration = Duration::from_secs(5);
/// Life of the delegation that signs lists, seconds; a new one is made at half of it.
const SIGNER_LIFETIME: u64 = 2 * 86_400;

/// The current list.
pub struct Revocations {
    vault: Arc<Vault>,
    issuer: Arc<Issuer>,
    clock: Clock,
    /// Empty before the first.
    list: watch::Sender<String>,
}

/// Who signs lists for a while.
pub(crate) struct Signer {
    key: SigningKey,
    chain: Vec<Vec<u8>>,
    /// Unix seconds.
    replace_at: u64,
}

impl Revocations {
    /// None is made yet: see [`Revocations::keep`].
    pub fn new(vault: Arc<Vault>, issuer: Arc<Issuer>, clock: Clock) -> Self {
        Self {
            vault,
            issuer,
            clock,
            list: watch::Sender::default(),
        }
    }

    /// The list as it is now and becomes, a JWS; empty before the first.
    pub fn list(&self) -> watch::Receiver<String> {
        self.list.subscribe()
    }

    /// Makes lists until the process ends. A sealed authority makes none: it does not know what was revoked.
    pub async fn keep(self: Arc<Self>, world: Arc<World>, seal: Arc<Seal>) {
        let mut grown = world.grown();
        let mut signer = None;
        let mut shown = None;
        loop {
            grown.borrow_and_update();
            let made = match seal.is_closed() {
                true => Ok(()),
                false => self.make(&world, &mut signer, &mut shown).await,
            };
            let wait = match made {
                Ok(()) => REFRESH,
                Err(fault) => {
                    fault.log("making the revocation list");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Ok(()) = grown.changed() => {}
            }
        }
    }

    /// Makes a list, unless `shown` says the same and is fresh.
    pub(crate) async fn make(
        &self,
        world: &World,
        signer: &mut Option<Signer>,
        shown: &mut Option<RevocationList>,
    ) -> Result<(), Fault> {
        let now = self.clock.now();
        let (_, kids, delegations) = world.revoked(now);
        // Withdrawn delegations have the time of the list: that is not what changed.
        let says_so = |shown: &RevocationList| {
            let names = |rules: &[Rule]| {
                rules
                    .iter()
                    .map(|rule| (rule.key.clone(), rule.edge.clone()))
                    .collect::<Vec<_>>()
            };
            shown.kids == kids && names(&shown.delegations) == names(&delegations)
        };
        let is_fresh = |shown: &RevocationList| now < shown.iat.saturating_add(REFRESH.as_secs());
        if shown.as_ref().is_some_and(|shown| is_fresh(shown) && says_so(shown)) {
            return Ok(());
        }
        // A new list says what the store says now: one that was signed by an older view would outlast the one before it.
        world.catch_up().await?;
        let (revision, kids, delegations) = world.revoked(now);
        let list = RevocationList {
            iss: format!("signet://{}", self.issuer.trust_domain()),
            iat: now,
            exp: now.saturating_add(LIFETIME),
            revision,
            kids,
            delegations,
        };
        if signer.as_ref().is_none_or(|signer| signer.replace_at <= now) {
            *signer = Some(self.signer(now).await?);
        }
        if let Some(signer) = signer {
            let jws = list.sign(&signer.key, &signer.chain)?;
            self.list.send_replace(jws);
            *shown = Some(list);
        }
        Ok(())
    }

    async fn signer(&self, now: u64) -> Result<Signer, Fault> {
        let key = SigningKey::generate(Algorithm::Es256)?;
        let public = key
            .public()
            .ok_or_else(|| Fault::internal("an ES256 key has no public half"))?;
        let name = DelegationName {
            trust_domain: self.issuer.trust_domain().to_owned(),
            tenant: SIGNER_TENANT.to_owned(),
            key: SIGNER_KEY.to_owned(),
            version: 1,
            edge: "authority".to_owned(),
            incarnation: signing::encoding::hex(&signing::key::random_bytes::<16>()?),
        };
        let scope = Scope {
            formats: vec![FORMAT.to_owned()],
            issuer: None,
            audiences: Vec::new(),
            max_lifetime: 1,
        };
        let ca = self.ca(now).await?;
        let spki = public.to_spki_der();
        let chain = self
            .issuer
            .delegation(&name, &scope, spki, SIGNER_LIFETIME, &ca, false)
            .await?;
        Ok(Signer {
            key,
            chain,
            replace_at: now.saturating_add(SIGNER_LIFETIME / 2),
        })
    }

    /// The CA, made where there is none and anew before it ends.
    async fn ca(&self, now: u64) -> Result<CaRecord, Fault> {
        let path = paths::REVOCATION_CA;
        let held = self.vault.get::<CaRecord>(path).await?;
        let lasts = |ca: &CaRecord| {
            let certificate = Certificate::from_der(&ca.certificate);
            certificate.is_ok_and(|certificate| certificate.not_after() > now.saturating_add(SIGNER_LIFETIME))
        };
        if let Some(held) = &held
            && lasts(&held.value)
        {
            return Ok(held.value.clone());
        }
        let ca = self.issuer.revocation_ca().await?;
        let change = Change::new().set(path, &ca, held.map(|held| held.stamp));
        match self.vault.commit(change).await {
            // Another authority on this store has made one.
            Err(Fault::Raced { .. }) => {
                let held = self.vault.get::<CaRecord>(path).await?;
                held.map(|held| held.value)
                    .ok_or_else(|| Fault::internal("the CA for lists is gone"))
            }
            made => made.map(|_| ca),
        }
    }
}
