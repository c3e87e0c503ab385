//! One kept-alive connection, over any of the three protocols.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::target::Target;
use crate::{LoadError, Protocol, http3};

/// How long an answer may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// The same request, again and again.
#[derive(Clone)]
pub(crate) struct Message {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Message {
    /// `POST path` with a JSON body and a bearer token.
    pub(crate) fn post(target: &Target, path: &str, token: &[u8], body: &str) -> Result<Message, LoadError> {
        let bearer = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
        let mut bearer = bearer.map_err(|_| cannot_stand("token"))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Message::new(target, path, headers, Bytes::copy_from_slice(body.as_bytes()))
    }

    /// `POST path` with these header fields; `Host` is added where the protocol has it.
    pub(crate) fn new(target: &Target, path: &str, mut headers: HeaderMap, body: Bytes) -> Result<Message, LoadError> {
        let uri = match target.protocol {
            Protocol::Http1 => path.parse().map_err(|_| url_error(path))?,
            Protocol::Http2 if target.tls.is_none() => {
                let url = format!("http://{}{path}", target.authority());
                url.parse().map_err(|_| url_error(path))?
            }
            Protocol::Http2 | Protocol::Http3 => http3::absolute(target, path)?,
        };
        if target.protocol == Protocol::Http1 {
            let host = HeaderValue::from_str(target.authority()).map_err(|_| cannot_stand("host"))?;
            headers.insert(HOST, host);
        }
        Ok(Message { uri, headers, body })
    }

    fn head(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// An open connection.
pub(crate) enum Connection {
    Http1(String, http1::SendRequest<Full<Bytes>>),
    Http2(String, http2::SendRequest<Full<Bytes>>),
    Http3(Box<http3::Connection>),
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> Result<Connection, LoadError> {
        let opening = Connection::open_any(target);
        let late = |_| LoadError::Timeout {
            origin: target.origin(),
            timeout: TIMEOUT,
        };
        tokio::time::timeout(TIMEOUT, opening).await.map_err(late)?
    }

    async fn open_any(target: &Target) -> Result<Connection, LoadError> {
        if target.protocol == Protocol::Http3 {
            return Ok(Connection::Http3(Box::new(http3::Connection::open(target).await?)));
        }
        let failed = |reason: String| LoadError::Connect {
            origin: target.origin(),
            reason,
        };
        let connected = TcpStream::connect((target.host.as_str(), target.port)).await;
        let stream = connected.map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let Some(tls) = &target.tls else {
            return handshake(target, stream).await;
        };
        let connector = TlsConnector::from(tls.config.clone());
        let stream = connector
            .connect(tls.name.clone(), stream)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if stream.get_ref().1.alpn_protocol() != Some(target.protocol.alpn()) {
            return Err(failed(format!(
                "the server does not speak {}",
                target.protocol.as_str()
            )));
        }
        handshake(target, stream).await
    }

    /// Sends the message and reads the whole answer.
    pub(crate) async fn send(&mut self, message: &Message) -> Result<Response<Bytes>, LoadError> {
        let body = message.body.clone();
        match self {
            Connection::Http1(origin, sender) => {
                let ready = sender.ready().await;
                ready.map_err(|error| exchange(origin, error))?;
                let answer = sender.send_request(message.head().map(|()| Full::new(body))).await;
                collect(origin, answer.map_err(|error| exchange(origin, error))?).await
            }
            Connection::Http2(origin, sender) => {
                let ready = sender.ready().await;
                ready.map_err(|error| exchange(origin, error))?;
                let answer = sender.send_request(message.head().map(|()| Full::new(body))).await;
                collect(origin, answer.map_err(|error| exchange(origin, error))?).await
            }
            Connection::Http3(connection) => connection.send(message.head(), body, MAX_ANSWER).await,
        }
    }
}

async fn handshake(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Connection, LoadError> {
    let failed = |error: hyper::Error| LoadError::Connect {
        origin: target.origin(),
        reason: error.to_string(),
    };
    let io = TokioIo::new(stream);
    if target.protocol == Protocol::Http1 {
        let (sender, driver) = http1::handshake(io).await.map_err(failed)?;
        tokio::spawn(driver);
        Ok(Connection::Http1(target.origin(), sender))
    } else {
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
        tokio::spawn(driver);
        Ok(Connection::Http2(target.origin(), sender))
    }
}

async fn collect(origin: &str, answer: Response<Incoming>) -> Result<Response<Bytes>, LoadError> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            LoadError::TooLarge {
                origin: origin.to_owned(),
                max_bytes: MAX_ANSWER,
            }
        } else {
            LoadError::Exchange {
                origin: origin.to_owned(),
                reason: error.to_string(),
            }
        }
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn exchange(origin: &str, error: hyper::Error) -> LoadError {
    LoadError::Exchange {
        origin: origin.to_owned(),
        reason: error.to_string(),
    }
}

fn cannot_stand(what: &str) -> LoadError {
    LoadError::Option(format!("the {what} cannot stand in a header"))
}

fn url_error(path: &str) -> LoadError {
    LoadError::Url {
        url: path.to_owned(),
        reason: "it is no URL",
    }
}
