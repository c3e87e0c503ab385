//! `GET /v1/bundle`, `PUT /v1/bundle`, `GET /v1/profiles`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode};
use node::problem::Problem;
use policies::Profile;
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Failure};
use super::{Admin, Decisions};
use crate::bundle::{Applicant, FileChangeKind, InForce, Outcome};
use crate::fault::Fault;
use crate::keys::Gate;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutRequest {
    files: Vec<PutFile>,
    /// Why it may trust a whole organisation.
    #[serde(rename = "override")]
    override_reason: Option<String>,
    /// Whether what edges decided by the bundle before is withdrawn at once.
    #[serde(default)]
    fence: bool,
    /// Whether it may bring back the version of a plugin that a rollout has replaced.
    #[serde(default)]
    take_back: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutFile {
    path: String,
    content_base64: String,
}

impl Admin {
    pub(super) async fn get_bundle(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ReadBundle, AdminResource::Authority)?;
        let in_force = self.bundles.in_force();
        let Some(published) = &in_force.published else {
            return answer::json(StatusCode::OK, &json!({ "digest": null, "files": [] }));
        };
        let files: Vec<_> = published
            .files
            .iter()
            .map(|(path, content)| json!({ "path": path, "content_base64": STANDARD.encode(content) }))
            .collect();
        answer::json(StatusCode::OK, &json!({ "digest": published.digest, "files": files }))
    }

    pub(super) async fn put_bundle(
        &self,
        decisions: &Decisions,
        body: &[u8],
        dry_run: bool,
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ApplyBundle, AdminResource::Authority)?;
        let request: PutRequest = answer::parse(body)?;
        let reason = request.override_reason;
        if reason.as_ref().is_some_and(|reason| !is_reason(reason)) {
            return Err(Problem::new("bad_request", "`override` says why, in 1 to 256 characters").into());
        }
        let mut files = Vec::with_capacity(request.files.len());
        for (index, file) in request.files.into_iter().enumerate() {
            let content = STANDARD
                .decode(file.content_base64)
                .map_err(|_| Problem::new("bad_request", format!("`files[{index}].content_base64`: not base64")))?;
            files.push((file.path, content));
        }
        let applicant = Applicant {
            approvals: self.keys.approvals(),
            requester: &decisions.requester(),
            reason: reason.as_deref(),
            fence: request.fence,
            take_back: request.take_back,
        };
        let applied = self.bundles.apply(files, dry_run, &applicant).await;
        if let Err(Fault::Denied { policies, .. }) = &applied {
            policies.iter().for_each(|policy| decisions.note(policy));
        }
        let outcome = applied??;
        outcome.approved_by.iter().for_each(|what| decisions.note(what));
        answer::json(StatusCode::OK, &shape(&outcome)?)
    }

    pub(super) async fn list_profiles(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ReadBundle, AdminResource::Authority)?;
        let in_force = self.bundles.in_force();
        let profiles: Vec<_> = in_force
            .bundle
            .profiles
            .iter()
            .map(|profile| profile_shape(profile, &in_force))
            .collect();
        answer::json(StatusCode::OK, &json!({ "profiles": profiles }))
    }
}

fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 256 && !text.contains(char::is_control)
}

/// The outcome, with the changed paths by kind as well.
fn shape(outcome: &Outcome) -> Result<Value, Failure> {
    let mut shape = serde_json::to_value(outcome).map_err(|error| Problem::internal(error.to_string()))?;
    let of = |kind: FileChangeKind| -> Vec<&str> {
        outcome
            .changes
            .iter()
            .filter(|change| change.change == kind)
            .map(|change| change.path.as_str())
            .collect()
    };
    let kinds = [
        ("added", FileChangeKind::Added),
        ("changed", FileChangeKind::Modified),
        ("removed", FileChangeKind::Removed),
    ];
    if let Some(members) = shape.as_object_mut() {
        for (name, kind) in kinds {
            members.insert(name.to_owned(), json!(of(kind)));
        }
    }
    Ok(shape)
}

fn profile_shape(profile: &Profile, in_force: &InForce) -> Value {
    let token = profile.token();
    let url = token
        .and_then(|token| in_force.bundle.issuer(&token.issuer))
        .and_then(|issuer| issuer.url.clone());
    json!({
        "name": profile.name,
        "description": profile.description,
        "kind": profile.kind().as_str(),
        "tenant": profile.tenant,
        "key": profile.key,
        "algorithm": profile.algorithm,
        "plugins": profile.plugins,
        "issuer": token.map(|token| &token.issuer),
        "issuer_url": url,
        "max_lifetime": token.map(|token| token.max_lifetime),
    })
}
