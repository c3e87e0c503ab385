//! The canonical request: what the signature covers, written piece by piece into a hash.
//!
//! As the service has it for all but S3: dot segments and doubled slashes leave the path and what is left is encoded
//! once more; the query is sorted by its encoded names, then values; header values are trimmed, inner runs of white
//! space become one space, and several fields of one name are joined with commas in the order they came.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use http::request::Parts;
use signing::encoding::hex;

use super::SigV4Error;

/// Name and value pairs of a query, encoded and sorted.
pub(super) type Query = Vec<(String, String)>;

/// Bytes of a query. A request by `GET` has all its parameters there.
const MAX_QUERY: usize = 16 * 1024;
/// Pairs in a query.
const MAX_PAIRS: usize = 256;
/// Bytes of a path; the endpoint's own is `/`.
const MAX_PATH: usize = 2048;

/// The hash of the canonical request, in hex.
pub(super) struct RequestHash(String);

impl RequestHash {
    /// `payload` is the body's SHA-256 in lowercase hex; `signed` the names in their order, each present in `parts`.
    pub fn new(parts: &Parts, query: &Query, signed: &[&str], payload: &str) -> Self {
        let mut context = Context::new(&SHA256);
        write(parts, query, signed, payload, &mut |bytes| context.update(bytes));
        Self(hex(context.finish().as_ref()))
    }
}

impl fmt::Display for RequestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the canonical request.
pub(super) fn write(parts: &Parts, query: &Query, signed: &[&str], payload: &str, out: &mut impl FnMut(&[u8])) {
    out(parts.method.as_str().as_bytes());
    out(b"\n");
    write_path(parts.uri.path(), out);
    out(b"\n");
    for (at, (name, value)) in query.iter().enumerate() {
        out(between(at, b"&"));
        out(name.as_bytes());
        out(b"=");
        out(value.as_bytes());
    }
    out(b"\n");
    for name in signed {
        out(name.as_bytes());
        out(b":");
        write_values(parts, name, out);
        out(b"\n");
    }
    out(b"\n");
    for (at, name) in signed.iter().enumerate() {
        out(between(at, b";"));
        out(name.as_bytes());
    }
    out(b"\n");
    out(payload.as_bytes());
}

/// The host that the request names: its `Host` field, or `:authority` where it has none (HTTP/2).
pub(super) fn host(parts: &Parts) -> Option<&[u8]> {
    match parts.headers.get(http::header::HOST) {
        Some(field) => Some(field.as_bytes()),
        None => parts.uri.authority().map(|authority| authority.as_str().as_bytes()),
    }
}

/// Refuses a path that is longer than any we serve.
pub(super) fn check_path(parts: &Parts) -> Result<(), SigV4Error> {
    if parts.uri.path().len() > MAX_PATH {
        let message = format!("the path has more than {MAX_PATH} bytes");
        return Err(SigV4Error::incomplete(message));
    }
    Ok(())
}

/// The pairs of the request's query.
///
/// Refused is what different readers take for different pairs: a bare `+`, which is a space to some, a percent sign
/// that starts no escape, and a pair without a name.
pub(super) fn query(parts: &Parts) -> Result<Query, SigV4Error> {
    let text = match parts.uri.query() {
        None | Some("") => return Ok(Vec::new()),
        Some(text) => text,
    };
    if text.len() > MAX_QUERY {
        let message = format!("the query has more than {MAX_QUERY} bytes");
        return Err(SigV4Error::incomplete(message));
    }
    let mut pairs = Vec::new();
    for piece in text.split('&') {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        let pair = recode(name).zip(recode(value)).filter(|_| !name.is_empty());
        pairs.push(pair.ok_or_else(|| {
            SigV4Error::incomplete("the query is malformed; write a space as %20, a plus as %2B and a percent as %25")
        })?);
        if pairs.len() > MAX_PAIRS {
            let message = format!("the query has more than {MAX_PAIRS} parameters");
            return Err(SigV4Error::incomplete(message));
        }
    }
    pairs.sort_unstable();
    Ok(pairs)
}

/// A query's name or value with exactly the unreserved characters in the clear. `None` for what is no one text.
fn recode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => return None,
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()?.checked_mul(16)?.checked_add(digit()?)?).ok()?
            }
            byte => byte,
        };
        if unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(escape(byte).map(char::from));
        }
    }
    Some(out)
}

fn write_path(path: &str, out: &mut impl FnMut(&[u8])) {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    out(b"/");
    for (at, segment) in segments.iter().enumerate() {
        out(between(at, b"/"));
        write_encoded(segment.as_bytes(), out);
    }
    if !segments.is_empty() && path.ends_with('/') {
        out(b"/");
    }
}

/// Percent signs are encoded too: what was encoded for the wire is encoded twice.
fn write_encoded(mut bytes: &[u8], out: &mut impl FnMut(&[u8])) {
    while !bytes.is_empty() {
        let clear = bytes.iter().position(|byte| !unreserved(*byte)).unwrap_or(bytes.len());
        let (run, rest) = bytes.split_at_checked(clear).unwrap_or((bytes, &[]));
        out(run);
        bytes = match rest.split_first() {
            Some((byte, rest)) => {
                out(&escape(*byte));
                rest
            }
            None => rest,
        };
    }
}

fn write_values(parts: &Parts, name: &str, out: &mut impl FnMut(&[u8])) {
    if name == "host" {
        return write_trimmed(host(parts).unwrap_or_default(), out);
    }
    for (at, value) in parts.headers.get_all(name).iter().enumerate() {
        out(between(at, b","));
        write_trimmed(value.as_bytes(), out);
    }
}

fn write_trimmed(value: &[u8], out: &mut impl FnMut(&[u8])) {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t'));
    for (at, word) in words.filter(|word| !word.is_empty()).enumerate() {
        out(between(at, b" "));
        out(word);
    }
}

/// What stands before the `at`th of several: nothing before the first.
fn between(at: usize, separator: &[u8]) -> &[u8] {
    if at == 0 { b"" } else { separator }
}

/// RFC 3986 section 2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

fn escape(byte: u8) -> [u8; 3] {
    let digit = |nibble: u8| match char::from_digit(u32::from(nibble), 16) {
        Some(digit) => digit.to_ascii_uppercase() as u8,
        None => b'0',
    };
    [b'%', digit(byte >> 4), digit(byte & 15)]
}
