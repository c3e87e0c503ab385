//! What came over the wire, bounded by the listener, before anybody is believed.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::request::Parts;
use node::listen::{Peer, Protocol};
use uuid::Uuid;

use crate::ids;

/// One request with its whole body.
pub struct Received {
    id: Uuid,
    head: Parts,
    body: Bytes,
    peer: Peer,
}

/// Neither the header section, which holds the caller's token, nor the body.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({} {} {})", self.id, self.head.method, self.head.uri.path())
    }
}

impl Received {
    /// Takes a request over from the listener and gives it its id (a UUID of ours; a caller's own would be a lie in our log).
    pub fn new(request: http::Request<Bytes>, peer: &Peer) -> Received {
        let (head, body) = request.into_parts();
        Received {
            id: ids::fresh(),
            head,
            body,
            peer: peer.clone(),
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path, as sent.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The request's id: in the answer, the log and the audit record.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The W3C trace id of a `traceparent` field, 32 hex digits.
    pub fn trace_id(&self) -> Option<&str> {
        trace_id(&self.head.headers)
    }

    /// The body, as received.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// A header field's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Who is on the other side of the connection.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The other side's address.
    pub fn address(&self) -> IpAddr {
        self.peer.address.ip().to_canonical()
    }

    /// By which protocol it came.
    pub fn protocol(&self) -> Protocol {
        self.peer.protocol
    }

    /// The header section.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }
}

/// Whether the body says once that it is JSON, in no coding, which is all that is understood here (RFC 9110, section 8.3: parameters allowed).
pub fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    let value = value.to_str().unwrap_or_default();
    let coded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| coding != "identity");
    !coded
        && value
            .split(';')
            .next()
            .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// W3C Trace Context: `00-TRACEID-SPANID-FLAGS`.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let hex = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    (version.len() == 2 && hex(version) && id.len() == 32 && hex(id) && id.bytes().any(|byte| byte != b'0'))
        .then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn json_is_told_from_the_rest() {
        assert!(is_json(&headers("content-type", "application/json")));
        assert!(is_json(&headers("content-type", "Application/JSON; charset=utf-8")));
        assert!(!is_json(&headers("content-type", "application/jsonx")));
        assert!(!is_json(&headers("content-type", "text/plain")));
        assert!(!is_json(&HeaderMap::new()));
        let mut two = headers("content-type", "application/json");
        two.append("content-type", "text/plain".parse().unwrap());
        assert!(!is_json(&two));
        let mut coded = headers("content-type", "application/json");
        coded.insert("content-encoding", "gzip".parse().unwrap());
        assert!(!is_json(&coded));
    }

    #[test]
    fn only_a_well_formed_trace_id_is_taken() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let with = |value: &str| trace_id(&headers("traceparent", value)).map(str::to_owned);
        assert_eq!(with(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(with("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), None);
        assert_eq!(with("00-xyz-00f067aa0ba902b7-01"), None);
        assert_eq!(with(""), None);
    }
}
