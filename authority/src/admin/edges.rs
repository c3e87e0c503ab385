//! `GET /v1/edges`, `POST /v1/edges/tokens`, `POST /v1/edges/{id}/revoke`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode};
use node::contract::CompileTarget;
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Failure, rfc3339};
use super::{Admin, Decisions};
use crate::edges::{EdgeRecord, EdgeState};
use crate::names::EdgeId;

const DEFAULT_TTL: u64 = 600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    edge_id: String,
    #[serde(default = "default_ttl")]
    ttl_seconds: u64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeRequest {
    #[serde(default)]
    pub(super) reason: String,
}

fn default_ttl() -> u64 {
    DEFAULT_TTL
}

impl Admin {
    pub(super) async fn list_edges(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ListEdges, AdminResource::Authority)?;
        let connected = self.watches.connected();
        let edges = self.edges.list().await?;
        let shapes: Vec<_> = edges
            .iter()
            .map(|edge| self.shape(edge, connected.contains_key(edge.id.as_str())))
            .collect();
        answer::json(StatusCode::OK, &json!({ "edges": shapes }))
    }

    pub(super) async fn create_token(&self, decisions: &Decisions, body: &[u8]) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::CreateJoinToken, AdminResource::Authority)?;
        let request: TokenRequest = answer::parse(body)?;
        let id = EdgeId::parse(&request.edge_id)?;
        let (token, expires_at) = self
            .edges
            .create_token(&id, request.ttl_seconds, request.labels)
            .await?;
        let shape = json!({
            "join_token": token,
            "edge_id": id,
            "expires_at": rfc3339(expires_at),
            "trust_domain": self.issuer.trust_domain(),
            "node_root_pem": self.issuer.roots().nodes.to_pem(),
        });
        answer::json(StatusCode::CREATED, &shape)
    }

    pub(super) async fn revoke_edge(
        &self,
        decisions: &Decisions,
        id: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::RevokeEdge, AdminResource::Edge(id))?;
        let request: RevokeRequest = if body.is_empty() {
            RevokeRequest::default()
        } else {
            answer::parse(body)?
        };
        let edge = self.edges.revoke(&EdgeId::parse(id)?, &request.reason).await?;
        answer::json(StatusCode::OK, &self.shape(&edge, false))
    }

    fn shape(&self, edge: &EdgeRecord, connected: bool) -> Value {
        let (state, revoked_at, reason) = match &edge.state {
            EdgeState::Active => ("active", None, None),
            EdgeState::Revoked { at, reason } => ("revoked", Some(rfc3339(*at)), Some(reason)),
        };
        json!({
            "id": edge.id,
            "spiffe_id": self.edges.spiffe_id(&edge.id),
            "state": state,
            "revoked_at": revoked_at,
            "reason": reason,
            "connected": connected,
            "enrolled_at": rfc3339(edge.enrolled_at),
            "enrolled_by": edge.enrolled_by,
            "certificate_ends_at": edge.certificates.iter().map(|issued| issued.not_after).max().map(rfc3339),
            "plugins": self.watches.target(edge.id.as_str()).map(compiled),
            "labels": edge.labels,
        })
    }
}

/// What an edge needs plugins compiled for, and whether this authority can: not where the two are of different versions.
fn compiled(target: CompileTarget) -> Value {
    let here = runtime::Target::find(&target.name, &target.compatibility).is_some();
    json!({
        "target": target.name,
        "compatibility": target.compatibility,
        "compiled_by_authority": here,
    })
}
