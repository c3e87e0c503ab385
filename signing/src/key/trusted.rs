use serde::{Deserialize, Serialize};

use super::Verifier;

/// The one purpose of a payload key (R38). A key that signs raw digests stands in no JWKS, or anyone could have a
/// token's digest signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Signs tokens, and nothing a caller chose byte by byte.
    Token,
    /// Signs artifacts' digests and messages.
    Artifact,
    /// Signs whatever bytes it is given, at the authority only.
    Raw,
}

impl Family {
    /// `token`, `artifact` or `raw`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Artifact => "artifact",
            Self::Raw => "raw",
        }
    }
}

/// A verifying key together with everything that limits what it may speak for. Verification checks all of it each
/// time (R5): a key is never just a key.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// Checks the signature and fixes the algorithm.
    pub verifier: Verifier,
    /// What the key is for. Tokens need [`Family::Token`].
    pub family: Family,
    /// The only `iss` this key speaks for, compared byte by byte.
    pub issuer: String,
    /// The tenant that owns the key, 12 digits.
    pub tenant: String,
    /// First second at which signatures count, Unix seconds.
    pub not_before: u64,
    /// Last second at which signatures count, Unix seconds; `u64::MAX` for no end.
    pub not_after: u64,
}

impl TrustedKey {
    /// Whether the key counts at `now` (Unix seconds), `leeway` seconds allowed either way.
    pub fn is_valid_at(&self, now: u64, leeway: u64) -> bool {
        now.saturating_add(leeway) >= self.not_before && now.saturating_sub(leeway) <= self.not_after
    }
}
