//! Liveness, readiness, metrics, and the API's own description.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::answer;
use crate::openapi;
use crate::state::Edge;

/// `GET /readyz`: 200 when every profile can be signed for, else 503 and what is missing; and for how long each key is held.
pub fn ready(edge: &Edge) -> Response<Bytes> {
    let (waiting_for, seconds_left) = (edge.waiting_for(), edge.seconds_left());
    // How long it goes on if the authority stays away.
    let mut authority = json!({"connected": edge.is_connected()});
    if let (Some(left), Some(members)) = (edge.lease_left(), authority.as_object_mut()) {
        members.insert("leases_end_in_seconds".to_owned(), json!(left / 1_000));
    }
    if waiting_for.is_empty() {
        return answer::json(
            StatusCode::OK,
            &json!({"status": "ready", "authority": authority, "seconds_left": seconds_left}),
        );
    }
    answer::json(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({"status": "not ready", "waiting_for": waiting_for, "authority": authority, "seconds_left": seconds_left}),
    )
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
