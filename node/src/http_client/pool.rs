//! The few connections that are kept for the next request.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};

use super::url::{Origin, Target};

pub(super) type Body = Bytes;

const IDLE_PER_ORIGIN: usize = 8;
const MAX_ORIGINS: usize = 32;
const IDLE: Duration = Duration::from_secs(30);

/// What is asked, apart from where.
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A connection in use. HTTP/1.1 is one request at a time; HTTP/2 is shared.
pub(super) struct Lease {
    sender: Sender,
    reused: bool,
}

enum Sender {
    Http1(http1::SendRequest<Full<Body>>),
    Http2(http2::SendRequest<Full<Body>>),
}

/// No answer on this connection.
pub(super) struct Failed {
    /// Sending the request again on another connection cannot do it twice.
    pub(super) unsent: bool,
    pub(super) reason: String,
}

impl Lease {
    pub(super) fn http1(sender: http1::SendRequest<Full<Body>>) -> Self {
        Self {
            sender: Sender::Http1(sender),
            reused: false,
        }
    }

    pub(super) fn http2(sender: http2::SendRequest<Full<Body>>) -> Self {
        Self {
            sender: Sender::Http2(sender),
            reused: false,
        }
    }

    pub(super) async fn send(&mut self, target: &Target, message: &Message) -> Result<Response<Incoming>, Failed> {
        let invalid = |error: http::Error| Failed {
            unsent: false,
            reason: error.to_string(),
        };
        let sent = match &mut self.sender {
            Sender::Http1(sender) => {
                let mut request = request(target.path.clone().into(), message, Version::HTTP_11);
                let host = HeaderValue::from_str(target.authority.as_str()).map_err(|error| invalid(error.into()))?;
                request.headers_mut().insert(HOST, host);
                sender.try_send_request(request).await
            }
            Sender::Http2(sender) => {
                let uri = Uri::builder()
                    .scheme(target.scheme.clone())
                    .authority(target.authority.clone())
                    .path_and_query(target.path.clone());
                let request = request(uri.build().map_err(invalid)?, message, Version::HTTP_2);
                sender.try_send_request(request).await
            }
        };
        sent.map_err(|mut error| {
            let harmless = matches!(message.method, Method::GET | Method::HEAD);
            let unsent = error.take_message().is_some() || (harmless && self.reused);
            Failed {
                unsent,
                reason: with_cause(&error.into_error()),
            }
        })
    }
}

/// What hyper says, and what it was told by who knows: the operating system, or TLS.
fn with_cause(error: &hyper::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    match causes.last() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn request(uri: Uri, message: &Message, version: Version) -> Request<Full<Body>> {
    let mut request = Request::new(Full::new(message.body.clone()));
    *request.method_mut() = message.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = message.headers.clone();
    let agent = HeaderValue::from_static(concat!("signet/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().entry(USER_AGENT).or_insert(agent);
    request
}

/// Idle connections by origin: bounded in number, and in time when they are next looked for.
#[derive(Default)]
pub(super) struct Pool {
    origins: Mutex<HashMap<Origin, Origins>>,
}

#[derive(Default)]
struct Origins {
    shared: Option<http2::SendRequest<Full<Body>>>,
    idle: Vec<(Instant, http1::SendRequest<Full<Body>>)>,
}

impl Pool {
    /// A connection that looks alive.
    pub(super) fn take(&self, origin: &Origin) -> Option<Lease> {
        let mut origins = self.lock();
        let kept = origins.get_mut(origin)?;
        kept.shared.take_if(|sender| sender.is_closed());
        if let Some(sender) = kept.shared.clone() {
            return Some(Lease {
                sender: Sender::Http2(sender),
                reused: true,
            });
        }
        kept.idle
            .retain(|(since, sender)| since.elapsed() < IDLE && sender.is_ready());
        let (_, sender) = kept.idle.pop()?;
        Some(Lease {
            sender: Sender::Http1(sender),
            reused: true,
        })
    }

    /// Lets others use a new HTTP/2 connection at once.
    pub(super) fn share(&self, origin: &Origin, lease: &Lease) {
        if let Sender::Http2(sender) = &lease.sender {
            self.with(origin, |kept| kept.shared = Some(sender.clone()));
        }
    }

    /// Keeps an HTTP/1.1 connection whose answer was read to its end.
    pub(super) fn give_back(&self, origin: &Origin, lease: Lease) {
        if let Sender::Http1(sender) = lease.sender {
            self.with(origin, |kept| {
                if kept.idle.len() < IDLE_PER_ORIGIN && !sender.is_closed() {
                    kept.idle.push((Instant::now(), sender));
                }
            });
        }
    }

    /// Drops whatever is kept for an origin that failed.
    pub(super) fn forget(&self, origin: &Origin) {
        self.lock().remove(origin);
    }

    fn with(&self, origin: &Origin, change: impl FnOnce(&mut Origins)) {
        let mut origins = self.lock();
        if origins.len() >= MAX_ORIGINS && !origins.contains_key(origin) {
            origins.clear();
        }
        change(origins.entry(origin.clone()).or_default());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Origins>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
