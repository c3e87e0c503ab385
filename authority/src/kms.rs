//! The endpoint that speaks AWS KMS (JSON 1.1) and the two calls of STS that go with it to unchanged clients.
//!
//! | step of a KMS request | what it makes | refuses with |
//! | --- | --- | --- |
//! | authenticate: SigV4, access key or session token | [`Principal`] | `MissingAuthenticationToken…`, `InvalidSignature…`, … |
//! | find the operation: `POST /`, content type, one `X-Amz-Target` | `Operation` | `UnknownOperationException` |
//! | throttle: per account and operation | `Admitted` | `ThrottlingException` |
//! | read: the model's types and constraints | the input | `SerializationException`, `ValidationException` |
//! | execute: [`Keys::call`], which asks Cedar | the answer | the operation's own errors |
//! | record | `Recorded` | `KMSInternalException`, before an effect where that can be known |
//!
//! What is refused after authentication is recorded too. STS is in [`sts`], told by its content type.

pub mod access_key;
mod answer;
mod form;
mod gate;
mod model;
mod principal;
mod quota;
mod record;
mod refusal;
mod roles;
mod session;
pub mod sigv4;
mod sts;
mod xml;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, request};
use node::listen::{Handler, Peer};
use node::problem::Problem;
use serde_json::Value;
use uuid::Uuid;

use self::access_key::AccessKeys;
use self::gate::AccountGate;
pub(crate) use self::gate::Decided;
use self::model::Operation;
use self::principal::Authenticator;
pub use self::principal::Principal;
use self::quota::{Admitted, Quotas};
pub(crate) use self::record::{Chain, Entry, Recorded, Recorder, demand_no_recorder, is_recorder};
use self::refusal::{AuthFailure, Refusal};
use self::roles::TrustedRoles;
use self::session::Sessions;
use crate::bundle::Bundles;
use crate::clock::Clock;
use crate::config::KmsConfig;
use crate::iam;
use crate::keys::{Keys, VERBS};
use crate::seal::Seal;
use crate::sealed::Vault;
use crate::stops::needs_no_record;

/// Bytes of a body: a key policy and what is around it fits four times.
pub const MAX_BODY: usize = 512 << 10;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const TARGET_PREFIX: &str = "TrentService.";
const FORM: &str = "application/x-www-form-urlencoded";
/// A longer `User-Agent` is one that conditions do not see, in bytes.
const MAX_AGENT: usize = 1024;
/// What is recorded for an operation that is none.
const UNKNOWN: &str = "Unknown";

/// The endpoint. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Kms(Arc<Endpoint>);

struct Endpoint {
    keys: Arc<Keys>,
    bundles: Arc<Bundles>,
    authenticator: Authenticator,
    sessions: Arc<Sessions>,
    roles: TrustedRoles,
    quotas: Quotas,
    recorder: Arc<Recorder>,
    seal: Arc<Seal>,
    clock: Clock,
}

/// What the endpoint is made of.
pub(crate) struct Parts {
    pub(crate) vault: Arc<Vault>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) access_keys: Arc<AccessKeys>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) seal: Arc<Seal>,
    pub(crate) clock: Clock,
}

/// One request.
struct Call {
    id: Uuid,
    head: request::Parts,
    body: Bytes,
    address: SocketAddr,
    /// Whether it came encrypted.
    secure: bool,
}

impl Kms {
    /// As configured, on its parts.
    pub(crate) fn new(config: &KmsConfig, parts: Parts) -> Self {
        let sessions = Arc::new(Sessions::new(parts.vault));
        let authenticator = Authenticator::new(
            parts.access_keys,
            sessions.clone(),
            parts.bundles.clone(),
            config.regions.clone(),
        );
        Self(Arc::new(Endpoint {
            keys: parts.keys,
            bundles: parts.bundles,
            authenticator,
            sessions,
            roles: TrustedRoles::default(),
            quotas: Quotas::new(&config.quota),
            recorder: parts.recorder,
            seal: parts.seal,
            clock: parts.clock,
        }))
    }

    /// What time makes due, each second.
    pub(crate) fn sweep(&self) {
        self.0.quotas.sweep();
    }
}

impl Handler for Kms {
    fn admit(&self, _head: &request::Parts, _peer: &Peer) -> Result<usize, Response<Bytes>> {
        Ok(MAX_BODY)
    }

    fn refusal(problem: Problem, request_id: &str) -> Response<Bytes> {
        answer::unread(problem, request_id)
    }

    /// In a task of its own: a caller that goes away does not keep what it changed from being recorded.
    async fn handle(&self, request: Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        let id = Uuid::new_v4();
        let call = Call {
            id,
            head,
            body,
            address: peer.address,
            secure: peer.secure,
        };
        let endpoint = self.0.clone();
        let answer = tokio::spawn(async move { endpoint.answer(&call).await });
        match answer.await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(request_id = %id, %error, "a request of the key API ended in a panic");
                answer::json_refusal(&Refusal::internal(error.to_string()), id)
            }
        }
    }
}

impl Endpoint {
    async fn answer(&self, call: &Call) -> Response<Bytes> {
        if is_form(&call.head.headers) {
            return self.sts(call).await;
        }
        match self.kms(call).await {
            Ok(answer) => answer::json(&answer, call.id),
            Err(refusal) => {
                refusal.log(call);
                answer::json_refusal(&refusal, call.id)
            }
        }
    }

    async fn kms(&self, call: &Call) -> Result<Value, Refusal> {
        let now = self.clock.now();
        let principal = self
            .authenticator
            .authenticate(&call.head, &call.body, "kms", now)
            .await;
        let principal = principal.map_err(AuthFailure::json)?;
        let caller = principal.caller(call.facts());
        let caller = caller.map_err(|fault| Refusal::internal(fault.detail().unwrap_or_default()))?;
        let gate = AccountGate::new(&principal, caller, self.bundles.in_force(), now);
        let operation = find_operation(&call.head);
        let name = operation.as_ref().map_or(UNKNOWN, |operation| operation.name());
        // What is over a quota is counted, not recorded: else whoever has an access key could fill the spool, and with it
        // stop the API for everybody.
        let admitted = self.quotas.admit(principal.account(), name);
        let admitted =
            admitted.inspect_err(|refusal| self.recorder.count(&format!("kms:{name}"), Some(refusal.code)))?;
        let result = match &operation {
            Ok(operation) => self.perform(&principal, &gate, operation, &call.body, admitted).await,
            Err(refusal) => Err(refusal.clone()),
        };
        let entry = Entry {
            operation: &format!("kms:{name}"),
            caller: &principal.arn(),
            account: principal.account().as_str(),
            decided: gate.decided(),
            digest: None,
            refused: result.as_ref().err().map(|refusal| refusal.code),
            request_id: call.id,
            headers: &call.head.headers,
        };
        let recorded = match self.recorder.record_stop(entry).await {
            Err(refusal) if needs_no_record(&format!("kms:{name}")) => {
                self.recorder.unrecorded(&call.id, name, &refusal)
            }
            recorded => recorded?,
        };
        tracing::info!(request_id = %call.id, operation = name, principal = principal.arn(), region = principal.region(),
            refused = result.as_ref().err().map(|refusal| refusal.code), peer = %call.address, "key request");
        respond(result, recorded)
    }

    async fn perform(
        &self,
        principal: &Principal,
        gate: &AccountGate<'_>,
        operation: &Operation,
        body: &[u8],
        admitted: Admitted,
    ) -> Result<Value, Refusal> {
        self.seal.demand_open()?;
        let input = operation.read(body)?;
        if let Err(refusal) = self.recorder.ready()
            && !needs_no_record(&format!("kms:{}", operation.name()))
        {
            return Err(refusal);
        }
        self.execute(principal, gate, operation, &input, admitted).await
    }

    /// Runs the verb as the principal, in the region that the request was signed for.
    async fn execute(
        &self,
        principal: &Principal,
        gate: &AccountGate<'_>,
        operation: &Operation,
        input: &Value,
        _admitted: Admitted,
    ) -> Result<Value, Refusal> {
        let name = operation.name();
        if !VERBS.iter().any(|(verb, _)| *verb == name) {
            return Err(Refusal::new(
                "UnsupportedOperationException",
                format!("{name} is not supported by this service."),
            ));
        }
        let keys = self.keys.in_region(principal.region());
        let input = zeroize::Zeroizing::new(input.to_string());
        Ok(keys.call(principal.account(), gate, name, input.as_bytes()).await?)
    }
}

impl Call {
    /// What conditions of key policies may ask about the request itself.
    fn facts(&self) -> iam::Context {
        let agent = self.head.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let facts = iam::Context::new()
            .with("aws:SourceIp", self.address.ip().to_canonical())
            .with("aws:SecureTransport", self.secure)
            .with("aws:ViaAWSService", false);
        match agent.filter(|agent| agent.len() <= MAX_AGENT) {
            Some(agent) => facts.with("aws:UserAgent", agent),
            None => facts,
        }
    }
}

/// The one place where an answer comes from: what was done or refused is on record.
fn respond<T>(result: Result<T, Refusal>, _recorded: Recorded) -> Result<T, Refusal> {
    result
}

impl Refusal {
    /// What the caller is not told goes to the log, and so do refusals that nobody is on record for.
    fn log(&self, call: &Call) {
        let (id, detail) = (call.id, self.detail.as_deref());
        if self.status.is_server_error() {
            tracing::error!(request_id = %id, code = self.code, detail, "a request of the key API failed");
        } else {
            tracing::info!(request_id = %id, code = self.code, detail, peer = %call.address, "a request of the key API was refused");
        }
    }
}

/// `POST /` with exactly one `X-Amz-Target` that the model knows.
fn find_operation(head: &request::Parts) -> Result<&'static Operation, Refusal> {
    let mut targets = head.headers.get_all(TARGET).iter();
    let target = match (targets.next(), targets.next()) {
        (Some(target), None) => target.to_str().ok(),
        _ => None,
    };
    let known = target
        .and_then(|target| target.strip_prefix(TARGET_PREFIX))
        .and_then(model::operation);
    match known {
        Some(operation) if head.method == Method::POST && head.uri.path() == "/" && is_json(&head.headers) => {
            Ok(operation)
        }
        _ => Err(Refusal::unknown_operation()),
    }
}

/// The media type of a body, without its parameters.
fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers).eq_ignore_ascii_case(FORM)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    ["application/x-amz-json-1.1", "application/x-amz-json-1.0"]
        .iter()
        .any(|known| media_type.eq_ignore_ascii_case(known))
}
