//! What an edge knows of a key, and what it holds of it.

use std::sync::Arc;

use policies::engine::KeyFacts;
use signing::algorithm::Algorithm;
use signing::key::{Family, SigningKey, Verifier};

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
    /// Not at all: the authority signs.
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
    /// The versions of a key that is not each edge's own, for signing, for the JWKS and for verifying.
    pub versions: Vec<Version>,
}

impl LogicalKey {
    /// The announced version of that exact id (R3).
    pub fn version(&self, kid: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.kid == kid)
    }

    /// The first moment from `now` on at which a version signs (Unix seconds), wherever that is; none if none will.
    pub fn signs_from(&self, now: u64) -> Option<u64> {
        let coming = self
            .versions
            .iter()
            .filter(|version| !version.compromised && now < version.sign_until);
        coming
            .map(|version| version.sign_from.max(version.publish_at).max(now))
            .min()
    }
}

/// One published version of such a key. Times are Unix seconds.
#[derive(Debug, Clone)]
pub struct Version {
    /// `kid` in tokens and in the JWKS.
    pub kid: String,
    /// Absent for HS256, whose secret comes with the delegation.
    pub public: Option<Verifier>,
    /// In the JWKS from here …
    pub publish_at: u64,
    /// … signs from here …
    pub sign_from: u64,
    /// … to here …
    pub sign_until: u64,
    /// … and leaves the JWKS here, when the last token it signed has expired.
    pub retire_at: u64,
    /// Leaves the JWKS at once and verifies nothing.
    pub compromised: bool,
}

impl Version {
    /// Whether verifiers are to accept this version at `now`.
    pub fn is_valid(&self, now: u64) -> bool {
        !self.compromised && now >= self.publish_at && now < self.retire_at
    }

    /// Whether it may sign at `now`: verifiers must know it, and it must be its turn.
    pub fn signs(&self, now: u64) -> bool {
        self.is_valid(now) && now >= self.sign_from && now < self.sign_until
    }
}

/// An edge's own key under its certificate (delegation `own`).
#[derive(Debug)]
pub struct OwnKey {
    /// The pair; only [`super::Keyring::sign`] uses it.
    pub(super) key: SigningKey,
    /// PEM, leaf first: leaf, the key's CA, the delegation root.
    pub(super) certificates: Arc<[String]>,
    /// Unix seconds; nothing is signed at or after it.
    pub(super) not_after: u64,
}

impl OwnKey {
    /// A pair whose chain has been verified: PEM, leaf first. Nothing is signed at or after `not_after`, Unix seconds.
    pub fn new(key: SigningKey, certificates: Arc<[String]>, not_after: u64) -> OwnKey {
        OwnKey {
            key,
            certificates,
            not_after,
        }
    }
}

/// One version of a shared key in this edge's memory. When it signs is said by the [`Version`] of its id.
#[derive(Debug)]
pub struct SharedKey {
    pub(super) key: SigningKey,
}

impl SharedKey {
    /// Material whose id has been checked.
    pub fn new(key: SigningKey) -> SharedKey {
        SharedKey { key }
    }
}

/// What the edge holds of one logical key.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// Delegation `own`: the key in use.
    pub(super) own: Option<Arc<OwnKey>>,
    /// Delegation `shared`: current, standby and retired versions.
    pub(super) shared: Arc<[SharedKey]>,
    /// Delegation `shared`: all of it is forgotten at this time (Unix seconds).
    pub(super) shared_until: u64,
}

impl Held {
    /// Whether something in it has ended by `now`.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        self.own.as_ref().is_some_and(|own| now >= own.not_after)
            || (!self.shared.is_empty() && now >= self.shared_until)
    }

    /// The versions that are held and announced, while the delegation lasts.
    pub(super) fn versions<'a>(
        &'a self,
        key: &'a LogicalKey,
        now: u64,
    ) -> impl Iterator<Item = (&'a SharedKey, &'a Version)> {
        let held = self.shared.iter().filter(move |_| now < self.shared_until);
        held.filter_map(|shared| Some((shared, key.version(shared.key.kid())?)))
    }

    /// The first moment from `now` on at which something held signs (Unix seconds); none if nothing will.
    pub(super) fn signs_from(&self, key: &LogicalKey, now: u64) -> Option<u64> {
        if self.own.as_ref().is_some_and(|own| now < own.not_after) {
            return Some(now);
        }
        let coming = self.versions(key, now);
        let coming = coming.filter(|(_, version)| !version.compromised && now < version.sign_until);
        coming
            .map(|(_, version)| version.sign_from.max(version.publish_at).max(now))
            .filter(|from| *from < self.shared_until)
            .min()
    }

    /// Until when this edge can sign with what it holds, once the time of its versions has come; 0 if it cannot.
    pub(super) fn signs_until(&self, key: &LogicalKey) -> u64 {
        let own = self.own.as_ref().map_or(0, |own| own.not_after);
        let shared = self.versions(key, 0).filter(|(_, version)| !version.compromised);
        let shared = shared.map(|(_, version)| version.sign_until.min(self.shared_until));
        own.max(shared.max().unwrap_or(0))
    }
}
