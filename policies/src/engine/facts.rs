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

/// A key as the node that would sign knows it. Make a new one when any of it changes, and hold it while nothing does: what
/// decisions need of it is made once.
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
    /// Not at all: signatures of the authority's, for what the edge has cleared.
    None,
}

impl DelegationMode {
    /// `own`, `shared` or `none`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
            Self::None => "none",
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

/// A principal of an account, as the key API's verifier found it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountFacts {
    /// `arn:aws:iam::ACCOUNT:root`, `…:user/NAME` or `arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION`.
    pub arn: String,
    /// The account, which is a tenant: 12 digits.
    pub tenant: String,
    /// Which of the three.
    pub kind: AccountKind,
    /// Of the user or the role; empty for root.
    pub name: String,
    /// What the access key was given; empty for none. `admin` may do everything that is left to the account.
    pub role: String,
    /// The session's name, where a role was assumed.
    pub session: Option<String>,
    /// The issuer of the token that it was assumed with.
    pub issuer: Option<String>,
    /// That token's subject.
    pub subject: Option<String>,
}

/// What a principal of an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountKind {
    /// The account itself.
    Root,
    /// A user with access keys.
    User,
    /// A role that was assumed for a while.
    Role,
}

impl AccountKind {
    /// `root`, `user` or `role`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::Role => "role",
        }
    }
}

/// What a key's own policy says to a principal's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPolicyAnswer {
    /// A statement allows it.
    Allow,
    /// A statement denies it, whatever else is said.
    Deny,
    /// The policy leaves it to the account. So it is where there is no key.
    Delegated,
    /// No statement is about it.
    Silent,
}

impl KeyPolicyAnswer {
    /// The word in `context.key_policy`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Delegated => "delegated",
            Self::Silent => "silent",
        }
    }
}

/// What stands with the key for or against a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAccess {
    /// The key's policy.
    pub key_policy: KeyPolicyAnswer,
    /// Whether a grant allows it.
    pub grant: bool,
}

impl KeyAccess {
    /// Of what concerns no key: the account decides.
    pub const ACCOUNT: Self = Self {
        key_policy: KeyPolicyAnswer::Delegated,
        grant: false,
    };
    /// For an operator, of whom key policies and grants say nothing.
    pub const OPERATOR: Self = Self {
        key_policy: KeyPolicyAnswer::Silent,
        grant: false,
    };
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
