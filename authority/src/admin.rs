//! The operators' API: JSON over HTTPS, for what KMS has no words for, and the key verbs in KMS's words.
//!
//! | | |
//! | --- | --- |
//! | `POST /v1/keys/{Verb}?tenant=T` | a key verb, [`crate::keys`] |
//! | `POST /v1/reports/{name}?tenant=T` | [`report`] |
//! | `GET`, `POST /v1/tenants`, `PUT /v1/tenants/{id}/custody` | list, create, where its keys are kept by default |
//! | `GET`, `POST /v1/access-keys`, `POST /v1/access-keys/{id}/{change}`, `DELETE /v1/access-keys/{id}` | [`access_keys`] |
//! | `GET /v1/edges`, `POST /v1/edges/tokens`, `POST /v1/edges/{id}/revoke` | list, join token, revoke |
//! | `GET /v1/edges/trust`, `PUT`, `DELETE /v1/edges/trust/{name}`, `POST …/revoke` | whose tokens make edges, [`edge_trust`] |
//! | `GET`, `POST /v1/stops`, `POST /v1/stops/resume`, `POST /v1/fence` | [`stops`] |
//! | `POST /v1/backups`, `POST /v1/backups/{id}/next`, `GET`, `PUT /v1/backup-key`, `GET /v1/seal` | [`backups`] |
//! | `GET`, `PUT /v1/bundle` (`?dry_run=true`), `GET /v1/profiles` | the bundle in force, a new one, what it offers |
//! | `GET /v1/rollouts`, `PUT /v1/rollouts/{plugin}`, `POST …/promote`, `…/abort` | new versions of plugins, [`rollouts`] |
//! | `GET /v1/samples?from=N` | sealed samples of requests |
//! | `GET /v1/approvals`, `GET /v1/approvals/{id}`, `POST /v1/approvals/{id}/decisions` | [`approvals`]; the latter two without a token |
//! | `GET /v1/safeguards/{tenant}`, `PUT …/quorum`, `PUT …/deletion-guard`, `PUT`, `DELETE …/approvers/{name}` | who approves |
//! | `GET /v1/audit/log`, `GET /v1/audit/records`, `GET /v1/audit/proof` | [`audit_log`] |
//! | `GET /v1/roots`, `/v1/revocations`, `/livez`, `/readyz`, `/metrics` | without a token: none of it is secret |
//!
//! The token is verified before a body is read; what it may is Cedar's decision, on each request. What changes something is put
//! on record ([`record`]) before it is answered. A sealed authority answers what tells about it, and takes a bundle.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request};
use node::listen::{Handler, Peer};
use node::problem::Problem;
use node::telemetry::Metrics;
use prometheus_client::metrics::gauge::Gauge;
use uuid::Uuid;

use self::answer::Failure;
use self::auth::Decisions;
use self::record::Operation;
use crate::backup::service::Backups;
use crate::bundle::Bundles;
use crate::clock::Clock;
use crate::collect::Collector;
use crate::edge_trust::EdgeTrust;
use crate::edges::Edges;
use crate::fault::Fault;
use crate::halts::Stopping;
use crate::issue::Issuer;
use crate::keys::Keys;
use crate::kms::Recorder;
use crate::kms::access_key::AccessKeys;
use crate::leases::Leases;
use crate::names::{Tenant, shown};
use crate::rollout::Rollouts;
use crate::samples::Samples;
use crate::seal::Seal;
use crate::sealed::Vault;
use crate::tenants::Tenants;
use crate::watch::Watches;
use crate::world::World;

pub(crate) use self::approvals::about;
pub use self::auth::{AdminToken, Operator};

mod access_keys;
mod answer;
mod approvals;
mod audit_log;
mod auth;
mod backups;
mod bundle;
mod edge_trust;
mod edges;
mod health;
mod record;
mod report;
mod rollouts;
mod samples;
mod stops;
mod tenants;

/// Bytes of a body: a bundle's, and any other's.
pub const MAX_BUNDLE_BODY: usize = 60 << 20;
const MAX_BODY: usize = 256 << 10;

/// What the metrics page shows.
pub(crate) struct Gauges {
    pub(crate) metrics: Metrics,
    edges_connected: Gauge,
    keys: Gauge,
    revision: Gauge,
    rolled_back_by: Gauge,
    sealed: Gauge,
    leases: Gauge,
    stops: Gauge,
    log_unwritten: Gauge,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        let metrics = Metrics::new("signet_authority");
        Self {
            edges_connected: metrics.gauge("edges_connected", "Edges with an open watch stream"),
            keys: metrics.gauge("keys", "Logical keys"),
            revision: metrics.gauge("revision", "Revision of the store that edges are told"),
            rolled_back_by: metrics.gauge(
                "store_rolled_back_by",
                "Revisions an edge was ahead of this store; above 0 the store was put back",
            ),
            leases: metrics.gauge("leases", "Leases of edges that may run"),
            stops: metrics.gauge("stops", "Emergency stops that stand"),
            log_unwritten: metrics.gauge(
                "audit_log_unwritten_seconds",
                "For how long every attempt to write the audit log has failed; 0 when it can be written",
            ),
            sealed: metrics.gauge("sealed", "1 while the authority is sealed and uses no key"),
            metrics,
        }
    }
}

/// The admin API.
pub struct Admin {
    pub(crate) token: AdminToken,
    pub(crate) vault: Arc<Vault>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) tenants: Tenants,
    pub(crate) access_keys: Arc<AccessKeys>,
    pub(crate) edges: Arc<Edges>,
    pub(crate) edge_trust: Arc<EdgeTrust>,
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) stopping: Stopping,
    pub(crate) revocations: tokio::sync::watch::Receiver<String>,
    pub(crate) world: Arc<World>,
    pub(crate) rollouts: Arc<Rollouts>,
    pub(crate) samples: Arc<Samples>,
    pub(crate) backups: Backups,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) log: Option<Arc<Collector>>,
    pub(crate) seal: Arc<Seal>,
    pub(crate) clock: Clock,
    pub(crate) gauges: Gauges,
}

/// What a path and method mean.
enum Route<'a> {
    Live,
    Ready,
    Metrics,
    Roots,
    Revocations,
    ListStops,
    Stop,
    Resume,
    Fence,
    Verb(&'a str),
    Report(report::Kind),
    ListTenants,
    CreateTenant,
    SetTenantCustody(&'a str),
    ListAccessKeys,
    CreateAccessKey,
    ChangeAccessKey(&'a str, access_keys::ChangeKind),
    DeleteAccessKey(&'a str),
    ListEdges,
    CreateToken,
    RevokeEdge(&'a str),
    ListEdgeTrust,
    AddEdgeTrust(&'a str),
    RemoveEdgeTrust(&'a str),
    RevokeEdgeTrust(&'a str),
    GetBundle,
    PutBundle,
    ListProfiles,
    ListRollouts,
    StartRollout(&'a str),
    PromoteRollout(&'a str),
    AbortRollout(&'a str),
    ReadSamples,
    ListApprovals,
    ShowApproval(&'a str),
    DecideApproval(&'a str),
    GetSafeguards(&'a str),
    SetQuorum(&'a str),
    SetDeletionGuard(&'a str),
    AddApprover(&'a str, &'a str),
    RemoveApprover(&'a str, &'a str),
    BeginBackup,
    NextOfBackup(&'a str),
    GetBackupKey,
    PutBackupKey,
    Seal,
    AuditLog,
    AuditRecords,
    AuditProof,
}

impl<'a> Route<'a> {
    fn find(method: &Method, path: &'a str) -> Result<Self, Problem> {
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let (get, post, put) = (*method == Method::GET, *method == Method::POST, *method == Method::PUT);
        let delete = *method == Method::DELETE;
        let wrong = || {
            Err(Problem::new(
                "method_not_allowed",
                format!("`{method}` is not served here"),
            ))
        };
        match parts.as_slice() {
            ["livez"] if get => Ok(Self::Live),
            ["readyz"] if get => Ok(Self::Ready),
            ["metrics"] if get => Ok(Self::Metrics),
            ["v1", "roots"] if get => Ok(Self::Roots),
            ["v1", "revocations"] if get => Ok(Self::Revocations),
            ["v1", "stops"] if get => Ok(Self::ListStops),
            ["v1", "stops"] if post => Ok(Self::Stop),
            ["v1", "stops", "resume"] if post => Ok(Self::Resume),
            ["v1", "fence"] if post => Ok(Self::Fence),
            ["v1", "keys", verb] if post => Ok(Self::Verb(verb)),
            ["v1", "reports", name] if let Some(kind) = report::Kind::parse(name) => {
                if post {
                    Ok(Self::Report(kind))
                } else {
                    wrong()
                }
            }
            ["v1", "tenants"] if get => Ok(Self::ListTenants),
            ["v1", "tenants"] if post => Ok(Self::CreateTenant),
            ["v1", "tenants", id, "custody"] if put => Ok(Self::SetTenantCustody(id)),
            ["v1", "access-keys"] if get => Ok(Self::ListAccessKeys),
            ["v1", "access-keys"] if post => Ok(Self::CreateAccessKey),
            ["v1", "access-keys", id] if delete => Ok(Self::DeleteAccessKey(id)),
            ["v1", "access-keys", id, change] if let Some(change) = access_keys::ChangeKind::parse(change) => {
                if post {
                    Ok(Self::ChangeAccessKey(id, change))
                } else {
                    wrong()
                }
            }
            ["v1", "edges"] if get => Ok(Self::ListEdges),
            ["v1", "edges", "tokens"] if post => Ok(Self::CreateToken),
            ["v1", "edges", id, "revoke"] if post => Ok(Self::RevokeEdge(id)),
            ["v1", "edges", "trust", ..] if let Some(route) = edge_trust::route(method, &parts) => Ok(route),
            ["v1", "bundle"] if get => Ok(Self::GetBundle),
            ["v1", "bundle"] if put => Ok(Self::PutBundle),
            ["v1", "profiles"] if get => Ok(Self::ListProfiles),
            ["v1", "rollouts", ..] if let Some(route) = rollouts::route(method, &parts) => Ok(route),
            ["v1", "samples"] if get => Ok(Self::ReadSamples),
            ["v1", "approvals" | "safeguards", ..] if let Some(route) = approvals::route(method, &parts) => Ok(route),
            ["v1", "backups"] if post => Ok(Self::BeginBackup),
            ["v1", "backups", id, "next"] if post => Ok(Self::NextOfBackup(id)),
            ["v1", "backup-key"] if get => Ok(Self::GetBackupKey),
            ["v1", "backup-key"] if put => Ok(Self::PutBackupKey),
            ["v1", "seal"] if get => Ok(Self::Seal),
            ["v1", "audit", "log"] if get => Ok(Self::AuditLog),
            ["v1", "audit", "records"] if get => Ok(Self::AuditRecords),
            ["v1", "audit", "proof"] if get => Ok(Self::AuditProof),
            ["livez" | "readyz" | "metrics"]
            | [
                "v1",
                "roots" | "tenants" | "access-keys" | "edges" | "bundle" | "profiles" | "approvals" | "backups"
                | "backup-key" | "rollouts" | "samples" | "seal" | "revocations" | "stops" | "fence",
            ]
            | ["v1", "stops", "resume"]
            | ["v1", "rollouts", _]
            | ["v1", "rollouts", _, "promote" | "abort"]
            | ["v1", "backups", _, "next"]
            | ["v1", "audit", "log" | "records" | "proof"]
            | ["v1", "keys" | "access-keys" | "approvals" | "safeguards", _]
            | ["v1", "approvals", _, "decisions"]
            | ["v1", "safeguards", _, "quorum" | "deletion-guard"]
            | ["v1", "safeguards", _, "approvers", _]
            | ["v1", "tenants", _, "custody"]
            | ["v1", "edges", "tokens" | "trust"]
            | ["v1", "edges", "trust", _]
            | ["v1", "edges", "trust", _, "revoke"]
            | ["v1", "edges", _, "revoke"] => wrong(),
            _ => Err(Problem::new(
                "not_found",
                format!("there is nothing at `{}`", shown(path)),
            )),
        }
    }

    /// Whether a sealed authority answers it: what tells about it, and a bundle, which may have to be applied again.
    fn is_served_sealed(&self) -> bool {
        self.is_open()
            || matches!(
                self,
                Self::Seal | Self::GetBundle | Self::PutBundle | Self::GetBackupKey
            )
    }

    fn is_open(&self) -> bool {
        let service = matches!(
            self,
            Self::Live | Self::Ready | Self::Metrics | Self::Roots | Self::Revocations
        );
        service || matches!(self, Self::ShowApproval(_) | Self::DecideApproval(_))
    }

    /// The most bytes its body may have.
    fn body(&self) -> usize {
        match self {
            Self::PutBundle | Self::StartRollout(_) => MAX_BUNDLE_BODY,
            Self::Verb(_)
            | Self::CreateTenant
            | Self::SetTenantCustody(_)
            | Self::CreateToken
            | Self::RevokeEdge(_) => MAX_BODY,
            Self::CreateAccessKey | Self::ChangeAccessKey(..) | Self::Report(_) | Self::PutBackupKey => MAX_BODY,
            Self::AddEdgeTrust(_) | Self::RevokeEdgeTrust(_) => MAX_BODY,
            Self::Stop | Self::Resume | Self::Fence | Self::PromoteRollout(_) | Self::AbortRollout(_) => MAX_BODY,
            Self::SetQuorum(_) | Self::SetDeletionGuard(_) | Self::AddApprover(..) => MAX_BODY,
            Self::DecideApproval(_) => approvals::MAX_DECISION,
            _ => 0,
        }
    }
}

impl Admin {
    async fn answer(&self, head: &request::Parts, body: &[u8], id: Uuid) -> Result<Response<Bytes>, Failure> {
        let route = Route::find(&head.method, head.uri.path())?;
        match route {
            Route::Live => return self.live(),
            Route::Ready => return self.ready().await,
            Route::Metrics => return self.metrics(),
            Route::Roots => return self.roots(),
            Route::Revocations => return self.revocations(),
            Route::ShowApproval(id) => return self.show_approval(id).await,
            Route::DecideApproval(approval) => {
                return self.decide_approval(approval, body, (&head.headers, id)).await;
            }
            _ => {}
        }
        let operator = self.token.verify(&head.headers)?;
        let decisions = Decisions::new(operator, &self.bundles, &self.clock);
        let query = head.uri.query();
        let dry_run = query.is_some_and(|query| query.contains("dry_run=true"));
        let tenant = tenant(query).ok().map(|tenant| tenant.to_string());
        let operation = Operation::of(&route, tenant, body, dry_run);
        self.demand_record(operation.as_ref())?;
        let result = match self.seal.reason() {
            Some(reason) if !route.is_served_sealed() => Err(Problem::new("sealed", reason.to_string()).into()),
            _ => self.perform(route, &decisions, query, body).await,
        };
        match &operation {
            Some(operation) => self.recorded(operation, &decisions, (&head.headers, id), result).await,
            None => result,
        }
    }

    /// The status of an answer.
    #[cfg(test)]
    pub(crate) async fn status(&self, head: &request::Parts, body: &[u8]) -> u16 {
        match self.answer(head, body, Uuid::new_v4()).await {
            Ok(response) => response.status().as_u16(),
            Err(failure) => failure.into_response("").status().as_u16(),
        }
    }

    async fn perform(
        &self,
        route: Route<'_>,
        decisions: &Decisions,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        match route {
            Route::Verb(verb) => self.verb(decisions, verb, query, body).await,
            Route::Report(kind) => self.report(decisions, kind, query, body).await,
            Route::ListTenants => self.list_tenants(decisions).await,
            Route::CreateTenant => self.create_tenant(decisions, body).await,
            Route::SetTenantCustody(id) => self.set_tenant_custody(decisions, id, body).await,
            Route::ListAccessKeys => self.list_access_keys(decisions, query).await,
            Route::CreateAccessKey => self.create_access_key(decisions, body).await,
            Route::ChangeAccessKey(id, change) => self.change_access_key(decisions, id, change, body).await,
            Route::DeleteAccessKey(id) => self.delete_access_key(decisions, id).await,
            Route::ListEdges => self.list_edges(decisions).await,
            Route::CreateToken => self.create_token(decisions, body).await,
            Route::RevokeEdge(id) => self.revoke_edge(decisions, id, body).await,
            Route::ListEdgeTrust => self.list_edge_trust(decisions).await,
            Route::AddEdgeTrust(name) => self.add_edge_trust(decisions, name, body).await,
            Route::RemoveEdgeTrust(name) => self.remove_edge_trust(decisions, name).await,
            Route::RevokeEdgeTrust(name) => self.revoke_edge_trust(decisions, name, body).await,
            Route::GetBundle => self.get_bundle(decisions).await,
            Route::PutBundle => {
                let dry_run = parameter(query, "dry_run", &["true", "false"])?.as_deref() == Some("true");
                self.put_bundle(decisions, body, dry_run).await
            }
            Route::ListProfiles => self.list_profiles(decisions).await,
            Route::ListRollouts => self.list_rollouts(decisions).await,
            Route::StartRollout(plugin) => {
                let dry_run = parameter(query, "dry_run", &["true", "false"])?.as_deref() == Some("true");
                self.start_rollout(decisions, plugin, body, dry_run).await
            }
            Route::PromoteRollout(plugin) => self.promote_rollout(decisions, plugin, body).await,
            Route::AbortRollout(plugin) => self.abort_rollout(decisions, plugin, body).await,
            Route::ReadSamples => self.read_samples(decisions, query).await,
            Route::ListApprovals => self.list_approvals(decisions, query).await,
            Route::GetSafeguards(domain) => self.get_safeguards(decisions, domain).await,
            Route::SetQuorum(domain) => self.set_quorum(decisions, domain, body).await,
            Route::SetDeletionGuard(domain) => self.set_deletion_guard(decisions, domain, body).await,
            Route::AddApprover(domain, name) => self.add_approver(decisions, (domain, name), body).await,
            Route::RemoveApprover(domain, name) => self.remove_approver(decisions, domain, name).await,
            Route::BeginBackup => self.begin_backup(decisions).await,
            Route::NextOfBackup(id) => self.next_of_backup(decisions, id).await,
            Route::GetBackupKey => self.get_backup_key(decisions).await,
            Route::PutBackupKey => self.put_backup_key(decisions, body).await,
            Route::Seal => self.seal(decisions).await,
            Route::AuditLog => self.audit_log(decisions),
            Route::AuditRecords => self.audit_records(decisions, query).await,
            Route::AuditProof => self.audit_proof(decisions, query).await,
            Route::ListStops => self.list_stops(decisions).await,
            Route::Stop => self.stop(decisions, body).await,
            Route::Resume => self.resume(decisions, body).await,
            Route::Fence => self.fence(decisions, body).await,
            Route::Live
            | Route::Ready
            | Route::Metrics
            | Route::Roots
            | Route::Revocations
            | Route::ShowApproval(_)
            | Route::DecideApproval(_) => Err(Problem::internal("routed twice").into()),
        }
    }

    async fn verb(
        &self,
        decisions: &Decisions,
        verb: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        let tenant = tenant(query)?;
        let answer = self.keys.call(&tenant, decisions, verb, body).await?;
        answer::json(StatusCode::OK, &answer)
    }
}

/// The admin API as a listener has it: each request runs in a task of its own, so that one whose caller goes away is still
/// carried out whole, and recorded.
pub(crate) struct Operators(pub(crate) Arc<Admin>);

impl Handler for Operators {
    fn admit(&self, head: &request::Parts, _peer: &Peer) -> Result<usize, Response<Bytes>> {
        let admitted = self.0.admit(head);
        admitted.map_err(|problem| problem.into_response(&Uuid::new_v4().to_string()))
    }

    async fn handle(&self, request: Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        let (admin, peer) = (self.0.clone(), peer.clone());
        let task = tokio::spawn(async move { admin.handle(request, &peer).await });
        task.await.unwrap_or_else(|error| {
            let problem = Problem::internal(error.to_string());
            problem.into_response(&Uuid::new_v4().to_string())
        })
    }
}

impl Admin {
    /// The most bytes the body may have, once it is known who sends it.
    fn admit(&self, head: &request::Parts) -> Result<usize, Problem> {
        let route = Route::find(&head.method, head.uri.path())?;
        if !route.is_open() {
            self.token.verify(&head.headers).map_err(|fault| fault.problem())?;
        }
        Ok(route.body())
    }

    async fn handle(&self, request: Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        let id = Uuid::new_v4();
        let response = match self.answer(&head, &body, id).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(&id.to_string()),
        };
        tracing::info!(request_id = %id, method = %head.method, path = head.uri.path(), status = response.status().as_u16(),
            peer = %peer.address, "admin request");
        response
    }
}

/// The tenant that a request names in its query.
fn tenant(query: Option<&str>) -> Result<Tenant, Fault> {
    let missing = || Fault::invalid("bad_request", "say which tenant: `?tenant=` and 12 digits");
    Tenant::parse(&parameter(query, "tenant", &[])?.ok_or_else(missing)?)
}

/// The one parameter a request may have; any other, or the same twice, is refused. `allowed`, when not empty, lists its values.
fn parameter(query: Option<&str>, name: &str, allowed: &[&str]) -> Result<Option<String>, Fault> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != name || found.is_some() {
            return Err(Fault::invalid(
                "bad_request",
                format!("unexpected query parameter `{}`", shown(key)),
            ));
        }
        if !allowed.is_empty() && !allowed.contains(&value) {
            return Err(Fault::invalid(
                "bad_request",
                format!("`{name}` is one of {}", allowed.join(", ")),
            ));
        }
        found = Some(value.to_owned());
    }
    Ok(found)
}
