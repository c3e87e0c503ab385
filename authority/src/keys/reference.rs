//! The four ways to name a key: id, alias, and the ARN of either.

use policies::engine::AdminAction;
use serde::Deserialize;

use super::decide::Facts;
use super::record::row_name;
use super::{AliasRecord, KeyRecord, Keys, KmsError, KmsErrorType, Session, managed};
use crate::crypto::blob::KeyId;
use crate::names::{Tenant, shown};
use crate::paths;
use crate::sealed::Held;

/// The operations that a key of another account may be named to.
const CROSS_ACCOUNT: &[&str] = &[
    "CreateGrant",
    "Decapsulate",
    "Decrypt",
    "DeriveSharedSecret",
    "DescribeKey",
    "Encapsulate",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetKeyRotationStatus",
    "GetPublicKey",
    "ListGrants",
    "ReEncrypt",
    "RetireGrant",
    "RevokeGrant",
    "Sign",
    "Verify",
    "VerifyMac",
];

/// Requests that only name a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct KeyOnly {
    pub(super) key_id: String,
    #[serde(default)]
    pub(super) grant_tokens: Vec<String>,
}

/// What a reference names, once it has been read, and in whose account.
struct Named<'a> {
    tenant: Tenant,
    name: Name<'a>,
}

enum Name<'a> {
    Id(&'a str),
    Alias(&'a str),
}

/// A key that a request names. Nothing is decided about it yet.
pub(super) struct Resolved<'a> {
    pub(super) key: Held<KeyRecord>,
    /// The alias that it was called by.
    pub(super) alias: Option<&'a str>,
    /// What it was called; none where a ciphertext said which.
    pub(super) reference: Option<&'a str>,
}

impl Keys {
    /// Finds a key by any of its names, within the region, and asks whether the caller may do with it what it came for.
    pub(super) async fn find(
        &self,
        session: &Session<'_>,
        reference: &str,
        facts: &Facts,
    ) -> Result<Held<KeyRecord>, KmsError> {
        let named = self.resolve(session, reference).await?;
        self.decide_named(session, &named, facts).await?;
        Ok(named.key)
    }

    /// The key that a reference names, in the region. Nothing is decided yet: it goes to [`Keys::decide_named`].
    pub(super) async fn resolve<'a>(
        &self,
        session: &Session<'_>,
        reference: &'a str,
    ) -> Result<Resolved<'a>, KmsError> {
        let Named { tenant, name } = self.read_reference(session, reference)?;
        let (id, alias) = match name {
            Name::Id(id) => (Some(id.to_owned()), None),
            Name::Alias(alias) => (self.aliased(session, &tenant, alias).await?, Some(alias)),
        };
        let key = match &id {
            Some(id) => self.by_id(&tenant, id).await?,
            None => None,
        };
        match (key, alias) {
            (Some(key), _) => Ok(Resolved {
                key,
                alias,
                reference: Some(reference),
            }),
            _ if tenant != *session.tenant => Err(self.elsewhere(session, reference)),
            (None, Some(alias)) => Err(self.no_alias(&tenant, alias)),
            (None, None) => Err(self.no_key(&tenant, &id.unwrap_or_default())),
        }
    }

    /// Asks the gate about a key that a request names. Of another account's key it is not told apart whether it is there.
    pub(super) async fn decide_named(
        &self,
        session: &Session<'_>,
        named: &Resolved<'_>,
        facts: &Facts,
    ) -> Result<(), KmsError> {
        let key = &named.key;
        match self.decide(session, key, named.alias, facts).await {
            Err(error) if error.kind == KmsErrorType::AccessDenied && key.value.tenant != *session.tenant => {
                let arn = self.arn(&key.value);
                Err(self.elsewhere(session, named.reference.unwrap_or(&arn)))
            }
            decided => decided,
        }
    }

    /// The service's answer about what is in another account and not for the caller, or not there.
    pub(super) fn elsewhere(&self, session: &Session<'_>, reference: &str) -> KmsError {
        let caller = session.caller_arn();
        KmsErrorType::AccessDenied.because(format!(
            "User: {caller} is not authorized to perform: kms:{} on resource: {} because the resource does not exist in \
             this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
            session.verb(),
            shown_arn(reference)
        ))
    }

    /// The id of the key that an alias names; the account's own default keys of services are made where they are not there
    /// yet.
    async fn aliased(&self, session: &Session<'_>, tenant: &Tenant, alias: &str) -> Result<Option<String>, KmsError> {
        let path = paths::alias(tenant, &self.region, alias);
        if let Some(row) = self.vault.get::<AliasRecord>(&path).await? {
            return Ok(Some(row.value.key));
        }
        if tenant != session.tenant {
            return Ok(None);
        }
        if !managed::is_default(alias) {
            return Ok(None);
        }
        // Making one writes rows: nobody has them written who may not even see them.
        session.doing(AdminAction::ListAliases).allow_tenant()?;
        self.make_managed(tenant, alias).await
    }

    /// As [`Keys::find`], where KMS takes a key's id or ARN but no alias.
    pub(super) async fn find_by_id(
        &self,
        session: &Session<'_>,
        reference: &str,
        facts: &Facts,
    ) -> Result<Held<KeyRecord>, KmsError> {
        let named = self.resolve_id(session, reference).await?;
        self.decide_named(session, &named, facts).await?;
        Ok(named.key)
    }

    /// As [`Keys::resolve`], where KMS takes a key's id or ARN but no alias.
    pub(super) async fn resolve_id<'a>(
        &self,
        session: &Session<'_>,
        reference: &'a str,
    ) -> Result<Resolved<'a>, KmsError> {
        match self.read_reference(session, reference)?.name {
            Name::Id(_) => self.resolve(session, reference).await,
            Name::Alias(_) if reference.starts_with("arn:") => {
                Err(KmsErrorType::InvalidArn.because("Key Aliases are not supported for this operation."))
            }
            Name::Alias(_) => Err(KmsErrorType::NotFound.because(format!("Invalid keyId '{}'", shown(reference)))),
        }
    }

    /// The key with this id in the tenant and the region here. Decides nothing.
    pub(super) async fn by_id(&self, tenant: &Tenant, id: &str) -> Result<Option<Held<KeyRecord>>, KmsError> {
        let path = paths::key(tenant, &row_name(id, &self.region));
        let key = self.vault.get::<KeyRecord>(&path).await?;
        Ok(key.filter(|key| key.value.region == self.region))
    }

    fn read_reference<'a>(&self, session: &Session<'_>, reference: &'a str) -> Result<Named<'a>, KmsError> {
        if reference.starts_with("arn:") {
            return self.read_arn(session, reference);
        }
        let tenant = session.tenant.clone();
        if reference.starts_with("alias/") {
            let name = Name::Alias(reference);
            return Ok(Named { tenant, name });
        }
        if KeyId::parse(reference).is_none() {
            return Err(KmsErrorType::NotFound.because(format!("Invalid keyId '{}'", shown(reference))));
        }
        let name = Name::Id(reference);
        Ok(Named { tenant, name })
    }

    /// `arn:aws:kms:REGION:TENANT:key/ID` or `…:alias/NAME`.
    fn read_arn<'a>(&self, session: &Session<'_>, arn: &'a str) -> Result<Named<'a>, KmsError> {
        let wrong = || KmsErrorType::InvalidArn.because(format!("Invalid arn {}", shown(arn)));
        let mut parts = arn.splitn(6, ':');
        let head = [parts.next(), parts.next(), parts.next()];
        let (region, account, resource) = (parts.next(), parts.next(), parts.next());
        if head != [Some("arn"), Some("aws"), Some("kms")] {
            return Err(wrong());
        }
        let resource = resource.ok_or_else(wrong)?;
        let name = match resource.strip_prefix("key/") {
            Some(id) => Name::Id(id),
            None if resource.starts_with("alias/") => Name::Alias(resource),
            None => return Err(wrong()),
        };
        let invalid = |what: String| KmsErrorType::NotFound.because(what);
        let missing = || {
            invalid(match name {
                Name::Id(_) => format!("Key '{}' does not exist", shown_arn(arn)),
                Name::Alias(_) => format!("Alias {} is not found.", shown_arn(arn)),
            })
        };
        if region != Some(self.region.as_str()) {
            return Err(invalid(format!("Invalid arn {}", shown(region.unwrap_or_default()))));
        }
        let tenant = account.and_then(|account| Tenant::parse(account).ok());
        let reachable = |tenant: &Tenant| tenant == session.tenant || session.crosses_accounts();
        let tenant = tenant.filter(reachable).ok_or_else(missing)?;
        match name {
            Name::Id(id) if KeyId::parse(id).is_none() => Err(invalid(format!("Invalid keyId '{}'", shown(id)))),
            name => Ok(Named { tenant, name }),
        }
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

impl Session<'_> {
    /// Who asks, as answers name it.
    pub(super) fn caller_arn(&self) -> &str {
        let caller = self.gate.caller();
        caller.map_or("operator", |caller| caller.principal.arn())
    }

    /// Whether the verb takes keys of other accounts, as the model says, from this caller: operators stay in the tenant
    /// that they name.
    pub(super) fn crosses_accounts(&self) -> bool {
        self.gate.caller().is_some() && CROSS_ACCOUNT.contains(&self.verb())
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
