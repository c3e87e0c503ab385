//! `CreateKey`: every spec, and of the reserved tags only the combinations that make sense.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use self::choice::Choice;
use super::lifecycle::{Imports, Manager, MultiRegion, Origin, Rotation};
use super::material;
use super::policy;
use super::protection::Protection;
use super::tag::{self, Tag};
use super::{Delegation, Family, KeyRecord, Keys, KmsError, KmsErrorType, Session, State, input};
use crate::crypto::blob::KeyId;
use crate::crypto::{KeySpec, KeyUsage};
use crate::paths;
use crate::rotation::{NEVER, Version, plan};
use crate::sealed::Change;
use crate::tenants;

mod choice;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateRequest {
    key_spec: Option<String>,
    customer_master_key_spec: Option<String>,
    key_usage: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<Tag>,
    origin: Option<String>,
    #[serde(default)]
    multi_region: bool,
    policy: Option<String>,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
    custom_key_store_id: Option<String>,
    xks_key_id: Option<String>,
}

pub(super) async fn create_key(keys: &Keys, session: &Session<'_>, request: CreateRequest) -> Result<Value, KmsError> {
    session.allow_tenant()?;
    super::state::check_description(&request.description)?;
    let origin = origin(&request)?;
    let (spec, usage) = spec_and_usage(&request)?;
    let tags = tag::collect(request.tags)?;
    let default = tenants::default_custody(&keys.vault, session.tenant).await?;
    let choice = Choice::read(&tags, spec, usage, default)?;
    let made_here = origin == Origin::AwsKms && !request.multi_region && keys.region == keys.settings.region;
    if choice.family != Family::Raw && !made_here {
        let home = &keys.settings.region;
        let message = format!("keys that edges sign with are made here, in the region `{home}` and for it alone");
        return Err(KmsErrorType::Validation.because(message));
    }
    if choice.custody == super::Custody::Token && origin == Origin::External {
        return Err(KmsErrorType::Validation.because(
            "what is imported was outside the HSM, so it cannot have custody `token`: set `signet:custody` to `wrapped`",
        ));
    }
    let mut key = KeyRecord {
        id: new_id(request.multi_region),
        tenant: session.tenant.clone(),
        region: keys.region.clone(),
        multi_region: request.multi_region.then(|| MultiRegion {
            primary: keys.region.clone(),
            replicas: BTreeSet::new(),
        }),
        manager: Manager::Customer,
        spec,
        usage,
        origin,
        family: choice.family,
        delegation: choice.delegation,
        custody: choice.custody,
        state: match origin {
            Origin::AwsKms => State::Enabled,
            Origin::External => State::PendingImport,
        },
        description: request.description,
        policy: String::new(),
        tags,
        aliases: BTreeSet::new(),
        created_at: keys.clock.now(),
        created_by: session.principal().to_owned(),
        next_version: 1,
        versions: Vec::new(),
        rotation: Rotation::default(),
        imports: Imports::default(),
        protection: Protection::default(),
    };
    let bypass = request.bypass_policy_lockout_safety_check;
    key.policy = policy::for_new(keys, session, &key, request.policy, bypass)?;
    let change = with_first_versions(keys, &mut key).await?;
    let path = paths::key(&key.tenant, &key.row());
    keys.vault.commit(change.create(path, &key)).await?;
    tracing::info!(tenant = %key.tenant, key = key.id, spec = %key.spec, usage = %key.usage, family = key.family.as_str(),
        delegation = key.delegation.as_str(), custody = key.custody.as_str(), "key created");
    Ok(json!({ "KeyMetadata": keys.metadata(session, &key) }))
}

/// Makes what a new key begins with; nothing where it is to be imported.
async fn with_first_versions(keys: &Keys, key: &mut KeyRecord) -> Result<Change, KmsError> {
    let mut change = Change::new();
    let now = keys.clock.now();
    match (key.delegation, key.origin) {
        (_, Origin::External) => {}
        (Delegation::None, Origin::AwsKms) if !key.is_announced() => {
            let (version, made) = material::make_raw(keys, key).await?;
            change = made.store(change, key, &version);
            key.next_version = 2;
            key.versions.push(version);
        }
        (Delegation::Own, Origin::AwsKms) => {
            let ca = keys.issuer.key_ca(key).await?;
            key.versions.push(own_version(now));
            key.next_version = 2;
            change = change.create(paths::ca(&key.tenant, &key.id), &ca);
        }
        (Delegation::Shared | Delegation::None, Origin::AwsKms) => {
            for slot in plan(&[], now, &key.schedule(&keys.settings.schedule)).make {
                let (version, made) = material::make_announced(keys, key, &slot).await?;
                change = made.store(change, key, &version);
                key.next_version = version.number.saturating_add(1);
                key.versions.push(version);
            }
        }
    }
    Ok(change)
}

/// The one version of a key of which each edge has its own: only its number is ever said, in delegation names.
fn own_version(now: u64) -> Version {
    Version {
        number: 1,
        kid: String::new(),
        public_jwk: String::new(),
        public_spki: String::new(),
        publish_at: now,
        sign_from: now,
        sign_until: NEVER,
        retire_at: NEVER,
        compromised: false,
    }
}

fn new_id(multi_region: bool) -> String {
    let id = uuid::Uuid::new_v4();
    match multi_region {
        true => KeyId::MultiRegion(id),
        false => KeyId::SingleRegion(id),
    }
    .to_string()
}

fn origin(request: &CreateRequest) -> Result<Origin, KmsError> {
    let elsewhere = request.custom_key_store_id.is_some() || request.xks_key_id.is_some();
    match request.origin.as_deref() {
        None | Some("AWS_KMS") if !elsewhere => Ok(Origin::AwsKms),
        Some("EXTERNAL") if !elsewhere => Ok(Origin::External),
        None | Some("AWS_KMS" | "EXTERNAL" | "AWS_CLOUDHSM" | "EXTERNAL_KEY_STORE") => {
            Err(KmsErrorType::UnsupportedOperation.because("Custom key stores are not supported."))
        }
        Some(_) => Err(KmsErrorType::Validation.because("`Origin` is `AWS_KMS` or `EXTERNAL`")),
    }
}

fn spec_and_usage(request: &CreateRequest) -> Result<(KeySpec, KeyUsage), KmsError> {
    let invalid = |message: String| Err(KmsErrorType::Validation.because(message));
    let spec = match (&request.key_spec, &request.customer_master_key_spec) {
        (None, None) => KeySpec::SymmetricDefault,
        (Some(name), None) | (None, Some(name)) => input::name("keySpec", name, KeySpec::parse)?,
        (Some(_), Some(_)) => {
            return invalid(
                "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."
                    .to_owned(),
            );
        }
    };
    let usage = match &request.key_usage {
        Some(name) => input::name("keyUsage", name, KeyUsage::parse)?,
        None => match spec.default_usage() {
            Some(usage) => usage,
            None => {
                return invalid(
                    "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
                        .to_owned(),
                );
            }
        },
    };
    if !spec.allows(usage) && spec == KeySpec::SymmetricDefault {
        return invalid(format!(
            "The operation failed because the KeyUsage value of the CMK is {usage}. To perform this operation, the \
             KeyUsage value must be ENCRYPT_DECRYPT."
        ));
    }
    if !spec.allows(usage) {
        return invalid(format!("KeyUsage {usage} is not compatible with KeySpec {spec}"));
    }
    Ok((spec, usage))
}
