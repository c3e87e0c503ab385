//! `CreateGrant`, `ListGrants`, `ListRetirableGrants`, `RevokeGrant`, `RetireGrant`. A grant holds from the moment that
//! `CreateGrant` answered: its token makes nothing faster.

use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use self::record::{Constraints, GrantRecord, Handed, operations};
use super::decide::Facts;
use super::demand::end_dry_run;
use super::input;
use super::page::{self, Paging};
use super::reference::Resolved;
use super::{Caller, KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::KeySpec;
use crate::names::shown;
use crate::paths;
use crate::sealed::Held;

mod index;
mod record;

/// Grants of one page, where nothing is asked and at most (KMS's).
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;
/// Grants of one grantee on one key: a decision reads as many. KMS had the same quota until 2022.
const MAX_PER_GRANTEE: usize = 500;
/// Grants of one key (KMS's quota).
const MAX_PER_KEY: u32 = 50_000;
/// Characters of a name (KMS's bound).
const MAX_NAME: usize = 256;
/// Tokens of one request (KMS's bound).
const MAX_TOKENS: usize = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateRequest {
    key_id: String,
    grantee_principal: Option<String>,
    retiring_principal: Option<String>,
    operations: Vec<String>,
    #[serde(default)]
    constraints: Constraints,
    #[serde(default)]
    grant_tokens: Vec<String>,
    name: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListRequest {
    key_id: String,
    grant_id: Option<String>,
    grantee_principal: Option<String>,
    limit: Option<usize>,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RetirableRequest {
    retiring_principal: String,
    limit: Option<usize>,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RevokeRequest {
    key_id: String,
    grant_id: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RetireRequest {
    grant_token: Option<String>,
    key_id: Option<String>,
    grant_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn create_grant(
    keys: &Keys,
    session: &Session<'_>,
    request: CreateRequest,
) -> Result<Value, KmsError> {
    let grantee = request.grantee_principal.as_deref();
    let grantee = grantee.ok_or_else(|| input::missing("granteePrincipal"))?;
    let grantee = principal(grantee)?;
    let retiring = request.retiring_principal.as_deref().map(principal).transpose()?;
    check_name(request.name.as_deref())?;
    let mut facts = Facts::new(&request.grant_tokens)
        .with_all("kms:GrantOperations", request.operations.iter().map(String::as_str))
        .with("kms:GranteePrincipal", grantee.as_str());
    if let Some(retiring) = &retiring {
        facts = facts.with("kms:RetiringPrincipal", retiring.as_str());
    }
    if let Some(kind) = kind(&request.constraints) {
        facts = facts.with("kms:GrantConstraintType", kind);
    }
    facts.handed = Some(Handed {
        operations: request.operations.clone(),
        constraints: request.constraints.clone(),
    });
    let key = keys.find_by_id(session, &request.key_id, &facts).await?.value;
    keys.demand_usable(&key)?;
    check_operations(&key, &request.operations)?;
    check_constraints(&key, &request.constraints)?;
    end_dry_run(request.dry_run)?;
    let grant = GrantRecord {
        id: record::new_id(&grantee)?,
        key_arn: keys.arn(&key),
        name: request.name,
        grantee,
        retiring,
        operations: request.operations,
        constraints: request.constraints,
        created_at: keys.clock.now(),
    };
    let id = keys.grant_once(&key, grant).await?;
    let token = record::token(&key.tenant, &key.row(), &id)?;
    Ok(json!({ "GrantToken": token, "GrantId": id }))
}

pub(super) async fn list_grants(keys: &Keys, session: &Session<'_>, request: ListRequest) -> Result<Value, KmsError> {
    let paging = Paging::new(request.limit, request.marker).within(DEFAULT_LIMIT, MAX_LIMIT);
    let key = keys
        .find_by_id(session, &request.key_id, &Facts::default())
        .await?
        .value;
    let grantee = request.grantee_principal.as_deref().map(principal).transpose()?;
    let wanted = |grant: &GrantRecord| grantee.as_ref().is_none_or(|grantee| grant.grantee == *grantee);
    if let Some(id) = &request.grant_id {
        let found = match keys.find_grant(&key, id).await {
            Ok((_, grant)) if wanted(&grant.value) => vec![grant.value.shape(&key.tenant)],
            Err(error) if error.kind != KmsErrorType::NotFound => return Err(error),
            _ => Vec::new(),
        };
        return Ok(page::answer("Grants", found, "", None));
    }
    // A grantee's ids begin alike: no others' are read.
    let begin = grantee.as_deref().map(record::grantee_prefix).unwrap_or_default();
    let prefix = paths::grant(&key.tenant, &key.row(), &begin);
    let (rows, more) = page::filtered(&keys.vault, &prefix, &paging, wanted).await?;
    let items = rows.iter().map(|(_, grant)| grant.shape(&key.tenant)).collect();
    Ok(page::answer("Grants", items, &prefix, more.as_deref()))
}

pub(super) async fn list_retirable_grants(
    keys: &Keys,
    session: &Session<'_>,
    request: RetirableRequest,
) -> Result<Value, KmsError> {
    session.allow_tenant()?;
    let paging = Paging::new(request.limit, request.marker).within(DEFAULT_LIMIT, MAX_LIMIT);
    let retiring = principal(&request.retiring_principal)?;
    if account_of(&retiring) != Some(session.tenant.as_str()) {
        let message = format!("`{}` is no principal of this account", shown(&retiring));
        return Err(KmsErrorType::InvalidArn.because(message));
    }
    keys.retirable(&retiring, &paging).await
}

pub(super) async fn revoke_grant(
    keys: &Keys,
    session: &Session<'_>,
    request: RevokeRequest,
) -> Result<Value, KmsError> {
    let key = keys
        .find_by_id(session, &request.key_id, &Facts::default())
        .await?
        .value;
    let (path, grant) = keys.find_grant(&key, &request.grant_id).await?;
    end_dry_run(request.dry_run)?;
    keys.end_grant(&key, &path, &grant).await?;
    Ok(json!({}))
}

pub(super) async fn retire_grant(
    keys: &Keys,
    session: &Session<'_>,
    request: RetireRequest,
) -> Result<Value, KmsError> {
    let (named, id) = match (&request.grant_token, &request.key_id, &request.grant_id) {
        (Some(token), None, None) => (keys.by_token(session, token).await?, record::read_token(token)?.2),
        (None, Some(reference), Some(id)) => (keys.resolve_id(session, reference).await?, id.clone()),
        _ => {
            let message = "Must pass either a grant token; or a key ARN and a grant ID.";
            return Err(KmsErrorType::Validation.because(message));
        }
    };
    let (path, grant) = match (keys.find_grant(&named.key.value, &id).await, named.reference) {
        // Of another account's key it is not told apart whether it is there.
        (Err(error), Some(reference))
            if error.kind == KmsErrorType::NotFound && named.key.value.tenant != *session.tenant =>
        {
            return Err(keys.elsewhere(session, reference));
        }
        (found, _) => found?,
    };
    let mut facts = Facts::default();
    facts.granted = session
        .gate
        .caller()
        .is_some_and(|caller| grant.value.lets_retire(caller));
    keys.decide_named(session, &named, &facts).await?;
    end_dry_run(request.dry_run)?;
    keys.end_grant(&named.key.value, &path, &grant).await?;
    Ok(json!({}))
}

impl Keys {
    /// The key of the grant that a token names.
    async fn by_token(&self, session: &Session<'_>, token: &str) -> Result<Resolved<'static>, KmsError> {
        let (tenant, row, id) = record::read_token(token)?;
        let key_id = row.split('@').next().unwrap_or_default();
        let key = match tenant == *session.tenant || session.crosses_accounts() {
            true => self.by_id(&tenant, key_id).await?,
            false => None,
        };
        Ok(Resolved {
            key: key.ok_or_else(|| no_grant(&id))?,
            alias: None,
            reference: None,
        })
    }

    /// The grants on a key that name the caller.
    pub(super) async fn grants_to(&self, key: &KeyRecord, caller: &Caller) -> Result<Vec<GrantRecord>, KmsError> {
        let mut grants = Vec::new();
        for arn in record::names(caller) {
            let held = self.grants_of(key, arn).await?;
            let named = held.into_iter().map(|(_, grant)| grant.value);
            grants.extend(named.filter(|grant| grant.grantee == arn));
        }
        Ok(grants)
    }

    async fn grants_of(&self, key: &KeyRecord, arn: &str) -> Result<Vec<(String, Held<GrantRecord>)>, KmsError> {
        let prefix = paths::grant(&key.tenant, &key.row(), &record::grantee_prefix(arn));
        Ok(self.vault.page(&prefix, None, MAX_PER_GRANTEE).await?)
    }

    /// Stores a new grant, unless one of the same name gives the same already; answers the id.
    async fn grant_once(&self, key: &KeyRecord, grant: GrantRecord) -> Result<String, KmsError> {
        let existing = self.grants_of(key, &grant.grantee).await?;
        let same = existing
            .iter()
            .find(|(_, held)| grant.name.is_some() && held.value.is_same(&grant));
        if let Some((_, held)) = same {
            return Ok(held.value.id.clone());
        }
        if existing.len() >= MAX_PER_GRANTEE {
            let message = format!("a principal has at most {MAX_PER_GRANTEE} grants on one key");
            return Err(KmsErrorType::LimitExceeded.because(message));
        }
        self.store_grant(key, &grant).await?;
        Ok(grant.id)
    }

    async fn find_grant(&self, key: &KeyRecord, id: &str) -> Result<(String, Held<GrantRecord>), KmsError> {
        if id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(no_grant(id));
        }
        let path = paths::grant(&key.tenant, &key.row(), id);
        match self.vault.get(&path).await? {
            Some(grant) => Ok((path, grant)),
            None => Err(no_grant(id)),
        }
    }
}

fn no_grant(id: &str) -> KmsError {
    let id: String = id.chars().take(128).flat_map(char::escape_debug).collect();
    KmsErrorType::NotFound.because(format!("Grant ID {id} not found"))
}

/// Refuses more tokens than a request may have, and those that are none.
pub(super) fn check_tokens(tokens: &[String]) -> Result<(), KmsError> {
    if tokens.len() > MAX_TOKENS {
        return Err(KmsErrorType::Validation.because(format!("a request has at most {MAX_TOKENS} grant tokens")));
    }
    tokens.iter().try_for_each(|token| record::read_token(token).map(drop))
}

/// A principal's ARN; an account's id stands for its root.
fn principal(text: &str) -> Result<String, KmsError> {
    if policies::names::is_tenant(text) {
        return Ok(format!("arn:aws:iam::{text}:root"));
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", "aws", "iam" | "sts", "", account, resource]
            if policies::names::is_tenant(account) && is_principal(resource) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(KmsErrorType::InvalidArn.because(format!("`{}` is the ARN of no principal", shown(text)))),
    }
}

/// The account of a principal's ARN.
fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

fn is_principal(resource: &str) -> bool {
    let kinds = ["user/", "role/", "assumed-role/", "federated-user/"];
    let named = kinds
        .iter()
        .any(|kind| resource.strip_prefix(kind).is_some_and(|name| !name.is_empty()));
    resource.len() <= 256 && !resource.contains('*') && (resource == "root" || named)
}

fn check_name(name: Option<&str>) -> Result<(), KmsError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/:_-".contains(&b);
    match name {
        Some(name) if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(allowed) => {
            let message = format!("`Name` has 1 to {MAX_NAME} of A-Z a-z 0-9 / : _ -");
            Err(KmsErrorType::Validation.because(message))
        }
        _ => Ok(()),
    }
}

/// Refuses what a key of this kind cannot do, and a grant of nothing but granting.
fn check_operations(key: &KeyRecord, operations: &[String]) -> Result<(), KmsError> {
    let known = record::operations(key);
    let invalid = |message: String| Err(KmsErrorType::Validation.because(message));
    if operations.is_empty() || operations.len() > known.len() {
        return invalid(format!("`Operations` has 1 to {} operations", known.len()));
    }
    if let Some(other) = operations.iter().find(|name| !known.contains(&name.as_str())) {
        let (usage, spec) = (key.usage, key.spec);
        return invalid(format!(
            "a grant on a key of {spec} for {usage} cannot have `{}`",
            shown(other)
        ));
    }
    if operations.iter().all(|name| name == "CreateGrant") {
        return invalid("Grants must not contain only the CreateGrant operation.".to_owned());
    }
    Ok(())
}

/// Refuses two constraints, and any where there is no context.
fn check_constraints(key: &KeyRecord, constraints: &Constraints) -> Result<(), KmsError> {
    if constraints.encryption_context_equals.is_some() && constraints.encryption_context_subset.is_some() {
        return Err(KmsErrorType::Validation.because("More than one constraint supplied"));
    }
    if !constraints.is_empty() && key.spec != KeySpec::SymmetricDefault {
        let message = "encryption context constraints go with symmetric encryption keys only";
        return Err(KmsErrorType::Validation.because(message));
    }
    Ok(())
}

fn kind(constraints: &Constraints) -> Option<&'static str> {
    if constraints.encryption_context_equals.is_some() {
        Some("EncryptionContextEquals")
    } else if constraints.encryption_context_subset.is_some() {
        Some("EncryptionContextSubset")
    } else {
        None
    }
}
