//! The log: lines on standard error.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operator's filter cannot be read.
    #[error("the log filter `{filter}` cannot be read: {reason}; write a level, or `level,target=level`")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Our own mistake: called twice.
    #[error("the log was set up already")]
    Twice,
}

/// Starts the log of this process, once. `filter` is in `tracing`'s form: `info`, or `info,node::listen=debug`.
///
/// # Errors
/// The filter cannot be read, or the log was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = parse(filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    };
    started.map_err(|_| LogError::Twice)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter).map_err(|error| LogError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_or_refused() {
        assert!(parse("info,node::listen=debug").is_ok());
        let error = parse("node=loud").unwrap_err().to_string();
        assert!(
            error.starts_with("the log filter `node=loud` cannot be read"),
            "{error}"
        );
    }

    #[test]
    fn the_log_starts_once() {
        init(LogFormat::Json, "off").unwrap();
        assert!(matches!(init(LogFormat::Text, "off"), Err(LogError::Twice)));
    }
}
