//! PKCS#11 return codes, and what each means for the session and for the caller.

use cryptoki::error::{Error, RvError};

use super::super::{HsmError, HsmErrorKind};

/// A failed step: the token's own code, or what we made of its answers.
#[derive(Debug)]
pub(super) enum Failure {
    /// The module answered a code.
    Code(Error),
    /// Ours.
    Error(HsmError),
    /// The session is there but logged out, as after a token's restart.
    LoggedOut,
}

impl Failure {
    /// The session, the login or the handles are gone: open another session and try once more.
    pub(super) fn is_lost(&self) -> bool {
        let Self::Code(Error::Pkcs11(code, _)) = self else {
            return matches!(self, Self::LoggedOut);
        };
        matches!(
            code,
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::SlotIdInvalid
                | RvError::UserNotLoggedIn
                | RvError::CryptokiNotInitialized
                | RvError::OperationActive
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::UnwrappingKeyHandleInvalid
                | RvError::WrappingKeyHandleInvalid
                | RvError::GeneralError
                | RvError::FunctionFailed
        )
    }

    /// The token refused the PIN.
    pub(super) fn pin_refused(&self) -> Option<HsmError> {
        let Self::Code(Error::Pkcs11(code, _)) = self else {
            return None;
        };
        let advice = match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => "correct the pin file and restart",
            RvError::PinLocked => "the token has locked its pin; its security officer can set a new one",
            RvError::PinExpired => "the pin has expired; set a new one and restart",
            RvError::UserPinNotInitialized => "the token has no user pin yet; its security officer must set one",
            _ => return None,
        };
        Some(HsmErrorKind::PinRefused.because(format!("{code:?}; {advice}")))
    }

    /// For the caller.
    pub(super) fn into_error(self) -> HsmError {
        match self {
            Self::Error(error) => error,
            Self::Code(Error::Pkcs11(RvError::CurveNotSupported, _)) => {
                HsmErrorKind::Unsupported.because("the token does not support the curve")
            }
            Self::Code(error) => HsmErrorKind::Token.because(name(&error)),
            Self::LoggedOut => self.into_unavailable(),
        }
    }

    /// For the caller, when a fresh session did not help either.
    pub(super) fn into_unavailable(self) -> HsmError {
        HsmErrorKind::Unavailable.because(format!("the token was lost ({self}); it is being opened anew"))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(error) => f.write_str(&name(error)),
            Self::Error(error) => error.fmt(f),
            Self::LoggedOut => f.write_str("the session is logged out"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Code(error)
    }
}

impl From<HsmError> for Failure {
    fn from(error: HsmError) -> Self {
        Self::Error(error)
    }
}

/// The function and the code; cryptoki's own text is a paragraph of the standard.
pub(super) fn name(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    }
}
