//! Who is calling: a [`Caller`] exists only because one of this crate's verifiers made it (R9).
//!
//! Two things prove an identity: a client certificate with a SPIFFE ID ([`spiffe::TrustDomains`]) and a token of a
//! trusted OIDC issuer ([`crate::oidc::Issuers`]). Both are asked again for each request, with the time of that
//! request (R19), and answer from [`cache`] in about a microsecond when nothing has changed.

mod auth_error;
mod cache;
pub mod spiffe;
mod spiffe_id;

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

pub(crate) use auth_error::quoted;
pub use auth_error::{AuthCode, AuthError, TrustRuleError};
pub(crate) use cache::{ProofCache, Window};
pub use spiffe_id::{PathPattern, SpiffeId};

/// A verified attribute of a caller, as policies and plugins see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// A list of texts, such as roles.
    Texts(Vec<String>),
}

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// A token of a trusted OIDC issuer.
    Oidc,
    /// A client certificate with a SPIFFE ID.
    Spiffe,
}

impl CallerKind {
    /// `oidc` or `spiffe`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Spiffe => "spiffe",
        }
    }
}

impl fmt::Display for CallerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A caller whose identity was verified. Only the verifiers of this crate can make one (R9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    id: String,
    kind: CallerKind,
    tenant: String,
    issuer: String,
    subject: String,
    attributes: BTreeMap<String, Attribute>,
    expires_at: u64,
}

/// What a verifier has established; becomes a [`Caller`] through [`Caller::verified`].
pub(crate) struct Verified {
    pub(crate) kind: CallerKind,
    pub(crate) tenant: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    pub(crate) expires_at: u64,
}

impl Caller {
    pub(crate) fn verified(facts: Verified) -> Self {
        let Verified {
            kind,
            tenant,
            issuer,
            subject,
            attributes,
            expires_at,
        } = facts;
        let id = match kind {
            CallerKind::Oidc => format!("oidc:{issuer}#{subject}"),
            CallerKind::Spiffe => format!("{issuer}{subject}"),
        };
        Self {
            id,
            kind,
            tenant,
            issuer,
            subject,
            attributes,
            expires_at,
        }
    }

    /// One string that names this caller everywhere: `oidc:ISSUER#SUBJECT`, or the SPIFFE ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How the identity was proven.
    pub fn kind(&self) -> CallerKind {
        self.kind
    }

    /// The tenant (12 digits) that the trust rule assigns: never taken from the token or certificate (R6).
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The token's `iss`, or `spiffe://TRUST-DOMAIN`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The token's `sub`, or the path of the SPIFFE ID with its leading slash.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The attributes that the trust rule maps, by name. For a SPIFFE caller: `trust_domain` and `path`.
    pub fn attributes(&self) -> &BTreeMap<String, Attribute> {
        &self.attributes
    }

    /// When the proof ends, in Unix seconds: the token's `exp`, or the earliest end of validity in the chain.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// The bearer token of a request (RFC 6750 section 2.1), `None` if there is no `Authorization` header at all.
///
/// # Errors
///
/// `malformed_token` for more than one `Authorization` header (R9), a scheme that is not `Bearer`, or a value that
/// cannot be a token.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AuthError::new(
            AuthCode::MalformedToken,
            "more than one Authorization header; send one",
        ));
    }
    let malformed = || {
        AuthError::new(
            AuthCode::MalformedToken,
            "the Authorization header is not `Bearer TOKEN`",
        )
    };
    let (scheme, token) = value
        .to_str()
        .map_err(|_| malformed())?
        .split_once(' ')
        .ok_or_else(malformed)?;
    let token = token.trim_matches(' ');
    let token_char = |byte: u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    // Without an early end the compiler takes many bytes at once.
    let only_such = token.bytes().fold(true, |so_far, byte| so_far & token_char(byte));
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !only_such {
        return Err(malformed());
    }
    Ok(Some(token))
}

/// Tenants are 12 digits, as KMS accounts are.
pub(crate) fn is_tenant(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        assert_eq!(
            bearer_token(&headers(&["Bearer a.b-c_d.e"])).unwrap(),
            Some("a.b-c_d.e")
        );
        assert_eq!(bearer_token(&headers(&["bearer  abc"])).unwrap(), Some("abc"));
        assert_eq!(bearer_token(&headers(&[])).unwrap(), None);
    }

    // R9
    #[test]
    fn double_and_malformed_credentials_are_refused() {
        for values in [
            &["Bearer a", "Bearer a"][..],
            &["Basic dXNlcjpwYXNz"],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer a,Bearer b"],
            &["Bearer a\tb"],
        ] {
            let error = bearer_token(&headers(values)).unwrap_err();
            assert_eq!(error.code(), "malformed_token", "{values:?}");
        }
        let mut binary = HeaderMap::new();
        binary.insert(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xff").unwrap());
        assert_eq!(bearer_token(&binary).unwrap_err().code(), "malformed_token");
    }

    #[test]
    fn a_caller_is_named_by_its_issuer_and_subject() {
        let facts = |kind, issuer: &str, subject: &str| Verified {
            kind,
            tenant: "000000000001".into(),
            issuer: issuer.into(),
            subject: subject.into(),
            attributes: BTreeMap::new(),
            expires_at: 10,
        };
        assert_eq!(
            Caller::verified(facts(CallerKind::Oidc, "https://i", "s")).id(),
            "oidc:https://i#s"
        );
        assert_eq!(
            Caller::verified(facts(CallerKind::Spiffe, "spiffe://d", "/ci/a")).id(),
            "spiffe://d/ci/a"
        );
    }
}
