//! `Principal` and `NotPrincipal`.

use super::Effect;
use super::caller::{Entity, Parts};
use super::context::{Facts, Value};
use super::json::Json;
use crate::names::shown;

/// Whom a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    These(Vec<Named>),
    AllBut(Vec<Named>),
}

/// One principal of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Everyone,
    /// An account's 12 digits, from its id or its root's ARN: they are the same.
    Account(String),
    /// A user, a role, a session or a federated user.
    Arn(String),
    /// A service. No caller is one, since AWS's services do not call this one.
    Service,
    /// An identity provider, for the sessions it vouched for.
    Federated(String),
}

/// How a statement reaches a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It names the caller, its role or everyone.
    Caller,
    /// It names the caller's account only.
    Account,
}

impl Who {
    pub(super) fn parse(principal: Option<Json>, not: Option<Json>, effect: Effect) -> Result<Self, String> {
        match (principal, not) {
            (Some(principal), None) => Ok(Self::These(named(principal, "Principal")?)),
            (None, Some(_)) if effect == Effect::Allow => {
                Err("`NotPrincipal` goes with `Deny` only; an `Allow` says with `Principal` whom it means".to_owned())
            }
            (None, Some(not)) => {
                let named = named(not, "NotPrincipal")?;
                if named.contains(&Named::Everyone) {
                    return Err("`NotPrincipal` names everyone, so the statement would deny nobody".to_owned());
                }
                Ok(Self::AllBut(named))
            }
            (Some(_), Some(_)) => Err("a statement has `Principal` or `NotPrincipal`, not both".to_owned()),
            (None, None) => Err("a statement of a key policy says with `Principal` whom it is about".to_owned()),
        }
    }

    /// None when the statement is not about the caller.
    pub(super) fn reach(&self, facts: &Facts<'_>) -> Option<Reach> {
        let caller = &facts.request.caller;
        match self {
            Self::These(named) => {
                let reaches = named.iter().filter_map(|named| named.reach(facts));
                reaches.min_by_key(|reach| *reach == Reach::Account)
            }
            // The caller is spared when all that it is is named: the session and its role, and the account with either
            // ("you must also specify the account ARN of the not-denied principal", IAM User Guide, `NotPrincipal`).
            Self::AllBut(named) => {
                let has = |arn: &str| named.iter().any(|named| matches!(named, Named::Arn(own) if own == arn));
                let account = named
                    .iter()
                    .any(|named| matches!(named, Named::Account(own) if own == caller.account()));
                let itself = caller.is_root() || (has(caller.arn()) && caller.role().is_none_or(has));
                (!(account && itself)).then_some(Reach::Caller)
            }
        }
    }
}

impl Named {
    fn reach(&self, facts: &Facts<'_>) -> Option<Reach> {
        let caller = &facts.request.caller;
        match self {
            Self::Everyone => Some(Reach::Caller),
            Self::Account(account) if account != caller.account() => None,
            Self::Account(_) if caller.is_root() => Some(Reach::Caller),
            Self::Account(_) => Some(Reach::Account),
            Self::Arn(arn) => (arn == caller.arn() || caller.role() == Some(arn)).then_some(Reach::Caller),
            Self::Service => None,
            Self::Federated(provider) => {
                let vouched = facts.get("aws:federatedprovider");
                let by_it = matches!(vouched.as_ref(), [Value::Text(own)] if own == provider);
                (caller.role().is_some() && by_it).then_some(Reach::Caller)
            }
        }
    }
}

fn named(principal: Json, element: &str) -> Result<Vec<Named>, String> {
    let members = match principal {
        Json::Text(text) if text == "*" => return Ok(vec![Named::Everyone]),
        Json::Text(text) => {
            return Err(format!(
                "`{element}` is `*` or an object such as {{\"AWS\": \"{}\"}}",
                shown(&text)
            ));
        }
        other => other.members(&format!("`{element}`"))?,
    };
    let mut all = Vec::new();
    for (kind, value) in members.into_pairs() {
        let one: fn(&str) -> Result<Named, String> = match kind.as_str() {
            "AWS" => aws,
            "Service" => service,
            "Federated" => federated,
            "CanonicalUser" => {
                return Err("key policies know no `CanonicalUser`; name the account by its id or ARN".to_owned());
            }
            other => {
                return Err(format!(
                    "`{}` is no kind of principal: they are `AWS`, `Service` and `Federated`",
                    shown(other)
                ));
            }
        };
        for text in value.texts(&kind)? {
            all.push(one(&text)?);
        }
    }
    if all.is_empty() {
        return Err(format!("`{element}` names nobody"));
    }
    Ok(all)
}

fn aws(text: &str) -> Result<Named, String> {
    if text == "*" {
        return Ok(Named::Everyone);
    }
    if policies::names::is_tenant(text) {
        return Ok(Named::Account(text.to_owned()));
    }
    if text.contains(['*', '?']) {
        return Err(format!(
            "`{}` has a wildcard in a principal; name each, or `*` with a condition on `aws:PrincipalArn`",
            shown(text)
        ));
    }
    match Parts::of(text) {
        Some(Parts {
            account,
            entity: Entity::Root,
        }) => Ok(Named::Account(account.to_owned())),
        Some(_) => Ok(Named::Arn(text.to_owned())),
        None => Err(format!(
            "`{}` is no principal: it is an account's 12 digits, or the ARN of an account's root, a user, a role, a session \
             of one or a federated user, in the partition `aws`",
            shown(text)
        )),
    }
}

fn service(text: &str) -> Result<Named, String> {
    if text.contains('.') && crate::names::is_trust_domain(text) {
        Ok(Named::Service)
    } else {
        Err(format!(
            "`{}` is no service: it is a name such as `logs.us-east-1.amazonaws.com`",
            shown(text)
        ))
    }
}

fn federated(text: &str) -> Result<Named, String> {
    if text.is_empty() || text.contains(['*', '?']) {
        return Err(format!(
            "`{}` is no identity provider; wildcards are not taken",
            shown(text)
        ));
    }
    Ok(Named::Federated(text.to_owned()))
}
