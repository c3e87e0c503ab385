//! Which headers a signature has to cover, so that what is executed is what was signed (R9).
//!
//! What clients sign was read from the signers of the SDKs for Python, Go, JavaScript, Java and PHP, the C library under
//! others, and the C driver for client-side field encryption. They sign every field they send but those that proxies
//! rewrite: `user-agent`, `expect`, `connection`, `x-amzn-trace-id` and the like. Two matters were decided:
//!
//! - `x-amz-security-token` must be signed. The published rules let a client add it afterwards, for the few services that
//!   want it so; the signers above all cover it for KMS and STS. Unsigned, it could be exchanged for another session's.
//! - `content-type` need not be signed, since the SDK for PHP leaves it out, as do command-line tools that add a default
//!   one. Unsigned it may say only what follows from signed data: `x-amz-json-1.0` or `-1.1` where there is a
//!   (signed) `x-amz-target`, a form where there is none. So it never decides how a body is read.

use http::HeaderValue;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;

use super::{SigV4Error, canonical};
use crate::names::shown;

pub(super) const TARGET: &str = "x-amz-target";

/// Whether execution may depend on this header, so that it is signed, and there once, or the request is refused.
///
/// `x-amz-user-agent` only tells which client it is. `content-encoding` would change what the body says.
fn decides(name: &str) -> bool {
    name == "content-encoding" || (name.starts_with("x-amz-") && name != "x-amz-user-agent")
}

/// Checks the request's headers against the names that its signature covers.
pub(super) fn check_headers(parts: &Parts, signed: &[&str]) -> Result<(), SigV4Error> {
    for name in signed {
        if !parts.headers.contains_key(*name) && (*name != "host" || canonical::host(parts).is_none()) {
            let message = format!(
                "SignedHeaders names a header that the request has not: `{}`",
                shown(name)
            );
            return Err(SigV4Error::incomplete(message));
        }
    }
    for name in parts.headers.keys() {
        let name = name.as_str();
        let covered = signed.binary_search(&name).is_ok();
        if decides(name) && !covered {
            return Err(unsigned(name));
        }
        if decides(name) || matches!(name, "host" | "date" | "content-type" | "content-length") {
            once(parts, name)?;
        }
    }
    check_host(parts)?;
    match parts.headers.get(CONTENT_TYPE) {
        Some(kind) if signed.binary_search(&"content-type").is_err() => check_unsigned_kind(parts, kind),
        _ => Ok(()),
    }
}

/// No part of a signature may be in the query: neither SigV4's, SigV4A's nor version 2's (CVE-2026-41145).
pub(super) fn check_query(query: &canonical::Query) -> Result<(), SigV4Error> {
    // Names are decoded and encoded anew, so these have one spelling, up to case.
    let credential = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-amz-") || matches!(name.as_str(), "awsaccesskeyid" | "signature" | "signaturemethod")
    };
    if query.iter().any(|(name, _)| credential(name)) {
        return Err(SigV4Error::incomplete(
            "signatures, credentials and x-amz- parameters in the query are not taken; sign with the Authorization header",
        ));
    }
    Ok(())
}

/// Refuses a header that is not among those signed.
pub(super) fn unsigned(name: &str) -> SigV4Error {
    SigV4Error::invalid(format!(
        "'{}' must be a 'SignedHeader' in the AWS Authorization.",
        shown(name)
    ))
}

fn once(parts: &Parts, name: &str) -> Result<(), SigV4Error> {
    if parts.headers.get_all(name).iter().nth(1).is_some() {
        let message = format!("the request has more than one `{}` header; send one", shown(name));
        return Err(SigV4Error::incomplete(message));
    }
    Ok(())
}

/// A request that names two hosts is read as one by some and as the other by others (RFC 9112 section 3.2.2, RFC 9113
/// section 8.3.1).
fn check_host(parts: &Parts) -> Result<(), SigV4Error> {
    let (Some(field), Some(authority)) = (parts.headers.get(HOST), parts.uri.authority()) else {
        return Ok(());
    };
    if field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) {
        Ok(())
    } else {
        Err(SigV4Error::incomplete(
            "the Host header and the request's target name different hosts",
        ))
    }
}

fn check_unsigned_kind(parts: &Parts, kind: &HeaderValue) -> Result<(), SigV4Error> {
    let implied: &[&str] = if parts.headers.contains_key(TARGET) {
        &["application/x-amz-json-1.1", "application/x-amz-json-1.0"]
    } else {
        &["application/x-www-form-urlencoded"]
    };
    let media_type = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = media_type.trim_matches([' ', '\t']);
    if implied.iter().any(|implied| media_type.eq_ignore_ascii_case(implied)) {
        Ok(())
    } else {
        Err(unsigned("content-type"))
    }
}
