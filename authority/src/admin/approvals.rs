//! `/v1/approvals` and `/v1/safeguards`: what waits for approval, approvers' decisions, and who may approve what.
//!
//! Looking at a request takes its id, which nobody guesses, and deciding takes an approver's signature: so neither needs
//! the admin token, and an approver need not be an operator.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::{Value, json};
use signing::approval::Decision;
use signing::digest::sha256;
use signing::encoding::hex;
use uuid::Uuid;

use super::answer::{self, Failure, rfc3339};
use super::record::unrecorded;
use super::{Admin, Decisions, Route, parameter};
use crate::approvals::{Approval, Domain, SafeguardChange, Safeguards};
use crate::fault::Fault;
use crate::keys::Gate;
use crate::kms::Decided;
use crate::names::shown;

/// Bytes of a body of a decision.
pub(super) const MAX_DECISION: usize = 4096;

/// What a path below `/v1/approvals` or `/v1/safeguards` and a method mean.
pub(super) fn route<'a>(method: &Method, parts: &[&'a str]) -> Option<Route<'a>> {
    Some(match (method.as_str(), parts) {
        ("GET", ["v1", "approvals"]) => Route::ListApprovals,
        ("GET", ["v1", "approvals", id]) => Route::ShowApproval(id),
        ("POST", ["v1", "approvals", id, "decisions"]) => Route::DecideApproval(id),
        ("GET", ["v1", "safeguards", domain]) => Route::GetSafeguards(domain),
        ("PUT", ["v1", "safeguards", domain, "quorum"]) => Route::SetQuorum(domain),
        ("PUT", ["v1", "safeguards", domain, "deletion-guard"]) => Route::SetDeletionGuard(domain),
        ("PUT", ["v1", "safeguards", domain, "approvers", name]) => Route::AddApprover(domain, name),
        ("DELETE", ["v1", "safeguards", domain, "approvers", name]) => Route::RemoveApprover(domain, name),
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionRequest {
    /// Thumbprint of the approver's key.
    key: String,
    decision: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuorumRequest {
    required: usize,
    lifetime_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproverRequest {
    public_key_pem: String,
    principals: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardRequest {
    days: u32,
}

impl Admin {
    pub(super) async fn list_approvals(
        &self,
        decisions: &Decisions,
        query: Option<&str>,
    ) -> Result<Response<Bytes>, Failure> {
        let missing = || Fault::invalid("bad_request", "say whose: `?tenant=` and 12 digits, or `authority`");
        let domain = Domain::parse(&parameter(query, "tenant", &[])?.ok_or_else(missing)?)?;
        decisions.allow(AdminAction::ReadSafeguards, resource(&domain))?;
        let approvals = self.keys.approvals();
        let safeguards = approvals.safeguards(&domain).await?;
        let listed = approvals.list(&domain).await?;
        let listed: Vec<_> = listed
            .iter()
            .map(|approval| self.approval_shape(&safeguards, approval))
            .collect();
        answer::json(StatusCode::OK, &json!({ "approvals": listed }))
    }

    pub(super) async fn show_approval(&self, id: &str) -> Result<Response<Bytes>, Failure> {
        let approvals = self.keys.approvals();
        let approval = approvals.get(id).await?;
        let safeguards = approvals.safeguards(&approval.domain).await?;
        let mut shape = self.approval_shape(&safeguards, &approval);
        if let Some(members) = shape.as_object_mut() {
            members.insert("parameters".to_owned(), json!(approval.parameters));
        }
        answer::json(StatusCode::OK, &shape)
    }

    /// What was signed well is on record, counted or not; what was not, anybody may have sent.
    pub(super) async fn decide_approval(
        &self,
        id: &str,
        body: &[u8],
        request: (&HeaderMap, Uuid),
    ) -> Result<Response<Bytes>, Failure> {
        let DecisionRequest {
            key,
            decision,
            signature,
        } = answer::parse(body)?;
        let invalid = |message: String| Fault::invalid("bad_request", message);
        let decision = Decision::parse(&decision)
            .ok_or_else(|| invalid(format!("`decision` is approve or reject, not `{}`", shown(&decision))))?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| invalid("`signature` is not base64".to_owned()))?;
        self.recorder.ready().map_err(|refusal| unrecorded(refusal.detail))?;
        let approvals = self.keys.approvals();
        let voice = approvals.hear(id, &key, decision, &signature).await?;
        let approver = voice.approver().to_owned();
        let about = about(voice.approval());
        let account = voice.approval().domain.to_string();
        let counted = approvals.count(voice).await;
        let refused = counted.as_ref().err().map(Fault::code);
        let operation = match decision {
            Decision::Approve => "approvals:Approve",
            Decision::Reject => "approvals:Reject",
        };
        self.recorded_voice(operation, &approver, (&account, about), request, refused)?;
        let (approval, _) = counted?;
        let safeguards = approvals.safeguards(&approval.domain).await?;
        answer::json(StatusCode::OK, &self.approval_shape(&safeguards, &approval))
    }

    pub(super) async fn get_safeguards(&self, decisions: &Decisions, domain: &str) -> Result<Response<Bytes>, Failure> {
        let domain = Domain::parse(domain)?;
        decisions.allow(AdminAction::ReadSafeguards, resource(&domain))?;
        let safeguards = self.keys.approvals().safeguards(&domain).await?;
        answer::json(StatusCode::OK, &safeguards_shape(&domain, &safeguards))
    }

    pub(super) async fn set_quorum(
        &self,
        decisions: &Decisions,
        domain: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        let QuorumRequest {
            required,
            lifetime_seconds: lifetime,
        } = answer::parse(body)?;
        let change = SafeguardChange::Quorum { required, lifetime };
        self.change_safeguards(decisions, domain, &change).await
    }

    pub(super) async fn add_approver(
        &self,
        decisions: &Decisions,
        (domain, name): (&str, &str),
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        let request: ApproverRequest = answer::parse(body)?;
        let now = self.clock.now();
        let change = SafeguardChange::add(name, &request.public_key_pem, request.principals, now)?;
        self.change_safeguards(decisions, domain, &change).await
    }

    pub(super) async fn remove_approver(
        &self,
        decisions: &Decisions,
        domain: &str,
        name: &str,
    ) -> Result<Response<Bytes>, Failure> {
        let change = SafeguardChange::RemoveApprover(name.to_owned());
        self.change_safeguards(decisions, domain, &change).await
    }

    pub(super) async fn set_deletion_guard(
        &self,
        decisions: &Decisions,
        domain: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        let GuardRequest { days } = answer::parse(body)?;
        let change = SafeguardChange::DeletionGuard(days);
        self.change_safeguards(decisions, domain, &change).await
    }

    async fn change_safeguards(
        &self,
        decisions: &Decisions,
        domain: &str,
        change: &SafeguardChange,
    ) -> Result<Response<Bytes>, Failure> {
        let domain = Domain::parse(domain)?;
        decisions.allow(AdminAction::UpdateSafeguards, resource(&domain))?;
        let approvals = self.keys.approvals();
        let changed = approvals.change(&domain, change, &decisions.requester()).await;
        if let Err(Fault::Denied { policies, .. }) = &changed {
            policies.iter().for_each(|policy| decisions.note(policy));
        }
        let (safeguards, approved) = changed?;
        if let Some(id) = approved.id() {
            decisions.note(&format!("approval:{id}"));
        }
        tracing::warn!(%domain, operation = change.operation(), "safeguards changed");
        answer::json(StatusCode::OK, &safeguards_shape(&domain, &safeguards))
    }

    /// A request, without its parameters, which may be long. Nor with signatures: whoever has one can send it again.
    fn approval_shape(&self, safeguards: &Safeguards, approval: &Approval) -> Value {
        let approvals = self.keys.approvals();
        let given = approval.given.iter().map(|given| {
            json!({
                "approver": given.approver,
                "key": given.kid,
                "decision": given.decision().as_str(),
                "at": rfc3339(given.at),
            })
        });
        json!({
            "trust_domain": approvals.trust_domain(),
            "id": approval.id,
            "account": approval.domain,
            "region": approval.region,
            "operation": approval.operation,
            "resource": approval.resource,
            "parameters_sha256": hex(&sha256(approval.parameters.as_bytes())),
            "requester": approval.requester,
            "created": approval.created_at,
            "expires": approval.expires_at,
            "created_at": rfc3339(approval.created_at),
            "expires_at": rfc3339(approval.expires_at),
            "status": approvals.stands(safeguards, approval).as_str(),
            "required": safeguards.required,
            "decisions": given.collect::<Vec<_>>(),
        })
    }
}

/// What records of a decision, or of a request's end, say that it was about.
pub(crate) fn about(approval: &Approval) -> Decided {
    let key = approval.resource.split_once(":key/").map(|(_, id)| id.to_owned());
    Decided {
        key,
        policies: [format!("approval:{}", approval.id)].into(),
        ..Decided::default()
    }
}

fn resource(domain: &Domain) -> AdminResource<'_> {
    match domain {
        Domain::Tenant(tenant) => AdminResource::Tenant(tenant.as_str()),
        Domain::Authority => AdminResource::Authority,
    }
}

fn safeguards_shape(domain: &Domain, safeguards: &Safeguards) -> Value {
    let approvers = safeguards.approvers.iter().map(|approver| {
        json!({
            "name": approver.name,
            "key": approver.kid,
            "public_key": approver.public_key,
            "principals": approver.principals,
            "added_at": rfc3339(approver.added_at),
        })
    });
    json!({
        "account": domain,
        "required": safeguards.required,
        "lifetime_seconds": safeguards.lifetime,
        "deletion_guard_days": safeguards.deletion_guard_days,
        "approvers": approvers.collect::<Vec<_>>(),
    })
}
