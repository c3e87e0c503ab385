//! A refused request, with the name, text and status that clients of either protocol know.

use std::borrow::Cow;

use http::StatusCode;

use super::model::Rejected;
use super::sigv4::{SigV4Error, SigV4ErrorKind};
use crate::fault::Fault;
use crate::keys::KmsError;

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The `__type`, or the `Code` of the query protocol.
    pub(crate) code: &'static str,
    /// As the service answers with it.
    pub(crate) status: StatusCode,
    /// Safe to show.
    pub(crate) message: Cow<'static, str>,
    /// For the log only.
    pub(crate) detail: Option<String>,
}

/// Why a request's sender is not known.
#[derive(Debug)]
pub(super) enum AuthFailure {
    /// The signature, the access key or the session token.
    Signature(SigV4Error),
    /// The session was good and is over.
    Expired,
    /// Ours, not the caller's.
    Fault(Fault),
}

impl Refusal {
    /// The caller's fault: 400.
    pub(super) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            detail: None,
        }
    }

    /// With another status than 400.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With detail for the log.
    pub(super) fn logged(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// An operation that is none.
    pub(super) fn unknown_operation() -> Self {
        Self::new(
            "UnknownOperationException",
            "The operation is not known to this service.",
        )
    }

    /// Ours to mend.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new("KMSInternalException", "internal error; see the authority's log")
            .status(StatusCode::INTERNAL_SERVER_ERROR)
            .logged(detail)
    }
}

impl From<KmsError> for Refusal {
    fn from(error: KmsError) -> Self {
        let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(error.kind.as_str(), error.message).status(status)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let detail = fault.detail().map(str::to_owned);
        Self {
            detail,
            ..KmsError::from(fault).into()
        }
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Type(message) => Self::new("SerializationException", message),
            Rejected::Constraint(message) => Self::new("ValidationException", message),
        }
    }
}

impl From<SigV4Error> for AuthFailure {
    fn from(error: SigV4Error) -> Self {
        Self::Signature(error)
    }
}

impl From<Fault> for AuthFailure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl AuthFailure {
    /// In KMS's words: 400 for all that is the caller's.
    pub(super) fn json(self) -> Refusal {
        match self {
            Self::Signature(error) => {
                Refusal::new(error.kind().json_code(), error.to_string()).logged(error.detail().to_owned())
            }
            Self::Expired => Refusal::new("ExpiredTokenException", EXPIRED),
            Self::Fault(fault) => fault.into(),
        }
    }

    /// In STS's words.
    pub(super) fn query(self) -> Refusal {
        match self {
            Self::Signature(error) => {
                let status = match error.kind() {
                    SigV4ErrorKind::IncompleteSignature => StatusCode::BAD_REQUEST,
                    _ => StatusCode::FORBIDDEN,
                };
                Refusal::new(error.kind().query_code(), error.to_string())
                    .status(status)
                    .logged(error.detail().to_owned())
            }
            Self::Expired => Refusal::new("ExpiredToken", EXPIRED).status(StatusCode::FORBIDDEN),
            Self::Fault(fault) => Refusal::from(fault).in_query_words(),
        }
    }
}

impl Refusal {
    /// STS has two names for what is not the caller's fault.
    pub(super) fn in_query_words(self) -> Self {
        match self.status.is_server_error() {
            true => Self {
                code: "InternalFailure",
                ..self
            },
            false => self,
        }
    }
}

const EXPIRED: &str = "The security token included in the request is expired";

#[cfg(test)]
mod tests {
    use super::*;

    // R10
    #[test]
    fn what_is_ours_is_an_error_of_the_server_and_keeps_its_detail() {
        let fault = || Fault::Unavailable {
            part: "store",
            detail: "canary".into(),
        };
        let json = AuthFailure::Fault(fault()).json();
        assert_eq!((json.code, json.status.as_u16()), ("KeyUnavailableException", 500));
        let query = AuthFailure::Fault(fault()).query();
        assert_eq!((query.code, query.status.as_u16()), ("InternalFailure", 500));
        assert!(!json.message.contains("canary") && json.detail.unwrap().contains("canary"));
    }

    #[test]
    fn an_unknown_access_key_has_a_name_in_each_protocol() {
        let failure = || AuthFailure::Signature(SigV4Error::unrecognized_client("x"));
        assert_eq!(failure().json().code, "UnrecognizedClientException");
        let query = failure().query();
        assert_eq!((query.code, query.status.as_u16()), ("InvalidClientTokenId", 403));
    }
}
