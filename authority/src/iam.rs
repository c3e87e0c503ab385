//! Key policies: AWS JSON policy documents as KMS key policies use them, parsed with nothing ignored and decided exactly.
//!
//! The sources are the IAM User Guide (JSON policy element reference, condition operators, conditions with several keys or
//! values, policy variables) and the KMS Developer Guide (key policies, condition keys). Nothing here reads a clock, a store
//! or a network: a [`Request`] says all there is to know.
//!
//! # What decides
//!
//! Every statement that is about the request counts, in any order. A `Deny` wins. An `Allow` that names the caller, the role
//! of its session or everyone lets it through by itself; one that names only the caller's account (by its id or its root's
//! ARN, which are the same) lets that account's own policies decide, which is [`Decision::Delegated`]. The account's root has
//! nothing above it, so for it both are an allow.
//!
//! - `"Principal": "*"` and `{"AWS": "*"}` are the same and name everyone. Conditions then say who is meant, as
//!   `kms:CallerAccount` or `aws:PrincipalArn` do, and an `Allow` whose conditions hold is one that names the caller.
//! - A caller of another account than the key's is never let through by the key policy alone: what would be
//!   [`Decision::Allow`] within the account is `Delegated` for it, since KMS asks both accounts.
//! - A `Deny` of an account denies all its principals.
//!
//! # Where AWS leaves room
//!
//! Refused, though AWS takes it:
//! - a statement without `Action` or without `Resource`, which in KMS is stored and has no effect: as a `Deny` it would be a
//!   hole;
//! - a condition on a key of several values without `ForAllValues` or `ForAnyValue`, which IAM asks for and does not define;
//! - an operator that cannot read the key's type, such as `NumericEquals` on an ARN;
//! - names of elements, operators and effects in another case, empty `Condition` blocks and lists, actions of other services,
//!   principals of other partitions than `aws`.
//!
//! Refused, as KMS and IAM do or say: `NotPrincipal` with `Allow`, wildcards within principals, `CanonicalUser`, principals
//! that are no accounts, users, roles or sessions, and `ForAllValues` on `kms:EncryptionContext:KEY` and `aws:RequestTag/KEY`.
//!
//! Decided so:
//! - Absent keys: a negated operator holds, any other does not, `…IfExists` holds; `ForAllValues` holds and `ForAnyValue`
//!   does not, negated or not. `ForAnyValue:…IfExists`, of which IAM's pages say both, holds in a `Deny` only.
//! - A key whose values are all empty strings is, for `ForAllValues` and `ForAnyValue`, one without values.
//! - `ForAllValues:StringNotEquals` and its like hold when no value of the request is one of the policy's; `ForAnyValue` with
//!   a negated operator when at least one is none of them.
//! - Several values for a key of one value, which a request has when two encryption context keys differ in case only: in an
//!   `Allow` all have to satisfy the condition, in a `Deny` one is enough. Such a key has no value as a variable.
//! - A variable without a value and without a default matches nothing, so a negated operator holds.
//! - `NotPrincipal` spares a caller only if all that it is is listed: its own ARN, for a session the role's ARN as well, and
//!   its account.
//! - Names of condition keys compare in any case, the part behind `kms:EncryptionContext:` and of tags included.
//! - Dates of four digits are years. `Bool` reads `true` and `false` in any case.
//! - `aws:PrincipalArn`, `aws:PrincipalAccount`, `aws:PrincipalType`, `aws:PrincipalIsAWSService`, `aws:username`,
//!   `kms:CallerAccount` and `aws:ResourceAccount` follow from the caller and the key; a [`Context`] cannot say otherwise.
//! - `{"Service": …}` matches no caller, `{"Federated": …}` the sessions whose `aws:FederatedProvider` it is.
//! - `aws:ResourceTag/KEY` and `kms:ResourceAliases`, which AWS documents for IAM policies, work in key policies as well.

mod caller;
mod condition;
mod context;
mod json;
mod known;
mod operator;
mod outline;
mod parse;
mod pattern;
mod principal;
mod statement;
mod template;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;

pub use caller::{Caller, CallerFault};
pub use context::{Context, Value};

pub use outline::Outline;

use context::Facts;
use principal::Reach;
use statement::Statement;

use crate::names::{Tenant, shown};

/// Bytes of a policy document (KMS's bound). It bounds statements, conditions and patterns as well.
pub const MAX_BYTES: usize = 32_768;

/// Whether this is the ARN of one principal: an account's root, a user, a role, a session or a federated user.
pub fn is_principal(arn: &str) -> bool {
    caller::Parts::of(arn).is_some()
}
/// Bytes of memory that a byte of a document takes once it is parsed, about and at most: it can be a part of a pattern.
pub const MEMORY_PER_BYTE: usize = 96;

/// A key policy that was understood in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Never empty.
    statements: Vec<Statement>,
}

/// Why a document is refused. Its author is to blame; the message may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// The statement's `Sid`, or `#` and its place from 1; none for the document itself.
    pub statement: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// What a key policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As `kms:Encrypt`, in any case.
    pub action: &'a str,
    /// The key's ARN; an alias's never stands for it.
    pub resource: &'a str,
    /// Who asks.
    pub caller: &'a Caller,
    /// The 12 digits of the account that has the key.
    pub account: &'a str,
    /// What else is known.
    pub context: &'a Context,
}

/// What a key policy says to a request, with the names of the statements that say so: a `Sid`, or `#` and a place from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No, whatever else allows it.
    Deny(Vec<String>),
    /// Yes.
    Allow(Vec<String>),
    /// As the policies of the caller's own account say; without them, no.
    Delegated(Vec<String>),
    /// Nothing, which is no, unless a grant says yes.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`PolicyFault`]: too long, not JSON, or anything in it that is not known or not of its type.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        parse::document(text)
    }

    /// What the document says to the request. Takes at most one step a byte of the document and byte of the longest value
    /// of the context.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let facts = Facts { request };
        let action = request.action.to_ascii_lowercase();
        let own = request.caller.is_root() || request.caller.account() == request.account;
        let (mut denied, mut allowed, mut delegated) = (Vec::new(), Vec::new(), Vec::new());
        for statement in &self.statements {
            let says = match (statement.effect, statement.applies(&action, &facts)) {
                (_, None) => continue,
                (Effect::Deny, Some(_)) => &mut denied,
                (Effect::Allow, Some(Reach::Caller)) if own => &mut allowed,
                (Effect::Allow, Some(_)) => &mut delegated,
            };
            says.push(statement.name.clone());
        }
        if !denied.is_empty() {
            Decision::Deny(denied)
        } else if !allowed.is_empty() {
            Decision::Allow(allowed)
        } else if !delegated.is_empty() {
            Decision::Delegated(delegated)
        } else {
            Decision::Silent
        }
    }

    /// KMS's safety check before it stores a document: whether whoever makes the request could call `PutKeyPolicy` on the
    /// key afterwards, by the document itself or because it lets the caller's account decide. Of the request all counts but
    /// the action; its context is what a later `PutKeyPolicy` would have.
    pub fn permits_put_key_policy(&self, request: &Request<'_>) -> bool {
        let later = Request {
            action: "kms:PutKeyPolicy",
            ..*request
        };
        matches!(self.decide(&later), Decision::Allow(_) | Decision::Delegated(_))
    }

    /// The document that KMS gives a key without one, written as KMS returns it: the account's policies decide all.
    pub fn default_for(account: &Tenant) -> String {
        format!(
            r#"{{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {{
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{account}:root"
    }},
    "Action" : "kms:*",
    "Resource" : "*"
  }} ]
}}"#
        )
    }
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(statement) = &self.statement {
            write!(f, "statement `{}`: ", shown(statement))?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyFault {}
