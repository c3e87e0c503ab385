//! Logical keys and their life, in the shapes of AWS KMS (JSON 1.1, API of 2014-11-01): one family of verbs a file.
//!
//! A verb finds its key ([`Keys::find`], which asks the gate), demands usage and state of it, ends a dry run, and does its
//! work: in that order, whichever verb.
//!
//! What KMS has no words for is said with reserved tags when the key is made and, but for its owner, never changes:
//!
//! | tag | values | means |
//! | --- | --- | --- |
//! | `signet:family` | `raw` (default), `token`, `artifact` | what it signs, and nothing else (R38) |
//! | `signet:delegation` | `none` (default), `own`, `shared` | how edges come by it |
//! | `signet:custody` | `wrapped` (default), `token` | where its private half is used |
//! | `signet:lease` | `5s` to `1h`, `60s` (default) | how long an edge signs without hearing from the authority |
//! | `signet:owner`, `signet:contact` | text | who answers for it, instead of who made it |
//!
//! The CA of a key with delegation `own` is a row of its own: no verb takes its name, and [`crate::delegate`] alone reads it.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use policies::KeyFacts;
use policies::engine::AdminAction;

use self::cache::Cache;
use self::usage::Uses;
use crate::approvals::Approvals;
use crate::clock::Clock;
use crate::crypto::{Material, PublicKey};
use crate::hsm::queue::on_behalf_of;
use crate::iam::Document;
use crate::issue::Issuer;
use crate::names::Tenant;
use crate::rotation::Schedule;
use crate::sealed::Vault;

pub use self::decide::{Asked, Caller, Gate};
pub use self::error::{KmsError, KmsErrorType};
pub use self::lifecycle::{Imported, Imports, Manager, MultiRegion, Origin, Rotated, Rotation, RotationKind, State};
pub(crate) use self::material::secret;
pub(crate) use self::protection::compromise;
pub use self::protection::{Note, OVERRIDE, Protection};
pub use self::record::{AliasRecord, CaRecord, Custody, Delegation, Family, KeyRecord, row_name};
pub use self::report::{MAX_DAYS, Page, People, Question};
pub use self::verbs::VERBS;

mod agree;
mod alias;
mod cache;
mod create;
mod data_key;
mod decide;
mod demand;
mod describe;
mod encrypt;
mod error;
mod grant;
mod import;
mod input;
mod lease;
mod lifecycle;
mod mac;
mod managed;
mod material;
mod page;
mod policy;
mod protection;
mod re_encrypt;
mod record;
mod reference;
mod region;
mod replica;
mod report;
mod rotate;
mod rotation_status;
mod shape;
mod sign;
mod state;
mod store;
mod tag;
mod usage;
mod verbs;

/// Tries of a verb that other changes kept overtaking.
const TRIES: usize = 8;
/// How ids of multi-Region keys begin.
const MULTI_REGION_PREFIX: &str = "mrk-";

/// One call: for which tenant, to do what, under whose authority. A verb comes by a key only through [`Keys::find`] and
/// [`Keys::decide`], which ask the gate first.
struct Session<'a> {
    tenant: &'a Tenant,
    verb: &'a str,
    action: AdminAction,
    gate: &'a dyn Gate,
}

impl Session<'_> {
    /// The verb's name, as the caller wrote it.
    fn verb(&self) -> &str {
        self.verb
    }

    /// The same call, deciding about another action: for verbs that need two.
    fn doing(&self, action: AdminAction) -> Session<'_> {
        Session { action, ..*self }
    }
}

/// What all keys have in common.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// The region of operators and of the keys that edges sign with.
    pub region: String,
    /// The regions that the key API serves; none: any.
    pub served: Arc<[String]>,
    /// The timeline of shared token keys.
    pub schedule: Schedule,
}

/// The key service, as one region sees it. Every verb that answered has been committed, and each reads the key's row: a
/// second authority on the same store sees it at once. What is kept in memory is only what was opened or parsed for a row
/// as it still is.
pub struct Keys {
    vault: Arc<Vault>,
    issuer: Arc<Issuer>,
    clock: Clock,
    settings: KeySettings,
    region: String,
    cached: Arc<Cached>,
    uses: Arc<Uses>,
    /// Held from reading how many grants a key has until the change of them is committed, so that those of this process do not
    /// overtake each other. What another authority changes meanwhile fails the commit, and the verb is tried again.
    counting_grants: Arc<tokio::sync::Mutex<()>>,
    approvals: Arc<Approvals>,
}

/// What is kept while rows stay as they are.
struct Cached {
    materials: Cache<Material>,
    publics: Cache<PublicKey>,
    policies: Cache<Document>,
    facts: Cache<KeyFacts>,
}

impl Keys {
    /// Over rows and CAs that exist already, in the region of the settings.
    pub fn new(vault: Arc<Vault>, issuer: Arc<Issuer>, clock: Clock, settings: KeySettings) -> Self {
        let cached = Cached {
            materials: Cache::new(cache::CAPACITY, cache::MAX_BYTES),
            publics: Cache::new(cache::CAPACITY, cache::MAX_BYTES),
            policies: Cache::new(cache::CAPACITY, cache::MAX_BYTES),
            facts: Cache::new(cache::CAPACITY, cache::MAX_BYTES),
        };
        let approvals = Approvals::new(vault.clone(), clock.clone(), issuer.trust_domain());
        Self {
            vault,
            issuer,
            clock,
            region: settings.region.clone(),
            settings,
            cached: Arc::new(cached),
            uses: Arc::default(),
            counting_grants: Arc::default(),
            approvals: Arc::new(approvals),
        }
    }

    /// The same service, as `region` sees it.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self {
            vault: self.vault.clone(),
            issuer: self.issuer.clone(),
            clock: self.clock.clone(),
            settings: self.settings.clone(),
            region: region.to_owned(),
            cached: self.cached.clone(),
            uses: self.uses.clone(),
            counting_grants: self.counting_grants.clone(),
            approvals: self.approvals.clone(),
        }
    }

    /// The approvals that its verbs demand.
    pub fn approvals(&self) -> &Arc<Approvals> {
        &self.approvals
    }

    /// Runs one verb in a tenant. `body` is the request as KMS clients write it; unknown members are refused.
    ///
    /// # Errors
    /// [`KmsError`], in the model's words.
    pub async fn call(&self, tenant: &Tenant, gate: &dyn Gate, verb: &str, body: &[u8]) -> Result<Value, KmsError> {
        let Some((name, action)) = VERBS.iter().find(|(name, _)| *name == verb) else {
            let message = format!("there is no verb `{}`", crate::names::shown(verb));
            return Err(KmsErrorType::UnknownOperation.because(message));
        };
        let session = Session {
            tenant,
            verb: name,
            action: *action,
            gate,
        };
        let answer = async {
            if gate.caller().is_some() {
                self.demand_running(&session, tenant).await?;
            }
            let mut result = verbs::dispatch(self, &session, body).await;
            for _ in 1..TRIES {
                if !matches!(&result, Err(error) if error.is_raced()) {
                    break;
                }
                result = verbs::dispatch(self, &session, body).await;
            }
            result
        };
        let result = on_behalf_of(tenant, answer).await;
        self.note_call(tenant, name, &result);
        if let Err(KmsError { fault: Some(fault), .. }) = &result {
            fault.log(verb);
        }
        result
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("settings", &self.settings)
            .field("region", &self.region)
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
