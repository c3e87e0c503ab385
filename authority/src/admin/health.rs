//! `GET /livez`, `/readyz`, `/metrics` and `/v1/roots`: what needs no token, since none of it is secret.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use node::problem::Problem;
use node::telemetry::OPENMETRICS;
use serde_json::json;

use super::Admin;
use super::answer::{self, Failure};

/// How long the HSM and the store may take to show that they are there.
const PATIENCE: Duration = Duration::from_secs(3);

impl Admin {
    pub(super) fn live(&self) -> Result<Response<Bytes>, Failure> {
        answer::json(StatusCode::OK, &json!({ "status": "alive" }))
    }

    /// 200 when the HSM and the store answer and the authority is not sealed; 503 and why otherwise (R29).
    pub(super) async fn ready(&self) -> Result<Response<Bytes>, Failure> {
        let hsm = tokio::time::timeout(PATIENCE, self.vault.hsm().healthy()).await;
        let store = tokio::time::timeout(PATIENCE, self.vault.store().revision()).await;
        let (hsm, store) = (matches!(hsm, Ok(Ok(()))), store.ok().and_then(Result::ok));
        let cannot_write = self.vault.store().cannot_write();
        let stored = store.is_some() && cannot_write.is_none();
        let sealed = self.seal.reason();
        let behind = self.watches.rolled_back_by();
        let bundle = self
            .bundles
            .in_force()
            .published
            .as_ref()
            .map(|published| published.digest.clone());
        let word = |good: bool| if good { "ok" } else { "unavailable" };
        let shape = json!({
            "status": if sealed.is_some() { "sealed" } else { word(hsm && stored) },
            "sealed": sealed.as_ref().map(ToString::to_string),
            "hsm": { "status": word(hsm), "kind": self.vault.hsm().info().kind },
            "store": {
                "status": word(stored),
                "revision": store,
                "rolled_back_by": behind,
                "cannot_write": cannot_write.map(|error| format!("{error}; `signet authority run` opens it anew once its disk can be written")),
            },
            "audit_log": self.log.as_ref().map(|log| json!({
                "status": word(log.broken().is_none() && log.unwritten_for().is_none()),
                "unwritten_seconds": log.unwritten_for().map(|unwritten| unwritten.as_secs()),
            })),
            "bundle": bundle,
            "stopped": self.world.halts().shape(),
        });
        let status = if hsm && stored && sealed.is_none() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        answer::json(status, &shape)
    }

    pub(super) fn metrics(&self) -> Result<Response<Bytes>, Failure> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.gauges.edges_connected.set(count(self.watches.connected().len()));
        self.gauges.keys.set(count(self.world.key_count()));
        self.gauges
            .revision
            .set(i64::try_from(self.world.revision()).unwrap_or(i64::MAX));
        self.gauges
            .rolled_back_by
            .set(i64::try_from(self.watches.rolled_back_by()).unwrap_or(i64::MAX));
        self.gauges.leases.set(count(self.leases.sweep()));
        self.gauges.stops.set(count(self.world.halts().len()));
        self.gauges.sealed.set(i64::from(self.seal.is_closed()));
        let unwritten = self.log.as_ref().and_then(|log| log.unwritten_for());
        // One second at least: 0 says that it can be written.
        let unwritten = unwritten.map_or(0, |unwritten| unwritten.as_secs().max(1));
        self.gauges
            .log_unwritten
            .set(i64::try_from(unwritten).unwrap_or(i64::MAX));
        let text = self
            .gauges
            .metrics
            .render()
            .map_err(|_| Problem::internal("the metrics cannot be written"))?;
        Ok(answer::respond(StatusCode::OK, OPENMETRICS, text.into()))
    }

    pub(super) fn roots(&self) -> Result<Response<Bytes>, Failure> {
        let roots = self.issuer.roots();
        let shape = json!({
            "trust_domain": self.issuer.trust_domain(),
            "node_root_pem": roots.nodes.to_pem(),
            "delegation_root_pem": roots.delegations.to_pem(),
        });
        answer::json(StatusCode::OK, &shape)
    }
}
