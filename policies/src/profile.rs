//! A profile: what may be signed under one name, with which key, for how long.

pub(crate) mod parse;

use std::collections::BTreeSet;

use signing::Algorithm;

use crate::units::Rate;

/// One file `profiles/NAME.toml`, checked. Every field is described in `docs/reference/bundle.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name: 1 to 63 of `a-z 0-9 -`.
    pub name: String,
    /// What it is for, in a person's words.
    pub description: String,
    /// The tenant that owns it, its key and its issuer: 12 digits.
    pub tenant: String,
    /// The key it signs with: `alias/…` or a UUID.
    pub key: String,
    /// The key's algorithm, one that can sign.
    pub algorithm: Algorithm,
    /// Tokens or artifacts, and what only one of them has.
    pub signs: Signs,
    /// Plugins that every request passes, in this order.
    pub plugins: Vec<String>,
    /// Those of them without whose verdict a request may go on when they fail.
    pub may_skip: Vec<String>,
    /// How often it may be used.
    pub quota: QuotaLimits,
    /// How durable the record of a signature is before the signature leaves. Default: [`AuditMode::Reserve`] for tokens,
    /// [`AuditMode::Commit`] for artifacts.
    pub audit: AuditMode,
}

/// How durable the record of a signature is before the signature leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// Its number is reserved durably; the record follows within a second. A crash leaves at most a second's worth of
    /// signatures whose records are lost, and that is itself on record.
    Reserve,
    /// The record is durable. Costs the request a sync of the disk, which it shares with all that come with it.
    Commit,
    /// As [`AuditMode::Commit`], and the record is in the authority's log, under a checkpoint: the answer carries the proof.
    /// Costs the request the way there and the time to the next checkpoint, and no signature leaves without the authority.
    Witness,
}

/// Which of the two a profile signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// JWTs.
    Token,
    /// Digests and messages.
    Artifact,
}

impl Kind {
    /// `token` or `artifact`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Artifact => "artifact",
        }
    }
}

/// What a profile signs, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signs {
    /// JWTs.
    Token(Box<TokenProfile>),
    /// Digests and messages.
    Artifact(ArtifactProfile),
}

/// What only token profiles have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenProfile {
    /// Name of the issuer in `bundle.toml`.
    pub issuer: String,
    /// Which audiences a caller may ask for.
    pub audiences: Audiences,
    /// The header's `typ`. Default `JWT`.
    pub typ: String,
    /// The header's `alg` where it is not the algorithm's usual name: `Ed25519` (RFC 9864).
    pub algorithm_name: Option<String>,
    /// Lifetime when the caller asks for none, in seconds. Default 300, or the maximum if that is less.
    pub default_lifetime: u32,
    /// Longest lifetime, in seconds, 1 to 604,800. Default 3,600.
    pub max_lifetime: u32,
    /// Which claims may stand beside the registered ones.
    pub claims: ClaimRules,
}

/// Which audiences a token profile takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audiences {
    /// Used when the caller asks for none: the first one listed.
    pub default: Option<String>,
    /// The ones listed.
    pub listed: Vec<String>,
    /// `*` was listed: any audience is taken.
    pub any: bool,
}

impl Audiences {
    /// Whether a caller may ask for `audience`.
    pub fn allows(&self, audience: &str) -> bool {
        self.any || self.listed.iter().any(|listed| listed == audience)
    }
}

/// Who may set which claim. Registered claims (RFC 7519) are in none of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    /// The caller must set these.
    pub required: BTreeSet<String>,
    /// The caller may set these; the required ones are among them.
    pub allowed: BTreeSet<String>,
    /// `*` was listed as allowed: the caller may set any claim that is not registered and not a plugin's.
    pub any: bool,
    /// Only plugins may set these.
    pub plugin: BTreeSet<String>,
}

impl ClaimRules {
    /// Whether a caller may set the claim `name`.
    pub fn caller_may_set(&self, name: &str) -> bool {
        !self.plugin.contains(name) && (self.any || self.allowed.contains(name))
    }
}

/// What only artifact profiles have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactProfile {
    /// How an ECDSA signature is written. An Ed25519 signature has one form only.
    pub encoding: Encoding,
}

/// How an ECDSA signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// ASN.1 DER (RFC 3279 section 2.2.3), as X.509, openssl and cosign write it. The default.
    #[default]
    Der,
    /// r ‖ s, each as long as the curve's order, as JOSE writes it.
    Fixed,
}

/// Quotas. None: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Signatures with this profile's key through this profile.
    pub per_key: Option<Rate>,
    /// Signatures through this profile.
    pub per_profile: Option<Rate>,
}

impl Profile {
    /// Whether this is for tokens or for artifacts.
    pub fn kind(&self) -> Kind {
        match self.signs {
            Signs::Token(_) => Kind::Token,
            Signs::Artifact(_) => Kind::Artifact,
        }
    }

    /// The issuer's name in `bundle.toml`; none for artifacts.
    pub fn issuer(&self) -> Option<&str> {
        self.token().map(|token| token.issuer.as_str())
    }

    /// What only token profiles have; none for artifacts.
    pub fn token(&self) -> Option<&TokenProfile> {
        match &self.signs {
            Signs::Token(token) => Some(token),
            Signs::Artifact(_) => None,
        }
    }

    /// What only artifact profiles have; none for tokens.
    pub fn artifact(&self) -> Option<&ArtifactProfile> {
        match &self.signs {
            Signs::Token(_) => None,
            Signs::Artifact(artifact) => Some(artifact),
        }
    }
}
