//! `GetReplicaIdentity`, `ExportReplica`, `ImportReplica`, which KMS has no words for: a multi-Region key of one authority in
//! a region of another. Operators' verbs: what is exported is out of this authority's hands.
//!
//! The replica follows its primary as far as bundles are brought: rotations come with the next one. Everything else about
//! it (state, policy, aliases, deletion) is the other authority's.

use std::collections::{BTreeMap, BTreeSet};

use policies::engine::{AdminAction, AdminResource, KeyAccess};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signing::key::Secret;

use self::bundle::{About, Contents, MAX_BUNDLE};
use self::identity::Identity;
use super::decide::{Asked, Facts};
use super::input::{self, SecretText};
use super::lifecycle::{Imports, Manager, MultiRegion, Origin};
use super::protection::{Note, Protection};
use super::region::{check_region, demand_primary};
use super::state::saving;
use super::{Custody, Delegation, Family, KeyRecord, Keys, KmsError, KmsErrorType, Session, State, material, policy};
use crate::approvals::Parameters;
use crate::crypto::Material;
use crate::crypto::blob::KeyId;
use crate::fault::Fault;
use crate::names::Tenant;
use crate::paths;
use crate::sealed::{Change, Held};

mod bundle;
mod identity;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct IdentityRequest {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ExportRequest {
    key_id: String,
    /// The identity of the authority that may open it.
    recipient: Identity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ImportRequest {
    bundle: String,
    /// The identity of the authority that must have signed it.
    sender: Identity,
    replica_region: Option<String>,
    policy: Option<String>,
}

/// What was last imported of a key, which outlives the key: an older bundle is not taken again.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Imported {
    /// The fingerprint of the authority that it is from.
    from: String,
    /// See [`About::sequence`].
    sequence: u64,
    /// The mark of the key, once that is deleted: whoever has the material has it still.
    #[serde(default)]
    compromised: Option<Note>,
}

impl Held<Imported> {
    /// Keeps of a key that is being deleted what must not be forgotten with it.
    pub(super) fn outlive(&self, change: Change, key: &KeyRecord) -> Change {
        let imported = Imported {
            compromised: key.protection.compromised.clone(),
            ..self.value.clone()
        };
        change.replace(paths::replica(&key.tenant, &key.id), &imported, self.stamp)
    }
}

pub(super) async fn get_replica_identity(
    keys: &Keys,
    session: &Session<'_>,
    _request: IdentityRequest,
) -> Result<Value, KmsError> {
    demand_operator(session)?;
    session.allow_tenant()?;
    let own = keys.own_identity().await?;
    let fingerprint = own.identity.read()?.fingerprint;
    Ok(json!({ "Identity": own.identity, "Fingerprint": fingerprint }))
}

pub(super) async fn export_replica(
    keys: &Keys,
    session: &Session<'_>,
    request: ExportRequest,
) -> Result<Value, KmsError> {
    demand_operator(session)?;
    let key = keys.find(session, &request.key_id, &Facts::default()).await?.value;
    demand_primary(keys, &key)?;
    keys.demand_usable(&key)?;
    if key.origin == Origin::External || key.custody == Custody::Token {
        let message = format!(
            "{} has imported material, or material that stays in its HSM.",
            keys.arn(&key)
        );
        return Err(KmsErrorType::UnsupportedOperation.because(message));
    }
    let (own, to) = (keys.own_identity().await?, request.recipient.read()?);
    let from = own.identity.read()?;
    if to.fingerprint == from.fingerprint {
        let message = "`Recipient` is this authority itself: ReplicateKey makes replicas in its own regions";
        return Err(KmsErrorType::Validation.because(message));
    }
    let parameters = Parameters::default().with("Recipient", to.fingerprint.as_str());
    let approved = keys.demand_approval(session, &key, parameters).await?;
    let mut materials = Vec::with_capacity(key.versions.len());
    for version in &key.versions {
        let secret = material::secret(&keys.vault, &key, version).await?;
        materials.push(SecretText::of(secret.expose()));
    }
    let about = About {
        tenant: key.tenant.clone(),
        key: key.id.clone(),
        sequence: keys.clock.now_ms(),
    };
    let contents = Contents {
        primary: key.region.clone(),
        spec: key.spec,
        usage: key.usage,
        description: key.description.clone(),
        next_version: key.next_version,
        versions: key.versions.clone(),
        rotation: key.rotation.clone(),
        materials,
    };
    let bundle = bundle::seal(&own, &from, &to, &about, &contents)?;
    if approved.id().is_some() {
        // Used up before anybody has the bundle: a crash after this line costs an approval, and exports nothing.
        keys.vault.commit(approved.spend(Change::new())).await?;
    }
    tracing::warn!(tenant = %key.tenant, key = key.id, recipient = to.fingerprint, "key exported to another authority");
    Ok(json!({
        "KeyId": keys.arn(&key),
        "Sender": from.fingerprint,
        "Recipient": to.fingerprint,
        "Bundle": input::base64(&bundle),
    }))
}

pub(super) async fn import_replica(
    keys: &Keys,
    session: &Session<'_>,
    request: ImportRequest,
) -> Result<Value, KmsError> {
    demand_operator(session)?;
    session.doing(AdminAction::CreateKey).allow_tenant()?;
    let bytes = input::blob("Bundle", &request.bundle, MAX_BUNDLE)?;
    let (own, from) = (keys.own_identity().await?, request.sender.read()?);
    let to = own.identity.read()?;
    let (about, contents) = bundle::open(&own, &to, &from, session.tenant, &bytes)?;
    let region = request.replica_region.unwrap_or_else(|| keys.region.clone());
    check_region(&region)?;
    keys.demand_served(&region)?;
    let there = keys.in_region(&region);
    let before = keys
        .vault
        .get::<Imported>(&paths::replica(&about.tenant, &about.key))
        .await?;
    if before
        .as_ref()
        .is_some_and(|before| before.value.sequence >= about.sequence)
    {
        let message = "a bundle of this key as new as this one was imported before: export the key again";
        return Err(KmsErrorType::AlreadyExists.because(message));
    }
    if before
        .as_ref()
        .is_some_and(|before| before.value.from != from.fingerprint)
    {
        let message = "this key came from another authority, which alone can bring its changes";
        return Err(KmsErrorType::Validation.because(message));
    }
    let secrets = check(&there, &about, &contents)?;
    let stamp = before.as_ref().map(|before| before.stamp);
    let imported = Imported {
        from: from.fingerprint.clone(),
        sequence: about.sequence,
        compromised: before.and_then(|before| before.value.compromised),
    };
    let change = Change::new().set(paths::replica(&about.tenant, &about.key), &imported, stamp);
    let key = match there.by_id(&about.tenant, &about.key).await? {
        Some(known) if stamp.is_some() => follow(&there, session, known, contents, &secrets, change).await?,
        Some(_) => return Err(in_use(&there, &about.key, &region)),
        None => {
            let fresh = Fresh {
                about: &about,
                policy: request.policy,
                compromised: imported.compromised,
            };
            make(&there, session, fresh, contents, &secrets, change).await?
        }
    };
    tracing::warn!(tenant = %key.tenant, key = key.id, sender = from.fingerprint, "replica of another authority's key imported");
    Ok(json!({ "KeyMetadata": there.metadata(session, &key), "Sender": from.fingerprint }))
}

/// What a key that was not here begins with beside what is in its bundle.
struct Fresh<'a> {
    about: &'a About,
    policy: Option<String>,
    /// The mark that it had when it was here before.
    compromised: Option<Note>,
}

/// Stores a key that was not here.
async fn make(
    keys: &Keys,
    session: &Session<'_>,
    fresh: Fresh<'_>,
    contents: Contents,
    secrets: &[Secret],
    change: Change,
) -> Result<KeyRecord, KmsError> {
    let about = fresh.about;
    let prefix = paths::key(&about.tenant, &format!("{}@", about.key));
    if let Some((_, other)) = keys.vault.page::<KeyRecord>(&prefix, None, 1).await?.first() {
        return Err(in_use(keys, &about.key, &other.value.region));
    }
    let mut key = KeyRecord {
        id: about.key.clone(),
        tenant: about.tenant.clone(),
        region: keys.region.clone(),
        multi_region: Some(MultiRegion {
            primary: contents.primary,
            replicas: BTreeSet::from([keys.region.clone()]),
        }),
        manager: Manager::Customer,
        spec: contents.spec,
        usage: contents.usage,
        origin: Origin::AwsKms,
        family: Family::Raw,
        delegation: Delegation::None,
        custody: Custody::Wrapped,
        state: match fresh.compromised {
            None => State::Enabled,
            Some(_) => State::Disabled,
        },
        description: contents.description,
        policy: String::new(),
        tags: BTreeMap::new(),
        aliases: BTreeSet::new(),
        created_at: keys.clock.now(),
        created_by: session.principal().to_owned(),
        next_version: contents.next_version,
        versions: contents.versions,
        rotation: contents.rotation,
        imports: Imports::default(),
        protection: Protection {
            compromised: fresh.compromised,
            ..Protection::default()
        },
    };
    key.policy = policy::for_new(keys, session, &key, fresh.policy, false)?;
    permit(session, &key)?;
    let change = with_materials(change, &key, secrets, |_| true);
    let path = paths::key(&key.tenant, &key.row());
    keys.vault.commit(change.create(path, &key)).await?;
    Ok(key)
}

/// Brings a key that is here to what the bundle says.
async fn follow(
    keys: &Keys,
    session: &Session<'_>,
    mut known: Held<KeyRecord>,
    contents: Contents,
    secrets: &[Secret],
    change: Change,
) -> Result<KeyRecord, KmsError> {
    permit(session, &known.value)?;
    keys.demand_not_pending(&known.value)?;
    let old: BTreeMap<u32, String> = known
        .value
        .versions
        .iter()
        .map(|had| (had.number, had.kid.clone()))
        .collect();
    let has = |number: &u32, kid: &String| {
        contents
            .versions
            .iter()
            .any(|new| new.number == *number && new.kid == *kid)
    };
    if !old.iter().all(|(number, kid)| has(number, kid)) {
        let message = "the bundle lacks a version that is here already: it is not of the same key";
        return Err(KmsErrorType::Validation.because(message));
    }
    let key = &mut known.value;
    key.next_version = contents.next_version;
    key.versions = contents.versions;
    key.rotation = contents.rotation;
    let change = with_materials(change, key, secrets, |number| !old.contains_key(&number));
    keys.vault.commit(saving(change, &known)).await?;
    Ok(known.value)
}

fn with_materials(mut change: Change, key: &KeyRecord, secrets: &[Secret], wanted: impl Fn(u32) -> bool) -> Change {
    for (version, secret) in key.versions.iter().zip(secrets) {
        if wanted(version.number) {
            change = change.create_secret(key.material(version.number), secret);
        }
    }
    change
}

/// Refuses what is not whole: the sender signed it, and is believed in nothing that can be checked. Answers the materials.
fn check(keys: &Keys, about: &About, contents: &Contents) -> Result<Vec<Secret>, KmsError> {
    let invalid = |why: &str| KmsErrorType::Validation.because(format!("the bundle is not whole: {why}"));
    let multi_region = KeyId::parse(&about.key).is_some_and(|id| id.is_multi_region());
    if !multi_region || !contents.spec.allows(contents.usage) {
        return Err(invalid("it is of no multi-Region key"));
    }
    check_region(&contents.primary)?;
    if contents.primary == keys.region {
        let message = "the key's primary is in a region of the same name: say another with `ReplicaRegion`";
        return Err(KmsErrorType::Validation.because(message));
    }
    super::state::check_description(&contents.description)?;
    let numbers: BTreeSet<u32> = contents.versions.iter().map(|version| version.number).collect();
    let whole = !numbers.is_empty()
        && numbers.len() == contents.versions.len()
        && contents.materials.len() == contents.versions.len()
        && numbers.last().is_some_and(|last| *last < contents.next_version);
    if !whole {
        return Err(invalid("versions and materials do not match"));
    }
    let mut secrets = Vec::with_capacity(contents.materials.len());
    for (version, text) in contents.versions.iter().zip(&contents.materials) {
        let bytes = input::blob("material", text.expose(), MAX_BUNDLE)?;
        let secret = Secret::new(bytes.to_vec());
        let material = Material::import(contents.spec, &secret).map_err(|_| invalid("a material does not read"))?;
        let (kid, spki) = material::identify(&about.key, &material)?;
        if kid != version.kid || spki != version.public_spki {
            return Err(invalid("a material is of another key"));
        }
        secrets.push(secret);
    }
    Ok(secrets)
}

/// Whether the operator may have this key here.
fn permit(session: &Session<'_>, key: &KeyRecord) -> Result<(), KmsError> {
    Ok(session.gate.allow(&Asked {
        action: AdminAction::ReplicateKey,
        resource: AdminResource::Key(&key.facts()),
        access: KeyAccess::OPERATOR,
    })?)
}

/// Principals of accounts have no such verbs, whatever policies say: no policy of theirs was written with them in mind.
fn demand_operator(session: &Session<'_>) -> Result<(), KmsError> {
    match session.gate.caller() {
        Some(_) => Err(KmsErrorType::UnknownOperation.because("replicas at other authorities are operators' business")),
        None => Ok(()),
    }
}

fn in_use(keys: &Keys, id: &str, region: &str) -> KmsError {
    KmsErrorType::AlreadyExists.because(format!(
        "`{id}` is in this authority already, in {region}, and not as a replica that {} could be",
        keys.region
    ))
}

impl Keys {
    /// What brought a replica whose primary is at another authority, so that its material here is its own.
    pub(super) async fn imported_replica(&self, tenant: &Tenant, id: &str) -> Result<Option<Held<Imported>>, Fault> {
        self.vault.get(&paths::replica(tenant, id)).await
    }
}
