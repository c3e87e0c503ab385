use std::borrow::Cow;

/// What is wrong with a request's signature, by the name that the service gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigV4ErrorKind {
    /// The request is not signed at all.
    MissingAuthenticationToken,
    /// What should be a signature lacks a part, has one too many, or is in a form that is not taken.
    IncompleteSignature,
    /// The signature is not that of this request, or was made at another time or for another scope.
    InvalidSignature,
    /// The access key or its session token is not known.
    UnrecognizedClient,
}

impl SigV4ErrorKind {
    /// The error's type in the JSON protocol (KMS).
    pub fn json_code(self) -> &'static str {
        match self {
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
        }
    }

    /// The error's code in the query protocol (STS).
    pub fn query_code(self) -> &'static str {
        match self {
            Self::MissingAuthenticationToken => "MissingAuthenticationToken",
            Self::IncompleteSignature => "IncompleteSignature",
            Self::InvalidSignature => "SignatureDoesNotMatch",
            Self::UnrecognizedClient => "InvalidClientTokenId",
        }
    }
}

/// A request that is not proven to come from the holder of an access key. Always the caller's fault.
///
/// `Display` is safe for the caller, in the service's own words where it has some: SDKs and people match on them.
/// Neither it nor the detail has a signature, a token or a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SigV4Error {
    kind: SigV4ErrorKind,
    message: Cow<'static, str>,
    detail: Cow<'static, str>,
}

impl SigV4Error {
    /// An access key id, or a session token, that nobody was given, or that is no longer good. For the caller of
    /// [`Claim::read`](super::Claim::read), who looks them up; `detail` goes to the log.
    pub fn unrecognized_client(detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: SigV4ErrorKind::UnrecognizedClient,
            message: "The security token included in the request is invalid.".into(),
            detail: detail.into(),
        }
    }

    /// What is wrong, as a kind.
    pub fn kind(&self) -> SigV4ErrorKind {
        self.kind
    }

    /// What only the log may see; the message again where that says it all.
    pub fn detail(&self) -> &str {
        if self.detail.is_empty() {
            &self.message
        } else {
            &self.detail
        }
    }

    pub(super) fn missing() -> Self {
        Self {
            kind: SigV4ErrorKind::MissingAuthenticationToken,
            message: "Missing Authentication Token".into(),
            detail: "the request has no Authorization field".into(),
        }
    }

    pub(super) fn incomplete(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: SigV4ErrorKind::IncompleteSignature,
            message: message.into(),
            detail: Cow::Borrowed(""),
        }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: SigV4ErrorKind::InvalidSignature,
            message: message.into(),
            detail: Cow::Borrowed(""),
        }
    }

    pub(super) fn mismatch(detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: SigV4ErrorKind::InvalidSignature,
            message: "The request signature we calculated does not match the signature you provided. Check your AWS \
                      Secret Access Key and signing method. Consult the service documentation for details."
                .into(),
            detail: detail.into(),
        }
    }
}
