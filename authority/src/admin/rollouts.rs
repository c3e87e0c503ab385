//! `GET /v1/rollouts`, `PUT /v1/rollouts/{plugin}` (`?dry_run=true`), `POST /v1/rollouts/{plugin}/promote`, `…/abort`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use node::problem::Problem;
use policies::engine::{AdminAction, AdminResource};
use policies::rollout::{Calls, Figures, Rollout, Stage, Steps, Thresholds};
use serde::Deserialize;
use serde_json::{Value, json};
use signing::digest::sha256;

use super::answer::{self, Failure, rfc3339};
use super::{Admin, Decisions, Route};
use crate::keys::Gate;
use crate::rollout::{Plan, Promotion, Seen, Start};

/// What a method means at a path below `/v1/rollouts`.
pub(super) fn route<'a>(method: &Method, parts: &[&'a str]) -> Option<Route<'a>> {
    match parts {
        ["v1", "rollouts"] if *method == Method::GET => Some(Route::ListRollouts),
        ["v1", "rollouts", plugin] if *method == Method::PUT => Some(Route::StartRollout(plugin)),
        ["v1", "rollouts", plugin, "promote"] if *method == Method::POST => Some(Route::PromoteRollout(plugin)),
        ["v1", "rollouts", plugin, "abort"] if *method == Method::POST => Some(Route::AbortRollout(plugin)),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartRequest {
    component_base64: String,
    #[serde(default)]
    steps: Steps,
    #[serde(default)]
    thresholds: Thresholds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromoteRequest {
    /// None: to the next step.
    percent: Option<u8>,
    /// Whether the last step is taken though no call was reported.
    #[serde(default)]
    untried: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AbortRequest {
    #[serde(default)]
    reason: String,
}

impl Admin {
    pub(super) async fn list_rollouts(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ReadBundle, AdminResource::Authority)?;
        let shapes: Vec<_> = self.rollouts.list().await?.iter().map(shape).collect();
        answer::json(StatusCode::OK, &json!({ "rollouts": shapes }))
    }

    pub(super) async fn start_rollout(
        &self,
        decisions: &Decisions,
        plugin: &str,
        body: &[u8],
        dry_run: bool,
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ApplyBundle, AdminResource::Authority)?;
        let request: StartRequest = answer::parse(body)?;
        let component = STANDARD
            .decode(request.component_base64)
            .map_err(|_| Problem::new("bad_request", "`component_base64`: not base64"))?;
        decisions.note_digest(sha256(&component));
        let start = Start {
            plugin,
            component,
            steps: request.steps,
            thresholds: request.thresholds,
            by: &decisions.requester(),
        };
        let plan = self.rollouts.start(start, dry_run).await??;
        answer::json(StatusCode::OK, &plan_shape(&plan, !dry_run))
    }

    pub(super) async fn promote_rollout(
        &self,
        decisions: &Decisions,
        plugin: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ApplyBundle, AdminResource::Authority)?;
        let request: PromoteRequest = answer::parse(body)?;
        let to = Promotion {
            percent: request.percent,
            untried: request.untried,
        };
        let promoted = self.rollouts.promote(plugin, to, &decisions.requester()).await??;
        answer::json(StatusCode::OK, &rollout_shape(&promoted))
    }

    pub(super) async fn abort_rollout(
        &self,
        decisions: &Decisions,
        plugin: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ApplyBundle, AdminResource::Authority)?;
        let request: AbortRequest = answer::parse(body)?;
        let aborted = self
            .rollouts
            .abort(plugin, &request.reason, &decisions.requester())
            .await?;
        answer::json(StatusCode::OK, &rollout_shape(&aborted))
    }
}

fn plan_shape(plan: &Plan, started: bool) -> Value {
    let mut shape = rollout_shape(&plan.rollout);
    let more = json!({ "started": started, "profiles": plan.profiles, "bytes": plan.bytes });
    if let (Some(shape), Value::Object(more)) = (shape.as_object_mut(), more) {
        shape.extend(more);
    }
    shape
}

fn rollout_shape(rollout: &Rollout) -> Value {
    let reason = match &rollout.stage {
        Stage::Aborted { reason } => Some(reason),
        _ => None,
    };
    json!({
        "id": rollout.id,
        "plugin": rollout.plugin,
        "file": rollout.file,
        "stage": rollout.stage.to_string(),
        "percent": rollout.stage.percent(),
        "running": rollout.stage.is_running(),
        "reason": reason,
        "steps": rollout.steps,
        "next": rollout.promoted(None).ok().map(|stage| stage.percent()),
        "thresholds": rollout.thresholds,
        "current_sha256": rollout.current,
        "candidate_sha256": rollout.candidate,
        "started_by": rollout.started_by,
        "started_at": rfc3339(rollout.started_at),
        "changed_by": rollout.changed_by,
        "changed_at": rfc3339(rollout.changed_at),
    })
}

fn shape(seen: &Seen) -> Value {
    let mut shape = rollout_shape(&seen.rollout);
    let Figures {
        current,
        candidate,
        differences,
        samples,
        ..
    } = &seen.figures;
    let samples = samples.iter().map(|sample| {
        json!({
            "kind": sample.kind,
            "time": rfc3339(sample.time),
            "request_id": sample.request_id,
            "profile": sample.profile,
            "current": sample.current,
            "candidate": sample.candidate,
        })
    });
    let edges = seen
        .edges
        .iter()
        .map(|edge| json!({ "edge": edge.edge, "calls": edge.calls, "stopped": edge.stopped }));
    let more = json!({
        "current": calls(current),
        "candidate": calls(candidate),
        "differences": differences,
        "samples": samples.collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
        "in_force": seen.in_force,
    });
    if let (Some(shape), Value::Object(more)) = (shape.as_object_mut(), more) {
        shape.extend(more);
    }
    shape
}

fn calls(calls: &Calls) -> Value {
    json!({
        "calls": calls.total(),
        "allowed": calls.allowed,
        "refused": calls.refused,
        "failed": calls.failed,
        "slow": calls.slow,
        "median_us": calls.took.quantile(50),
        "p99_us": calls.took.quantile(99),
    })
}
