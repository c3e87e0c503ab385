//! The delegated keys of this edge. A key enters from the authority, lives in memory only, and leaves as a signature.
//!
//! [`Keyring::sign`] takes a [`policies::permit::Cleared`] and nothing else: what no policy permitted, no limit counted and
//! no rule cleared cannot be signed, because nobody else can make one. Key material is private to this module.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use node::lease::Deadline;
use policies::profile::Profile;
use signing::key::{Family, Verifier};

pub use self::forward::Forward;
use self::known::Held;
pub use self::known::{Delegation, LogicalKey, OwnKey, SharedKey, State, Version};
pub use self::sign::{At, SignError, Signed, Statement};
pub use self::stops::Stops;

mod forward;
mod known;
mod sign;
mod stops;

/// Where delegated keys live. Readers never wait; writers replace the table, so that a reader sees one state of all of it.
#[derive(Debug, Default)]
pub struct Keyring {
    table: ArcSwap<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Beside the keys, so that no key can be taken in behind a revocation's back.
    revoked: bool,
    /// What operators have stopped beside keys.
    stops: Arc<Stops>,
    /// Nothing that a bundle older than this one judged is signed: see [`crate::world::World::serial`].
    oldest_bundle: u64,
    /// By key id.
    keys: HashMap<Arc<str>, Slot>,
    /// Made anew when keys are announced, not when material is renewed.
    index: Arc<Index>,
    /// By `kid`.
    chains: HashMap<String, Chain>,
}

#[derive(Debug, Clone)]
struct Slot {
    key: Arc<LogicalKey>,
    held: Held,
    /// One for as long as the key is announced: whoever renews it and whoever signs see the same.
    lease: Arc<Deadline>,
}

#[derive(Debug, Clone)]
struct Chain {
    key_id: String,
    /// PEM, leaf first.
    certificates: Arc<[String]>,
    /// Unix seconds.
    not_after: u64,
}

#[derive(Debug, Default)]
struct Index {
    /// Tenant → alias → key id.
    aliases: HashMap<String, HashMap<String, Arc<str>>>,
    /// `kid` → key id.
    kids: HashMap<String, Arc<str>>,
}

impl Keyring {
    /// An empty ring: everything answers `key_unavailable`.
    pub fn new() -> Keyring {
        Keyring::default()
    }

    /// The key that a profile names, by id or by alias in the profile's own tenant. A key of another tenant is not found.
    pub fn resolve(&self, profile: &Profile) -> Option<Arc<LogicalKey>> {
        let table = self.table.load();
        let slot = match profile.key.starts_with("alias/") {
            true => {
                let id = table.index.aliases.get(&profile.tenant)?.get(&profile.key)?;
                table.keys.get(id)?
            }
            false => table.keys.get(profile.key.as_str())?,
        };
        (slot.key.facts.tenant() == profile.tenant).then(|| slot.key.clone())
    }

    /// Until when this edge can sign with what it holds of a key (Unix seconds); 0 if it cannot.
    pub fn signs_until(&self, key_id: &str) -> u64 {
        let table = self.table.load();
        table
            .keys
            .get(key_id)
            .map_or(0, |slot| slot.held.signs_until(&slot.key))
    }

    /// The first moment from `now` on at which this edge can sign with what it holds of a key, or have the authority sign (Unix
    /// seconds); none if there is none in sight. Later than `now` while the only version is one that verifiers are still to learn.
    pub fn signs_from(&self, key_id: &str, now: u64) -> Option<u64> {
        let table = self.table.load();
        let slot = table.keys.get(key_id)?;
        match slot.key.delegation {
            Delegation::None => slot.key.signs_from(now),
            _ => slot.held.signs_from(&slot.key, now),
        }
    }

    /// The token key that has a version `kid` (an exact match, R3) which verifiers are to accept at `now`, and its verifier.
    pub fn verifier(&self, kid: &str, now: u64) -> Option<(Arc<LogicalKey>, Version, Verifier)> {
        let table = self.table.load();
        let Slot { key, held, .. } = table.keys.get(table.index.kids.get(kid)?)?;
        let version = key.version(kid)?;
        if key.family != Family::Token || !version.is_valid(now) {
            return None;
        }
        let verifier = match &version.public {
            Some(public) => public.clone(),
            None => {
                let (shared, _) = held.versions(key, now).find(|(_, version)| version.kid == kid)?;
                shared.key.verifier().clone()
            }
        };
        Some((key.clone(), version.clone(), verifier))
    }

    /// Whether a version `kid` is known, and marked as compromised.
    pub fn is_compromised(&self, kid: &str) -> bool {
        let table = self.table.load();
        let slot = table.index.kids.get(kid).and_then(|id| table.keys.get(id));
        slot.and_then(|slot| slot.key.version(kid))
            .is_some_and(|version| version.compromised)
    }

    /// The certificate chain of one of this edge's own keys, PEM leaf first, while it is valid at `now`, and whether its key
    /// signs still. None of a revoked edge, and of a delegation that was withdrawn.
    pub fn chain(&self, kid: &str, now: u64) -> Option<(Arc<[String]>, bool)> {
        let table = self.table.load();
        let chain = table.chains.get(kid).filter(|chain| now < chain.not_after)?;
        if table.revoked || table.stops.has_key(&chain.key_id) {
            return None;
        }
        let slot = table.keys.get(chain.key_id.as_str())?;
        let signs = slot.key.state == State::Enabled && !table.stops.has_tenant(slot.key.facts.tenant());
        Some((chain.certificates.clone(), signs))
    }

    /// Whether this edge may not sign any more: the authority has revoked it, or it is stopping.
    pub fn is_revoked(&self) -> bool {
        self.table.load().revoked
    }

    /// Sets until when keys may sign, by their ids, in milliseconds of CLOCK_BOOTTIME; 0 ends a lease.
    pub fn lease(&self, ends: impl IntoIterator<Item = (String, u64)>) {
        let table = self.table.load();
        for (key_id, until) in ends {
            if let Some(slot) = table.keys.get(key_id.as_str()) {
                slot.lease.set(until);
            }
        }
    }

    /// How long this edge may sign with a key, from `boot` on, milliseconds; 0 where it has no lease.
    pub fn lease_left(&self, key_id: &str, boot: u64) -> u64 {
        let table = self.table.load();
        table.keys.get(key_id).map_or(0, |slot| slot.lease.left(boot))
    }

    /// What operators have stopped.
    pub fn stops(&self) -> Arc<Stops> {
        self.table.load().stops.clone()
    }

    /// Whether operators have stopped a key, with its tenant or at this edge.
    pub fn is_stopped(&self, key: &LogicalKey) -> bool {
        let stops = &self.table.load().stops;
        stops.has_tenant(key.facts.tenant()) || stops.has_key(key.facts.id())
    }

    /// Whether a caller may have anything signed.
    pub fn admits(&self, caller: &str, tenant: &str) -> bool {
        !self.table.load().stops.has_caller(caller, tenant)
    }

    /// Replaces what operators have stopped; of a key whose delegation was withdrawn nothing is kept.
    pub fn stop(&self, stops: Stops) {
        let stops = Arc::new(stops);
        self.update(|table| {
            table.stops = stops.clone();
            for (id, slot) in &mut table.keys {
                if stops.has_key(id) {
                    slot.held = Held::default();
                    slot.lease.set(0);
                }
            }
        });
    }

    /// From now on, what a bundle older than this judged is not signed.
    pub fn demand_bundle(&self, serial: u64) {
        self.update(|table| table.oldest_bundle = table.oldest_bundle.max(serial));
    }

    /// Whether what this bundle judges may be signed.
    pub fn takes_bundle(&self, serial: u64) -> bool {
        serial >= self.table.load().oldest_bundle
    }

    /// Forgets what is held of a compromised key, its chains as well.
    pub fn withdraw(&self, key_id: &str) {
        self.update(|table| {
            table.chains.retain(|_, chain| chain.key_id != key_id);
            if let Some(slot) = table.keys.get_mut(key_id).filter(|slot| slot.held.own.is_some()) {
                slot.held = Held::default();
            }
        });
    }

    /// Replaces what is known of all keys; material of keys that are gone is dropped, and so zeroized. A revoked edge stays
    /// revoked.
    pub fn replace(&self, keys: Vec<LogicalKey>) {
        let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
        self.update(|table| {
            let mut before = std::mem::take(&mut table.keys);
            for key in &keys {
                let before = before.remove(key.facts.id());
                table.insert(key, before);
            }
            table.reindex();
        });
    }

    /// Learns the new state of one key.
    pub fn put(&self, key: LogicalKey) {
        let key = Arc::new(key);
        self.update(|table| {
            let before = table.keys.remove(key.facts.id());
            table.insert(&key, before);
            table.reindex();
        });
    }

    /// Forgets a deleted key.
    pub fn remove(&self, key_id: &str) {
        self.update(|table| {
            table.keys.remove(key_id);
            table.reindex();
        });
    }

    /// Takes the edge's own certified key into use; the one before is dropped, its chain stays readable until it expires.
    /// Without effect on a key that is gone, and on a revoked edge.
    pub fn hold_own(&self, key_id: &str, own: OwnKey) {
        let own = Arc::new(own);
        self.hold(key_id, |table| {
            let chain = Chain {
                key_id: key_id.to_owned(),
                certificates: own.certificates.clone(),
                not_after: own.not_after,
            };
            table.chains.insert(own.key.kid().to_owned(), chain);
            Held {
                own: Some(own.clone()),
                ..Held::default()
            }
        });
    }

    /// Takes the versions of a shared key into use, in place of those before, until `until` (Unix seconds). Without effect
    /// on a key that is gone, and on a revoked edge.
    pub fn hold_shared(&self, key_id: &str, versions: Vec<SharedKey>, until: u64) {
        let shared: Arc<[SharedKey]> = versions.into();
        self.hold(key_id, |_| Held {
            own: None,
            shared: shared.clone(),
            shared_until: until,
        });
    }

    /// Drops what has ended by `now`: keys past their delegation, chains past `notAfter`.
    pub fn expire(&self, now: u64) {
        let table = self.table.load();
        if table.keys.values().any(|slot| slot.held.is_stale(now))
            || table.chains.values().any(|chain| now >= chain.not_after)
        {
            self.update(|table| {
                for slot in table.keys.values_mut().filter(|slot| slot.held.is_stale(now)) {
                    slot.held = Held::default();
                }
                table.chains.retain(|_, chain| now < chain.not_after);
            });
        }
    }

    /// Forgets every key at once and takes no more in: the authority has revoked this edge, or it is stopping.
    pub fn revoke(&self) {
        self.update(|table| {
            table.revoked = true;
            for slot in table.keys.values_mut() {
                slot.held = Held::default();
                slot.lease.set(0);
            }
        });
    }

    /// Forgets what was delegated and takes in what comes anew; leases stay.
    pub fn forget(&self) {
        self.update(|table| {
            for slot in table.keys.values_mut() {
                slot.held = Held::default();
            }
        });
    }

    fn hold(&self, key_id: &str, held: impl Fn(&mut Table) -> Held) {
        self.update(|table| {
            if table.revoked || table.stops.has_key(key_id) || !table.keys.contains_key(key_id) {
                return;
            }
            let held = held(table);
            if let Some(slot) = table.keys.get_mut(key_id) {
                slot.held = held;
            }
        });
    }

    /// `change` may be called again when two writers meet.
    fn update(&self, change: impl Fn(&mut Table)) {
        self.table.rcu(|table| {
            let mut next = Table {
                revoked: table.revoked,
                stops: table.stops.clone(),
                oldest_bundle: table.oldest_bundle,
                keys: table.keys.clone(),
                index: table.index.clone(),
                chains: table.chains.clone(),
            };
            change(&mut next);
            next
        });
    }
}

impl Table {
    /// What was held and leased before stays.
    fn insert(&mut self, key: &Arc<LogicalKey>, before: Option<Slot>) {
        let (held, lease) = before.map(|slot| (slot.held, slot.lease)).unwrap_or_default();
        let key = key.clone();
        self.keys.insert(key.facts.id().into(), Slot { key, held, lease });
    }

    fn reindex(&mut self) {
        let mut index = Index::default();
        for (id, Slot { key, .. }) in &self.keys {
            if !key.facts.aliases().is_empty() {
                let aliases = index.aliases.entry(key.facts.tenant().to_owned()).or_default();
                aliases.extend(key.facts.aliases().iter().map(|alias| (alias.clone(), id.clone())));
            }
            index
                .kids
                .extend(key.versions.iter().map(|version| (version.kid.clone(), id.clone())));
        }
        self.index = Arc::new(index);
    }
}

#[cfg(test)]
mod tests;
