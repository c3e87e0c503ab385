//! `GET`, `POST /v1/access-keys`, `POST /v1/access-keys/{id}/activate|deactivate|rotate`, `DELETE /v1/access-keys/{id}`.

use bytes::Bytes;
use http::{Response, StatusCode};
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Failure, rfc3339};
use super::{Admin, Decisions};
use crate::fault::Fault;
use crate::kms::access_key::{AccessKeyRecord, Issued, Status};
use crate::names::{Tenant, shown};

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Activate,
    Deactivate,
    Rotate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRequest {
    tenant: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    role: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateRequest {
    #[serde(default)]
    deactivate_old: bool,
}

impl ChangeKind {
    /// The last part of its path.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "activate" => Some(Self::Activate),
            "deactivate" => Some(Self::Deactivate),
            "rotate" => Some(Self::Rotate),
            _ => None,
        }
    }
}

impl Admin {
    pub(super) async fn list_access_keys(
        &self,
        decisions: &Decisions,
        query: Option<&str>,
    ) -> Result<Response<Bytes>, Failure> {
        let tenant = super::tenant(query)?;
        decisions.allow(AdminAction::ListAccessKeys, AdminResource::Tenant(tenant.as_str()))?;
        let keys: Vec<_> = self.access_keys.list(&tenant).await?.iter().map(shape).collect();
        answer::json(StatusCode::OK, &json!({ "access_keys": keys }))
    }

    pub(super) async fn create_access_key(
        &self,
        decisions: &Decisions,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        let request: CreateRequest = answer::parse(body)?;
        let tenant = Tenant::parse(&request.tenant)?;
        decisions.allow(AdminAction::CreateAccessKey, AdminResource::Tenant(tenant.as_str()))?;
        let made = self
            .access_keys
            .create(&tenant, request.user.as_deref(), &request.role)
            .await?;
        tracing::info!(access_key_id = made.record.id, account = %tenant, user = request.user, "access key issued");
        issued(&made)
    }

    pub(super) async fn change_access_key(
        &self,
        decisions: &Decisions,
        id: &str,
        change: ChangeKind,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        self.allow(decisions, AdminAction::UpdateAccessKey, id).await?;
        tracing::info!(access_key_id = id, ?change, "access key changed");
        let status = match change {
            ChangeKind::Activate => Status::Active,
            ChangeKind::Deactivate => Status::Inactive,
            ChangeKind::Rotate => {
                let request: RotateRequest = if body.is_empty() {
                    RotateRequest::default()
                } else {
                    answer::parse(body)?
                };
                return issued(&self.access_keys.rotate(id, request.deactivate_old).await?);
            }
        };
        answer::json(StatusCode::OK, &shape(&self.access_keys.set_status(id, status).await?))
    }

    pub(super) async fn delete_access_key(&self, decisions: &Decisions, id: &str) -> Result<Response<Bytes>, Failure> {
        let record = self.allow(decisions, AdminAction::DeleteAccessKey, id).await?;
        self.access_keys.delete(id).await?;
        tracing::info!(access_key_id = id, "access key deleted");
        answer::json(StatusCode::OK, &shape(&record))
    }

    /// Finds the key whose account the decision is about.
    async fn allow(&self, decisions: &Decisions, action: AdminAction, id: &str) -> Result<AccessKeyRecord, Failure> {
        let missing = || Fault::not_found(format!("there is no access key `{}`", shown(id)));
        let record = self.access_keys.get(id).await?.ok_or_else(missing)?;
        decisions.allow(action, AdminResource::Tenant(record.account.as_str()))?;
        Ok(record)
    }
}

/// The one answer with a secret in it.
fn issued(made: &Issued) -> Result<Response<Bytes>, Failure> {
    let mut shape = shape(&made.record);
    if let Some(members) = shape.as_object_mut() {
        let secret = String::from_utf8_lossy(made.secret.expose());
        members.insert("secret_access_key".to_owned(), json!(secret));
    }
    answer::json(StatusCode::CREATED, &shape)
}

fn shape(record: &AccessKeyRecord) -> Value {
    json!({
        "access_key_id": record.id,
        "account": record.account,
        "user": record.user,
        "role": record.role,
        "status": record.status.as_str(),
        "created_at": rfc3339(record.created_at),
    })
}
