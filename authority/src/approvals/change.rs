//! Changes of a domain's safeguards, pure: none leaves a quorum that cannot be reached.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signing::approval;
use signing::certificate::pem_decode;

use super::record::{Approver, Safeguards};
use super::wanted::Parameters;
use crate::fault::Fault;
use crate::iam;
use crate::names::shown;

/// Approvers of one domain.
const MAX_APPROVERS: usize = 32;
/// Principals of one approver.
const MAX_PRINCIPALS: usize = 16;
/// Seconds that requests may wait: up to 30 days.
const LIFETIME: RangeInclusive<u64> = 1..=30 * 86_400;
/// Days of the deletion guard: up to ten years.
const MAX_GUARD_DAYS: u32 = 3_650;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SafeguardChange {
    /// How many approve, and how long a request waits for them, in seconds. 0 of them: nobody is asked.
    Quorum {
        /// Approvals.
        required: usize,
        /// Seconds.
        lifetime: u64,
    },
    /// One approver more.
    AddApprover(Approver),
    /// One fewer, by name.
    RemoveApprover(String),
    /// Days without use before a key is deleted without an override; 0: none.
    DeletionGuard(u32),
}

impl SafeguardChange {
    /// A new approver, who comes with a public key (PEM; Ed25519 or P-256) and is these principals.
    ///
    /// # Errors
    /// `Invalid`, saying what is wrong.
    pub fn add(name: &str, public_key_pem: &str, principals: Vec<String>, now: u64) -> Result<Self, Fault> {
        if !policies::names::is_name(name) {
            return invalid(format!(
                "an approver's name has 1 to 63 of a-z 0-9 -, `{}` has not",
                shown(name)
            ));
        }
        let key = pem_decode("PUBLIC KEY", public_key_pem).ok().and_then(|blocks| {
            let [spki] = <[Vec<u8>; 1]>::try_from(blocks).ok()?;
            approval::public_key(&spki).ok()
        });
        let Some(key) = key else {
            let message = "give one PEM `PUBLIC KEY`, Ed25519 or P-256, such as `signet approvals keygen` writes";
            return invalid(message.to_owned());
        };
        if principals.len() > MAX_PRINCIPALS {
            return invalid(format!("an approver is at most {MAX_PRINCIPALS} principals"));
        }
        if let Some(bad) = principals.iter().find(|principal| !is_principal(principal)) {
            let message = "is no principal: write arn:aws:iam::ACCOUNT:user/NAME, …:role/NAME, …:root or operator:ID";
            return invalid(format!("`{}` {message}", shown(bad)));
        }
        Ok(Self::AddApprover(Approver {
            name: name.to_owned(),
            kid: key.thumbprint().to_owned(),
            public_key: STANDARD.encode(key.to_spki_der()),
            principals: BTreeSet::from_iter(principals),
            added_at: now,
        }))
    }

    /// The verb, as requests for approval and records name it.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Quorum { .. } => "SetQuorum",
            Self::AddApprover(_) => "AddApprover",
            Self::RemoveApprover(_) => "RemoveApprover",
            Self::DeletionGuard(_) => "SetDeletionGuard",
        }
    }

    /// What approvers of the change sign.
    pub(super) fn parameters(&self) -> Parameters {
        let parameters = Parameters::default();
        match self {
            Self::Quorum { required, lifetime } => parameters
                .with("Required", *required)
                .with("LifetimeSeconds", *lifetime),
            Self::AddApprover(approver) => parameters
                .with("Name", approver.name.as_str())
                .with("PublicKey", approver.public_key.as_str())
                .with("Principals", Vec::from_iter(approver.principals.iter().cloned())),
            Self::RemoveApprover(name) => parameters.with("Name", name.as_str()),
            Self::DeletionGuard(days) => parameters.with("Days", *days),
        }
    }

    /// Makes the change. Whoever asked must be able to have the next one approved, or nobody could take it back.
    pub(super) fn apply(&self, safeguards: &mut Safeguards, requester: &str) -> Result<(), Fault> {
        let conflict = |message: String| Err(Fault::state("conflict", message));
        match self {
            Self::Quorum { required, lifetime } => {
                if !LIFETIME.contains(lifetime) {
                    return invalid("requests wait 1 second to 30 days".to_owned());
                }
                let have = safeguards.others(requester);
                if *required > have {
                    let message = format!(
                        "{required} approvals need {required} approvers beside `{requester}`, there are {have}; add some first"
                    );
                    return conflict(message);
                }
                (safeguards.required, safeguards.lifetime) = (*required, *lifetime);
            }
            Self::AddApprover(approver) => {
                let known = &safeguards.approvers;
                if known.iter().any(|old| old.name == approver.name) {
                    return conflict(format!("there is an approver `{}`; remove it first", approver.name));
                }
                if let Some(old) = known.iter().find(|old| old.kid == approver.kid) {
                    return conflict(format!(
                        "this key is `{}`'s already: each approver has one of their own",
                        old.name
                    ));
                }
                if known.len() >= MAX_APPROVERS {
                    return conflict(format!("there are {MAX_APPROVERS} approvers already"));
                }
                safeguards.approvers.push(approver.clone());
            }
            Self::RemoveApprover(name) => {
                let before = safeguards.approvers.len();
                safeguards.approvers.retain(|approver| approver.name != *name);
                if safeguards.approvers.len() == before {
                    return Err(Fault::not_found(format!("there is no approver `{}`", shown(name))));
                }
                if safeguards.others(requester) < safeguards.required {
                    let required = safeguards.required;
                    let message =
                        format!("{required} approvals need as many approvers beside `{requester}`; add one first");
                    return conflict(message);
                }
            }
            Self::DeletionGuard(days) => {
                if *days > MAX_GUARD_DAYS {
                    return invalid(format!("the deletion guard is 0 to {MAX_GUARD_DAYS} days"));
                }
                safeguards.deletion_guard_days = *days;
            }
        }
        Ok(())
    }
}

fn invalid<T>(message: String) -> Result<T, Fault> {
    Err(Fault::invalid("bad_request", message))
}

fn is_principal(text: &str) -> bool {
    match text.strip_prefix("operator:") {
        Some(id) => policies::names::is_name(id),
        None => iam::is_principal(text),
    }
}
