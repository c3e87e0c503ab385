//! Problem documents in place of the bare answers that hyper gives to heads it cannot take.
//!
//! hyper answers a malformed head by itself, without a body, and closes. Its bytes are recognised on their way out while
//! a head has begun and no request has been made of it; anything that is not exactly such an answer passes untouched.

use bytes::{BufMut, Bytes, BytesMut};
use http::Response;

use crate::listen::Load;
use crate::problem::Problem;

/// The largest of hyper's own answers, in bytes: a status line and three fields.
const LARGEST: usize = 256;

/// What to write instead of these bytes, if they are hyper's own answer.
pub(super) fn instead_of(bytes: &[u8], load: &Load) -> Option<Bytes> {
    if bytes.len() > LARGEST || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?;
    let mut own = 0_u32;
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        match (name, value) {
            ("connection", "close") | ("content-length", "0") => own = own.saturating_add(1),
            ("date", _) => {}
            _ => return None,
        }
    }
    let problem = match status {
        _ if own != 2 => return None,
        "400" => Problem::new(
            "bad_request",
            "the request's head is not well-formed HTTP/1.1, or its framing is ambiguous",
        ),
        "414" => Problem::new("uri_too_long", "the request target is too long"),
        "431" => Problem::new(
            "headers_too_large",
            "the request line and header fields are larger than is taken here",
        ),
        _ => return None,
    };
    Some(write(&load.refuse(problem)))
}

fn write(response: &Response<Bytes>) -> Bytes {
    let status = response.status();
    let mut out = BytesMut::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or_default();
    out.put_slice(format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\n", status.as_u16()).as_bytes());
    for (name, value) in response.headers() {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(format!("content-length: {}\r\n\r\n", response.body().len()).as_bytes());
    out.put_slice(response.body());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::testing::Show;
    use crate::listen::{Handler, Limits};

    #[test]
    fn only_exactly_hypers_own_answers_are_replaced() {
        let load = Load::new(&Limits::default(), Show::refusal);
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
            date: Mon, 23 Nov 2026 20:35:00 GMT\r\n\r\n";
        let document = String::from_utf8(instead_of(own, &load).unwrap().to_vec()).unwrap();
        assert!(document.starts_with("HTTP/1.1 431 "), "{document}");
        assert!(
            document.contains("content-type: application/problem+json\r\n"),
            "{document}"
        );
        assert!(document.contains("\"code\":\"headers_too_large\""), "{document}");
        for other in [
            &b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\nx: y\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            b"",
        ] {
            assert_eq!(instead_of(other, &load), None, "{}", String::from_utf8_lossy(other));
        }
        assert_eq!(load.refused("headers_too_large"), 1);
    }
}
