//! The part of `request.json` that is about the key API: a principal of an account, and what stands with the key.

use serde::Deserialize;

use crate::engine::{AccountFacts, AccountKind, KeyAccess, KeyPolicyAnswer};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Account {
    arn: String,
    tenant: String,
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    session: Option<String>,
    issuer: Option<String>,
    subject: Option<String>,
}

impl Account {
    pub(super) fn facts(&self) -> Result<AccountFacts, String> {
        let kind = match self.kind.as_str() {
            "root" => AccountKind::Root,
            "user" => AccountKind::User,
            "role" => AccountKind::Role,
            other => return Err(format!("`{other}` is no kind of a principal, write root, user or role")),
        };
        Ok(AccountFacts {
            arn: self.arn.clone(),
            tenant: self.tenant.clone(),
            kind,
            name: self.name.clone(),
            role: self.role.clone(),
            session: self.session.clone(),
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
        })
    }
}

/// What the key's policy and grants say; by default the account decides.
pub(super) fn access(key_policy: Option<&str>, grant: Option<bool>) -> Result<KeyAccess, String> {
    let key_policy = match key_policy {
        None | Some("delegated") => KeyPolicyAnswer::Delegated,
        Some("allow") => KeyPolicyAnswer::Allow,
        Some("deny") => KeyPolicyAnswer::Deny,
        Some("silent") => KeyPolicyAnswer::Silent,
        Some(other) => {
            return Err(format!(
                "`{other}` is no `key_policy`, write allow, deny, delegated or silent"
            ));
        }
    };
    Ok(KeyAccess {
        key_policy,
        grant: grant.unwrap_or(false),
    })
}
