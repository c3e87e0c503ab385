//! The S3 client's requests go out by the workspace's own HTTP client: its TLS 1.3, its deadlines, its bounds.

use async_trait::async_trait;
use http::header::HOST;
use http::uri::Scheme;
use http_body_util::BodyExt as _;
use node::http_client::{Client, ClientError};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use std::net::IpAddr;
use std::time::Duration;

/// For one request, from the name look-up to the last byte: a pack of 8 MiB at 3 Mbit/s.
const DEADLINE: Duration = Duration::from_secs(20);
/// What an answer has besides an object.
const SLACK: usize = 64 << 10;

/// Makes clients for the S3 protocol and for what hands out credentials.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) client: Client,
    /// Whether requests may go without TLS to anybody.
    pub(super) allow_http: bool,
    /// Bytes of an object at most.
    pub(super) max_object: usize,
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not https")]
struct Plain(String);

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut head, body) = request.into_parts();
        let host = head.uri.host().unwrap_or_default();
        if head.uri.scheme() != Some(&Scheme::HTTPS) && !self.allow_http && !is_near(host) {
            return Err(HttpError::new(HttpErrorKind::Unknown, Plain(host.to_owned())));
        }
        // The client says it in the way of the protocol's version.
        head.headers.remove(HOST);
        let body = body.collect().await?.to_bytes();
        let url = head.uri.to_string();
        let most = self.max_object.saturating_add(SLACK);
        let sent = self
            .client
            .request(head.method, &url, head.headers, body, DEADLINE, most);
        let answer = sent.await.map_err(|error| HttpError::new(kind(&error), error))?;
        Ok(answer.map(Into::into))
    }
}

/// What the S3 client may try again: all but what would fail the same way. Whether what was sent took effect is not known.
fn kind(error: &ClientError) -> HttpErrorKind {
    match error {
        ClientError::Connect { .. } => HttpErrorKind::Connect,
        ClientError::Timeout { .. } => HttpErrorKind::Timeout,
        ClientError::Exchange { .. } => HttpErrorKind::Interrupted,
        ClientError::TooLarge { .. } => HttpErrorKind::Decode,
        ClientError::Url { .. } | ClientError::Settings(_) => HttpErrorKind::Unknown,
    }
}

/// This machine, and what a cloud shows to it alone: credentials of its role come from there, never over TLS.
fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.segments().starts_with(&[0xfd00, 0x0ec2]),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_asked_without_tls() {
        for near in ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "[fd00:ec2::254]"] {
            assert!(is_near(near), "{near}");
        }
        for far in ["10.0.0.1", "minio", "[fd00:ec3::1]", "localhost.example", ""] {
            assert!(!is_near(far), "{far}");
        }
    }
}
