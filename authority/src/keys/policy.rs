//! `GetKeyPolicy`, `PutKeyPolicy`, `ListKeyPolicies`: one document a key, stored and answered as it was given.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::page::Paging;
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::approvals::Parameters;
use crate::fault::Fault;
use crate::iam::{Document, MEMORY_PER_BYTE};
use crate::names::shown;
use crate::paths;
use crate::sealed::Held;

/// The only name that a key's policy has.
const NAME: &str = "default";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetRequest {
    key_id: String,
    policy_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PutRequest {
    key_id: String,
    policy_name: Option<String>,
    policy: String,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListRequest {
    key_id: String,
    limit: Option<usize>,
    marker: Option<String>,
}

pub(super) async fn get_key_policy(keys: &Keys, session: &Session<'_>, request: GetRequest) -> Result<Value, KmsError> {
    let key = keys.find_by_id(session, &request.key_id, &Facts::default()).await?;
    check_name(request.policy_name.as_deref())?;
    Ok(json!({ "Policy": key.value.policy, "PolicyName": NAME }))
}

pub(super) async fn put_key_policy(keys: &Keys, session: &Session<'_>, request: PutRequest) -> Result<Value, KmsError> {
    let bypass = request.bypass_policy_lockout_safety_check;
    let facts = Facts::default().with("kms:BypassPolicyLockoutSafetyCheck", bypass);
    let mut key = keys.find_by_id(session, &request.key_id, &facts).await?;
    check_name(request.policy_name.as_deref())?;
    check(keys, session, &key.value, &request.policy, bypass)?;
    let parameters = Parameters::default()
        .with("BypassPolicyLockoutSafetyCheck", bypass)
        .with("Policy", request.policy.as_str());
    let approved = keys.demand_approval(session, &key.value, parameters).await?;
    key.value.policy = request.policy;
    keys.save_approved(&approved, &key).await?;
    Ok(json!({}))
}

pub(super) async fn list_key_policies(
    keys: &Keys,
    session: &Session<'_>,
    request: ListRequest,
) -> Result<Value, KmsError> {
    keys.find_by_id(session, &request.key_id, &Facts::default()).await?;
    let paging = Paging::new(request.limit, request.marker);
    paging.limit()?;
    let names = match paging.after("")? {
        None => vec![NAME],
        Some(_) => Vec::new(),
    };
    Ok(json!({ "PolicyNames": names, "Truncated": false }))
}

/// The policy of a new key: the one that was given and does not lock its maker out, or the one that leaves all to the
/// account.
pub(super) fn for_new(
    keys: &Keys,
    session: &Session<'_>,
    key: &KeyRecord,
    given: Option<String>,
    bypass: bool,
) -> Result<String, KmsError> {
    match given {
        None => Ok(Document::default_for(&key.tenant)),
        Some(text) => {
            check(keys, session, key, &text, bypass)?;
            Ok(text)
        }
    }
}

fn check(keys: &Keys, session: &Session<'_>, key: &KeyRecord, text: &str, bypass: bool) -> Result<(), KmsError> {
    let malformed = |why: String| KmsErrorType::MalformedPolicy.because(why);
    let document = Document::parse(text).map_err(|fault| malformed(fault.to_string()))?;
    match session.gate.caller() {
        Some(caller) if !bypass && !keys.could_put_policy(caller, key, &document) => Err(malformed(
            "The new key policy will not allow you to update the key policy in the future.".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn check_name(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some(NAME) => Ok(()),
        Some(other) => Err(KmsErrorType::NotFound.because(format!("No such policy exists: {}", shown(other)))),
    }
}

impl Keys {
    /// A key's policy, parsed once for the row as it is.
    pub(super) fn policy(&self, key: &Held<KeyRecord>) -> Result<Arc<Document>, KmsError> {
        let (record, revision) = (&key.value, key.stamp.revision);
        let path = paths::key(&record.tenant, &record.row());
        if let Some(document) = self.cached.policies.get(&path, 0, revision) {
            return Ok(document);
        }
        let document = Document::parse(&record.policy).map_err(|fault| Fault::Corrupt {
            detail: format!("the policy of `{}` does not read: {fault}", record.id),
        })?;
        let document = Arc::new(document);
        let bytes = record.policy.len().saturating_mul(MEMORY_PER_BYTE);
        self.cached.policies.put(&path, 0, revision, document.clone(), bytes);
        Ok(document)
    }
}
