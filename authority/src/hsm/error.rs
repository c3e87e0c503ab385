//! What goes wrong with an HSM, and whose fault it is.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A failed HSM call. `detail` is for the log and for operators; it never holds a PIN, a key or a plaintext.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{kind}: {detail}")]
pub struct HsmError {
    /// Who is at fault, and whether trying again may help.
    pub kind: HsmErrorKind,
    /// What happened and what to do next.
    pub detail: String,
}

/// The kinds of failure. Only `Unavailable` and `Busy` may pass by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HsmErrorKind {
    /// The token or its worker hung, crashed, is overloaded or absent. Callers answer 503; the next call may work.
    Unavailable,
    /// It works, and too many wait for it. Callers are told to come back later.
    Busy,
    /// The token refused the PIN. It is not tried again in this process, since tokens lock after a few wrong ones.
    PinRefused,
    /// The token lacks a mechanism or a curve, named in the detail.
    Unsupported,
    /// The operator's fault: no such module, label or file, two objects of one name, an extractable root.
    Misconfigured,
    /// The object does not exist in the token.
    NotFound,
    /// The caller's fault: a length or a digest out of bounds.
    BadRequest,
    /// A sealed or wrapped blob was not made by this HSM, or for other associated data.
    Tampered,
    /// A signature did not verify. It has been withheld (R27).
    WrongSignature,
    /// The token failed in some other way, named by its PKCS#11 code.
    Token,
}

impl std::fmt::Display for HsmErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "hsm unavailable",
            Self::Busy => "hsm is busy",
            Self::PinRefused => "hsm refused the pin",
            Self::Unsupported => "hsm lacks a capability",
            Self::Misconfigured => "hsm is misconfigured",
            Self::NotFound => "not in the hsm",
            Self::BadRequest => "bad hsm request",
            Self::Tampered => "blob refused by the hsm",
            Self::WrongSignature => "hsm made a wrong signature",
            Self::Token => "hsm failed",
        })
    }
}

impl HsmErrorKind {
    /// An error of this kind.
    pub(crate) fn because(self, detail: impl Into<String>) -> HsmError {
        HsmError {
            kind: self,
            detail: detail.into(),
        }
    }
}
