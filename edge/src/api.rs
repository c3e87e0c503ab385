//! The edge's HTTP surface: one handler for three protocols. Which path means what is in [`crate::route`]; what happens
//! to a request is in [`crate::pipeline`].

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use node::listen::{Handler, Peer};
use node::problem::Problem;
use policies::profile::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{self, Created};
use crate::pipeline::Session;
use crate::receive::{self, Received};
use crate::route::Route;
use crate::state::Edge;
use crate::{discovery, health, ids, verify};

/// A token request, or an artifact's with 64 KiB of message in base64.
const SINGLE_BYTES: usize = 128 << 10;
/// A batch of 1,000.
const BATCH_BYTES: usize = 8 << 20;
/// Elements of a batch.
const BATCH_MOST: usize = 1_000;
/// After so many signatures of one batch, others get their turn.
const BATCH_TURN: usize = 16;

/// The handler.
#[derive(Debug, Clone)]
pub struct Api {
    edge: Arc<Edge>,
}

impl Api {
    /// Serves this edge.
    pub fn new(edge: Arc<Edge>) -> Api {
        Api { edge }
    }

    async fn dispatch(&self, request: http::Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        let received = Received::new(request, peer);
        let answer = match Route::find(received.method(), received.path()) {
            Ok(route) => self.answer(route, &received).await,
            Err(problem) => Err(problem),
        };
        answer.unwrap_or_else(|problem| {
            self.edge.metrics().refused(problem.code());
            answer::problem(problem, &received.id().to_string())
        })
    }

    async fn answer(&self, route: Route<'_>, received: &Received) -> Result<Response<Bytes>, Problem> {
        let edge = &self.edge;
        match route {
            Route::Token(profile) => self.single(Kind::Token, profile, received).await,
            Route::Signature(profile) => self.single(Kind::Artifact, profile, received).await,
            Route::TokenBatch(profile) => self.batch(Kind::Token, profile, received).await,
            Route::SignatureBatch(profile) => self.batch(Kind::Artifact, profile, received).await,
            Route::Verify => verify::verify(edge, received).await,
            Route::Delegation(kid) => discovery::delegation(edge, kid),
            Route::Revocations => discovery::revocations(edge),
            Route::Jwks(issuer) => discovery::jwks(edge, issuer, received.header("if-none-match")),
            Route::Discovery(issuer) => discovery::configuration(edge, issuer),
            Route::Live => Ok(answer::json(StatusCode::OK, &serde_json::json!({"status": "alive"}))),
            Route::Ready => Ok(health::ready(edge)),
            Route::Metrics => Ok(health::metrics(edge)),
            Route::OpenApi => Ok(health::openapi()),
        }
    }

    async fn single(&self, kind: Kind, profile: &str, received: &Received) -> Result<Response<Bytes>, Problem> {
        let session = Session::open(&self.edge, received).await?;
        let recorded = session.sign(kind, profile, received.body(), received.id()).await?;
        Ok(answer::created(&recorded))
    }

    /// Each element is judged, counted, signed and recorded by itself; one that is refused leaves the others alone.
    async fn batch(&self, kind: Kind, profile: &str, received: &Received) -> Result<Response<Bytes>, Problem> {
        let session = Session::open(&self.edge, received).await?;
        session.profile(kind, profile)?;
        let requests = elements(received.body())?;
        session.admit_batch(requests.len())?;
        let mut body = br#"{"results":["#.to_vec();
        for (index, request) in requests.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            if index % BATCH_TURN == BATCH_TURN - 1 {
                tokio::task::yield_now().await;
            }
            let id = ids::fresh();
            let written = match session.sign(kind, profile, request.get().as_bytes(), id).await {
                Ok(recorded) => serde_json::to_writer(&mut body, &Created::new(&recorded)),
                Err(problem) => {
                    self.edge.metrics().refused(problem.code());
                    serde_json::to_writer(&mut body, &problem.document(&id.to_string()))
                }
            };
            written.map_err(|error| Problem::internal(error.to_string()))?;
        }
        body.extend_from_slice(b"]}");
        Ok(answer::written_json(StatusCode::OK, body))
    }
}

impl Handler for Api {
    fn admit(&self, head: &http::request::Parts, peer: &Peer) -> Result<usize, Response<Bytes>> {
        let refuse = |problem: Problem| {
            self.edge.metrics().refused(problem.code());
            answer::problem(problem, &ids::fresh().to_string())
        };
        let world = self.edge.world();
        let limit = world.throttle().address(peer.address.ip());
        limit.map_err(|limit| refuse(answer::limited(&limit, "rate_limited")))?;
        let route = Route::find(&head.method, head.uri.path()).map_err(refuse)?;
        if !route.is_post() {
            return Ok(0);
        }
        if !receive::is_json(&head.headers) {
            return Err(refuse(Problem::new(
                "unsupported_media_type",
                "send the body as application/json",
            )));
        }
        Ok(if matches!(route, Route::TokenBatch(_) | Route::SignatureBatch(_)) {
            BATCH_BYTES
        } else {
            SINGLE_BYTES
        })
    }

    async fn handle(&self, request: http::Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        self.dispatch(request, peer).await
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    requests: Vec<&'a RawValue>,
}

fn elements(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    // serde would take a list of the members' values for the object.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(
            "bad_request",
            "the body is not {\"requests\":[…]} but a list",
        ));
    }
    let batch: Batch = serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() {
            "bad_request"
        } else {
            "malformed_json"
        };
        Problem::new(code, format!("the body is not {{\"requests\":[…]}}: {error}"))
    })?;
    match batch.requests.len() {
        0 => Err(Problem::new("invalid_request", "`requests` is empty")),
        1..=BATCH_MOST => Ok(batch.requests),
        more => Err(Problem::new(
            "invalid_request",
            format!("`requests` has {more} elements, at most {BATCH_MOST} are taken"),
        )),
    }
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod whole;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_its_bounds() {
        let code = |body: &[u8]| {
            elements(body)
                .map(|all| all.len())
                .map_err(|problem| problem.code().to_owned())
        };
        assert_eq!(code(br#"{"requests":[{},{}]}"#), Ok(2));
        assert_eq!(code(br#"{"requests":[]}"#), Err("invalid_request".into()));
        assert_eq!(code(br#"{"requests":{}}"#), Err("bad_request".into()));
        assert_eq!(code(br#" [[{},{}]]"#), Err("bad_request".into()));
        assert_eq!(code(br#"{"requests":[],"more":1}"#), Err("bad_request".into()));
        assert_eq!(code(b"{"), Err("malformed_json".into()));
        let most = format!("{{\"requests\":[{}]}}", vec!["{}"; 1000].join(","));
        assert_eq!(code(most.as_bytes()), Ok(1000));
        let more = format!("{{\"requests\":[{}]}}", vec!["{}"; 1001].join(","));
        assert_eq!(code(more.as_bytes()), Err("invalid_request".into()));
    }
}
