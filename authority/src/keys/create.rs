//! `CreateKey`: with the reserved tags, and only the combinations that make sense.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use signing::algorithm::Algorithm;

use super::material::{self, Made};
use super::tag::{self, RESERVED, Tag};
use super::{Custody, Delegation, Family, KeyRecord, Keys, KmsError, KmsErrorType, Session, State, shape};
use crate::names::shown;
use crate::paths;
use crate::rotation::{NEVER, Version, plan};
use crate::sealed::Change;

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
    multi_region: Option<bool>,
}

pub(super) async fn create_key(keys: &Keys, caller: &Session<'_>, request: CreateRequest) -> Result<Value, KmsError> {
    caller.allow_tenant()?;
    super::state::check_description(&request.description)?;
    let algorithm = algorithm(&request)?;
    let tags = tag::collect(request.tags)?;
    let choice = Choice::read(&tags, algorithm)?;
    let now = keys.clock.now();
    let mut key = KeyRecord {
        id: uuid::Uuid::new_v4().to_string(),
        tenant: caller.tenant.clone(),
        algorithm,
        family: choice.family,
        delegation: choice.delegation,
        custody: choice.custody,
        state: State::Enabled,
        description: request.description,
        tags,
        aliases: BTreeSet::new(),
        created_at: now,
        next_version: 1,
        versions: Vec::new(),
    };
    let mut change = Change::new();
    if key.delegation == Delegation::Own {
        let ca = keys.issuer.key_ca(&key).await?;
        key.versions.push(own_version(now));
        key.next_version = 2;
        change = change.create(paths::ca(&key.tenant, &key.id), &ca);
    } else {
        for slot in plan(&[], now, &key.schedule(&keys.settings.schedule)).make {
            let (version, made) = material::make(keys, &key, &slot).await?;
            let path = paths::material(&key.tenant, &key.id, version.number);
            change = match &made {
                Made::Wrapped(secret) => change.create_secret(path, secret),
                Made::InHsm(wrapped) => change.create(path, wrapped),
            };
            key.next_version = version.number.saturating_add(1);
            key.versions.push(version);
        }
    }
    keys.vault
        .commit(change.create(paths::key(&key.tenant, &key.id), &key))
        .await?;
    tracing::info!(tenant = %key.tenant, key = key.id, algorithm = %key.algorithm, family = key.family.as_str(),
        delegation = key.delegation.as_str(), custody = key.custody.as_str(), "key created");
    Ok(json!({ "KeyMetadata": keys.metadata(&key) }))
}

/// The one version of a key of which each edge has its own: only its number is ever said, in delegation names.
fn own_version(now: u64) -> Version {
    Version {
        number: 1,
        kid: String::new(),
        public_jwk: String::new(),
        publish_at: now,
        sign_from: now,
        sign_until: NEVER,
        retire_at: NEVER,
        compromised: false,
    }
}

fn algorithm(request: &CreateRequest) -> Result<Algorithm, KmsError> {
    let invalid = |message: String| Err(KmsErrorType::Validation.because(message));
    if request.origin.as_ref().is_some_and(|origin| origin != "AWS_KMS") {
        return invalid("only `Origin` `AWS_KMS` is served: keys are made here".to_owned());
    }
    if request.multi_region == Some(true) {
        return invalid("multi-region keys are not served".to_owned());
    }
    let name = match (&request.key_spec, &request.customer_master_key_spec) {
        (Some(spec), None) | (None, Some(spec)) => spec,
        (Some(_), Some(_)) => return invalid("give `KeySpec` alone, not its old name too".to_owned()),
        (None, None) => return invalid(format!("`KeySpec` is missing, use one of {SPECS}")),
    };
    let Some(algorithm) = shape::algorithm(name) else {
        return invalid(format!("unknown `KeySpec` `{}`, use one of {SPECS}", shown(name)));
    };
    let usage = shape::usage(algorithm);
    match &request.key_usage {
        Some(asked) if asked != usage => invalid(format!("a key of `KeySpec` `{name}` has `KeyUsage` `{usage}`")),
        _ => Ok(algorithm),
    }
}

const SPECS: &str = "ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_EDWARDS25519, HMAC_256";

/// What the reserved tags say.
struct Choice {
    family: Family,
    delegation: Delegation,
    custody: Custody,
}

impl Choice {
    fn read(tags: &BTreeMap<String, String>, algorithm: Algorithm) -> Result<Self, KmsError> {
        let known = ["signet:family", "signet:delegation", "signet:custody"];
        if let Some(name) = tags
            .keys()
            .find(|name| name.starts_with(RESERVED) && !known.contains(&name.as_str()))
        {
            return Err(KmsErrorType::Tag.because(format!("unknown reserved tag `{}`", shown(name))));
        }
        let choice = Self {
            family: pick(
                tags,
                "signet:family",
                &[Family::Raw, Family::Token, Family::Artifact],
                Family::as_str,
            )?,
            delegation: pick(
                tags,
                "signet:delegation",
                &[Delegation::None, Delegation::Own, Delegation::Shared],
                Delegation::as_str,
            )?,
            custody: pick(
                tags,
                "signet:custody",
                &[Custody::Wrapped, Custody::Token],
                Custody::as_str,
            )?,
        };
        match choice.refusal(algorithm) {
            Some(why) => Err(KmsErrorType::Validation.because(why)),
            None => Ok(choice),
        }
    }

    /// Why this combination cannot be; none when it can.
    fn refusal(&self, algorithm: Algorithm) -> Option<&'static str> {
        match (self.family, self.delegation) {
            (Family::Raw, Delegation::Own | Delegation::Shared) => {
                return Some(
                    "a key of family `raw` signs at the authority only: leave `signet:delegation` out, or choose another family",
                );
            }
            (Family::Token | Family::Artifact, Delegation::None) => {
                return Some(
                    "keys of family `token` and `artifact` sign at edges: set `signet:delegation` to `own` or `shared`",
                );
            }
            _ => {}
        }
        if self.delegation == Delegation::Own && algorithm.is_symmetric() {
            return Some("a secret has no certificate: set `signet:delegation` to `shared`");
        }
        match (self.custody, self.delegation) {
            (Custody::Token, Delegation::Shared) => Some(
                "a shared key is handed to edges, so it cannot stay in the HSM: leave `signet:custody` out, or delegate `own`",
            ),
            (Custody::Token, Delegation::None) if !algorithm.is_ecdsa() => {
                Some("the HSM wraps keys on P-256 and P-384 only: leave `signet:custody` out")
            }
            // With `own`, what has custody `token` is the key's CA: always.
            _ => None,
        }
    }
}

/// The tag's value among `choices`, of which the first is the default.
fn pick<T: Copy>(
    tags: &BTreeMap<String, String>,
    name: &str,
    choices: &[T],
    word: fn(T) -> &'static str,
) -> Result<T, KmsError> {
    let wanted = tags.get(name).map(String::as_str);
    let found = choices
        .iter()
        .copied()
        .find(|choice| wanted.is_none_or(|wanted| word(*choice) == wanted));
    found.ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|choice| word(*choice)).collect();
        KmsErrorType::Validation.because(format!("the tag `{name}` is one of {}", words.join(", ")))
    })
}
