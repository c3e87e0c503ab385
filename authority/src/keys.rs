//! Logical keys and their life, in the shapes of AWS KMS (JSON 1.1, API of 2014-11-01): one family of verbs a file.
//!
//! What KMS has no words for is said with reserved tags when the key is made and never changes:
//!
//! | tag | values | means |
//! | --- | --- | --- |
//! | `signet:family` | `raw` (default), `token`, `artifact` | what it signs, and nothing else (R38) |
//! | `signet:delegation` | `none` (default), `own`, `shared` | how edges come by it |
//! | `signet:custody` | `wrapped` (default), `token` | where its private half is used |
//!
//! The CA of a key with delegation `own` is a row of its own: no verb takes its name, and [`crate::delegate`] alone reads it.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use policies::engine::{AdminAction, AdminResource};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::issue::Issuer;
use crate::names::Tenant;
use crate::rotation::Schedule;
use crate::sealed::Vault;

pub use self::error::{KmsError, KmsErrorType};
pub(crate) use self::material::secret;
pub use self::record::{AliasRecord, CaRecord, Custody, Delegation, Family, KeyRecord, State};

mod alias;
mod create;
mod describe;
mod error;
mod mac;
mod material;
mod page;
mod record;
mod reference;
mod rotate;
mod shape;
mod sign;
mod state;
mod tag;

/// Tries of a verb that other changes kept overtaking.
const TRIES: usize = 8;

/// The verbs, as the route and the `X-Amz-Target` name them, and the Cedar action of each.
pub const VERBS: &[(&str, AdminAction)] = &[
    ("CreateKey", AdminAction::CreateKey),
    ("DescribeKey", AdminAction::DescribeKey),
    ("ListKeys", AdminAction::ListKeys),
    ("GetPublicKey", AdminAction::GetPublicKey),
    ("EnableKey", AdminAction::EnableKey),
    ("DisableKey", AdminAction::DisableKey),
    ("ScheduleKeyDeletion", AdminAction::ScheduleKeyDeletion),
    ("CancelKeyDeletion", AdminAction::CancelKeyDeletion),
    ("UpdateKeyDescription", AdminAction::UpdateKeyDescription),
    ("CreateAlias", AdminAction::CreateAlias),
    ("UpdateAlias", AdminAction::UpdateAlias),
    ("DeleteAlias", AdminAction::DeleteAlias),
    ("ListAliases", AdminAction::ListAliases),
    ("TagResource", AdminAction::TagResource),
    ("UntagResource", AdminAction::UntagResource),
    ("ListResourceTags", AdminAction::ListResourceTags),
    ("Sign", AdminAction::Sign),
    ("Verify", AdminAction::VerifyWithKey),
    ("GenerateMac", AdminAction::GenerateMac),
    ("VerifyMac", AdminAction::VerifyMac),
    ("RotateKeyOnDemand", AdminAction::RotateKeyOnDemand),
    ("MarkVersionCompromised", AdminAction::DisableKey),
];

/// Whoever decides whether a caller may: Cedar, behind the admin API.
pub trait Gate: Send + Sync {
    /// `Denied` when no policy permits `action` on `resource`.
    fn allow(&self, action: AdminAction, resource: AdminResource<'_>) -> Result<(), Fault>;
}

/// One call: for which tenant, to do what, under whose authority. A verb comes by a key only through
/// [`Keys::find`], which asks the gate first.
struct Session<'a> {
    tenant: &'a Tenant,
    action: AdminAction,
    gate: &'a dyn Gate,
}

impl Session<'_> {
    fn allow_tenant(&self) -> Result<(), KmsError> {
        Ok(self
            .gate
            .allow(self.action, AdminResource::Tenant(self.tenant.as_str()))?)
    }

    fn allow_key(&self, key: &KeyRecord) -> Result<(), KmsError> {
        Ok(self.gate.allow(self.action, AdminResource::Key(&key.facts()))?)
    }
}

/// What all keys have in common.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// The region in ARNs.
    pub region: String,
    /// The timeline of shared token keys.
    pub schedule: Schedule,
}

/// The key service. Every verb that answered has been committed; nothing is cached, so a second authority on the same
/// store sees it at once.
pub struct Keys {
    vault: Arc<Vault>,
    issuer: Arc<Issuer>,
    clock: Clock,
    settings: KeySettings,
}

impl Keys {
    /// Over rows and CAs that exist already.
    pub fn new(vault: Arc<Vault>, issuer: Arc<Issuer>, clock: Clock, settings: KeySettings) -> Self {
        Self {
            vault,
            issuer,
            clock,
            settings,
        }
    }

    /// The same keys, as `region` names them in ARNs.
    pub fn in_region(&self, region: &str) -> Self {
        Self {
            vault: self.vault.clone(),
            issuer: self.issuer.clone(),
            clock: self.clock.clone(),
            settings: KeySettings {
                region: region.to_owned(),
                ..self.settings.clone()
            },
        }
    }

    /// Runs one verb in a tenant. `body` is the request as KMS clients write it; unknown members are refused.
    pub async fn call(&self, tenant: &Tenant, gate: &dyn Gate, verb: &str, body: &[u8]) -> Result<Value, KmsError> {
        let Some((_, action)) = VERBS.iter().find(|(name, _)| *name == verb) else {
            let message = format!("there is no verb `{}`", crate::names::shown(verb));
            return Err(KmsErrorType::UnknownOperation.because(message));
        };
        let caller = Session {
            tenant,
            action: *action,
            gate,
        };
        let mut result = self.dispatch(&caller, verb, body).await;
        for _ in 1..TRIES {
            if !matches!(&result, Err(error) if error.is_raced()) {
                break;
            }
            result = self.dispatch(&caller, verb, body).await;
        }
        if let Err(KmsError { fault: Some(fault), .. }) = &result {
            fault.log(verb);
        }
        result
    }

    async fn dispatch(&self, caller: &Session<'_>, verb: &str, body: &[u8]) -> Result<Value, KmsError> {
        match verb {
            "CreateKey" => create::create_key(self, caller, parse(body)?).await,
            "DescribeKey" => describe::describe_key(self, caller, parse(body)?).await,
            "ListKeys" => describe::list_keys(self, caller, parse(body)?).await,
            "GetPublicKey" => describe::get_public_key(self, caller, parse(body)?).await,
            "EnableKey" => state::enable_key(self, caller, parse(body)?).await,
            "DisableKey" => state::disable_key(self, caller, parse(body)?).await,
            "ScheduleKeyDeletion" => state::schedule_key_deletion(self, caller, parse(body)?).await,
            "CancelKeyDeletion" => state::cancel_key_deletion(self, caller, parse(body)?).await,
            "UpdateKeyDescription" => state::update_key_description(self, caller, parse(body)?).await,
            "CreateAlias" => alias::create_alias(self, caller, parse(body)?).await,
            "UpdateAlias" => alias::update_alias(self, caller, parse(body)?).await,
            "DeleteAlias" => alias::delete_alias(self, caller, parse(body)?).await,
            "ListAliases" => alias::list_aliases(self, caller, parse(body)?).await,
            "TagResource" => tag::tag_resource(self, caller, parse(body)?).await,
            "UntagResource" => tag::untag_resource(self, caller, parse(body)?).await,
            "ListResourceTags" => tag::list_resource_tags(self, caller, parse(body)?).await,
            "Sign" => sign::sign(self, caller, parse(body)?).await,
            "Verify" => sign::verify(self, caller, parse(body)?).await,
            "GenerateMac" => mac::generate_mac(self, caller, parse(body)?).await,
            "VerifyMac" => mac::verify_mac(self, caller, parse(body)?).await,
            "RotateKeyOnDemand" => rotate::rotate_key_on_demand(self, caller, parse(body)?).await,
            "MarkVersionCompromised" => rotate::mark_version_compromised(self, caller, parse(body)?).await,
            other => Err(KmsErrorType::UnknownOperation.because(format!("the verb `{other}` is not served"))),
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// An empty body is an empty object, as the SDKs send for verbs without parameters.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, KmsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." {
            String::new()
        } else {
            format!("`{path}`: ")
        };
        KmsErrorType::Validation.because(format!("{at}{}", error.inner()))
    })?;
    reader
        .end()
        .map_err(|_| KmsErrorType::Validation.because("there is something behind the JSON object"))?;
    Ok(value)
}

#[cfg(test)]
mod tests;
