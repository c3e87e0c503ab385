//! A logical key as it is stored: everything but its secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use signing::algorithm::Algorithm;

use crate::hsm::WrappedKey;
use crate::names::Tenant;
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
    /// Not at all: it signs here.
    None,
    /// Each edge has its own key pair under a certificate of the key's CA.
    Own,
    /// The authority makes the key and hands it to edges. One edge's compromise is the region's.
    Shared,
}

/// Where the private half is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Custody {
    /// Stored sealed, used in memory.
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

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It signs.
    Enabled,
    /// It signs nothing; what it signed verifies.
    Disabled,
    /// As disabled, and gone for good at `at` (Unix seconds).
    PendingDeletion {
        /// When.
        at: u64,
        /// The window that was asked for, days.
        window_days: u32,
    },
}

/// A logical key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// UUID.
    pub id: String,
    /// Whose key it is.
    pub tenant: Tenant,
    /// For the key's whole life (R1).
    pub algorithm: Algorithm,
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
    /// The caller's tags and the reserved ones.
    pub tags: BTreeMap<String, String>,
    /// With the `alias/` prefix. Kept equal to the alias rows by changing both at once.
    pub aliases: BTreeSet<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// The number that the next version gets.
    pub next_version: u32,
    /// In the order they were made; retired ones are gone.
    pub versions: Vec<Version>,
}

impl KeyRecord {
    /// Whether it may sign.
    pub fn is_enabled(&self) -> bool {
        self.state == State::Enabled
    }

    /// Its versions' timeline. Only shared token keys rotate: what a JWKS verifies follows a new version by itself,
    /// a verifier of artifacts that knows one key does not.
    pub fn schedule(&self, rotating: &Schedule) -> Schedule {
        match (self.delegation, self.family) {
            (Delegation::Shared, Family::Token) => *rotating,
            (Delegation::Shared, _) => Schedule {
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
