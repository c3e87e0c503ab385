//! What a decision is about: who asks, with which key, from where. Filled in by whoever verified it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use cedar_policy::Entity;

use super::entities;
use super::standing::Standings;

/// A verified value of a caller's attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// `true` or `false`.
    Bool(bool),
    /// A list of texts.
    Texts(Vec<String>),
}

/// A caller as a verifier found it: the only source of a [`Principal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerFacts {
    /// `oidc:ISSUER#SUBJECT` or a SPIFFE ID.
    pub id: String,
    /// `oidc`, `spiffe` or `signet`.
    pub kind: String,
    /// 12 digits, from the rule that admitted it.
    pub tenant: String,
    /// Exact `iss`, or the trust domain.
    pub issuer: String,
    /// `sub`, or the SPIFFE ID's path.
    pub subject: String,
    /// Mapped attributes.
    pub attributes: BTreeMap<String, Attribute>,
}

/// A caller ready for decisions. What its own facts settle is found at the first decision and kept: hold a principal as
/// long as the caller's verified token is held, and each further decision costs a third.
#[derive(Debug)]
pub struct Principal {
    facts: CallerFacts,
    entity: OnceLock<Result<Entity, String>>,
    pub(super) standings: Standings,
}

impl Principal {
    /// A principal of a verified caller.
    pub fn new(facts: CallerFacts) -> Self {
        Self {
            facts,
            entity: OnceLock::new(),
            standings: Standings::default(),
        }
    }

    /// The caller.
    pub fn facts(&self) -> &CallerFacts {
        &self.facts
    }

    /// The caller's entity, or which of its attributes has a type that the schema does not allow.
    pub(super) fn entity(&self) -> Result<&Entity, &str> {
        self.entity
            .get_or_init(|| entities::caller(&self.facts))
            .as_ref()
            .map_err(String::as_str)
    }
}

/// A key as the node that would sign knows it. Make a new one when any of it changes.
#[derive(Debug)]
pub struct KeyFacts {
    id: String,
    tenant: String,
    aliases: Vec<String>,
    tags: BTreeMap<String, String>,
    stamp: u64,
}

impl KeyFacts {
    /// A key: its id (a UUID), its tenant, its aliases (`alias/…`) and its tags.
    pub fn new(id: String, tenant: String, aliases: Vec<String>, tags: BTreeMap<String, String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id,
            tenant,
            aliases,
            tags,
            stamp: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The key's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key's tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The key's aliases.
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// The key's tags. The tag `ring` puts it into a key ring.
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// A number that no other instance in this process has: entities built from it are kept under it.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }
}

/// Where and when a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// Unix seconds.
    pub now: u64,
    /// The address it came from.
    pub source_ip: IpAddr,
    /// `http1`, `http2` or `http3`.
    pub protocol: &'static str,
}

/// An edge that asks the authority for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeFacts {
    /// Its id, as in its certificate.
    pub id: String,
    /// What the authority knows of it, such as its region.
    pub labels: BTreeMap<String, String>,
}

/// How a key would be delegated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelegationMode {
    /// A certificate for a key of the edge's own.
    Own,
    /// The key itself.
    Shared,
}

impl DelegationMode {
    /// `own` or `shared`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
        }
    }
}

/// Whoever administers the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorFacts {
    /// Who it is.
    pub id: String,
    /// `admin` may do everything within its tenant; others what policies say.
    pub role: String,
    /// The tenant it is confined to; none: the whole service.
    pub tenant: Option<String>,
}

/// What an operator's action is on.
#[derive(Clone, Copy, Debug)]
pub enum AdminResource<'a> {
    /// A key.
    Key(&'a KeyFacts),
    /// A tenant, by its 12 digits.
    Tenant(&'a str),
    /// An edge, by its id.
    Edge(&'a str),
    /// The service itself.
    Authority,
}
