//! The four ways to name a key: id, alias, and the ARN of either.

use serde::Deserialize;

use super::{AliasRecord, KeyRecord, Keys, KmsError, KmsErrorType, Session, State};
use crate::names::{Tenant, shown};
use crate::paths;
use crate::sealed::Held;

/// Requests that only name a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct KeyOnly {
    pub(super) key_id: String,
    /// Accepted for the SDKs' sake: there are no grants here.
    #[serde(default, rename = "GrantTokens")]
    _grant_tokens: Vec<String>,
}

/// What a reference names, once it has been read.
enum Named<'a> {
    Id(&'a str),
    Alias(&'a str),
}

impl Keys {
    /// Finds a key by any of its names, within the tenant, and asks whether the caller may do with it what it came for.
    pub(super) async fn find(&self, caller: &Session<'_>, reference: &str) -> Result<Held<KeyRecord>, KmsError> {
        let missing = || KmsErrorType::NotFound.because(format!("there is no key `{}`", shown(reference)));
        let tenant = caller.tenant;
        let id = match self.read_reference(tenant, reference)? {
            Named::Id(id) => id.to_owned(),
            Named::Alias(alias) => {
                let row = self.vault.get::<AliasRecord>(&paths::alias(tenant, alias)).await?;
                row.ok_or_else(missing)?.value.key
            }
        };
        let key = self
            .vault
            .get::<KeyRecord>(&paths::key(tenant, &id))
            .await?
            .ok_or_else(missing)?;
        caller.allow_key(&key.value)?;
        Ok(key)
    }

    /// As [`Keys::find`], where KMS takes a key's id or ARN but no alias.
    pub(super) async fn find_by_id(&self, caller: &Session<'_>, reference: &str) -> Result<Held<KeyRecord>, KmsError> {
        match self.read_reference(caller.tenant, reference)? {
            Named::Id(_) => self.find(caller, reference).await,
            Named::Alias(_) => {
                Err(KmsErrorType::InvalidArn.because("an alias does not do here, use the key's id or ARN"))
            }
        }
    }

    fn read_reference<'a>(&self, tenant: &Tenant, reference: &'a str) -> Result<Named<'a>, KmsError> {
        let local = match reference.strip_prefix("arn:") {
            Some(_) => self.read_arn(tenant, reference)?,
            None => reference,
        };
        if !policies::names::is_key(local) {
            let message = format!("`{}` is no key id, alias or ARN", shown(reference));
            return Err(KmsErrorType::NotFound.because(message));
        }
        Ok(if local.starts_with("alias/") {
            Named::Alias(local)
        } else {
            Named::Id(local)
        })
    }

    /// `arn:aws:kms:REGION:TENANT:key/ID` or `…:alias/NAME` → the last part.
    fn read_arn<'a>(&self, tenant: &Tenant, arn: &'a str) -> Result<&'a str, KmsError> {
        let wrong = || KmsErrorType::InvalidArn.because(format!("`{}` is no ARN of a key here", shown(arn)));
        let mut parts = arn.splitn(6, ':');
        let head = [parts.next(), parts.next(), parts.next()];
        let (region, account, resource) = (parts.next(), parts.next(), parts.next());
        if head != [Some("arn"), Some("aws"), Some("kms")] {
            return Err(wrong());
        }
        if region != Some(self.settings.region.as_str()) || account != Some(tenant.as_str()) {
            // Whether a key exists in another account is not said.
            return Err(KmsErrorType::NotFound.because(format!("there is no key `{}`", shown(arn))));
        }
        let resource = resource.ok_or_else(wrong)?;
        match resource.strip_prefix("key/") {
            Some(id) if policies::names::is_uuid(id) => Ok(id),
            None if resource.starts_with("alias/") => Ok(resource),
            _ => Err(wrong()),
        }
    }

    /// The ARN of a key.
    pub(super) fn arn(&self, key: &KeyRecord) -> String {
        format!("arn:aws:kms:{}:{}:key/{}", self.settings.region, key.tenant, key.id)
    }

    /// The ARN of an alias.
    pub(super) fn alias_arn(&self, tenant: &Tenant, name: &str) -> String {
        format!("arn:aws:kms:{}:{tenant}:{name}", self.settings.region)
    }

    /// Refuses keys that may not be used now, in the words clients look for.
    pub(super) fn demand_usable(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            State::Enabled => Ok(()),
            State::Disabled => Err(KmsErrorType::Disabled.because(format!("{} is disabled", self.arn(key)))),
            State::PendingDeletion { .. } => Err(self.pending(key)),
        }
    }

    /// Refuses changes of keys that are on their way out.
    pub(super) fn demand_not_pending(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            State::PendingDeletion { .. } => Err(self.pending(key)),
            State::Enabled | State::Disabled => Ok(()),
        }
    }

    fn pending(&self, key: &KeyRecord) -> KmsError {
        KmsErrorType::InvalidState.because(format!("{} is pending deletion", self.arn(key)))
    }
}
