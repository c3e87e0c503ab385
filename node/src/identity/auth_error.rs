//! Why a caller was not believed, and why a trust rule was not accepted.

use std::borrow::Cow;
use std::fmt;

/// The stable codes of a refused identity; each is a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthCode {
    /// Neither a token nor a client certificate.
    MissingCredentials,
    /// Not a compact JWS that this service would look at.
    MalformedToken,
    /// No trust rule names this issuer or trust domain.
    UnknownIssuer,
    /// No key of the issuer has the token's `kid`.
    UnknownKey,
    /// The signature does not verify.
    BadSignature,
    /// Past `exp`.
    TokenExpired,
    /// Before `nbf` or `iat`.
    TokenNotYetValid,
    /// `aud` holds none of the rule's audiences.
    WrongAudience,
    /// No rule of the issuer pins this subject.
    SubjectNotAllowed,
    /// The header's algorithm is not the key's, or not one that the rule allows (R1).
    BadAlgorithm,
    /// A claim has the wrong type or value, or is missing (R2).
    MalformedClaims,
    /// The client certificate proves no SPIFFE ID that is trusted here.
    BadClientCertificate,
}

impl AuthCode {
    /// The code as it stands in a problem document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingCredentials => "missing_credentials",
            Self::MalformedToken => "malformed_token",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::SubjectNotAllowed => "subject_not_allowed",
            Self::BadAlgorithm => "bad_algorithm",
            Self::MalformedClaims => "malformed_claims",
            Self::BadClientCertificate => "bad_client_certificate",
        }
    }
}

/// The caller's identity was not proven. The caller is at fault, unless [`AuthError::internal`] says otherwise.
///
/// `Display` is safe for the caller; it never holds the token or a part of its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthError {
    code: AuthCode,
    detail: Cow<'static, str>,
    internal: Option<String>,
}

impl AuthError {
    /// A refusal with text for the caller.
    pub fn new(code: AuthCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            internal: None,
        }
    }

    /// The request carries nothing that could prove an identity.
    pub fn missing_credentials() -> Self {
        let detail = "no credentials; send `Authorization: Bearer TOKEN` or a client certificate";
        Self::new(AuthCode::MissingCredentials, detail)
    }

    /// Adds detail for the log, which the caller must not see.
    #[must_use]
    pub fn with_internal(mut self, detail: impl Into<String>) -> Self {
        self.internal = Some(detail.into());
        self
    }

    /// The stable code, such as `token_expired`.
    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }

    /// The code as a type.
    pub fn kind(&self) -> AuthCode {
        self.code
    }

    /// Text that the caller may read.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Detail for the log only.
    pub fn internal(&self) -> Option<&str> {
        self.internal.as_deref()
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for AuthError {}

/// A trust rule that is refused when it is made (R7). The operator is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}, field `{field}`: {detail}")]
pub struct TrustRuleError {
    /// Which rule: the issuer or trust domain that it names.
    pub rule: String,
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong and what to write instead.
    pub detail: String,
}

impl TrustRuleError {
    pub(crate) fn new(rule: impl fmt::Display, field: &'static str, detail: impl Into<String>) -> Self {
        Self {
            rule: rule.to_string(),
            field,
            detail: detail.into(),
        }
    }
}

/// `text` shortened for an error message, with nothing in it that could forge a log line.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 128;
    let shown: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    let more = if text.chars().nth(LONGEST).is_some() { "…" } else { "" };
    format!("`{shown}{more}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_short_and_has_no_line_breaks() {
        assert_eq!(quoted("a\r\nb"), "`ab`");
        assert!(quoted(&"x".repeat(10_000)).chars().count() < 140);
    }

    #[test]
    fn the_log_detail_is_not_shown() {
        let error = AuthError::new(AuthCode::UnknownKey, "no such key").with_internal("connection refused");
        assert_eq!(error.to_string(), "no such key");
        assert_eq!(error.internal(), Some("connection refused"));
    }
}
