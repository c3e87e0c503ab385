//! `GET /v1/stops`, `POST /v1/stops`, `POST /v1/stops/resume`, and `POST /v1/fence`: whether what was stopped can still be
//! signed with, which changes nothing. It is `of`  `key/ID`, `edge/ID`, `bundle`, or the name of a stop.

use bytes::Bytes;
use http::{Response, StatusCode};
use node::problem::Problem;
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Failure, rfc3339};
use super::{Admin, Decisions};
use crate::fault::Fault;
use crate::halts::Halt;
use crate::keys::Gate;
use crate::leases::{Fence, Subject};
use crate::names::EdgeId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopRequest {
    what: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeRequest {
    what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FenceRequest {
    of: String,
}

/// What a request is about, as far as it reads: for the record.
pub(super) fn named(body: &[u8]) -> String {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let what = body
        .as_ref()
        .and_then(|body| body.get("what")?.as_str())
        .unwrap_or_default();
    // Nothing that is not a stop's name: a restore reads this again.
    Halt::parse(what).map(|halt| halt.to_string()).unwrap_or_default()
}

impl Admin {
    pub(super) async fn list_stops(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::Stop, AdminResource::Authority)?;
        let stops = self.stopping.list().await?;
        let shapes = stops.into_iter().map(|(what, record)| {
            json!({ "what": what, "reason": record.reason, "by": record.by, "at": rfc3339(record.at) })
        });
        answer::json(StatusCode::OK, &json!({ "stops": shapes.collect::<Vec<_>>() }))
    }

    pub(super) async fn stop(&self, decisions: &Decisions, body: &[u8]) -> Result<Response<Bytes>, Failure> {
        let request: StopRequest = answer::parse(body)?;
        let halt = Halt::parse(&request.what)?;
        decisions.allow(AdminAction::Stop, resource(&halt))?;
        halt.demand_possible()?;
        let by = decisions.requester();
        let committed = self.stopping.stop(&halt, &request.reason, &by).await?;
        answer::json(
            StatusCode::OK,
            &json!({ "what": halt.to_string(), "committed": committed }),
        )
    }

    pub(super) async fn resume(&self, decisions: &Decisions, body: &[u8]) -> Result<Response<Bytes>, Failure> {
        let request: ResumeRequest = answer::parse(body)?;
        let halt = Halt::parse(&request.what)?;
        decisions.allow(AdminAction::Resume, resource(&halt))?;
        let resumed = self.stopping.resume(&halt, &decisions.requester()).await;
        if let Err(Fault::Denied { policies, .. }) = &resumed {
            policies.iter().for_each(|policy| decisions.note(policy));
        }
        resumed?.iter().for_each(|approval| decisions.note(approval));
        answer::json(StatusCode::OK, &json!({ "what": halt.to_string(), "resumed": true }))
    }

    pub(super) async fn fence(&self, decisions: &Decisions, body: &[u8]) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::Stop, AdminResource::Authority)?;
        let request: FenceRequest = answer::parse(body)?;
        let fence = self
            .leases
            .fence(&self.vault, &self.world, &subject(&request.of)?)
            .await?;
        answer::json(StatusCode::OK, &self.fence_shape(&request.of, &fence))
    }

    fn fence_shape(&self, of: &str, fence: &Fence) -> Value {
        let awaiting = fence.awaited.iter().map(|one| {
            let who = one.edge.as_deref().unwrap_or("an edge of another authority");
            json!({ "edge": who, "incarnation": one.incarnation })
        });
        // By this authority's wall clock, for people; the wait itself is on CLOCK_BOOTTIME.
        let at = self.clock.now_ms().saturating_add(fence.left_ms).div_ceil(1_000);
        json!({
            "of": of,
            "committed": fence.committed,
            "fenced": fence.awaited.is_empty(),
            "awaiting": awaiting.collect::<Vec<_>>(),
            "left_ms": fence.left_ms,
            "at_most_until": (!fence.awaited.is_empty()).then(|| rfc3339(at)),
        })
    }

    /// Without a token: offline verifiers read it, and it is signed.
    pub(super) fn revocations(&self) -> Result<Response<Bytes>, Failure> {
        let list = self.revocations.borrow().clone();
        if list.is_empty() {
            return Err(Problem::new("unavailable", "no revocation list has been made yet; try again").into());
        }
        Ok(answer::respond(StatusCode::OK, "application/jwt", list.into()))
    }
}

fn resource(halt: &Halt) -> AdminResource<'_> {
    match halt {
        Halt::Tenant(tenant) => AdminResource::Tenant(tenant.as_str()),
        _ => AdminResource::Authority,
    }
}

fn subject(of: &str) -> Result<Subject, Fault> {
    match of.split_once('/') {
        Some(("key", id)) => Ok(Subject::Key(id.to_owned())),
        Some(("edge", id)) => EdgeId::parse(id).map(Subject::Edge),
        None if of == "bundle" => Ok(Subject::Bundle),
        _ => Halt::parse(of).map(Subject::Halt),
    }
}
