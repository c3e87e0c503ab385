//! The delegated keys of this edge. A key enters from the authority, lives in memory only, and leaves as a signature.
//!
//! [`Keyring::sign`] takes a [`Cleared`] and nothing else: what no policy permitted, no limit counted and no rule cleared
//! cannot be signed, because nobody else can make one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use policies::engine::KeyFacts;
use policies::profile::Profile;
use signing::algorithm::Algorithm;
use signing::key::{Family, SigningKey, Verifier};

pub use self::sign::{SignError, Signed, Statement};

mod sign;

/// Where a logical key stands at the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It may sign.
    Enabled,
    /// It signs nothing; its public half stays in the JWKS for verifying.
    Disabled,
    /// It waits for its end; as disabled.
    PendingDeletion,
}

/// How the edge comes by the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delegation {
    /// Not at all.
    None,
    /// The edge's own key pair under a short-lived certificate.
    Own,
    /// The region's key, handed over by the authority.
    Shared,
}

/// A logical key as the authority announced it, without secrets.
#[derive(Debug, Clone)]
pub struct LogicalKey {
    /// What policies see of it: id, tenant, aliases.
    pub facts: Arc<KeyFacts>,
    /// Bound to the key, never taken from a header (R1).
    pub algorithm: Algorithm,
    /// What it may sign.
    pub family: Family,
    /// How an edge gets it.
    pub delegation: Delegation,
    /// Whether it may sign.
    pub state: State,
    /// The versions of a shared key, for the JWKS and for verifying.
    pub versions: Vec<Version>,
}

/// One published version of a shared key. Times are Unix seconds.
#[derive(Debug, Clone)]
pub struct Version {
    /// `kid` in tokens and in the JWKS.
    pub kid: String,
    /// Absent for HS256, whose secret comes with the delegation.
    pub public: Option<Verifier>,
    /// In the JWKS from here …
    pub publish_at: u64,
    /// … to here, when the last token it signed has expired.
    pub retire_at: u64,
    /// Leaves the JWKS at once and verifies nothing.
    pub compromised: bool,
}

impl Version {
    /// Whether verifiers are to accept this version at `now`.
    pub fn is_valid(&self, now: u64) -> bool {
        !self.compromised && now >= self.publish_at && now < self.retire_at
    }
}

/// An edge's own key under its certificate (delegation `own`).
#[derive(Debug)]
pub struct OwnKey {
    /// The pair; its private half never leaves this struct.
    pub(crate) key: SigningKey,
    /// `kid` in answers: the RFC 7638 thumbprint.
    pub kid: String,
    /// PEM, leaf first: leaf, the key's CA, the delegation root.
    pub certificates: Arc<[String]>,
    /// Unix seconds; nothing is signed at or after it.
    pub not_after: u64,
}

/// One version of a shared key in this edge's memory.
#[derive(Debug)]
pub struct SharedKey {
    pub(crate) key: SigningKey,
    /// `kid` in tokens.
    pub kid: String,
    /// It signs from here (Unix seconds) …
    pub sign_from: u64,
    /// … to here; after that it only verifies.
    pub sign_until: u64,
}

/// What the edge holds of one logical key.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Delegation `own`: the key in use.
    pub own: Option<Arc<OwnKey>>,
    /// Delegation `shared`: current, standby and retired versions.
    pub shared: Vec<Arc<SharedKey>>,
    /// Delegation `shared`: all of it is forgotten at this time (Unix seconds).
    pub shared_until: u64,
}

impl Held {
    /// Until when this edge can sign with what it holds; 0 if it cannot.
    pub fn signs_until(&self) -> u64 {
        let own = self.own.as_ref().map_or(0, |own| own.not_after);
        let shared = self
            .shared
            .iter()
            .map(|key| key.sign_until.min(self.shared_until))
            .max()
            .unwrap_or(0);
        own.max(shared)
    }
}

#[derive(Debug, Default)]
struct Table {
    keys: HashMap<String, Arc<LogicalKey>>,
    held: HashMap<String, Held>,
    /// `(tenant, alias)` → key id.
    aliases: HashMap<(String, String), String>,
    /// Chains by kid for `GET /v1/delegations/{kid}`, retired ones until they expire: chain and `notAfter`.
    chains: BTreeMap<String, (Arc<[String]>, u64)>,
    /// Published `kid` → key id.
    kids: HashMap<String, String>,
}

/// The one place where delegated keys live. Readers never wait; writers replace the table.
#[derive(Debug, Default)]
pub struct Keyring {
    table: ArcSwap<Table>,
    revoked: AtomicBool,
}

impl Keyring {
    /// An empty ring: everything answers `key_unavailable`.
    pub fn new() -> Keyring {
        Keyring::default()
    }

    /// The key that a profile names, by id or by alias in the profile's own tenant. A key of another tenant is not found.
    pub fn resolve(&self, profile: &Profile) -> Option<Arc<LogicalKey>> {
        let table = self.table.load();
        let id = match table.keys.contains_key(&profile.key) {
            true => &profile.key,
            false => table.aliases.get(&(profile.tenant.clone(), profile.key.clone()))?,
        };
        table
            .keys
            .get(id)
            .filter(|key| key.facts.tenant() == profile.tenant)
            .cloned()
    }

    /// What this edge holds of a key.
    pub fn held(&self, key_id: &str) -> Held {
        self.table.load().held.get(key_id).cloned().unwrap_or_default()
    }

    /// The token key that has a version `kid` (an exact match, R3) which verifiers are to accept at `now`, and its verifier.
    pub fn verifier(&self, kid: &str, now: u64) -> Option<(Arc<LogicalKey>, Version, Verifier)> {
        let table = self.table.load();
        let key = table.keys.get(table.kids.get(kid)?)?;
        let version = key.versions.iter().find(|version| version.kid == kid)?;
        if key.family != Family::Token || !version.is_valid(now) {
            return None;
        }
        let verifier = match &version.public {
            Some(public) => public.clone(),
            None => {
                let held = table.held.get(key.facts.id())?;
                let held = held.shared.iter().filter(|_| now < held.shared_until);
                held.into_iter()
                    .find(|shared| shared.kid == kid)?
                    .key
                    .verifier()
                    .clone()
            }
        };
        Some((key.clone(), version.clone(), verifier))
    }

    /// The certificate chain of one of this edge's own keys, PEM leaf first, while it is valid at `now`.
    pub fn chain(&self, kid: &str, now: u64) -> Option<Arc<[String]>> {
        let table = self.table.load();
        table
            .chains
            .get(kid)
            .filter(|(_, not_after)| now < *not_after)
            .map(|(chain, _)| chain.clone())
    }

    /// Whether the authority has revoked this edge.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Replaces what is known of all keys; material of keys that are gone is dropped, and so zeroized.
    pub fn replace(&self, keys: Vec<LogicalKey>) {
        let keys: HashMap<_, _> = keys
            .into_iter()
            .map(|key| (key.facts.id().to_owned(), Arc::new(key)))
            .collect();
        self.update(|table| table.keys = keys.clone());
        self.revoked.store(false, Ordering::Release);
    }

    /// Learns the new state of one key.
    pub fn put(&self, key: LogicalKey) {
        let key = Arc::new(key);
        self.update(|table| {
            table.keys.insert(key.facts.id().to_owned(), key.clone());
        });
    }

    /// Forgets a deleted key.
    pub fn remove(&self, key_id: &str) {
        self.update(|table| {
            table.keys.remove(key_id);
        });
    }

    /// Takes the edge's own certified key into use; the one before is dropped, its chain stays readable until it expires.
    pub fn hold_own(&self, key_id: &str, own: OwnKey) {
        let own = Arc::new(own);
        self.update(|table| {
            table
                .chains
                .insert(own.kid.clone(), (own.certificates.clone(), own.not_after));
            table.held.insert(
                key_id.to_owned(),
                Held {
                    own: Some(own.clone()),
                    ..Held::default()
                },
            );
        });
    }

    /// Takes the versions of a shared key into use, in place of those before.
    pub fn hold_shared(&self, key_id: &str, versions: Vec<SharedKey>, until: u64) {
        let shared: Vec<_> = versions.into_iter().map(Arc::new).collect();
        self.update(|table| {
            let held = Held {
                own: None,
                shared: shared.clone(),
                shared_until: until,
            };
            table.held.insert(key_id.to_owned(), held);
        });
    }

    /// Drops what has ended by `now`: keys past their delegation, chains past `notAfter`.
    pub fn expire(&self, now: u64) {
        let table = self.table.load();
        let stale_key = |held: &Held| {
            held.own.as_ref().is_some_and(|own| now >= own.not_after)
                || (!held.shared.is_empty() && now >= held.shared_until)
        };
        if table.held.values().any(stale_key) || table.chains.values().any(|(_, end)| now >= *end) {
            self.update(|table| {
                table.held.retain(|_, held| !stale_key(held));
                table.chains.retain(|_, (_, end)| now < *end);
            });
        }
    }

    /// Forgets every key at once: the authority has revoked this edge.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.update(|table| table.held.clear());
    }

    fn update(&self, change: impl Fn(&mut Table)) {
        self.table.rcu(|table| {
            let mut next = Table {
                keys: table.keys.clone(),
                held: table.held.clone(),
                chains: table.chains.clone(),
                ..Table::default()
            };
            change(&mut next);
            next.held.retain(|id, _| next.keys.contains_key(id));
            next.index();
            next
        });
    }
}

impl Table {
    fn index(&mut self) {
        for key in self.keys.values() {
            for alias in key.facts.aliases() {
                self.aliases.insert(
                    (key.facts.tenant().to_owned(), alias.clone()),
                    key.facts.id().to_owned(),
                );
            }
            for version in &key.versions {
                self.kids.insert(version.kid.clone(), key.facts.id().to_owned());
            }
        }
    }
}
