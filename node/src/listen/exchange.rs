//! One request of HTTP/1.1 or HTTP/2, from its head to its answer.

use std::sync::Arc;

use ::http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
};
use ::http::uri::Authority;
use ::http::{Method, Request, Response, StatusCode, Version, request};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;

use super::body::{self, Deadline, Unread};
use super::http::Pulse;
use super::{Handler, Load, Peer, Protocol, Server};
use crate::problem::Problem;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) pulse: Pulse,
    pub(super) load: Arc<Load>,
    /// Announces HTTP/3 on the connection's first answer (RFC 7838).
    pub(super) alt_svc: Option<HeaderValue>,
}

/// Answers one request.
pub(super) async fn answer<H: Handler>(
    server: &Server<H>,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let active = connection.pulse.begin();
    let (head, mut body) = request.into_parts();
    // hyper sees to HEAD over HTTP/1.1 only.
    let bare = head.method == Method::HEAD && connection.peer.protocol == Protocol::Http2;
    let mut response = match exchange(server, connection, head, &mut body).await {
        Ok(response) => response,
        Err(Refused { mut response, close }) => {
            match connection.peer.protocol {
                Protocol::Http1 if close => {
                    connection.pulse.body_left_unread();
                    response.headers_mut().insert(CONNECTION, CLOSE);
                }
                Protocol::Http2 if close => body::discard(&mut body).await,
                _ => {}
            }
            response
        }
    };
    if active.is_first()
        && let Some(alt_svc) = &connection.alt_svc
    {
        response.headers_mut().insert(ALT_SVC, alt_svc.clone());
    }
    let response = if bare { without_body(response) } else { response };
    response.map(Full::new)
}

/// The answer to HEAD: the fields that GET would have, and nothing after them (RFC 9110, section 9.3.2).
fn without_body(mut response: Response<Bytes>) -> Response<Bytes> {
    let length = std::mem::take(response.body_mut()).len();
    if response.status() != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// An answer that is not the handler's. With `close`, what is left of the request is not read (HTTP/1.1).
struct Refused {
    response: Response<Bytes>,
    close: bool,
}

async fn exchange<H: Handler>(
    server: &Server<H>,
    connection: &Connection,
    head: request::Parts,
    body: &mut Incoming,
) -> Result<Response<Bytes>, Refused> {
    let has_body = !hyper::body::Body::is_end_stream(body);
    let refused = |problem, close| Refused {
        response: server.load.refuse(problem),
        close,
    };
    if connection.peer.protocol == Protocol::Http1 {
        framing(&head).map_err(|problem| refused(problem, true))?;
    }
    let begun = server.load.begin();
    let _begun = begun.ok_or_else(|| refused(overloaded(), has_body))?;
    let admitted = server.handler.admit(&head, &connection.peer);
    let limit = admitted.map_err(|response| Refused {
        response,
        close: has_body,
    })?;
    let limit = limit.min(server.limits.body_bytes.as_usize());
    let deadline = match connection.peer.protocol {
        Protocol::Http1 => Deadline::Watched(&connection.pulse),
        Protocol::Http2 | Protocol::Http3 => Deadline::Timer(server.limits.body.get()),
    };
    let body = body::read(body, limit, &server.load, deadline).await;
    let body = body.map_err(|unread| refused(unread_problem(unread, limit), true))?;
    Ok(server
        .handler
        .handle(Request::from_parts(head, body), &connection.peer)
        .await)
}

/// What RFC 9112 asks of a message's framing and hyper leaves to its user. Two different `Content-Length`s, and encodings
/// other than `chunked`, are refused by hyper itself.
fn framing(head: &request::Parts) -> Result<(), Problem> {
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Problem::new(
            "length_required",
            "Transfer-Encoding is not taken; send the body with a Content-Length",
        ));
    }
    if head.version == Version::HTTP_11 && !has_one_host(&head.headers) {
        return Err(Problem::new(
            "bad_request",
            "an HTTP/1.1 request has exactly one Host field, with a host and perhaps a port (RFC 9112, section 3.2)",
        ));
    }
    Ok(())
}

fn has_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    host.is_empty() || (!host.as_bytes().contains(&b'@') && Authority::try_from(host.as_bytes()).is_ok())
}

pub(super) fn overloaded() -> Problem {
    Problem::new("overloaded", "too many requests at this moment; try again").with_header(RETRY_AFTER, "1")
}

pub(super) fn unread_problem(unread: Unread, limit: usize) -> Problem {
    match unread {
        Unread::TooLarge => Problem::new(
            "body_too_large",
            format!("at most {limit} bytes of body are taken here"),
        ),
        Unread::TooSlow => Problem::new("request_timeout", "the body did not arrive in time"),
        Unread::NoRoom => overloaded(),
        Unread::Broken => Problem::new("bad_request", "the body broke off or is not well formed"),
    }
}
