//! One request of HTTP/3, from its stream to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h3::server::{RequestResolver, RequestStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, request};
use rustls_pki_types::CertificateDer;

use super::date;
use super::quic::{Allowance, Quic, READ, RecvStream, SendStream};
use crate::listen::body::Unread;
use crate::listen::exchange::{overloaded, unread_problem};
use crate::listen::{Handler, Peer, Protocol, Server};
use crate::problem::Problem;

/// Framing that a body may have beside its bytes, and what may follow it in frames that mean nothing here.
const FRAMING: usize = 64 << 10;

/// What the requests of one connection share.
pub(super) struct Shared<H> {
    pub(super) server: Server<H>,
    pub(super) quic: quinn::Connection,
    pub(super) certificates: Arc<[CertificateDer<'static>]>,
}

/// Answers one request. Whatever is left unread of it is stopped when its stream is dropped.
pub(super) async fn answer<H: Handler>(
    shared: Arc<Shared<H>>,
    resolver: RequestResolver<Quic, Bytes>,
    allowance: Option<Allowance>,
) {
    let limits = &shared.server.limits;
    let (request, stream) = match tokio::time::timeout(limits.header.get(), resolver.resolve_request()).await {
        Ok(Ok(resolved)) => resolved,
        Ok(Err(error)) => return tracing::debug!(%error, "HTTP/3 request not taken"),
        Err(_) => return tracing::debug!("HTTP/3 request's head did not arrive in time"),
    };
    let (mut send, mut recv) = stream.split();
    let (head, ()) = request.into_parts();
    let bare = head.method == Method::HEAD;
    let response = match exchange(&shared, head, &mut recv, allowance).await {
        // Without a Content-Length, which HEAD may leave out: clients in use count the bytes that follow.
        Ok(response) | Err(response) if bare => response.map(|_| Bytes::new()),
        Ok(response) | Err(response) => response,
    };
    if let Ok(Err(error)) = tokio::time::timeout(limits.idle.get(), write(&mut send, response)).await {
        tracing::debug!(%error, "HTTP/3 answer not delivered");
    }
}

async fn exchange<H: Handler>(
    shared: &Shared<H>,
    head: request::Parts,
    recv: &mut RequestStream<RecvStream, Bytes>,
    allowance: Option<Allowance>,
) -> Result<Response<Bytes>, Response<Bytes>> {
    let server = &shared.server;
    let peer = Peer {
        address: shared.quic.remote_address(),
        protocol: Protocol::Http3,
        certificates: shared.certificates.clone(),
        secure: true,
    };
    let refuse = |problem| server.load.refuse(problem);
    let announced = framing(&head.headers).map_err(refuse)?;
    let _begun = server.load.begin().ok_or_else(|| refuse(overloaded()))?;
    let limit = server
        .handler
        .admit(&head, &peer)?
        .min(server.limits.body_bytes.as_usize());
    if announced.is_some_and(|announced| announced > limit) {
        return Err(refuse(unread_problem(Unread::TooLarge, limit)));
    }
    if let Some(allowance) = allowance {
        allowance.grant(limit.saturating_mul(2).saturating_add(FRAMING));
    }
    let body = read(recv, limit, server, server.limits.body.get()).await;
    let body = body.map_err(|unread| refuse(unread_problem(unread, limit)))?;
    if announced.is_some_and(|announced| announced != body.len()) {
        return Err(refuse(Problem::new(
            "bad_request",
            "the body is not as long as its Content-Length",
        )));
    }
    Ok(server.handler.handle(Request::from_parts(head, body), &peer).await)
}

/// RFC 9114, section 4.2.
const CONNECTION_FIELDS: [&str; 4] = ["connection", "keep-alive", "proxy-connection", "upgrade"];

/// The announced length of the body, if there is one (RFC 9114, sections 4.1.2 and 4.2).
fn framing(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Problem::new(
            "length_required",
            "Transfer-Encoding does not exist in HTTP/3",
        ));
    }
    if let Some(field) = CONNECTION_FIELDS.iter().find(|field| headers.contains_key(**field)) {
        return Err(Problem::new(
            "bad_request",
            format!("the field `{field}` does not exist in HTTP/3"),
        ));
    }
    let mut announced = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse::<usize>().ok());
        if length.is_none() || announced.is_some_and(|before| Some(before) != length) {
            return Err(Problem::new(
                "bad_request",
                "Content-Length is malformed or differs from another",
            ));
        }
        announced = length;
    }
    Ok(announced)
}

/// Reads the whole body. One that arrives in one piece is neither copied nor counted against the room.
async fn read<H: Handler>(
    recv: &mut RequestStream<RecvStream, Bytes>,
    limit: usize,
    server: &Server<H>,
    time: Duration,
) -> Result<Bytes, Unread> {
    let gather = async {
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        let mut room = server.load.room();
        while let Some(mut part) = recv.recv_data().await.map_err(|_| Unread::Broken)? {
            let part = part.copy_to_bytes(part.remaining());
            let length = first.len().saturating_add(whole.len()).saturating_add(part.len());
            if length > limit {
                return Err(Unread::TooLarge);
            }
            if length == part.len() {
                first = part;
                continue;
            }
            if whole.is_empty() {
                whole.reserve(length.max(READ));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&part);
            if !room.take(part.len()) {
                return Err(Unread::NoRoom);
            }
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    };
    tokio::time::timeout(time, gather).await.unwrap_or(Err(Unread::TooSlow))
}

async fn write(
    send: &mut RequestStream<SendStream, Bytes>,
    mut response: Response<Bytes>,
) -> Result<(), h3::error::StreamError> {
    let body = std::mem::take(response.body_mut());
    let headers = response.headers_mut();
    if !body.is_empty() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if let Some(date) = date::now() {
        headers.insert(DATE, date);
    }
    send.send_response(response.map(drop)).await?;
    if !body.is_empty() {
        send.send_data(body).await?;
    }
    send.finish().await
}
