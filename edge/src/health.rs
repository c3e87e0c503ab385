//! Liveness, readiness, metrics, and the API's own description.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::answer;
use crate::openapi;
use crate::state::Edge;

/// `GET /readyz`: 200 when every profile can be signed for, else 503 and what is missing; for how long each key is held; and
/// what operators have stopped, which is nothing to wait for.
pub fn ready(edge: &Edge) -> Response<Bytes> {
    let (waiting_for, seconds_left) = (edge.waiting_for(), edge.seconds_left());
    // How long it goes on if the authority stays away.
    let mut authority = json!({"connected": edge.is_connected()});
    if let (Some(left), Some(members)) = (edge.lease_left(), authority.as_object_mut()) {
        members.insert("leases_end_in_seconds".to_owned(), json!(left / 1_000));
    }
    let mut shape = json!({"authority": authority, "seconds_left": seconds_left});
    let mut set = |name: &str, value: Value| {
        if let Some(members) = shape.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    };
    let stops = edge.keyring().stops();
    if !stops.is_empty() {
        set("stopped", stops.shape());
    }
    if waiting_for.is_empty() {
        set("status", json!("ready"));
        return answer::json(StatusCode::OK, &shape);
    }
    set("status", json!("not ready"));
    set("waiting_for", json!(waiting_for));
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &shape)
}

/// `GET /metrics`: Prometheus text format.
pub fn metrics(edge: &Edge) -> Response<Bytes> {
    edge.metrics().lease_left(edge.lease_left().unwrap_or(0) / 1_000);
    let mut response = Response::new(Bytes::from(edge.metrics().render(&edge.world(), &edge.seconds_left())));
    let text = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

/// `GET /openapi.json`
pub fn openapi() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(openapi::document()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
