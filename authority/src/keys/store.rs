//! Custom key stores, which there are none of: keys are where the HSM of this authority is.

use serde_json::Value;

use super::{KmsError, KmsErrorType, Session};

/// Whether a verb is one of custom key stores.
pub(super) fn is_verb(verb: &str) -> bool {
    verb.ends_with("CustomKeyStore") || verb == "DescribeCustomKeyStores"
}

/// Their answer, whatever is asked, to callers who may ask.
pub(super) fn refuse(session: &Session<'_>) -> Result<Value, KmsError> {
    session.allow_tenant()?;
    Err(KmsErrorType::UnsupportedOperation.because("Custom key stores are not supported."))
}
