//! The edge's HTTP surface: one handler for three protocols. Which path means what is in [`crate::route`]; what happens
//! to a request is in [`crate::pipeline`].

use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

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
use crate::record::{Recorded, Subject};
use crate::route::Route;
use crate::state::Edge;
use crate::{discovery, health, ids, verify};

/// A token request, or an artifact's with 64 KiB of message in base64.
const SINGLE_BYTES: usize = 128 << 10;
/// A batch of 1,000.
const BATCH_BYTES: usize = 8 << 20;
/// Elements of a batch.
const BATCH_MOST: usize = 1_000;
/// So many signatures of one batch are judged and become durable together; after them, others get their turn.
const BATCH_TURN: usize = runtime::MAX_BATCH;

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
        let released = session.single(kind, profile, received.body(), received.id()).await?;
        Ok(answer::created(&released))
    }

    /// Each element is judged, counted, signed and recorded by itself; one that is refused leaves the others alone. All are
    /// asked at the end whether they may still leave: the first was signed long before the last.
    async fn batch(&self, kind: Kind, profile: &str, received: &Received) -> Result<Response<Bytes>, Problem> {
        let mut session = Session::open(&self.edge, received).await?;
        let served = &session.profile(kind, profile)?.clone();
        let requests = elements(received.body())?;
        session.admit_batch(requests.len())?;
        let subjects: Vec<_> = requests.iter().map(|_| session.subject(served, ids::fresh())).collect();
        let recorded = recorded(&session, &subjects, &requests).await;
        let mut body = br#"{"results":["#.to_vec();
        for (index, (recorded, subject)) in recorded.into_iter().zip(&subjects).enumerate() {
            if index > 0 {
                body.push(b',');
            }
            let written = match recorded.and_then(|recorded| session.release(recorded, subject)) {
                Ok(released) => serde_json::to_writer(&mut body, &Created::new(&released)),
                Err(problem) => {
                    self.edge.metrics().refused(problem.code());
                    serde_json::to_writer(&mut body, &problem.document(subject.id()))
                }
            };
            written.map_err(|error| Problem::internal(error.to_string()))?;
        }
        body.extend_from_slice(b"]}");
        Ok(answer::written_json(StatusCode::OK, body))
    }
}

/// Signs the elements of a batch until their time is over. Those of a turn are judged one after the other, or together by a rule that
/// wants to, and recorded together.
async fn recorded(
    session: &Session<'_>,
    subjects: &[Subject<'_>],
    requests: &[&RawValue],
) -> Vec<Result<Recorded, Problem>> {
    let mut all = Vec::with_capacity(subjects.len());
    for (subjects, requests) in subjects.chunks(BATCH_TURN).zip(requests.chunks(BATCH_TURN)) {
        let asked: Vec<_> = requests
            .iter()
            .map(|request| request.get().as_bytes())
            .zip(subjects)
            .collect();
        let mut turn = Vec::with_capacity(BATCH_TURN);
        for (cleared, subject) in session.clear(&asked).await.into_iter().zip(subjects) {
            let signed = async move {
                match cleared {
                    Ok(cleared) => session.sign(cleared, subject).await,
                    Err(problem) => Err(problem),
                }
            };
            let signed: Pin<Box<dyn Future<Output = _> + Send>> = match session.is_forwarded(subject.profile()) {
                // The authority is asked for those of a turn at once.
                true => Box::pin(signed),
                false => Box::pin(ready(signed.await)),
            };
            turn.push(async move {
                match signed.await {
                    Ok(signed) => session.record(signed, subject).await,
                    Err(problem) => Err(problem),
                }
            });
        }
        all.extend(together(turn).await);
        tokio::task::yield_now().await;
    }
    all
}

/// All of them at once; their outputs in their order.
async fn together<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut all = Poll::Ready(());
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(done) => *output = Some(done),
                Poll::Pending => all = Poll::Pending,
            }
        }
        all
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
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
    use crate::pipeline::BATCH_TIME;
    use std::time::Duration;

    #[tokio::test]
    async fn those_that_are_together_wait_for_each_other() {
        let all = tokio::sync::Barrier::new(3);
        let one = async |n: u32| {
            all.wait().await;
            n
        };
        assert_eq!(together((1..4).map(one).collect()).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_batch_ends_when_its_time_is_over() {
        let rig = crate::testing::Rig::ready().await;
        let request = http::Request::post("/v1/tokens/plain/batch")
            .header("authorization", format!("Bearer {}", rig.token(&["developer"])))
            .body(Bytes::new());
        let peer = Peer {
            address: "192.0.2.1:1".parse().unwrap(),
            protocol: node::listen::Protocol::Http1,
            certificates: Arc::new([]),
            secure: true,
        };
        let received = Received::new(request.unwrap(), &peer);
        let mut session = Session::open(&rig.edge, &received).await.unwrap();
        let body: Box<RawValue> = serde_json::from_str("{}").unwrap();
        for (left, codes) in [
            (BATCH_TIME, vec![None; 3]),
            (Duration::ZERO, vec![Some("overloaded"); 3]),
        ] {
            session.end_after(left);
            let served = session.profile(Kind::Token, "plain").unwrap();
            let subjects: Vec<_> = (0..3).map(|_| session.subject(served, ids::fresh())).collect();
            let done = recorded(&session, &subjects, &[&*body; 3]).await;
            let seen: Vec<_> = done.iter().map(|one| one.as_ref().err().map(Problem::code)).collect();
            assert_eq!(seen, codes);
        }
        assert_eq!(rig.records().len(), 3);
    }

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
