//! What operators do is on record as what KMS clients do is: in the authority's audit spool, refusals too.

use http::HeaderMap;
use node::problem::Problem;
use signing::encoding::from_hex;
use uuid::Uuid;

use super::access_keys::ChangeKind;
use super::answer::Failure;
use super::{Admin, Decisions, Route};
use crate::keys::VERBS;
use crate::kms::{Entry, Recorded};
use crate::stops::{self, operation};

/// An operator in the record.
const OPERATOR: &str = "operator:root";

/// An operation that is put on record, as far as its request tells.
pub(super) struct Operation<'a> {
    name: String,
    /// The edge or the access key.
    named: Option<&'a str>,
    tenant: String,
}

impl<'a> Operation<'a> {
    /// None for what is only looked at, but for the key verbs, which are all on record.
    pub(super) fn of(route: &Route<'a>, tenant: Option<String>, body: &[u8], dry_run: bool) -> Option<Self> {
        let (name, named) = match route {
            Route::Verb(verb) => {
                let (verb, _) = VERBS.iter().find(|(known, _)| known == verb)?;
                (format!("kms:{verb}"), None)
            }
            Route::CreateTenant => ("admin:CreateTenant".to_owned(), None),
            Route::CreateAccessKey => ("admin:CreateAccessKey".to_owned(), None),
            Route::ChangeAccessKey(id, change) => (access_key_change(*change, body).to_owned(), Some(*id)),
            Route::DeleteAccessKey(id) => (operation::DELETE_ACCESS_KEY.to_owned(), Some(*id)),
            Route::CreateToken => ("admin:CreateJoinToken".to_owned(), None),
            Route::RevokeEdge(id) => (operation::REVOKE_EDGE.to_owned(), Some(*id)),
            Route::PutBundle if !dry_run => (operation::APPLY_BUNDLE.to_owned(), None),
            Route::BeginBackup => ("admin:MakeBackup".to_owned(), None),
            Route::PutBackupKey => ("admin:SetBackupKey".to_owned(), None),
            _ => return None,
        };
        let tenant = tenant.unwrap_or_default();
        Some(Self { name, named, tenant })
    }
}

fn access_key_change(change: ChangeKind, body: &[u8]) -> &'static str {
    let stops_old = || {
        let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        body.is_some_and(|body| body.get("deactivate_old").and_then(serde_json::Value::as_bool) == Some(true))
    };
    match change {
        ChangeKind::Activate => operation::ACTIVATE_ACCESS_KEY,
        ChangeKind::Deactivate => operation::DEACTIVATE_ACCESS_KEY,
        ChangeKind::Rotate if stops_old() => operation::REPLACE_ACCESS_KEY,
        ChangeKind::Rotate => operation::ROTATE_ACCESS_KEY,
    }
}

impl Admin {
    /// Refuses what could not be recorded now, before it has any effect; a stop is never refused for that.
    pub(super) fn demand_record(&self, operation: Option<&Operation<'_>>) -> Result<(), Failure> {
        match operation {
            Some(operation) if !stops::is_replayed(&operation.name) => {
                self.recorder.ready().map_err(|refusal| unrecorded(refusal.detail))
            }
            _ => Ok(()),
        }
    }

    /// Records how an operation ended. An answer waits for it.
    pub(super) async fn record<T>(
        &self,
        operation: &Operation<'_>,
        decisions: &Decisions,
        headers: &HeaderMap,
        request_id: Uuid,
        result: &Result<T, Failure>,
    ) -> Result<Recorded, Failure> {
        let mut decided = decisions.decided();
        if let Some(named) = operation.named {
            decided.key = Some(crate::names::shown(named));
        }
        let published = || {
            let in_force = self.bundles.in_force();
            let digest = in_force.published.as_ref().map(|published| published.digest.clone())?;
            from_hex(&digest)?.try_into().ok()
        };
        let entry = Entry {
            operation: &operation.name,
            caller: OPERATOR,
            account: &operation.tenant,
            decided,
            digest: if operation.name == operation::APPLY_BUNDLE {
                published()
            } else {
                None
            },
            refused: result.as_ref().err().map(Failure::code),
            request_id,
            headers,
        };
        let recorded = self.recorder.record_stop(entry).await;
        recorded.map_err(|refusal| unrecorded(refusal.detail))
    }
}

fn unrecorded(detail: Option<String>) -> Failure {
    Problem::new("audit_unavailable", "this could not be put on record; try again")
        .logged(detail.unwrap_or_default())
        .into()
}
