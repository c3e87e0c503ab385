//! `GET /v1/edges/trust`, `PUT`, `DELETE /v1/edges/trust/{name}`, `POST /v1/edges/trust/{name}/revoke`.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use policies::engine::{AdminAction, AdminResource};
use serde_json::{Value, json};

use super::answer::{self, Failure, rfc3339};
use super::edges::RevokeRequest;
use super::{Admin, Decisions, Route};
use crate::edge_trust::{Terms, TrustRule};
use crate::names::EdgeId;

/// What a method means at a path below `/v1/edges/trust`.
pub(super) fn route<'a>(method: &Method, parts: &[&'a str]) -> Option<Route<'a>> {
    match parts {
        ["v1", "edges", "trust"] if *method == Method::GET => Some(Route::ListEdgeTrust),
        ["v1", "edges", "trust", name] if *method == Method::PUT => Some(Route::AddEdgeTrust(name)),
        ["v1", "edges", "trust", name] if *method == Method::DELETE => Some(Route::RemoveEdgeTrust(name)),
        ["v1", "edges", "trust", name, "revoke"] if *method == Method::POST => Some(Route::RevokeEdgeTrust(name)),
        _ => None,
    }
}

impl Admin {
    pub(super) async fn list_edge_trust(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ListEdges, AdminResource::Authority)?;
        let rules: Vec<_> = self.edge_trust.list().await?.iter().map(shape).collect();
        answer::json(StatusCode::OK, &json!({ "rules": rules }))
    }

    pub(super) async fn add_edge_trust(
        &self,
        decisions: &Decisions,
        name: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ManageEdgeTrust, AdminResource::Authority)?;
        let terms: Terms = answer::parse(body)?;
        let rule = self.edge_trust.add(EdgeId::parse(name)?, terms).await?;
        tracing::info!(rule = %rule.name, issuer = rule.terms.issuer, subject = rule.terms.subject, "edges are trusted");
        answer::json(StatusCode::CREATED, &shape(&rule))
    }

    pub(super) async fn remove_edge_trust(
        &self,
        decisions: &Decisions,
        name: &str,
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ManageEdgeTrust, AdminResource::Authority)?;
        self.edge_trust.remove(&EdgeId::parse(name)?).await?;
        answer::json(StatusCode::OK, &json!({ "removed": name }))
    }

    /// The rule first, so that nobody enrolls behind the list of its edges. What fails half-way is done again by the same call.
    pub(super) async fn revoke_edge_trust(
        &self,
        decisions: &Decisions,
        name: &str,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::RevokeEdge, AdminResource::Edge(name))?;
        let request: RevokeRequest = if body.is_empty() {
            RevokeRequest::default()
        } else {
            answer::parse(body)?
        };
        let edges = self.edge_trust.stop(&EdgeId::parse(name)?).await?;
        for edge in &edges {
            self.edges.revoke(edge, &request.reason).await?;
        }
        answer::json(StatusCode::OK, &json!({ "rule": name, "revoked": edges }))
    }
}

fn shape(rule: &TrustRule) -> Value {
    let terms = &rule.terms;
    json!({
        "name": rule.name,
        "issuer": terms.issuer,
        "audiences": terms.audiences,
        "subject": terms.subject,
        "algorithms": terms.algorithms,
        "jwks_url": terms.jwks_url,
        "prefix": terms.prefix.as_deref().unwrap_or(rule.name.as_str()),
        "labels": terms.labels,
        "max_edges": terms.max_edges,
        "per_minute": terms.per_minute,
        "created_at": rfc3339(rule.created_at),
        "stopped_at": rule.stopped_at.map(rfc3339),
    })
}
