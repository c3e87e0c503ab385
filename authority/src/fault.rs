//! What can go wrong, by who is at fault, and the one map to gRPC statuses and problem documents.
//!
//! Two messages per failure: what `Display` prints is safe for the caller; `detail` goes to the log.

use node::problem::Problem;
use thiserror::Error;

use crate::hsm::{HsmError, HsmErrorKind};
use crate::store::StoreError;

/// A failed operation of the authority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The caller sent something unusable.
    #[error("{message}")]
    Invalid {
        /// Problem code, stable.
        code: &'static str,
        /// What is wrong and what to do, safe to show.
        message: String,
    },
    /// The caller has not shown who it is: no or wrong token, no or wrong certificate.
    #[error("{message}")]
    Unauthenticated {
        /// Safe to show.
        message: String,
    },
    /// The caller is known and may not.
    #[error("{message}")]
    Denied {
        /// Problem code, stable.
        code: &'static str,
        /// Safe to show.
        message: String,
        /// The policies that decided; empty when none did.
        policies: Vec<String>,
    },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// Safe to show.
        message: String,
    },
    /// The thing is not in a state for this.
    #[error("{message}")]
    State {
        /// Problem code, stable.
        code: &'static str,
        /// Safe to show.
        message: String,
    },
    /// Somebody else changed it first; the operation had no effect and may be retried.
    #[error("`{path}` was changed at the same time; try again")]
    Raced {
        /// The row.
        path: String,
    },
    /// The HSM or the store cannot be reached, or is not what it was. May pass by itself.
    #[error("the {part} is unavailable; try again")]
    Unavailable {
        /// `hsm` or `store`.
        part: &'static str,
        /// For the log.
        detail: String,
    },
    /// Too many want the same. Nothing is wrong; later it works.
    #[error("the {part} is busy; try again later")]
    Busy {
        /// `hsm`, `authority` or `trust rule`.
        part: &'static str,
        /// For the log.
        detail: String,
    },
    /// This authority is sealed ([`crate::seal`]): it uses and hands out no key.
    #[error("this authority is sealed after its store was restored or put back; its operator has to unseal it")]
    Sealed,
    /// Stored or sealed bytes are not what was written: a bug, a bad disk or an attack (R29).
    #[error("stored state cannot be trusted; see the authority's log")]
    Corrupt {
        /// For the log.
        detail: String,
    },
    /// Our own fault.
    #[error("internal error; see the authority's log")]
    Internal {
        /// For the log.
        detail: String,
    },
}

impl Fault {
    /// The caller's fault.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            code,
            message: message.into(),
        }
    }

    /// An unknown caller.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::Unauthenticated {
            message: message.into(),
        }
    }

    /// A known caller who may not, and no policy that says so.
    pub fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::Denied {
            code,
            message: message.into(),
            policies: Vec::new(),
        }
    }

    /// No such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound {
            message: message.into(),
        }
    }

    /// Not in a state for this.
    pub fn state(code: &'static str, message: impl Into<String>) -> Self {
        Self::State {
            code,
            message: message.into(),
        }
    }

    /// Our own fault.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::Internal { detail: detail.into() }
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { code, .. } | Self::Denied { code, .. } | Self::State { code, .. } => code,
            _ => self.problem().code(),
        }
    }

    /// The problem document an operator gets.
    pub fn problem(&self) -> Problem {
        let known = |code: &'static str, otherwise: &'static str| {
            if node::problem::codes::find(code).is_some() {
                code
            } else {
                otherwise
            }
        };
        let problem = match self {
            Self::Invalid { code, .. } => Problem::new(known(code, "bad_request"), self.to_string()),
            Self::Unauthenticated { .. } => Problem::new("bad_admin_token", self.to_string()),
            Self::Denied { code, policies, .. } => {
                Problem::new(known(code, "forbidden"), self.to_string()).with("policies", policies.clone())
            }
            Self::NotFound { .. } => Problem::new("not_found", self.to_string()),
            Self::State { code, .. } => Problem::new(known(code, "conflict"), self.to_string()),
            Self::Raced { .. } => Problem::new("conflict", self.to_string()),
            Self::Unavailable { .. } => Problem::new("unavailable", self.to_string()),
            Self::Busy { .. } => Problem::new("overloaded", self.to_string()),
            Self::Sealed => Problem::new("sealed", self.to_string()),
            Self::Corrupt { .. } | Self::Internal { .. } => {
                return Problem::internal(self.detail().unwrap_or_default());
            }
        };
        match self.detail() {
            Some(detail) => problem.logged(detail),
            None => problem,
        }
    }

    /// What only the log may see; none where the message says it all.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Unavailable { detail, .. } | Self::Busy { detail, .. } => Some(detail),
            Self::Corrupt { detail } | Self::Internal { detail } => Some(detail),
            _ => None,
        }
    }

    /// Writes the detail to the log, where there is one.
    pub fn log(&self, during: &str) {
        if let Some(detail) = self.detail() {
            tracing::error!(during, detail, "{self}");
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { path } => Self::Raced { path },
            StoreError::Unavailable { detail } => Self::Unavailable { part: "store", detail },
            StoreError::Corrupt { detail } => Self::Corrupt { detail },
            StoreError::Invalid { detail } => Self::Internal { detail },
        }
    }
}

impl From<HsmError> for Fault {
    fn from(error: HsmError) -> Self {
        match error.kind {
            HsmErrorKind::Tampered => Self::Corrupt {
                detail: error.to_string(),
            },
            HsmErrorKind::Busy => Self::Busy {
                part: "hsm",
                detail: error.to_string(),
            },
            HsmErrorKind::BadRequest => Self::Internal {
                detail: error.to_string(),
            },
            _ => Self::Unavailable {
                part: "hsm",
                detail: error.to_string(),
            },
        }
    }
}

impl From<signing::key::KeyError> for Fault {
    fn from(error: signing::key::KeyError) -> Self {
        Self::Internal {
            detail: error.to_string(),
        }
    }
}

impl From<Fault> for tonic::Status {
    fn from(fault: Fault) -> Self {
        use tonic::Code;
        fault.log("grpc");
        let code = match &fault {
            Fault::Invalid { .. } => Code::InvalidArgument,
            Fault::Unauthenticated { .. } => Code::Unauthenticated,
            Fault::Denied { .. } => Code::PermissionDenied,
            Fault::NotFound { .. } => Code::NotFound,
            Fault::State { .. } => Code::FailedPrecondition,
            Fault::Raced { .. } => Code::Aborted,
            Fault::Unavailable { .. } | Fault::Sealed => Code::Unavailable,
            Fault::Busy { .. } => Code::ResourceExhausted,
            Fault::Corrupt { .. } | Fault::Internal { .. } => Code::Internal,
        };
        let mut status = tonic::Status::new(code, fault.to_string());
        if let Ok(code) = fault.code().parse() {
            status.metadata_mut().insert(node::contract::FAULT_CODE, code);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R10
    #[test]
    fn details_stay_out_of_what_callers_see() {
        let faults = [
            Fault::Unavailable {
                part: "store",
                detail: "canary".into(),
            },
            Fault::Corrupt {
                detail: "canary".into(),
            },
            Fault::internal("canary"),
        ];
        for fault in faults {
            assert!(!fault.to_string().contains("canary"));
            let problem = fault.problem().into_response("id");
            assert!(!String::from_utf8_lossy(problem.body()).contains("canary"));
            assert!(!tonic::Status::from(fault).to_string().contains("canary"));
        }
    }
}
