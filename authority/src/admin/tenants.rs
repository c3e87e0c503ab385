//! `GET /v1/tenants`, `POST /v1/tenants`, `PUT /v1/tenants/{id}/custody`.

use bytes::Bytes;
use http::{Response, StatusCode};
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Failure, rfc3339};
use super::{Admin, Decisions};
use crate::keys::Custody;
use crate::names::Tenant;
use crate::tenants::TenantRecord;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRequest {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CustodyRequest {
    custody: Custody,
}

impl Admin {
    pub(super) async fn list_tenants(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ListTenants, AdminResource::Authority)?;
        let tenants: Vec<_> = self.tenants.list().await?.iter().map(shape).collect();
        answer::json(StatusCode::OK, &json!({ "tenants": tenants }))
    }

    pub(super) async fn create_tenant(&self, decisions: &Decisions, body: &[u8]) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::CreateTenant, AdminResource::Authority)?;
        let request: CreateRequest = answer::parse(body)?;
        let tenant = self.tenants.create(&Tenant::parse(&request.id)?, &request.name).await?;
        answer::json(StatusCode::CREATED, &shape(&tenant))
    }

    /// Whoever may make a tenant may say where its keys are kept.
    pub(super) async fn set_tenant_custody(
        &self,
        decisions: &Decisions,
        id: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::CreateTenant, AdminResource::Authority)?;
        let request: CustodyRequest = answer::parse(body)?;
        let id = Tenant::parse(id)?;
        let tenant = self.tenants.set_default_custody(&id, request.custody).await?;
        answer::json(StatusCode::OK, &shape(&tenant))
    }
}

fn shape(tenant: &TenantRecord) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "created_at": rfc3339(tenant.created_at),
        "default_custody": tenant.default_custody,
    })
}
