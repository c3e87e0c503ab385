//! A logical key as it is stored: everything but its secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use signing::algorithm::Algorithm;

use super::lifecycle::{Imports, Manager, MultiRegion, Origin, Rotation, State};
use super::protection::Protection;
use crate::crypto::{KeySpec, KeyUsage};
use crate::hsm::WrappedKey;
use crate::names::Tenant;
use crate::paths;
use crate::rotation::{Schedule, Version};

/// What a key signs, and nothing else (R38).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Messages and digests through the verbs here.
    Raw,
    /// JWTs, at edges.
    Token,
    /// Artifacts, at edges.
    Artifact,
}

/// How edges come by the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delegation {
    /// Not at all: it signs here, for edges as well.
    None,
    /// Each edge has its own key pair under a certificate of the key's CA.
    Own,
    /// The authority makes the key and hands it to edges. One edge's compromise is the region's.
    Shared,
}

/// Where the private half is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Custody {
    /// Stored sealed, used in memory.
    #[default]
    Wrapped,
    /// Never outside the HSM in the clear.
    Token,
}

impl Family {
    /// The word in tags and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Token => "token",
            Self::Artifact => "artifact",
        }
    }
}

impl Delegation {
    /// The word in tags and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Own => "own",
            Self::Shared => "shared",
        }
    }
}

impl Custody {
    /// The word in tags and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrapped => "wrapped",
            Self::Token => "token",
        }
    }
}

/// A logical key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// UUID, or `mrk-` and 32 hex digits for a multi-Region key.
    pub id: String,
    /// Whose key it is.
    pub tenant: Tenant,
    /// Where it is: clients of other regions do not find it.
    pub region: String,
    /// Its primary and replicas, for a multi-Region key.
    pub multi_region: Option<MultiRegion>,
    /// Whose it is to manage.
    pub manager: Manager,
    /// For the key's whole life (R1).
    pub spec: KeySpec,
    /// For the key's whole life.
    pub usage: KeyUsage,
    /// Who made its material.
    pub origin: Origin,
    /// For the key's whole life (R38).
    pub family: Family,
    /// For the key's whole life.
    pub delegation: Delegation,
    /// For the key's whole life.
    pub custody: Custody,
    /// Whether it may be used.
    pub state: State,
    /// At most 8,192 characters.
    pub description: String,
    /// The key policy, as it was given: a document that [`crate::iam::Document::parse`] took.
    pub policy: String,
    /// The caller's tags and the reserved ones.
    pub tags: BTreeMap<String, String>,
    /// With the `alias/` prefix. Kept equal to the alias rows by changing both at once.
    pub aliases: BTreeSet<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// The ARN of who made it, or `operator`: its owner until one is named.
    #[serde(default)]
    pub created_by: String,
    /// The number that the next version gets.
    pub next_version: u32,
    /// In the order they were made. Of shared keys retired ones are gone; of raw ones the last is the current one.
    pub versions: Vec<Version>,
    /// When a raw symmetric key gets a new version.
    pub rotation: Rotation,
    /// What of its material was imported, where the origin is external.
    pub imports: Imports,
    /// Holds and marks.
    #[serde(default)]
    pub protection: Protection,
}

impl KeyRecord {
    /// The name of its row: the id, which several regions share where it is a multi-Region key.
    pub fn row(&self) -> String {
        row_name(&self.id, &self.region)
    }

    /// The row of a version's material. Regions share it, but where it is imported: into each region by itself.
    pub fn material(&self, version: u32) -> String {
        match self.origin {
            Origin::AwsKms => paths::material(&self.tenant, &self.id, version),
            Origin::External => paths::material(&self.tenant, &self.row(), version),
        }
    }

    /// Whether it gets from a primary in another region what the regions of a key share.
    pub fn is_replica(&self) -> bool {
        self.multi_region.as_ref().is_some_and(|all| all.primary != self.region)
    }

    /// Whether it may sign.
    pub fn is_enabled(&self) -> bool {
        self.state == State::Enabled
    }

    /// The algorithm of what edges sign with it, by its spec; none for specs that no token or artifact is signed with.
    pub fn algorithm(&self) -> Option<Algorithm> {
        match self.spec {
            KeySpec::EccNistP256 => Some(Algorithm::Es256),
            KeySpec::EccNistP384 => Some(Algorithm::Es384),
            KeySpec::EccNistEdwards25519 => Some(Algorithm::EdDsa),
            KeySpec::Hmac256 => Some(Algorithm::Hs256),
            _ => None,
        }
    }

    /// Whether edges are told its versions: shared ones, and those that sign here for edges.
    pub fn is_announced(&self) -> bool {
        match self.delegation {
            Delegation::Shared => true,
            Delegation::None => self.family != Family::Raw,
            Delegation::Own => false,
        }
    }

    /// Whether it has no public half.
    pub fn is_secret(&self) -> bool {
        !self.spec.is_asymmetric()
    }

    /// The version that a raw key works with; none before its material was imported.
    pub fn current(&self) -> Option<&Version> {
        self.versions
            .iter()
            .rfind(|version| self.imports.pending != Some(version.number))
    }

    /// When time next makes something due that only its own row says: deletion, rotation, expiry. Unix seconds. Of a held
    /// key nothing is deleted.
    pub fn due_at(&self) -> Option<u64> {
        let is_held = self.protection.hold.is_some();
        if let State::PendingDeletion { at, .. } = self.state {
            return (!is_held).then_some(at);
        }
        let present = self.imports.present.values().filter(|_| !is_held);
        let expires = present.filter_map(|imported| imported.valid_to);
        let rotates = self.rotates_here().then_some(self.rotation.next_at);
        expires.chain(rotates).min()
    }

    /// Whether time gives it new versions: enabled, and the primary of its regions.
    pub fn rotates_here(&self) -> bool {
        self.rotation.enabled && self.is_enabled() && !self.is_replica()
    }

    /// Its versions' timeline. Only shared token keys rotate: what a JWKS verifies follows a new version by itself,
    /// a verifier of artifacts that knows one key does not.
    pub fn schedule(&self, rotating: &Schedule) -> Schedule {
        match (self.delegation, self.family) {
            (Delegation::Shared, Family::Token) => *rotating,
            (Delegation::Shared, _) | (Delegation::None, Family::Token) => Schedule {
                sign_period: None,
                ..*rotating
            },
            _ => Schedule {
                publish_lead: 0,
                sign_period: None,
                lifetime_cap: rotating.lifetime_cap,
            },
        }
    }

    /// The tags that policies see, here and at edges: all but the reserved ones.
    pub fn free_tags(&self) -> BTreeMap<String, String> {
        let free = self
            .tags
            .iter()
            .filter(|(name, _)| !name.starts_with(super::tag::RESERVED));
        free.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// How long a lease of it is, milliseconds: as its tag says, for its whole life.
    pub fn lease_ms(&self) -> u64 {
        let said = self
            .tags
            .get(super::tag::LEASE)
            .and_then(|text| super::lease::parse(text));
        said.unwrap_or(node::lease::DEFAULT_MS)
    }

    /// Who answers for it: as its tag says, or else who made it.
    pub fn owner(&self) -> &str {
        let named = self.tags.get(super::tag::OWNER).filter(|owner| !owner.is_empty());
        named.unwrap_or(&self.created_by)
    }

    /// How to reach the owner, as its tag says; may be empty.
    pub fn contact(&self) -> &str {
        self.tags.get(super::tag::CONTACT).map_or("", String::as_str)
    }

    /// What policies see.
    pub fn facts(&self) -> policies::KeyFacts {
        policies::KeyFacts::new(
            self.id.clone(),
            self.tenant.to_string(),
            self.aliases.iter().cloned().collect(),
            self.free_tags(),
        )
    }
}

/// The name of the row of the key `id` in `region`.
pub fn row_name(id: &str, region: &str) -> String {
    if id.starts_with(super::MULTI_REGION_PREFIX) {
        format!("{id}@{region}")
    } else {
        id.to_owned()
    }
}

/// An alias row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// The key's id.
    pub key: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub updated_at: u64,
}

/// The CA of a key with delegation `own`. A row of its own that no verb names; its private key never leaves the HSM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaRecord {
    /// Wrapped by the HSM.
    pub key: WrappedKey,
    /// DER, issued by the delegation root.
    pub certificate: Vec<u8>,
}
