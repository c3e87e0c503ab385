//! The one map from a problem code to its HTTP status and title. A code, once published, keeps both.

use http::StatusCode;

/// What a code means on the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Stable, `[a-z0-9_]+`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// RFC 9457 `title`: the same for every occurrence.
    pub title: &'static str,
}

/// The entry of a code.
pub fn find(code: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.code == code)
}

/// All entries, in the order of their status.
pub fn all() -> &'static [Entry] {
    &TABLE
}

const fn entry(status: StatusCode, code: &'static str, title: &'static str) -> Entry {
    Entry { code, status, title }
}

/// A failure of ours, for which no better code exists.
pub const INTERNAL: Entry = entry(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal failure");

static TABLE: [Entry; 56] = [
    entry(StatusCode::BAD_REQUEST, "bad_request", "Malformed request"),
    entry(StatusCode::BAD_REQUEST, "malformed_json", "The body is not JSON"),
    entry(StatusCode::UNAUTHORIZED, "missing_credentials", "No credentials"),
    entry(StatusCode::UNAUTHORIZED, "malformed_token", "Malformed token"),
    entry(StatusCode::UNAUTHORIZED, "unknown_issuer", "Unknown issuer"),
    entry(StatusCode::UNAUTHORIZED, "unknown_key", "Unknown key"),
    entry(StatusCode::UNAUTHORIZED, "bad_signature", "Wrong signature"),
    entry(StatusCode::UNAUTHORIZED, "token_expired", "Expired token"),
    entry(StatusCode::UNAUTHORIZED, "token_not_yet_valid", "Token not yet valid"),
    entry(StatusCode::UNAUTHORIZED, "wrong_audience", "Wrong audience"),
    entry(StatusCode::UNAUTHORIZED, "subject_not_allowed", "Subject not allowed"),
    entry(StatusCode::UNAUTHORIZED, "bad_algorithm", "Algorithm not allowed"),
    entry(StatusCode::UNAUTHORIZED, "malformed_claims", "Malformed claims"),
    entry(
        StatusCode::UNAUTHORIZED,
        "bad_client_certificate",
        "Client certificate not accepted",
    ),
    entry(StatusCode::UNAUTHORIZED, "bad_admin_token", "Admin token not accepted"),
    entry(StatusCode::UNAUTHORIZED, "bad_join_token", "Join token not accepted"),
    entry(StatusCode::FORBIDDEN, "policy_denied", "A policy denies this"),
    entry(StatusCode::FORBIDDEN, "no_permit", "No policy permits this"),
    entry(StatusCode::FORBIDDEN, "policy_error", "A policy could not be evaluated"),
    entry(StatusCode::FORBIDDEN, "rule_refused", "A rule refuses this"),
    entry(StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
    entry(StatusCode::FORBIDDEN, "approval_required", "Needs approval"),
    entry(StatusCode::NOT_FOUND, "not_found", "Not found"),
    entry(StatusCode::NOT_FOUND, "unknown_profile", "Unknown profile"),
    entry(StatusCode::NOT_FOUND, "unknown_delegation", "Unknown delegation"),
    entry(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Method not allowed",
    ),
    entry(
        StatusCode::REQUEST_TIMEOUT,
        "request_timeout",
        "The request took too long to arrive",
    ),
    entry(StatusCode::CONFLICT, "conflict", "Conflict"),
    entry(StatusCode::CONFLICT, "key_disabled", "The key is disabled"),
    entry(StatusCode::CONFLICT, "untried", "Nothing is known about this yet"),
    entry(
        StatusCode::LENGTH_REQUIRED,
        "length_required",
        "Content-Length required",
    ),
    entry(StatusCode::PRECONDITION_FAILED, "revision_changed", "Changed meanwhile"),
    entry(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large"),
    entry(StatusCode::URI_TOO_LONG, "uri_too_long", "The URI is too long"),
    entry(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Unsupported media type",
    ),
    entry(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", "Not acceptable"),
    entry(StatusCode::UNPROCESSABLE_ENTITY, "unknown_field", "Unknown field"),
    entry(
        StatusCode::UNPROCESSABLE_ENTITY,
        "unsupported_digest",
        "Unsupported digest",
    ),
    entry(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_claims",
        "Claims not acceptable",
    ),
    entry(
        StatusCode::UNPROCESSABLE_ENTITY,
        "lifetime_too_long",
        "Lifetime too long",
    ),
    entry(StatusCode::UNPROCESSABLE_ENTITY, "missing_claims", "Claims are missing"),
    entry(
        StatusCode::UNPROCESSABLE_ENTITY,
        "claim_not_allowed",
        "Claim not allowed",
    ),
    entry(
        StatusCode::UNPROCESSABLE_ENTITY,
        "audience_not_allowed",
        "Audience not allowed",
    ),
    entry(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_bundle",
        "The bundle is not acceptable",
    ),
    entry(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
    entry(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded", "Quota spent"),
    entry(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        "The header fields are too large",
    ),
    INTERNAL,
    entry(
        StatusCode::SERVICE_UNAVAILABLE,
        "key_unavailable",
        "No key to sign with",
    ),
    entry(
        StatusCode::SERVICE_UNAVAILABLE,
        "audit_unavailable",
        "The audit record could not be written",
    ),
    entry(StatusCode::SERVICE_UNAVAILABLE, "rule_failed", "A rule failed"),
    entry(StatusCode::SERVICE_UNAVAILABLE, "edge_revoked", "This edge is revoked"),
    entry(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
    entry(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
    entry(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "Temporarily unavailable",
    ),
    entry(StatusCode::SERVICE_UNAVAILABLE, "sealed", "The authority is sealed"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_well_formed_and_errors() {
        let mut seen = HashSet::new();
        for entry in all() {
            assert!(seen.insert(entry.code), "{} twice", entry.code);
            assert!(
                entry.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{}",
                entry.code
            );
            assert!(
                entry.status.is_client_error() || entry.status.is_server_error(),
                "{}",
                entry.code
            );
            assert!(!entry.title.is_empty() && !entry.title.ends_with('.'), "{}", entry.code);
        }
    }

    #[test]
    fn every_code_is_found_by_its_name() {
        for entry in all() {
            assert_eq!(find(entry.code), Some(entry));
        }
        assert_eq!(find("POLICY_DENIED"), None);
    }
}
