//! The four ways to name a key: id, alias, and the ARN of either.

use serde::Deserialize;

use super::decide::Facts;
use super::record::row_name;
use super::{AliasRecord, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::blob::KeyId;
use crate::names::{Tenant, shown};
use crate::paths;
use crate::sealed::Held;

/// Requests that only name a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct KeyOnly {
    pub(super) key_id: String,
    #[serde(default)]
    pub(super) grant_tokens: Vec<String>,
}

/// What a reference names, once it has been read.
enum Named<'a> {
    Id(&'a str),
    Alias(&'a str),
}

/// A key, and the alias that it was called by.
pub(super) struct Resolved<'a> {
    pub(super) key: Held<KeyRecord>,
    pub(super) alias: Option<&'a str>,
}

impl Keys {
    /// Finds a key by any of its names, within the tenant and the region, and asks whether the caller may do with it what
    /// it came for.
    pub(super) async fn find(
        &self,
        session: &Session<'_>,
        reference: &str,
        facts: &Facts,
    ) -> Result<Held<KeyRecord>, KmsError> {
        let named = self.resolve(session.tenant, reference).await?;
        self.decide(session, &named.key, named.alias, facts).await?;
        Ok(named.key)
    }

    /// The key that a reference names, of the tenant and the region. Nothing is decided yet: it goes to [`Keys::decide`].
    pub(super) async fn resolve<'a>(&self, tenant: &Tenant, reference: &'a str) -> Result<Resolved<'a>, KmsError> {
        let (id, alias) = match self.read_reference(tenant, reference)? {
            Named::Id(id) => (id.to_owned(), None),
            Named::Alias(alias) => (self.aliased(tenant, alias).await?, Some(alias)),
        };
        let key = self.by_id(tenant, &id).await?.ok_or_else(|| self.no_key(tenant, &id))?;
        Ok(Resolved { key, alias })
    }

    /// The id of the key that an alias names; a service's default key is made where it is not there yet.
    async fn aliased(&self, tenant: &Tenant, alias: &str) -> Result<String, KmsError> {
        let path = paths::alias(tenant, &self.region, alias);
        if let Some(row) = self.vault.get::<AliasRecord>(&path).await? {
            return Ok(row.value.key);
        }
        let made = self.make_managed(tenant, alias).await?;
        made.ok_or_else(|| self.no_alias(tenant, alias))
    }

    /// As [`Keys::find`], where KMS takes a key's id or ARN but no alias.
    pub(super) async fn find_by_id(
        &self,
        session: &Session<'_>,
        reference: &str,
        facts: &Facts,
    ) -> Result<Held<KeyRecord>, KmsError> {
        match self.read_reference(session.tenant, reference)? {
            Named::Id(_) => self.find(session, reference, facts).await,
            Named::Alias(_) if reference.starts_with("arn:") => {
                Err(KmsErrorType::InvalidArn.because(format!("Invalid arn {}", shown(reference))))
            }
            Named::Alias(_) => Err(KmsErrorType::NotFound.because(format!("Invalid keyId '{}'", shown(reference)))),
        }
    }

    /// The key with this id in the tenant and the region here. Decides nothing.
    pub(super) async fn by_id(&self, tenant: &Tenant, id: &str) -> Result<Option<Held<KeyRecord>>, KmsError> {
        let path = paths::key(tenant, &row_name(id, &self.region));
        let key = self.vault.get::<KeyRecord>(&path).await?;
        Ok(key.filter(|key| key.value.region == self.region))
    }

    fn read_reference<'a>(&self, tenant: &Tenant, reference: &'a str) -> Result<Named<'a>, KmsError> {
        if reference.starts_with("arn:") {
            return self.read_arn(tenant, reference);
        }
        if reference.starts_with("alias/") {
            return Ok(Named::Alias(reference));
        }
        if KeyId::parse(reference).is_none() {
            return Err(KmsErrorType::NotFound.because(format!("Invalid keyId '{}'", shown(reference))));
        }
        Ok(Named::Id(reference))
    }

    /// `arn:aws:kms:REGION:TENANT:key/ID` or `…:alias/NAME`.
    fn read_arn<'a>(&self, tenant: &Tenant, arn: &'a str) -> Result<Named<'a>, KmsError> {
        let wrong = || KmsErrorType::InvalidArn.because(format!("Invalid arn {}", shown(arn)));
        let mut parts = arn.splitn(6, ':');
        let head = [parts.next(), parts.next(), parts.next()];
        let (region, account, resource) = (parts.next(), parts.next(), parts.next());
        if head != [Some("arn"), Some("aws"), Some("kms")] {
            return Err(wrong());
        }
        let resource = resource.ok_or_else(wrong)?;
        let named = match resource.strip_prefix("key/") {
            Some(id) => Named::Id(id),
            None if resource.starts_with("alias/") => Named::Alias(resource),
            None => return Err(wrong()),
        };
        let known = match named {
            Named::Id(id) => KeyId::parse(id).is_some(),
            Named::Alias(_) => true,
        };
        if region != Some(self.region.as_str()) || account != Some(tenant.as_str()) || !known {
            // Whether a key exists in another account is not said.
            return Err(KmsErrorType::NotFound.because(match named {
                Named::Id(_) => format!("Key '{}' does not exist", shown_arn(arn)),
                Named::Alias(_) => format!("Alias {} is not found.", shown_arn(arn)),
            }));
        }
        Ok(named)
    }

    /// The ARN of a key.
    pub(super) fn arn(&self, key: &KeyRecord) -> String {
        key_arn(&key.region, &key.tenant, &key.id)
    }

    /// The ARN of an alias.
    pub(super) fn alias_arn(&self, tenant: &Tenant, name: &str) -> String {
        format!("arn:aws:kms:{}:{tenant}:{name}", self.region)
    }

    /// In the service's words.
    pub(super) fn no_key(&self, tenant: &Tenant, id: &str) -> KmsError {
        let arn = key_arn(&self.region, tenant, id);
        KmsErrorType::NotFound.because(format!("Key '{arn}' does not exist"))
    }

    /// In the service's words.
    pub(super) fn no_alias(&self, tenant: &Tenant, name: &str) -> KmsError {
        let arn = self.alias_arn(tenant, name);
        KmsErrorType::NotFound.because(format!("Alias {} is not found.", shown_arn(&arn)))
    }
}

/// The ARN of the key `id` of a tenant in a region.
pub(super) fn key_arn(region: &str, tenant: &Tenant, id: &str) -> String {
    format!("arn:aws:kms:{region}:{tenant}:key/{id}")
}

/// An ARN of the caller's, whole: an alias's has up to 306 characters.
fn shown_arn(arn: &str) -> String {
    arn.chars().take(320).flat_map(char::escape_debug).collect()
}
