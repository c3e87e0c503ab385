//! What is stored about approvals: who approves in a domain and how many it takes, and each request that was asked about.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use signing::approval::{self, Decision, Statement};
use signing::digest::sha256;
use signing::key::PublicKey;

use crate::fault::Fault;
use crate::names::Tenant;

/// Seconds for which a request waits where nobody said otherwise: a day.
pub const DEFAULT_LIFETIME: u64 = 86_400;
/// The domain of what concerns the whole service, as it is written.
const AUTHORITY: &str = "authority";
/// How ids of requests begin.
const ID_PREFIX: &str = "apr-";
/// Random bytes of an id: nobody guesses one, so knowing it is enough to look at what it names.
const ID_BYTES: usize = 16;

/// Whose approvers: one tenant's, or the whole service's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Domain {
    /// A tenant's keys and safeguards.
    Tenant(Tenant),
    /// Root operations.
    Authority,
}

impl Domain {
    /// 12 digits, or `authority`.
    ///
    /// # Errors
    /// [`Fault::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text == AUTHORITY {
            return Ok(Self::Authority);
        }
        Tenant::parse(text).map(Self::Tenant)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tenant(tenant) => tenant.as_str(),
            Self::Authority => AUTHORITY,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Domain {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.as_str().to_owned()
    }
}

/// What protects a domain from one person alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safeguards {
    /// Approvals that a request needs; 0: none.
    pub required: usize,
    /// Seconds for which a request waits for them.
    pub lifetime: u64,
    /// Who may approve. Their names differ, and so do their keys.
    pub approvers: Vec<Approver>,
    /// Days without use before a key is deleted without an override; 0: none.
    pub deletion_guard_days: u32,
}

impl Default for Safeguards {
    fn default() -> Self {
        Self {
            required: 0,
            lifetime: DEFAULT_LIFETIME,
            approvers: Vec::new(),
            deletion_guard_days: 0,
        }
    }
}

impl Safeguards {
    /// How many may approve what this requester asks for.
    pub fn others(&self, requester: &str) -> usize {
        self.approvers.iter().filter(|approver| !approver.is(requester)).count()
    }
}

/// Somebody who may approve, known by a key of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approver {
    /// 1 to 63 of `a-z 0-9 -`.
    pub name: String,
    /// RFC 7638 thumbprint of the key.
    pub kid: String,
    /// DER SubjectPublicKeyInfo, base64.
    pub public_key: String,
    /// The principals that this person acts as, ARNs and `operator:ID`: what one of them asked for, they do not approve.
    pub principals: BTreeSet<String>,
    /// Unix seconds.
    pub added_at: u64,
}

impl Approver {
    /// The key, if the row still reads.
    pub fn key(&self) -> Option<PublicKey> {
        approval::public_key(&STANDARD.decode(&self.public_key).ok()?).ok()
    }

    /// Whether the requester is this person. A role's ARN stands for each of its sessions.
    pub fn is(&self, requester: &str) -> bool {
        let role = role_of(requester);
        self.principals
            .iter()
            .any(|own| own == requester || Some(own) == role.as_ref())
    }
}

/// Who asks, however they call their session: a session's name is its maker's choice. A session's role, and anybody else.
pub(super) fn asker(requester: &str) -> String {
    role_of(requester).unwrap_or_else(|| requester.to_owned())
}

/// `arn:aws:sts::A:assumed-role/R/S` → `arn:aws:iam::A:role/R`
fn role_of(session: &str) -> Option<String> {
    let (account, rest) = session.strip_prefix("arn:aws:sts::")?.split_once(":assumed-role/")?;
    let (role, _) = rest.split_once('/')?;
    Some(format!("arn:aws:iam::{account}:role/{role}"))
}

/// A request that waits for approvals, or waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// `apr-DOMAIN-` and 32 hex digits, random.
    pub id: String,
    /// Whose approvers decide.
    pub domain: Domain,
    /// Of the resource; empty where there is none.
    pub region: String,
    /// `ScheduleKeyDeletion`
    pub operation: String,
    /// An ARN, or what else names the thing.
    pub resource: String,
    /// A JSON object, members sorted by name, without white space.
    pub parameters: String,
    /// A principal's ARN, or `operator:ID`.
    pub requester: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub expires_at: u64,
    /// In the order they came.
    pub given: Vec<Given>,
    /// How it ended, and when (Unix seconds); none while it waits.
    pub ended: Option<(How, u64)>,
}

/// One approver's signed decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The approver's name.
    pub approver: String,
    /// The key that signed.
    pub kid: String,
    /// Whether it may be done.
    pub approves: bool,
    /// 64 bytes, base64.
    pub signature: String,
    /// Unix seconds.
    pub at: u64,
}

/// The ends of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was done, once.
    Executed,
    /// Too many approvers were against it.
    Rejected,
    /// Its time was over.
    Expired,
}

impl How {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl Given {
    /// What was decided.
    pub fn decision(&self) -> Decision {
        match self.approves {
            true => Decision::Approve,
            false => Decision::Reject,
        }
    }
}

impl Approval {
    /// A fresh id in a domain.
    ///
    /// # Errors
    /// [`Fault::Internal`] when the random source fails.
    pub fn new_id(domain: &Domain) -> Result<String, Fault> {
        let random = signing::encoding::hex(&signing::key::random_bytes::<ID_BYTES>()?);
        Ok(format!("{ID_PREFIX}{domain}-{random}"))
    }

    /// The domain that an id says; none for what is no id.
    pub fn domain_of(id: &str) -> Option<Domain> {
        let (domain, random) = id.strip_prefix(ID_PREFIX)?.split_once('-')?;
        let is_random = random.len() == ID_BYTES.saturating_mul(2)
            && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Domain::parse(domain).ok().filter(|_| is_random)
    }

    /// What its approvers sign.
    pub fn statement<'a>(&'a self, trust_domain: &'a str) -> Statement<'a> {
        Statement {
            trust_domain,
            id: &self.id,
            account: self.domain.as_str(),
            region: &self.region,
            operation: &self.operation,
            resource: &self.resource,
            parameters_sha256: sha256(self.parameters.as_bytes()),
            requester: &self.requester,
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_its_domain() {
        let tenant = Domain::parse("000000000001").unwrap();
        for domain in [tenant, Domain::Authority] {
            let id = Approval::new_id(&domain).unwrap();
            assert_eq!(Approval::domain_of(&id), Some(domain), "{id}");
            for bad in [&id[..id.len() - 1], &id.to_uppercase(), &format!("{id}0"), &id[4..], ""] {
                assert_eq!(Approval::domain_of(bad), None, "{bad}");
            }
        }
        assert!(Domain::parse("system").is_err());
    }

    #[test]
    fn an_approver_is_its_principals_and_the_sessions_of_its_roles() {
        let approver = Approver {
            name: "ada".into(),
            kid: String::new(),
            public_key: String::new(),
            principals: ["arn:aws:iam::000000000001:role/ops", "operator:root"]
                .map(str::to_owned)
                .into(),
            added_at: 0,
        };
        for (requester, same) in [
            ("operator:root", true),
            ("operator:rooty", false),
            ("arn:aws:sts::000000000001:assumed-role/ops/any", true),
            ("arn:aws:sts::000000000002:assumed-role/ops/any", false),
            ("arn:aws:sts::000000000001:assumed-role/ops2/ops", false),
            ("arn:aws:iam::000000000001:root", false),
        ] {
            assert_eq!(approver.is(requester), same, "{requester}");
        }
        assert!(approver.key().is_none());
    }
}
