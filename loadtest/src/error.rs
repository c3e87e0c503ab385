use std::path::PathBuf;
use std::time::Duration;

/// Why there is no answer, or no load at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The address cannot be used.
    #[error("`{url}` cannot be used: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What it should be.
        reason: &'static str,
    },
    /// An option cannot be used.
    #[error("{0}")]
    Option(String),
    /// The CA file cannot be used.
    #[error("`{}` cannot be used: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection.
    #[error("no connection to `{origin}`: {reason}")]
    Connect {
        /// `host:port`.
        origin: String,
        /// What failed.
        reason: String,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("the exchange with `{origin}` failed: {reason}")]
    Exchange {
        /// `host:port`.
        origin: String,
        /// What broke.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer from `{origin}` within {timeout:?}")]
    Timeout {
        /// `host:port`.
        origin: String,
        /// The bound.
        timeout: Duration,
    },
    /// The answer is larger than allowed for.
    #[error("the answer from `{origin}` is larger than {max_bytes} bytes")]
    TooLarge {
        /// `host:port`.
        origin: String,
        /// The bound.
        max_bytes: usize,
    },
    /// The sample of tokens cannot be verified at all.
    #[error("the tokens cannot be verified: {0}")]
    Jwks(String),
    /// A bench cannot be run.
    #[error("{0}")]
    Bench(String),
}

impl LoadError {
    /// A short stable word for a report's table of errors.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            LoadError::Connect { .. } => "connect",
            LoadError::Timeout { .. } => "timeout",
            LoadError::TooLarge { .. } => "answer_too_large",
            _ => "exchange",
        }
    }
}
